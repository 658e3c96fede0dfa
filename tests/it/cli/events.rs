//! `longshore events` as its users meet it: lines for people, lines for programs, and a server that goes away and comes back.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::longshore::{Launch, Longshore, binary};
use longshore_tests::process::Process;
use longshore_tests::scratch;
use longshore_tests::until::poll;
use serde_json::{Value, json};

use super::jobs::IMPORT;
use super::{PATIENCE, longshore};

fn lines(follower: &Process) -> Vec<String> {
    std::fs::read_to_string(follower.log()).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A follower of this server that follows by now.
async fn follower(server: &Longshore, name: &str, args: &[&str], dir: &tempfile::TempDir) -> Result<Process> {
    let mut command = Command::new(binary()?);
    command.args(args).env("LONGSHORE_SERVER", server.url());
    let follower = Process::spawn(name, command, dir.path())?;
    let listens = || async { (!lines(&follower).is_empty()).then_some(()) };
    poll("the follower to be there", PATIENCE, listens).await?;
    Ok(follower)
}

/// A job that is canceled while it waits; its id.
async fn canceled(server: &Longshore) -> Result<String> {
    let file = r#"{"source": {"file": "01890a5d-ac96-774b-bcce-b302099a8057"}, "#;
    let payload = IMPORT.replacen('{', file, 1);
    let url = server.url();
    let ask = async |args: &[&str]| longshore(args, &[("LONGSHORE_SERVER", url.as_str())], "").await?.json();
    let submitted = ask(&["submit", "csv.import", &payload, "--delay", "1h", "--json"]).await?;
    let id = submitted["id"].as_str().context("no id")?.to_owned();
    ensure!(ask(&["cancel", &id, "--json"]).await?["state"] == "canceled");
    Ok(id)
}

async fn until_told(follower: &Process, id: &str) -> Result<Vec<String>> {
    let told = || async {
        let lines = lines(follower);
        lines.iter().any(|line| line.contains(id) && line.contains("canceled")).then_some(lines)
    };
    poll("the follower to tell it", PATIENCE, told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_jobs_are_followed_through_a_restart_of_the_server() -> Result<()> {
    let dir = scratch::dir("cli-events")?;
    let launch: Launch = Longshore::dev(&dir.path().join("data"))?;
    let server = launch.start().await?;
    let words =
        follower(&server, "words", &["events", "--kind", "csv.import,other", "--state", "pending,canceled"], &dir)
            .await?;
    let json = follower(&server, "json", &["events", "--json"], &dir).await?;
    let first = canceled(&server).await?;
    until_told(&words, &first).await?;
    until_told(&json, &first).await?;
    server.kill_9().await?;
    let server = launch.start().await?;
    let second = canceled(&server).await?;
    let for_people = until_told(&words, &second).await?;
    let line = for_people.iter().find(|line| line.contains(&second)).context("told")?;
    ensure!(line.contains("  csv.import  accepted"), "{line}");
    let told = until_told(&json, &second).await?;
    let events: Vec<Value> = told.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for id in [&first, &second] {
        let of_it: Vec<&Value> = events.iter().filter(|event| event["subject"] == json!(id)).collect();
        let mut words: Vec<_> = of_it.iter().filter_map(|event| event["data"]["event"].as_str()).collect();
        // What lies within the overlap of two processes is told twice, with the same id.
        words.sort_unstable();
        words.dedup();
        assert_eq!(words, ["accepted", "canceled"], "{of_it:?}");
    }
    ensure!(!told.iter().any(|line| line.contains("\"gap\"")), "nothing is missing: {told:?}");
    Ok(())
}

#[tokio::test]
async fn who_wants_so_many_events_has_them_and_a_server_that_is_not_there_is_named() -> Result<()> {
    let dir = scratch::dir("cli-events")?;
    let server = Longshore::dev(&dir.path().join("data"))?.start().await?;
    let follower = follower(&server, "two", &["events", "--limit", "2"], &dir).await?;
    canceled(&server).await?;
    follower.wait(PATIENCE).await?;
    assert_eq!(lines(&follower).len(), 3, "the first says that it follows: {:?}", lines(&follower));
    let nobody = longshore(&["events", "--server", "http://127.0.0.1:9"], &[], "").await?;
    ensure!(nobody.code == Some(1) && nobody.err.contains("no answer from http://127.0.0.1:9"), "{nobody:?}");
    let refused = longshore(&["events", "--state", "done"], &[], "").await?;
    ensure!(refused.code == Some(2) && refused.err.contains("write pending, running"), "{refused:?}");
    Ok(())
}
