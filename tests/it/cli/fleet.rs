//! What an operator asks: queues, workers, the settings in effect, and a script for the shell, each in words and in JSON.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::jobs::Desk;
use super::longshore;

/// The row of a kind.
fn queue<'a>(list: &'a Value, kind: &str) -> Result<&'a Value> {
    let queues = list["queues"].as_array().context("no list of queues")?;
    queues.iter().find(|queue| queue["kind"] == kind).context("no such queue")
}

#[tokio::test]
async fn queues_show_what_waits_and_who_is_there() -> Result<()> {
    let desk = Desk::open().await?;
    desk.later().await?;
    let list = desk.json(&["queues", "--json"]).await?;
    let imports = queue(&list, "csv.import")?;
    assert_eq!((&imports["ready"], &imports["consumers"]), (&json!(0), &json!(1)), "{list}");
    // A scheduled job does not wait for a worker.
    assert_eq!((&imports["waiting"], &imports["running"], &imports["dead_letters"]), (&json!(0), &json!(0), &json!(0)));
    let shown = desk.ask(&["queues"]).await?;
    let lines: Vec<Vec<&str>> = shown.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["KIND", "READY", "CONSUMERS", "WAITING", "RUNNING", "OLDEST", "DEAD"], "{shown:?}");
    assert!(lines.contains(&vec!["csv.import", "0", "1", "0", "0", "-", "0"]), "{shown:?}");
    desk.close().await
}

#[tokio::test]
async fn workers_show_their_slots_and_kinds() -> Result<()> {
    let desk = Desk::open().await?;
    let list = desk.json(&["workers", "--json"]).await?;
    let [worker] = &list["workers"].as_array().context("no list of workers")?[..] else { panic!("{list}") };
    assert_eq!((&worker["busy"], &worker["draining"]), (&json!(0), &json!(false)));
    assert!(worker["slots"].as_u64() >= Some(2) && worker["lease_left_seconds"].as_f64() > Some(0.0), "{worker}");
    let id = worker["id"].as_str().context("a worker has an id")?;
    let shown = desk.ask(&["workers"]).await?;
    let line = shown.out.lines().find(|line| line.starts_with(id)).context("it has a line")?;
    assert!(line.contains("working") && line.contains("image.resize"), "{shown:?}");
    desk.close().await
}

#[tokio::test]
async fn the_settings_in_effect_are_shown_with_their_givers_and_without_secrets() -> Result<()> {
    let variables = [("LONGSHORE_DATABASE_URL", "postgres://ann:hush@db/l")];
    let args = ["config", "show", "--set", "worker.lease=30", "--listen", "127.0.0.1:9"];
    let shown = longshore(&args, &variables, "").await?;
    assert!(shown.code == Some(0) && !shown.out.contains("hush"), "{shown:?}");
    let says = |line: &str, giver: &str| shown.out.lines().any(|said| said.starts_with(line) && said.ends_with(giver));
    assert!(says("listen = \"127.0.0.1:9\"", "# flag --listen"), "{shown:?}");
    assert!(says("database.url = \"postgres://ann:***@db/l\"", "# env LONGSHORE_DATABASE_URL"), "{shown:?}");
    assert!(says("worker.prefetch_extra = 2", "# default"), "{shown:?}");
    let json = longshore(&[&args[..], &["--json", "--changed"]].concat(), &variables, "").await?.json()?;
    let settings = json["settings"].as_array().context("no list of settings")?;
    let lease = settings.iter().find(|setting| setting["key"] == "worker.lease").context("it was changed")?;
    assert_eq!(lease, &json!({"key": "worker.lease", "value": 30.0, "origin": "flag", "place": "--set worker.lease"}));
    assert_eq!(settings.len(), 3, "only what is not the default: {settings:?}");
    Ok(())
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_not_shown() -> Result<()> {
    let refused = longshore(&["config", "show", "--json", "--set", "worker.slot=1"], &[], "").await?;
    assert!(refused.code == Some(2) && refused.out.is_empty() && refused.err.contains("worker.slots"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_shell_is_given_every_command() -> Result<()> {
    for (shell, begins) in [("bash", "_longshore()"), ("zsh", "#compdef longshore"), ("fish", "# Print an optspec")] {
        let script = longshore(&["completions", shell], &[], "").await?;
        assert!(script.code == Some(0) && script.err.is_empty(), "{script:?}");
        assert!(script.out.contains(begins) && script.out.contains("dlq"), "{shell}: {}", script.out);
    }
    // Bash itself can read it.
    let script = longshore(&["completions", "bash"], &[], "").await?.out;
    let mut bash = std::process::Command::new("bash");
    let reads = bash.args(["-c", &format!("{script}\ncomplete -p longshore")]).output()?;
    assert!(String::from_utf8_lossy(&reads.stdout).contains("_longshore"), "{reads:?}");
    Ok(())
}
