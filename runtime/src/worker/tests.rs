//! A worker whose executor holds every thread of its runtime for longer than the lease: with the heart that it has, and with one that
//! beats among its tasks, which is the mistake that must be noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_sdk::prelude::*;
use longshore_sdk::{JobId, erase};
use serde_json::value::RawValue;

use super::{Heart, Setup, WorkerSettings, luck, run};
use crate::broker::embedded::{Embedded, Limits};
use crate::broker::{Broker, JobMessage, Lane};
use crate::guard::Guard;
use crate::ledger::sqlite::Sqlite;
use crate::ledger::{Ended, Ledger, NewJob, Priority, Whose};
use crate::simulation::mistakes;
use crate::stop::Stop;
use crate::storage::{Storage, StorageSettings};
use crate::tenant::Tenant;
use crate::worker::registry::Registry;

/// Long enough for a heart of its own on a busy machine.
const LEASE: Duration = Duration::from_millis(1500);
const HELD: Duration = Duration::from_millis(4500);
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize, JsonSchema)]
struct Hold {}

impl Payload for Hold {
    const KIND: &'static str = "demo.hold";
    type Output = ();
}

/// As an executor must not, and some do.
struct Holder;

impl Executor for Holder {
    type Payload = Hold;

    async fn run(&self, _: Hold, _: &Context) -> Result<()> {
        std::thread::sleep(HELD);
        Ok(())
    }
}

fn job(id: JobId) -> NewJob {
    NewJob {
        id,
        tenant: Tenant::default(),
        kind: Hold::KIND.into(),
        payload: RawValue::from_string("{}".into()).unwrap(),
        priority: Priority::Normal,
        max_attempts: 5,
        timeout: Duration::from_secs(60),
        run_at: None,
        metadata: None,
        correlation_id: None,
        trace: None,
        unique_key: None,
        idempotency: None,
        webhook: None,
    }
}

/// Rescues from a thread of its own, as another process would, until the flag is up.
fn rescue_beside(file: &std::path::Path, over: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (ledger, over) = (Sqlite::open(file).unwrap(), Arc::clone(over));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        while !over.load(Ordering::Relaxed) {
            runtime.block_on(ledger.rescue(3, Whose::Expired)).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

/// How the first attempt ends.
async fn first_end(heart: Heart) -> Ended {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ledger.db");
    let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::open(&file).unwrap());
    ledger.migrate().await.unwrap();
    let (broker, registry) = (Embedded::new(Limits::default()), Arc::new(Registry::new([erase(Holder)]).unwrap()));
    let location = home.path().join("storage").display().to_string();
    let setup = Setup {
        settings: WorkerSettings { slots: 1, lease: LEASE, ..WorkerSettings::default() },
        ledger: Arc::clone(&ledger),
        heart_ledger: Arc::new(Sqlite::open(&file).unwrap()),
        broker: Arc::<Embedded>::clone(&broker),
        storage: Arc::new(Storage::open(StorageSettings { location, ..StorageSettings::default() }).unwrap()),
        registry,
        host: "quay-1".into(),
        scratch: home.path().into(),
        hints: Arc::default(),
        luck: luck(),
        heart,
        guard: Guard::default(),
    };
    let id = JobId::fresh();
    ledger.submit(&[job(id)]).await.unwrap();
    let message = JobMessage {
        job: id,
        tenant: Tenant::default(),
        kind: Hold::KIND.into(),
        lane: Lane::Normal,
        correlation_id: None,
        trace: None,
    };
    broker.publish(&message).await.unwrap();
    let (stop, over) = (Stop::new(), Arc::<AtomicBool>::default());
    let rescuer = rescue_beside(&file, &over);
    stop.spawn("worker", run(setup, stop.clone()));
    let since = Instant::now();
    let ended = loop {
        if let [first, ..] = &ledger.attempts(id).await.unwrap()[..] {
            break first.ended;
        }
        assert!(since.elapsed() < PATIENCE, "the first attempt does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    over.store(true, Ordering::Relaxed);
    stop.ask();
    rescuer.join().unwrap();
    assert!(stop.finished(PATIENCE).await);
    ended
}

#[tokio::test]
async fn an_executor_that_holds_every_thread_costs_no_lease() {
    assert_eq!(first_end(Heart::OwnThread).await, Ended::Done);
}

#[tokio::test]
async fn a_heart_among_the_workers_tasks_would_be_noticed() {
    let began = Instant::now();
    assert_eq!(first_end(Heart::Simulated).await, Ended::Lost);
    let check = "the attempt of an executor that holds every thread ends lost";
    mistakes::noticed("HeartAmongTheTasks", check, "one attempt, on real threads", began.elapsed());
}
