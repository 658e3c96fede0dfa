//! Programs that others wrote, beside ours: a Python producer and a Python listener on RabbitMQ, and in [`documents`] public judges
//! of our descriptions. They are brought by `make test` into environments of their own; a missing one fails these stories.

mod clients;
mod documents;
mod events;
mod uploads;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use longshore_sdk::JobId;
use longshore_tests::house;
use longshore_tests::postgres::Postgres;
use longshore_tests::process::run;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::tools::beside;
use longshore_tests::until::poll;
use serde_json::{Value, json};

/// Where `.ci/install` put them: beside what cargo built.
pub(crate) fn python() -> Result<PathBuf> {
    beside("python-tools/bin/python")
}

/// What a Python listener on the topic says.
async fn listen(args: &[&str]) -> Result<String> {
    let mut listener = Command::new(python()?);
    listener.arg("-B").arg(house::root()?.join("tests/it/peers/consumer.py")).args(args);
    run("listener", listener, PATIENCE).await
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
    listen(&["bind", &broker, "ears", "trial.work"]).await?;
    let id = stage.submit("trial.work", json!({"fail_attempts": 1, "work_ms": 1500})).await?;
    let stream = Stream::open(&stage.http, &format!("/v1/jobs/{id}/events"), None).await?.rest().await?;
    let heard: Vec<Value> = serde_json::from_str(&listen(&["read", &broker, "ears", &id]).await?)?;
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
