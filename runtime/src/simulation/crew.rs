//! The processes: three workers here, two APIs in `front.rs`, each with the agents, started again a while after each end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use super::book::Book;
use super::doer;
use super::process::Process;
use super::road::Road;
use super::world::World;
use crate::agents::auditor::AuditPace;
use crate::agents::{Agents, Kept};
use crate::broker::Broker;
use crate::guard::Guard;
use crate::ledger::Ledger;
use crate::stop::Stop;
use crate::worker::{self, Heart, Setup, WorkerSettings};

const WORKERS: usize = 3;
const LEASE: Duration = Duration::from_secs(3);
/// How long a process stays away, at most.
pub(super) const AWAY: Duration = Duration::from_secs(4);

pub(super) fn start(world: &Arc<World>, tasks: &Stop) {
    for place in 0..WORKERS {
        tasks.spawn("worker", keep_worker(Arc::clone(world), place));
    }
}

async fn keep_worker(world: Arc<World>, place: usize) {
    for life in 0.. {
        let process = Process::start(&world, format!("worker-{place}.{life}"));
        let hints = start_agents(&process).await;
        let work = process.gate.through(worker::run(setup(&process, hints), process.stop.clone()));
        if process.dead.run_until_cancelled(work).await.is_some() {
            world.note(&process.name, "has drained");
        }
        process.dead.cancel();
        tokio::time::sleep(world.dice.up_to(AWAY)).await;
    }
}

pub(super) fn hands(process: &Arc<Process>) -> (Arc<dyn Ledger>, Arc<dyn Broker>) {
    (Arc::new(Book(Arc::clone(process))), Arc::new(Road(Arc::clone(process))))
}

pub(super) async fn start_agents(process: &Arc<Process>) -> Arc<Notify> {
    let ((ledger, broker), hints) = (hands(process), Arc::new(Notify::new()));
    let agents = Agents {
        ledger,
        broker,
        holder: Uuid::now_v7(),
        lease: LEASE,
        // No job here is poison, however often it is killed: that has tests of its own.
        crash_limit: u32::MAX,
        audit: AuditPace { interval: Duration::from_secs(60), jobs: 100 },
        alone: false,
        hints: Arc::clone(&hints),
        storage: None,
        keep: Kept::for_ever(),
    };
    process.gate.through(async { agents.start(&process.stop) }).await;
    hints
}

fn setup(process: &Arc<Process>, hints: Arc<Notify>) -> Setup {
    let (ledger, broker) = hands(process);
    let world = Arc::clone(&process.world);
    Setup {
        settings: WorkerSettings { slots: 2, prefetch_extra: 2, lease: LEASE, drain_grace: Duration::from_secs(2) },
        heart_ledger: Arc::clone(&ledger),
        ledger,
        broker,
        storage: Arc::clone(&world.storage),
        registry: Arc::new(doer::registry(process)),
        host: process.name.clone(),
        scratch: world.scratch.clone(),
        hints,
        luck: Arc::new(move || world.dice.luck()),
        heart: Heart::Simulated,
        guard: Guard::default(),
    }
}
