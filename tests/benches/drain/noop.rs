//! Our side: a worker of the shipped code, with an executor that does nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use longshore_runtime::broker::rabbitmq::{RabbitMq, Settings};
use longshore_runtime::broker::{Broker, JobMessage, Lane};
use longshore_runtime::ledger::postgres::Postgres;
use longshore_runtime::ledger::{Ledger, NewJob, Priority};
use longshore_runtime::stop::Stop;
use longshore_runtime::storage::{Storage, StorageSettings};
use longshore_runtime::tenant::Tenant;
use longshore_runtime::worker::registry::Registry;
use longshore_runtime::worker::{self, Setup, WorkerSettings};
use longshore_sdk::prelude::*;
use longshore_sdk::{JobId, erase};
use longshore_tests::longshore::Longshore;
use longshore_tests::until::until;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

const KIND: &str = "bench.noop";
/// Callers at once.
pub(crate) const CLIENTS: usize = 64;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Noop {
    padding: String,
}

impl Payload for Noop {
    const KIND: &'static str = KIND;
    type Output = ();
}

/// Counts, and tells when each attempt began.
struct Count {
    done: Arc<AtomicUsize>,
    began: mpsc::UnboundedSender<Instant>,
}

impl Executor for Count {
    type Payload = Noop;

    async fn run(&self, _job: Noop, _context: &Context) -> longshore_sdk::Result<()> {
        let _ = self.began.send(Instant::now());
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A world with a worker to be started.
struct World {
    ledger: Arc<dyn Ledger>,
    broker: Arc<RabbitMq>,
    setup: Option<Setup>,
    done: Arc<AtomicUsize>,
    began: mpsc::UnboundedReceiver<Instant>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(amqp: &str, database: &str, slots: u32) -> Result<World> {
        let ledger: Arc<dyn Ledger> = Arc::new(Postgres::connect(database, 8)?);
        ledger.migrate().await?;
        let (tell, began) = mpsc::unbounded_channel();
        let done = Arc::<AtomicUsize>::default();
        let registry = Arc::new(Registry::new([erase(Count { done: Arc::clone(&done), began: tell })])?);
        ledger.register_kinds(&registry.cards()).await?;
        let broker = RabbitMq::connect(Settings::new(&[amqp])?);
        broker.declare(KIND).await?;
        let dir = tempfile::tempdir()?;
        let location = dir.path().join("storage").to_string_lossy().into_owned();
        let setup = Setup {
            settings: WorkerSettings { slots, prefetch_extra: 0, ..WorkerSettings::default() },
            ledger: Arc::clone(&ledger),
            heart_ledger: Arc::new(Postgres::connect(database, 1)?),
            broker: broker.clone(),
            storage: Arc::new(Storage::open(StorageSettings { location, ..StorageSettings::default() })?),
            registry,
            host: "bench".into(),
            scratch: dir.path().to_owned(),
            hints: Arc::default(),
            luck: longshore_runtime::worker::luck(),
            heart: longshore_runtime::worker::Heart::OwnThread,
            guard: longshore_runtime::guard::Guard::default(),
        };
        Ok(World { ledger, broker, setup: Some(setup), done, began, _dir: dir })
    }

    async fn submit(&self, count: usize) -> Result<()> {
        let ids: Vec<JobId> = (0..count).map(|_| JobId::fresh()).collect();
        for some in ids.chunks(1000) {
            let jobs: Vec<NewJob> = some.iter().map(|id| job(*id)).collect();
            self.ledger.submit(&jobs).await?;
            let messages: Vec<JobMessage> = some.iter().map(|id| message(*id)).collect();
            try_join_all(messages.iter().map(|message| self.broker.publish(message))).await?;
        }
        Ok(())
    }

    async fn completed(&self, count: i64, database: &str) -> Result<()> {
        let client = longshore_tests::postgres::connect(database).await?;
        let all = || async {
            let row = client.query_one("select count(*) from jobs where state = 2", &[]).await.ok()?;
            (row.get::<_, i64>(0) == count).then_some(())
        };
        until("every job to be completed in the ledger", Duration::from_secs(60), all).await;
        Ok(())
    }
}

/// The time from the worker's start to the last record, with the queue full before.
pub(crate) async fn drain(amqp: &str, database: &str, count: usize, prefetch: u16) -> Result<Duration> {
    let mut world = World::new(amqp, database, u32::from(prefetch)).await?;
    world.submit(count).await?;
    let (stop, setup) = (Stop::new(), world.setup.take().expect("taken once"));
    let started = Instant::now();
    stop.spawn("worker", worker::run(setup, stop.clone()));
    while world.done.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The last of them are in their record still; the table is looked at only now, not to slow the rest.
    world.completed(i64::try_from(count)?, database).await?;
    let took = started.elapsed();
    stop.ask();
    stop.finished(Duration::from_secs(20)).await;
    world.broker.close().await;
    Ok(took)
}

/// From the `POST` to the executor's first line, one job at a time on an idle worker behind an API in a process of its own.
pub(crate) async fn waits(amqp: &str, database: &str, count: usize) -> Result<Vec<Duration>> {
    let mut world = World::new(amqp, database, 4).await?;
    let (stop, setup) = (Stop::new(), world.setup.take().expect("taken once"));
    stop.spawn("worker", worker::run(setup, stop.clone()));
    let api = Longshore::api(database, amqp)?.start().await?;
    let http = api.http()?;
    let mut waits = vec![];
    for _ in 0..count {
        let posted = Instant::now();
        http.post("/v1/jobs", &request()).await?.expect(202)?;
        let began = world.began.recv().await.expect("the executor lives");
        waits.push(began.duration_since(posted));
    }
    stop.ask();
    stop.finished(Duration::from_secs(20)).await;
    Ok(waits)
}

/// How long `count` calls take, by `CLIENTS` callers at once: submits, each in the ledger and confirmed by the broker before its
/// answer, and beside them calls of the same server that do nothing.
pub(crate) async fn calls(amqp: &str, database: &str, count: usize) -> Result<(Duration, Duration)> {
    let _world = World::new(amqp, database, 1).await?; // enters the kind; its worker is never started
    let api = Longshore::api(database, amqp)?.start().await?;
    let (http, request) = (api.http()?, request());
    let idle = all(count, async || http.get("/healthz").await?.expect(200).map(drop)).await?;
    let submits = all(count, async || http.post("/v1/jobs", &request).await?.expect(202).map(drop)).await?;
    Ok((idle, submits))
}

async fn all(count: usize, call: impl AsyncFn() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    let caller = async || {
        for _ in 0..count / CLIENTS {
            call().await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..CLIENTS).map(|_| caller())).await?;
    Ok(started.elapsed())
}

fn request() -> serde_json::Value {
    serde_json::json!({"kind": KIND, "payload": {"padding": "x".repeat(180)}})
}

fn job(id: JobId) -> NewJob {
    let payload = format!("{{\"padding\":\"{}\"}}", "x".repeat(180));
    NewJob {
        tenant: Tenant::default(),
        id,
        kind: KIND.into(),
        payload: RawValue::from_string(payload).expect("written above"),
        priority: Priority::Normal,
        max_attempts: 5,
        timeout: Duration::from_secs(60),
        run_at: None,
        metadata: None,
        correlation_id: None,
        trace: None,
        unique_key: None,
        webhook: None,
        idempotency: None,
    }
}

fn message(id: JobId) -> JobMessage {
    JobMessage {
        tenant: Tenant::default(),
        job: id,
        kind: KIND.into(),
        lane: Lane::Normal,
        correlation_id: None,
        trace: None,
    }
}
