//! The chaos suite: real servers, real workers, a load of clients, and everything that goes wrong at once, by a seed; then the truth
//! is checked. It fakes no fault and hides none: what was planned and never injected fails the run, and what was reached is printed.
//! Read `plan.rs` for what goes wrong and how often, `truth.rs` for what must hold all the same, `report.rs` for the table.

pub mod chance;
pub mod crew;
pub mod deed;
pub mod duplicates;
pub mod ears;
pub mod eye;
pub mod fault;
pub mod faults;
pub mod history;
pub mod hunger;
pub mod load;
pub mod mark;
pub mod mistake;
pub mod plan;
pub mod proofs;
pub mod report;
pub mod servers;
pub mod sins;
pub mod tally;
pub mod truth;
pub mod watchman;
pub mod wires;
pub mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use self::chance::Chance;
use self::fault::Fault;
use self::load::Load;
use self::plan::Plan;
use self::report::Report;
use self::truth::Truth;
use self::world::World;

/// One world from its start to its end: load and faults together, then the healing, then the truth.
///
/// # Errors
/// When a fault cannot be injected or the system does not come back from it. What it then lost is the report's.
pub async fn storm(plan: &Plan) -> Result<Report> {
    let began = Instant::now();
    let world = World::start(plan).await?;
    say(plan, &format!("the world stands after {:.0?}", began.elapsed()));
    let load = Load::start(&world);
    let botched = run_lanes(&world).await?;
    say(plan, &format!("the faults are over after {:.0?}", began.elapsed()));
    load.finish().await?;
    say(plan, &format!("{} jobs were accepted after {:.0?}", world.history.jobs(), began.elapsed()));
    let mut truth = Truth::of(&world).await?;
    truth.botched(botched);
    Ok(Report::of(&world, truth, began.elapsed()))
}

/// All the lanes at once; what went wrong with them. A fault that cannot be injected or healed ends its lane, not the storm.
async fn run_lanes(world: &Arc<World>) -> Result<Vec<String>> {
    let (mut lanes, mut botched) = (JoinSet::new(), vec![]);
    for (number, faults) in world.plan.lanes().into_iter().enumerate() {
        lanes.spawn(run_lane(Arc::clone(world), faults, Chance::of(world.plan.seed + number as u64)));
    }
    while let Some(ended) = lanes.join_next().await {
        if let Err(error) = ended? {
            say(&world.plan, &format!("a lane ends: {error:#}"));
            botched.push(format!("{error:#}"));
        }
    }
    Ok(botched)
}

async fn run_lane(world: Arc<World>, faults: Vec<Fault>, mut chance: Chance) -> Result<()> {
    let (began, all) = (Instant::now(), faults.len());
    for (done, fault) in faults.into_iter().enumerate() {
        if began.elapsed() > world.plan.deadline {
            break;
        }
        if done > 0 && done.is_multiple_of(20) {
            say(&world.plan, &format!("{done} of {all} faults of a lane after {:.0?}", began.elapsed()));
        }
        pass(chance.time(world.plan.gap)).await;
        world.inject(fault, &mut chance).await.with_context(|| fault.word().to_owned())?;
        if world.plan.one_by_one {
            world.watched().await?;
        }
    }
    Ok(())
}

/// A line for whoever watches.
pub(crate) fn say(plan: &Plan, what: &str) {
    eprintln!("[chaos, {}, seed {}] {what}", plan.name, plan.seed);
}

/// Lets time pass. Only here may a test do so: a fault lasts, and between two faults there is a pause.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
