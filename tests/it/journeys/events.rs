//! What a reader of a job's events is told, whoever makes them happen and whichever API process tells.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::longshore::{Longshore, Ready};
use longshore_tests::postgres::Postgres;
use longshore_tests::proxy::Proxy;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::Stage;
use longshore_tests::stream::{Stream, transitions};
use serde_json::{Value, json};
use tokio::time::timeout;

super::on_both_stages!(
    a_reader_is_told_everything_once_in_order_and_then_the_stream_ends,
    a_job_canceled_in_its_run_and_a_dead_letter_raised_are_told_to_the_end,
);

fn path(id: &str) -> String {
    format!("/v1/jobs/{id}/events")
}

fn without_progress(events: Vec<Value>) -> Vec<Value> {
    events.into_iter().filter(|event| event["data"]["event"] != "progressed").collect()
}

async fn a_reader_is_told_everything_once_in_order_and_then_the_stream_ends(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"fail_attempts": 1, "work_ms": 1500})).await?;
    let live = Stream::open(&stage.http, &path(&id), None).await?.rest().await?;
    let expected = ["accepted", "started", "attempt_failed", "started", "completed"];
    assert_eq!(transitions(&live), expected, "{live:?}");
    let progress: Vec<_> = live.iter().filter(|event| event["data"]["event"] == "progressed").collect();
    ensure!(!progress.is_empty(), "a second and a half is long enough to say how far it is: {live:?}");
    for event in progress {
        let (event_id, sequence) = (event["id"].as_str().unwrap_or_default(), &event["data"]["sequence"]);
        ensure!(event_id.starts_with(&format!("{id}.{sequence}.")), "{event}");
    }
    let unique: HashSet<_> = live.iter().map(|event| event["id"].as_str()).collect();
    assert_eq!(unique.len(), live.len(), "none twice: {live:?}");
    assert_eq!(live[2]["data"]["error"]["code"], "told_to_fail");
    // Who comes late is told the same.
    let late = Stream::open(&stage.http, &path(&id), None).await?.rest().await?;
    assert_eq!(without_progress(live.clone()), late);
    let last = late.last().and_then(|event| event["id"].as_str()).context("no event")?;
    assert_eq!(Stream::open(&stage.http, &path(&id), Some(last)).await?.status, 204);
    Ok(())
}

async fn a_job_canceled_in_its_run_and_a_dead_letter_raised_are_told_to_the_end(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"work_ms": 60_000})).await?;
    let mut stream = Stream::open(&stage.http, &path(&id), None).await?;
    let mut told = vec![];
    while transitions(&told).last() != Some(&"started") {
        told.extend(stream.next().await?);
    }
    stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(202)?;
    told.extend(stream.rest().await?);
    assert_eq!(transitions(&told), ["accepted", "started", "canceled"]);
    let id = stage.submit("trial.work", json!({"fatal": true})).await?;
    let dead = Stream::open(&stage.http, &path(&id), None).await?.rest().await?;
    stage.http.post(&format!("/v1/jobs/{id}/replay"), &json!({})).await?.expect(202)?;
    let last = dead.last().and_then(|event| event["id"].as_str()).context("no event")?;
    let raised = Stream::open(&stage.http, &path(&id), Some(last)).await?.rest().await?;
    assert_eq!(transitions(&dead), ["accepted", "started", "failed"]);
    assert_eq!(transitions(&raised), ["requeued", "started", "failed"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_broken_off_with_its_server_goes_on_at_another_without_hole_or_repeat() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    let second = stage.another_api(&broker).await?;
    let id = stage.submit("trial.work", json!({"fail_attempts": 1, "work_ms": 2000})).await?;
    let mut stream = Stream::open(&second.http()?, &path(&id), None).await?;
    let mut told = vec![];
    while !told.iter().any(|event: &Value| event["data"]["event"] == "progressed") {
        told.extend(stream.next().await?);
    }
    second.kill_9().await?;
    let broken = loop {
        match stream.next().await {
            Ok(event) => told.push(event.context("a killed server does not end its streams")?),
            Err(error) => break error,
        }
    };
    ensure!(!transitions(&told).contains(&"completed"), "killed in the middle: {broken:#}");
    let mut resumed = Stream::open(&stage.http, &path(&id), stream.last_id.as_deref()).await?;
    told.extend(resumed.rest().await?);
    let ids: Vec<_> = told.iter().map(|event| event["id"].as_str()).collect();
    let unique: HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    let whole = Stream::open(&stage.http, &path(&id), None).await?.rest().await?;
    assert_eq!(without_progress(told), whole);
    assert_eq!(transitions(&whole), ["accepted", "started", "attempt_failed", "started", "completed"]);
    Ok(())
}

/// Less than a stream's client waits.
const SOON: Duration = Duration::from_secs(45);

/// Reads on until this happened to this job; whose ends were told on the way, this one's last.
async fn until_told(stream: &mut Stream, job: &str, word: &str) -> Result<Vec<String>> {
    let told = async {
        let mut ended = vec![];
        loop {
            let event = stream.next().await?.context("a stream of all jobs does not end")?;
            if event["data"]["event"] == "completed" {
                ended.extend(event["data"]["job"].as_str().map(str::to_owned));
            }
            if event["data"]["job"] == job && event["data"]["event"] == word {
                return anyhow::Ok(ended);
            }
        }
    };
    timeout(SOON, told).await.with_context(|| format!("{word} of {job} was not told"))?
}

/// Longer than what a reader is told once more when it comes to another process (ten seconds).
const LONG_AFTER_MS: u64 = 14_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_its_worker_never_told_is_told_at_another_process_from_a_place_that_came_long_after_it()
-> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    let line = Proxy::before(&broker).await?;
    let mut stage = Stage::on(&database, &broker).await?;
    stage.drain_worker().await?;
    let worker = async |amqp_url: &str, lease: &str| {
        // It holds one delivery and no other beside it.
        let worker = Stage::dressed(Longshore::worker(&database, amqp_url, &[], 1)?, &stage.dir)?;
        let worker = worker.env("LONGSHORE_WORKER_PREFETCH_EXTRA", "0");
        worker.env("LONGSHORE_WORKER_LEASE", lease).ready(Ready::Says("working".to_owned())).start().await
    };
    let first = worker(line.url(), "35").await?;
    let other = stage.another_api(&broker).await?;
    let mut reader = Stream::open(&stage.http, "/v1/events", None).await?;
    let gate = stage.dir.path().join("gate");
    let untold = stage.submit("trial.work", json!({"gate": gate})).await?;
    stage.when(&untold, "to run", |job| job["state"] == "running" && job["progress"].is_object()).await?;
    // Its worker records the end, cannot tell of it, and then does nothing any more; its delivery is in its hands.
    line.pause();
    std::fs::write(&gate, "1\n")?;
    stage.when(&untold, "to be recorded", |job| job["state"] == "completed").await?;
    first.process().sigstop();
    let second = worker(&broker, "3").await?;
    let later = stage.submit("trial.work", json!({"work_ms": LONG_AFTER_MS})).await?;
    let ended = until_told(&mut reader, &later, "completed").await.context(second.process().log_tail())?;
    ensure!(ended == [later.as_str()], "the other end was told as well: {ended:?}");
    let place = reader.last_id.clone().context("no place")?;
    drop(reader);
    // By the relay, when the lease is over; nobody reads at the other process yet.
    let mut watch = Stream::open(&stage.http, "/v1/events", Some(&place)).await?;
    until_told(&mut watch, &untold, "completed").await.context("nobody told of it")?;
    let mut resumed = Stream::open(&other.http()?, "/v1/events", Some(&place)).await?;
    // In the order in which they happened; what is announced again meanwhile comes after them.
    let ended = until_told(&mut resumed, &later, "completed").await?;
    ensure!(ended == [untold, later], "there is a hole at the other process: {ended:?}");
    first.process().kill_9();
    Ok(())
}
