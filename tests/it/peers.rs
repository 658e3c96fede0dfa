//! Programs that others wrote, beside ours: a Python producer and a Python listener on RabbitMQ, and a public validator of OpenAPI documents. They are brought by
//! `make test` into a Python environment of their own; a missing one fails these stories.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_sdk::JobId;
use longshore_tests::longshore::Longshore;
use longshore_tests::postgres::Postgres;
use longshore_tests::process::run;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::until::poll;
use longshore_tests::{house, scratch};
use serde_json::{Value, json};

/// Where `.ci/install` put them: beside what cargo built.
fn python() -> Result<PathBuf> {
    let us = std::env::current_exe()?;
    let found = us.ancestors().map(|dir| dir.join("python-tools/bin/python")).find(|python| python.exists());
    found.context("no Python environment: run `.ci/install test`, or `make test`, which does")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_publishes_json_and_its_job_is_seen_in_the_api() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    let id = JobId::fresh().to_string();
    let mut producer = Command::new(python()?);
    producer.arg("-B").arg(house::root()?.join("tests/it/peers/producer.py"));
    producer.args([&broker, "trial.work", &id, "{\"work_ms\": 1}"]);
    run("producer", producer, PATIENCE).await?;
    let seen = poll("the job to be in the ledger", PATIENCE, || async { stage.job(&id).await.ok() }).await?;
    ensure!(seen["kind"] == "trial.work", "{seen}");
    let job = stage.settled(&id).await?;
    ensure!(job["state"] == "completed" && job["attempt"] == 1, "{job}");
    ensure!(job["result"]["attempt"] == 1, "{job}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_program_hears_on_the_topic_what_a_stream_tells() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    let listen = async |what: &str, about: &str| {
        let mut listener = Command::new(python()?);
        listener.arg("-B").arg(house::root()?.join("tests/it/peers/consumer.py"));
        listener.args([what, &broker, "ears", about]);
        run("listener", listener, PATIENCE).await
    };
    listen("bind", "trial.work").await?;
    let id = stage.submit("trial.work", json!({"fail_attempts": 1, "work_ms": 1500})).await?;
    let stream = Stream::open(&stage.http, &format!("/v1/jobs/{id}/events"), None).await?.rest().await?;
    let heard: Vec<Value> = serde_json::from_str(&listen("read", &id).await?)?;
    ensure!(heard.iter().any(|event| event["data"]["event"] == "progressed"), "{heard:?}");
    // A repeat is the same event; each has its place by its id, whichever came first.
    let transitions = |events: Vec<Value>| {
        let events = events.into_iter().filter(|event| event["data"]["event"] != "progressed");
        events.map(|event| (event["data"]["sequence"].as_i64(), event.to_string())).collect::<BTreeSet<_>>()
    };
    // Progress that both told is the same, too.
    let same = |told: &&Value| heard.iter().any(|event| event["id"] == told["id"]);
    for told in stream.iter().filter(same) {
        ensure!(heard.contains(told), "{told} is not among {heard:?}");
    }
    let told = transitions(stream);
    ensure!(told.len() == 5, "{told:?}");
    assert_eq!(transitions(heard), told);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_of_a_running_server_is_valid() -> Result<()> {
    let dir = scratch::dir("openapi")?;
    let server = Longshore::dev(&dir.path().join("data"))?.start().await?;
    let document = server.http()?.get("/openapi.json").await?.expect(200)?;
    let valid = validate(&document.text, &dir).await?;
    ensure!(valid.contains("OK"), "{valid}");
    // And the validator is no rubber stamp.
    let broken = document.text.replace("\"in\":\"path\"", "\"in\":\"road\"");
    ensure!(broken != document.text && validate(&broken, &dir).await.is_err());
    Ok(())
}

async fn validate(document: &str, dir: &tempfile::TempDir) -> Result<String> {
    let path = dir.path().join("openapi.json");
    std::fs::write(&path, document)?;
    let mut command = Command::new(python()?);
    command.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(path);
    run("validator", command, Duration::from_secs(60)).await
}
