//! The clients: they submit deeds at a steady pace while the faults last, every one under an idempotency key of its own, and repeat
//! what was not answered; some repeat what was. They ask nothing else of the system.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::chance::Chance;
use super::deed::Sin;
use super::pass;
use super::plan::Plan;
use super::world::World;

/// Clients at once.
pub(super) const CLIENTS: usize = 12;
/// One submit in so many is sent again though it was answered.
const TWICE: usize = 20;

/// A running load.
pub struct Load {
    clients: JoinSet<Result<()>>,
    over: Arc<AtomicBool>,
}

impl Load {
    /// Begins to submit.
    pub fn start(world: &Arc<World>) -> Load {
        let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(submit_on(Arc::clone(world), Arc::clone(&over), Arc::clone(&next)));
        }
        Load { clients, over }
    }

    /// The faults are over: what is missing of the planned jobs is submitted without pause, and then no more.
    pub async fn finish(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn submit_on(world: Arc<World>, over: Arc<AtomicBool>, next: Arc<AtomicUsize>) -> Result<()> {
    let pace = pace(&world.plan);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if over.load(Ordering::Relaxed) {
            if number >= world.plan.jobs {
                return Ok(());
            }
        } else {
            pass(pace).await;
        }
        let (key, deed) = (format!("deed-{number}"), deed(&world.plan, number));
        for _ in 0..1 + usize::from(number.is_multiple_of(TWICE)) {
            world.submit(&key, &deed, "normal").await?;
        }
    }
}

/// When all is settled, each worker that lives is given something to begin: one whose executor looped to the very end has to show
/// that it lives still.
pub async fn last_call(world: &World) -> Result<()> {
    for number in 0..2 * world.plan.workers * world.plan.slots {
        world.submit(&format!("last-{number}"), &json!({"work_ms": 50}), "normal").await?;
    }
    Ok(())
}

/// Between two submits of one client, so that the planned jobs are spread over the expected time.
fn pace(plan: &Plan) -> Duration {
    plan.span * u32::try_from(CLIENTS).unwrap_or(1) / u32::try_from(plan.jobs.max(1)).unwrap_or(u32::MAX)
}

/// What the job of this number does: short work mostly, so that many jobs meet a fault, and some long enough to outlive one.
fn deed(plan: &Plan, number: usize) -> Value {
    let mut chance = Chance::of(plan.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
    let work_ms = if chance.below(12) == 0 { 1_000 + chance.below(2_000) } else { 10 + chance.below(150) };
    let (artifact, child) = (chance.below(10) == 0, chance.below(20) == 0);
    json!({"work_ms": work_ms, "artifact": artifact, "child": child, "sin": sin(number).map(Sin::word)})
}

/// How many of the first so many jobs commit it.
pub fn sinners(jobs: usize, which: Sin) -> usize {
    (0..jobs).filter(|number| sin(*number) == Some(which)).count()
}

/// Some executors go wrong: few, for two of the four take their worker with them. Each sort comes in every storm.
fn sin(number: usize) -> Option<Sin> {
    match number % 2_000 {
        n if n % 200 == 50 => Some(Sin::Panic),
        300 | 600 | 900 => Some(Sin::Loop),
        500 => Some(Sin::Abort),
        700 => Some(Sin::OutOfMemory),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_of_sin_comes_in_every_storm() {
        for name in ["short", "short-cluster", "calm", "full"] {
            for plan in Plan::named(name, 1).unwrap() {
                assert!(Sin::ALL.into_iter().all(|sin| sinners(plan.jobs, sin) > 0), "{name}");
            }
        }
    }
}
