//! What breaks under a running job, and that nothing is lost and nothing is done twice by it. Faults of the servers themselves have a
//! server of their own to break.

use anyhow::Result;
use longshore_tests::postgres::Postgres;
use longshore_tests::proxy::Proxy;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::until;
use serde_json::{Value, json};

super::on_both_stages!(
    a_job_whose_worker_is_killed_runs_again,
    a_job_that_crashes_every_worker_is_poison_and_its_neighbour_is_innocent,
    a_drained_job_is_handed_on_and_costs_no_attempt,
    a_job_that_finishes_within_the_grace_period_is_finished_by_the_drain,
    a_thread_that_never_ends_does_not_keep_its_worker_from_leaving,
);

fn starts(stage: &Stage, id: &str) -> usize {
    stage.notes().iter().filter(|note| note.starts_with(&format!("start {id} "))).count()
}

fn ends(stage: &Stage, id: &str) -> usize {
    stage.notes().iter().filter(|note| note.starts_with(&format!("end {id} "))).count()
}

async fn started(stage: &Stage, work_ms: u64) -> Result<String> {
    let id = stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": work_ms})).await?;
    stage.when(&id, "to run", |job| job["state"] == "running" && job["progress"].is_object()).await?;
    Ok(id)
}

async fn a_job_whose_worker_is_killed_runs_again(mut stage: Stage) -> Result<()> {
    let id = started(&stage, 2_000).await?;
    stage.kill_worker().await?;
    stage.start_worker().await?;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    assert_eq!(job["attempts"][0]["outcome"], "lost", "{job}");
    assert_eq!(job["charged"], 0, "a lost worker is not the executor's failure: {job}");
    assert_eq!((starts(&stage, &id), ends(&stage, &id)), (2, 1));
    Ok(())
}

async fn a_job_that_crashes_every_worker_is_poison_and_its_neighbour_is_innocent(mut stage: Stage) -> Result<()> {
    let innocent = stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 1_500})).await?;
    let poison = stage.submit("trial.work", json!({"log": stage.note_file(), "abort_attempts": 99})).await?;
    // Two crashes in company and three alone: the worker is started again after each, as Kubernetes would.
    let job = loop {
        if !stage.worker_lives() {
            // It may be killed by the poison before it says that it is ready.
            let _ = stage.replace_worker().await;
        }
        match stage.job(&poison).await {
            Ok(job) if job["state"] == "failed" => break job,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(job["error"]["code"], "poison", "{job}");
    let message = job["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("; it ran on "), "the dead letter names the last worker: {job}");
    let attempts = job["attempts"].as_array().map_or(0, Vec::len);
    assert!((3..=6).contains(&attempts), "{job}");
    let job = stage.settled(&innocent).await?;
    assert_eq!((&job["state"], &job["charged"]), (&json!("completed"), &json!(0)), "{job}");
    Ok(())
}

async fn a_drained_job_is_handed_on_and_costs_no_attempt(mut stage: Stage) -> Result<()> {
    let payload = json!({"log": stage.note_file(), "work_ms": 3_000, "yields": true});
    let id = stage.submit("trial.work", payload).await?;
    stage.when(&id, "to run", |job| job["state"] == "running").await?;
    assert_eq!(stage.drain_worker().await?, 0);
    stage.start_worker().await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], &job["charged"]), (&json!("completed"), &json!(0)), "{job}");
    assert_eq!(job["attempts"][0]["outcome"], "yielded", "{job}");
    assert_eq!(ends(&stage, &id), 1);
    Ok(())
}

async fn a_job_that_finishes_within_the_grace_period_is_finished_by_the_drain(mut stage: Stage) -> Result<()> {
    let id = started(&stage, 1_000).await?;
    assert_eq!(stage.drain_worker().await?, 0);
    stage.start_worker().await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], starts(&stage, &id)), (&json!("completed"), 1), "{job}");
    Ok(())
}

async fn a_thread_that_never_ends_does_not_keep_its_worker_from_leaving(mut stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"hangs": true})).await?;
    stage.when(&id, "to hang", |job| job["state"] == "running" && job["progress"].is_object()).await?;
    assert_eq!(stage.drain_worker().await?, 0);
    stage.start_worker().await?;
    let job = stage.when(&id, "to run again", |job| job["attempt"] == 2).await?;
    assert_eq!((&job["attempts"][0]["outcome"], &job["charged"]), (&json!("drained"), &json!(0)), "{job}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_restarts_no_running_job() -> Result<()> {
    let (broker, database) = (RabbitMq::start().await?, Postgres::shared().await?.database().await?);
    let stage = Stage::on(&database, &broker.url()).await?;
    let running = started(&stage, 12_000).await?;
    broker.remembers("longshore.jobs.trial.work").await?;
    broker.kill9().await?;
    // Accepted while the broker is down: the ledger has it.
    let waiting = stage.submit("trial.work", json!({"log": stage.note_file()})).await?;
    broker.restart().await?;
    for id in [&running, &waiting] {
        let job = stage.settled(id).await?;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
        assert_eq!((starts(&stage, id), ends(&stage, id)), (1, 1));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_loses_its_data_is_filled_again_from_the_ledger() -> Result<()> {
    let (broker, database) = (RabbitMq::start().await?, Postgres::shared().await?.database().await?);
    let stage = Stage::on(&database, &broker.url()).await?;
    let mut ids = vec![];
    for _ in 0..20 {
        ids.push(stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 1_500})).await?);
    }
    broker.wipe_and_restart().await?;
    all_completed_once(&stage, &ids).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_broker_that_is_cut_restarts_no_job() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let proxy = Proxy::before(&broker).await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, proxy.url()).await?;
    let mut ids = vec![];
    for _ in 0..8 {
        ids.push(stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 1_000})).await?);
        proxy.cut();
    }
    all_completed_once(&stage, &ids).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_loses_nothing_and_restarts_no_job() -> Result<()> {
    let (broker, database) = (RabbitMq::shared().await?.vhost().await?, Postgres::start().await?);
    let stage = Stage::with_lease(&database.url(), &broker, 15).await?;
    let running = started(&stage, 1_000).await?;
    database.kill9().await?;
    database.restart().await?;
    all_completed_once(&stage, &[running]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_can_read_is_kept_with_the_reason() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    let producer = Producer::connect(&broker).await?;
    let named = || lapin::BasicProperties::default().with_message_id("order-7".into());
    producer.publish(b"{not json", named().with_content_type("application/json".into())).await?;
    producer.publish(b"\x07rubbish", named().with_content_type("application/x-longshore".into())).await?;
    let mut reasons = String::new();
    for _ in 0..2 {
        let message = until("a dead message", PATIENCE, || async { producer.dead().await }).await;
        reasons.push_str(&message);
    }
    assert!(reasons.contains("no JSON") && reasons.contains("version"), "{reasons}");
    let id = stage.submit("trial.work", json!({})).await?;
    assert_eq!(stage.settled(&id).await?["state"], "completed", "the worker goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_comes_many_times_has_one_effect() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let mut stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    stage.start_worker().await?;
    let producer = Producer::connect(&broker).await?;
    let id = longshore_sdk::JobId::fresh().to_string();
    let payload = json!({"log": stage.note_file(), "work_ms": 300}).to_string();
    for _ in 0..20 {
        let properties = lapin::BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type("trial.work".into())
            .with_message_id(id.as_str().into());
        producer.publish(payload.as_bytes(), properties).await?;
    }
    all_completed_once(&stage, &[id]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_comes_again_when_its_job_is_long_removed_has_no_second_effect() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    // One at a time: what was published first is over when the next begins.
    let short = [("LONGSHORE_AGENTS_KEEP_FINISHED", "1"), ("LONGSHORE_WORKER_SLOTS", "1")];
    let stage = Stage::dressed_on(&database, &broker, &short).await?;
    let producer = Producer::connect(&broker).await?;
    let payload = json!({"log": stage.note_file()}).to_string();
    let publish = || {
        let properties = lapin::BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type("trial.work".into())
            .with_message_id("order-7".into());
        producer.publish(payload.as_bytes(), properties)
    };
    let starts = || stage.notes().iter().filter(|note| note.starts_with("start ")).count();
    publish().await?;
    until("it to run", PATIENCE, || async { (starts() == 1).then_some(()) }).await;
    let left = || async { stage.http.get("/v1/jobs").await.ok()?.json().ok()?["jobs"].as_array().map(Vec::len) };
    until("its job to be removed", PATIENCE, || async { (left().await? == 0).then_some(()) }).await;
    publish().await?;
    let after = stage.submit("trial.work", json!({"log": stage.note_file(), "fatal": true})).await?;
    assert_eq!(stage.settled(&after).await?["state"], "failed");
    assert_eq!((starts(), left().await), (2, Some(1)), "the second publish was no job: {:?}", stage.notes());
    assert!(producer.dead().await.is_none(), "nor is it a dead message");
    Ok(())
}

/// A plain AMQP client, as any language has one.
struct Producer {
    channel: lapin::Channel,
    _connection: lapin::Connection,
}

impl Producer {
    async fn connect(url: &str) -> Result<Producer> {
        let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await?;
        Ok(Producer { channel, _connection: connection })
    }

    async fn publish(&self, body: &[u8], properties: lapin::BasicProperties) -> Result<()> {
        let (queue, options) =
            ("longshore.jobs.trial.work", lapin::options::BasicPublishOptions { mandatory: true, ..<_>::default() });
        let confirm = self.channel.basic_publish("".into(), queue.into(), options, body, properties).await?.await?;
        anyhow::ensure!(matches!(confirm, lapin::Confirmation::Ack(None)), "no queue took it: {confirm:?}");
        Ok(())
    }

    /// Why the next message on `longshore.dead` lies there.
    async fn dead(&self) -> Option<String> {
        let options = lapin::options::BasicGetOptions { no_ack: true };
        let message = self.channel.basic_get("longshore.dead".into(), options).await.ok()??;
        let headers = message.properties.headers().clone()?;
        let reason = headers.inner().get("x-longshore-reason")?.as_long_string()?.to_string();
        Some(format!("{reason}\n"))
    }
}

async fn all_completed_once(stage: &Stage, ids: &[String]) -> Result<()> {
    for id in ids {
        let job: Value = stage.settled(id).await?;
        assert_eq!(job["state"], "completed", "{job}");
        assert_eq!((starts(stage, id), ends(stage, id)), (1, 1), "{job}");
    }
    Ok(())
}
