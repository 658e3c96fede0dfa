//! What goes wrong outside the calls: processes are killed, stopped, rolled and cut off, ledger and broker go away, the broker loses
//! everything, messages are repeated.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::process::Process;
use super::world::World;
use crate::broker::{Broker, JobMessage, Lane};
use crate::ledger::{Filter, Ledger as _};

const BETWEEN: Duration = Duration::from_secs(6);
const AWAY: Duration = Duration::from_secs(6);

/// One thing after the other until the storm is over, and then the sky clears.
pub(super) async fn rage(world: &Arc<World>, storm: Duration) {
    let end = Instant::now() + storm;
    while Instant::now() < end {
        tokio::time::sleep(world.dice.up_to(BETWEEN)).await;
        happen(world).await;
    }
    world.calm();
}

async fn happen(world: &Arc<World>) {
    match world.dice.below(8) {
        0 => one(world, |process| process.kill()),
        1 => one(world, |process| process.pause()),
        2 => one(world, |process| process.cut()),
        3 => one(world, |process| process.stop.ask()),
        4 => ledger_outage(world).await,
        5 => broker_outage(world, false).await,
        6 => broker_outage(world, true).await,
        _ => repeat(world).await,
    }
}

fn one(world: &World, befalls: impl FnOnce(&Arc<Process>)) {
    let living = world.processes();
    if let Some(process) = living.get(world.dice.below(living.len().max(1))) {
        world.note(&process.name, "is struck");
        // An API that is told to stop ends at once: its drain is the listener's, which is not here.
        befalls(process);
        if process.stop.is_asked() && process.name.starts_with("api") {
            process.kill();
        }
    }
}

async fn ledger_outage(world: &World) {
    world.set_ledger_away(true);
    tokio::time::sleep(world.dice.up_to(AWAY)).await;
    world.set_ledger_away(false);
}

async fn broker_outage(world: &World, wiped: bool) {
    world.set_broker_away(true);
    if wiped {
        world.wipe_the_broker().await;
    }
    world.processes().iter().for_each(|process| process.cut());
    tokio::time::sleep(world.dice.up_to(AWAY)).await;
    world.set_broker_away(false);
}

/// Messages of all jobs again that there were any of, whatever became of them.
async fn repeat(world: &World) {
    let jobs = world.ledger.list(&Filter { limit: 100, ..Filter::default() }).await.unwrap();
    let carried = world.carried.lock().unwrap().clone();
    for job in jobs.into_iter().filter(|job| carried.contains(&job.id)) {
        let message = JobMessage {
            job: job.id,
            tenant: job.tenant,
            kind: job.kind,
            lane: Lane::Normal,
            correlation_id: None,
            trace: None,
        };
        world.broker.publish(&message).await.unwrap();
    }
}
