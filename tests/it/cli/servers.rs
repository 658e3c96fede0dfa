//! `migrate` and the servers: what they say, in words or in JSON, what they answer, and how they end.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::Http;
use longshore_tests::longshore::{Launch, Longshore, Ready, binary};
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::until::poll;
use longshore_tests::{media, ports, scratch};
use serde_json::{Value, json};

use super::jobs::{IMPORT, source};
use super::{PATIENCE, longshore};

#[tokio::test]
async fn one_process_serves_and_works_on_real_servers_and_drains() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let broker = RabbitMq::shared().await?.vhost().await?;
    let migrated = longshore(&["migrate", "--database-url", &database], &[], "").await?;
    assert!(migrated.code == Some(0) && migrated.out.starts_with("the ledger's schema is at version "), "{migrated:?}");
    let again = longshore(&["migrate", "--database-url", &database, "--json"], &[], "").await?;
    assert!(again.json()?["schema_version"].as_u64() >= Some(2), "{again:?}");
    let dir = scratch::dir("cli-all")?;
    let all = Longshore::all(&database, &broker)?.arg("--data-dir").arg(&dir.path().to_string_lossy()).start().await?;
    let csv = media::csv(dir.path(), 200, 0)?;
    let args = ["submit", "csv.import", IMPORT, "--file", &source(&csv.path), "--wait", "--json"];
    let done = longshore(&args, &[("LONGSHORE_SERVER", &all.url())], "").await?;
    assert_eq!((done.code, &done.json()?["state"]), (Some(0), &json!("completed")), "{done:?}");
    let page = all.http()?.get("/metrics").await?.expect(200)?.text;
    assert!(page.contains("longshore_slots ") && page.contains("longshore_http_requests_total"), "{page}");
    assert_eq!(all.drain(Duration::from_secs(60)).await?, 0);
    Ok(())
}

/// What it logged from its start to its end.
async fn log(launch: Launch, format: &str, last: &str) -> Result<String> {
    let server = launch.arg("--log").arg(format).ready(Ready::Says(last.to_owned())).start().await?;
    ensure!(server.drain(Duration::from_secs(60)).await? == 0);
    Ok(std::fs::read_to_string(server.process().log())?)
}

/// Each of these lines is said, once for people and once as an object.
async fn says(launch: impl Fn() -> Result<Launch>, lines: &[&str]) -> Result<()> {
    let last = lines.last().context("a server says something")?;
    let words = log(launch()?, "text", last).await?;
    let json = log(launch()?, "json", last).await?;
    let objects = json.lines().map(|line| serde_json::from_str::<Value>(line).with_context(|| line.to_owned()));
    let objects = objects.collect::<Result<Vec<_>>>()?;
    for said in lines {
        ensure!(words.lines().any(|line| line.contains(said) && !line.starts_with('{')), "{said}: {words}");
        ensure!(objects.iter().any(|line| line["message"] == *said && line["level"] == "INFO"), "{said}: {json}");
    }
    Ok(())
}

#[tokio::test]
async fn dev_says_where_it_is_in_words_or_in_json() -> Result<()> {
    let data = scratch::dir("cli-dev")?;
    says(|| Longshore::dev(data.path()), &["serving", "working"]).await
}

#[tokio::test]
async fn each_server_says_where_it_is_in_words_or_in_json() -> Result<()> {
    let database = Postgres::shared().await?.database().await?;
    let broker = RabbitMq::shared().await?.vhost().await?;
    let migrated = longshore(&["migrate", "--database-url", &database], &[], "").await?;
    ensure!(migrated.code == Some(0), "{migrated:?}");
    let data = scratch::dir("cli-servers")?;
    let at = |launch: Launch| launch.arg("--data-dir").arg(&data.path().to_string_lossy());
    says(|| Ok(at(Longshore::api(&database, &broker)?)), &["serving"]).await?;
    says(|| Ok(at(Longshore::worker(&database, &broker, &["csv.import"], 1)?)), &["working"]).await?;
    says(|| Ok(at(Longshore::all(&database, &broker)?)), &["serving", "working"]).await
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_ends_no_server() -> Result<()> {
    let data = scratch::dir("cli-dev")?;
    let listen = format!("127.0.0.1:{}", ports::free()?);
    let mut dev = tokio::process::Command::new(binary()?);
    dev.args(["dev", "--listen", &listen, "--data-dir"]).arg(data.path()).kill_on_drop(true);
    let mut child = dev.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    drop(child.stderr.take());
    let http = Http::to(&format!("http://{listen}"))?;
    let serves = || async { http.get("/readyz").await.ok().filter(|answer| answer.status == 200).map(|_| ()) };
    poll("a server without a log to serve", PATIENCE, serves).await?;
    ensure!(child.try_wait()?.is_none(), "it lives");
    Ok(child.kill().await?)
}
