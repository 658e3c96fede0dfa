//! That no telling is lost: the receiver fails and goes away, and the process that sends is killed before it sends and in the midst of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use longshore_tests::longshore::Launch;
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Received, Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use serde_json::json;

use super::webhooks::{believed_by_the_reference_library, subscribe, verified};

/// Jobs of which each has its five events told to a receiver that fails and is restarted.
const JOBS: usize = 2_000;
const WORDS: [&str; 4] = ["accepted", "started", "attempt_failed", "completed"];
const EVENTS_OF_EACH: usize = 5;
/// So many of a hundred tries such a receiver refuses.
const REFUSED: u64 = 30;
/// Alone it takes less than one; beside other stories, on two cores, what it takes.
const MINUTES: Duration = Duration::from_secs(300);

fn ids(received: &[Received]) -> BTreeSet<String> {
    received.iter().filter_map(|message| message.header("webhook-id")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_events_reach_a_receiver_that_fails_and_is_restarted() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    // As many tries as the chance of being refused each time asks for.
    let waits = ["1"; 24].join(",");
    let stage =
        Stage::on_with(&database, &broker, |worker, _| Ok(worker.env("LONGSHORE_WEBHOOKS_SCHEDULE", &waits))).await?;
    let mut receiver = Receiver::start(refusing_by_the_id()).await?;
    let (_, secret) = subscribe(&stage, json!({"url": receiver.url(), "events": WORDS})).await?;
    submit_all(&stage).await?;
    let all = JOBS * EVENTS_OF_EACH;
    receiver.until(all / 4, MINUTES).await?;
    receiver.stop();
    receiver.restart().await?;
    let client = connect(&database).await?;
    let sql = "select count(*) from webhook_deliveries join jobs using (id) where state = 2";
    let all_done = || async {
        let done: i64 = client.query_one(sql, &[]).await.ok()?.get(0);
        (usize::try_from(done).ok()? == all).then_some(())
    };
    poll("every delivery to be completed", MINUTES, all_done).await?;
    let received = receiver.received();
    believed_by_the_reference_library(&stage, &secret, &received.iter().collect::<Vec<_>>()).await?;
    // What the ledger says that happened, and nothing else.
    let sql = "select id::text, version from jobs where kind = 'trial.work'";
    let mut expected = BTreeSet::new();
    for row in client.query(sql, &[]).await? {
        let (job, last): (String, i64) = (row.get(0), row.get(1));
        expected.extend((1..=last).map(|sequence| format!("{job}_{sequence}")));
    }
    assert_eq!(expected.len(), all, "each was tried twice");
    ensure!(ids(&received) == expected, "{} ids of {all}", ids(&received).len());
    same_under_each_id(&received)?;
    ensure!(received.len() > all + all / 5, "{} tries: it was to fail", received.len());
    Ok(())
}

/// Refuses by the id and how often it came, so that each run refuses the same share.
fn refusing_by_the_id() -> impl Fn(usize, &Received) -> Reply + Send + Sync + 'static {
    let seen: Mutex<BTreeMap<String, u64>> = Mutex::default();
    move |_, message| {
        let id = message.header("webhook-id").unwrap_or_default().to_owned();
        let mut seen = seen.lock().expect("no code panics while it holds the map");
        let nth = seen.entry(id.clone()).or_default();
        *nth += 1;
        // FNV-1a, its upper half: the lowest digits alone would go in circles.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let luck = id.bytes().chain(nth.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, hash) >> 32;
        Reply::of(if luck % 100 < REFUSED { 503 } else { 200 })
    }
}

async fn submit_all(stage: &Stage) -> Result<()> {
    let jobs = vec![json!({"kind": "trial.work", "payload": {"fail_attempts": 1}}); 100];
    let request = json!({"jobs": jobs});
    let batches = (0..JOBS / 100).map(|_| stage.http.post("/v1/jobs/batch", &request));
    stream::iter(batches).buffer_unordered(4).try_for_each(|answer| async { answer.expect(200).map(drop) }).await
}

/// Whatever came twice under one id said the same.
fn same_under_each_id(received: &[Received]) -> Result<()> {
    let mut bodies: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for message in received {
        let id = message.header("webhook-id").context("each has an id")?;
        let first = bodies.entry(id).or_insert(&message.body);
        ensure!(*first == message.body, "{id} came with two bodies");
    }
    Ok(())
}

/// Of these, one is being sent when its worker is killed, and the others are written down and wait.
const CAUGHT: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_was_sending_or_about_to_send_another_sends_under_the_same_id() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    // One at a time, so that all but the first have been committed and not been sent; and with more patience than the story takes.
    let one =
        |worker: Launch| worker.env("LONGSHORE_WEBHOOKS_CONCURRENCY", "1").env("LONGSHORE_WEBHOOKS_TIMEOUT", "300");
    let mut stage = Stage::on_with(&database, &broker, |worker, _| Ok(one(worker))).await?;
    // Whoever sends first waits for an answer until it is killed.
    let receiver = Receiver::start(|nth, _| if nth == 0 { Reply::never() } else { Reply::of(204) }).await?;
    let (_, secret) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    let mut jobs = BTreeSet::new();
    for _ in 0..CAUGHT {
        jobs.insert(stage.submit("trial.work", json!({})).await?);
    }
    for job in &jobs {
        stage.settled(job).await?;
    }
    let caught = receiver.until(1, PATIENCE).await?;
    let doomed = stage.worker().process().pid();
    stage.kill_worker().await?;
    ensure!(receiver.count() == 1, "it was to be killed before it sent the second");
    stage.start_worker().await?;
    ensure!(stage.worker().process().pid() != doomed);
    let all = || async {
        let received = receiver.received();
        (ids(&received[1..]).len() == CAUGHT).then_some(received)
    };
    let received = poll("every end to be told by another worker", PATIENCE, all).await?;
    ensure!(received.iter().all(|message| verified(&secret, message).is_ok()), "one was not ours");
    let again: Vec<_> =
        received.iter().filter(|message| message.header("webhook-id") == caught[0].header("webhook-id")).collect();
    ensure!(again.len() >= 2, "what was being sent came again under its id: {received:?}");
    same_under_each_id(&received)?;
    let expected: BTreeSet<_> = jobs.iter().map(|job| format!("{job}_3")).collect();
    assert_eq!(ids(&received), expected);
    believed_by_the_reference_library(&stage, &secret, &received.iter().collect::<Vec<_>>()).await
}
