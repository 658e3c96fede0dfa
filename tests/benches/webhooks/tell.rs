//! Events on their way to a receiver: by a worker of the shipped binary, and by a loop that only signs and posts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use longshore_runtime::ledger::postgres::Postgres as Ledger;
use longshore_runtime::ledger::webhooks::{HeldSecret, Webhook, Webhooks as _};
use longshore_runtime::ledger::{Ledger as _, NewJob, Priority, RunAt};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;
use longshore_sdk::api::EventWord;
use longshore_sdk::webhook::{self, Secret};
use longshore_tests::longshore::{Longshore, Ready};
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::until::poll;
use serde_json::value::RawValue;

/// Long beside what it takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// Posts at once, as a worker's default is.
const AT_ONCE: usize = 32;

/// What a worker told.
pub(crate) struct Told {
    pub(crate) a_second: f64,
    /// With their ids.
    pub(crate) bodies: Vec<(String, Vec<u8>)>,
}

/// From the first request at the receiver to the last, with every event due before the worker starts.
pub(crate) async fn by_a_worker(count: usize) -> Result<Told> {
    let (database, amqp) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    write_down(&database, &receiver, count).await?;
    let worker = Longshore::worker(&database, &amqp, &[], 4)?
        .env("LONGSHORE_WEBHOOKS_ALLOW_HTTP", "true")
        .env("LONGSHORE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.0/8")
        .ready(Ready::Says("working".to_owned()));
    let _worker = worker.start().await?;
    let begun = || async { Some(receiver.count()).filter(|count| *count > 0) };
    let before = poll("the first event", PATIENCE, begun).await?;
    let started = Instant::now();
    let received = receiver.until(count, PATIENCE).await?;
    let took = started.elapsed();
    ensure!(received.len() == count, "{} requests for {count} events that nobody refused", received.len());
    let body = |message: longshore_tests::receiver::Received| {
        let id = message.header(webhook::ID).context("each has an id")?.to_owned();
        Ok((id, message.body))
    };
    let bodies = received.into_iter().map(body).collect::<Result<_>>()?;
    Ok(Told { a_second: (count - before) as f64 / took.as_secs_f64(), bodies })
}

/// Jobs that nobody runs meanwhile, and a subscription to their acceptance.
async fn write_down(database: &str, receiver: &Receiver, count: usize) -> Result<()> {
    let ledger = Ledger::connect(database, 2)?;
    ledger.migrate().await?;
    let subscription = Webhook {
        id: uuid::Uuid::now_v7(),
        tenant: Tenant::default(),
        url: receiver.url(),
        kinds: vec![],
        events: vec![EventWord::Accepted],
        secrets: vec![HeldSecret { secret: Secret::fresh(), until: None }],
        disabled: None,
        failing_since: None,
        created_at: longshore_runtime::clock::now(),
    };
    ensure!(ledger.subscribe(&subscription, 1).await?);
    let jobs: Vec<NewJob> = (0..count).map(|_| later()).collect();
    for some in jobs.chunks(500) {
        ledger.submit(some).await?;
    }
    Ok(())
}

fn later() -> NewJob {
    NewJob {
        id: JobId::fresh(),
        tenant: Tenant::default(),
        kind: "bench.later".into(),
        payload: RawValue::from_string("{}".into()).expect("it is JSON"),
        priority: Priority::Normal,
        max_attempts: 1,
        timeout: Duration::from_secs(60),
        run_at: Some(RunAt::After(Duration::from_secs(24 * 3600))),
        metadata: None,
        correlation_id: None,
        trace: None,
        unique_key: None,
        webhook: None,
        idempotency: None,
    }
}

/// The same bodies, signed and posted as often at once; how many a second.
pub(crate) async fn by_a_bare_loop(bodies: &[(String, Vec<u8>)]) -> Result<f64> {
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let (client, url, secret) = (longshore_tests::http::plain().build()?, receiver.url(), [Secret::fresh()]);
    let started = Instant::now();
    let posts = bodies.iter().map(|(id, body)| {
        let at = longshore_runtime::clock::now();
        let request = client.post(&url).header("content-type", "application/json").header(webhook::ID, id);
        let request = request.header(webhook::TIMESTAMP, at.as_second());
        let request = request.header(webhook::SIGNATURE, webhook::sign(&secret, id, at, body));
        async move { request.body(body.clone()).send().await?.error_for_status()?.bytes().await.map(drop) }
    });
    stream::iter(posts).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let took = started.elapsed();
    ensure!(receiver.count() == bodies.len());
    Ok(bodies.len() as f64 / took.as_secs_f64())
}
