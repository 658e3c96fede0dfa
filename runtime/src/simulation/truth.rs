//! What must hold whatever went wrong: every accepted job ends in the state it deserves, its effect is there once, its history has no
//! hole, its end is announced, the audit finds nothing, and nothing stays on the road.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clients::Asked;
use super::doer::{Did, MAX_ATTEMPTS};
use super::world::World;
use crate::broker::Broker;
use crate::job::state::State;
use crate::ledger::{AuditPatience, Ended, Filter, Job, Ledger as _};
use crate::notify::topic;

/// Looks at all of it, and finds nothing if all is well.
pub(super) async fn look(world: &Arc<World>, jobs: &[Asked], patience: Duration) {
    if !quiet(world, patience).await {
        world.find("it never comes to rest", format!("{:?}", unfinished(world).await));
    }
    let rows = rows(world).await;
    if rows.len() != jobs.len() {
        world.find("more or fewer jobs than callers", format!("{} callers and {} jobs", jobs.len(), rows.len()));
    }
    for asked in jobs {
        match rows.iter().find(|row| row.id == asked.id) {
            Some(row) => look_at(world, asked, row).await,
            None => world.find("a job is lost", format!("{asked:?}")),
        }
    }
    for shared in &world.effects.lock().unwrap().shared {
        world.find("an attempt is begun by two workers", format!("{shared:?}"));
    }
    let patience = AuditPatience { rescue: Duration::from_secs(70), announce: Duration::from_secs(60) };
    let audit = world.ledger.audit(None, 1000, patience).await.unwrap();
    audit.violations.iter().for_each(|violation| world.find("the audit finds a violation", format!("{violation:?}")));
    world.broker.buried().iter().for_each(|buried| world.find("a message is buried", format!("{buried:?}")));
}

async fn rows(world: &World) -> Vec<Job> {
    world.ledger.list(&Filter { limit: 1000, ..Filter::default() }).await.unwrap()
}

async fn unfinished(world: &World) -> Vec<(longshore_sdk::JobId, State)> {
    rows(world).await.iter().filter(|job| !job.state.is_terminal()).map(|job| (job.id, job.state)).collect()
}

/// Waits until every job has ended, its end is announced and the queue is empty.
async fn quiet(world: &World, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let owed = world.ledger.unannounced(1).await.unwrap();
        let empty = world.broker.depth("deed").await.unwrap().is_some_and(|depth| depth.ready == 0);
        if owed.is_empty() && empty && unfinished(world).await.is_empty() {
            return true;
        }
    }
    false
}

fn attempt_of(row: &Job) -> Option<u32> {
    let did: Did = serde_json::from_str(row.result.as_ref()?.get()).ok()?;
    Some(did.attempt)
}

async fn look_at(world: &World, asked: &Asked, row: &Job) {
    let must = |holds: bool, check: &'static str| {
        if !holds {
            world.find(check, format!("{asked:?}, {row:?}"));
        }
    };
    let effects = world.effects.lock().unwrap().left.get(&row.id).map_or(0, Vec::len);
    let deserved = if asked.deed.fatal || asked.deed.fails >= MAX_ATTEMPTS { State::Failed } else { State::Completed };
    let canceled = asked.canceled && row.state == State::Canceled;
    must(canceled || row.state == deserved, "not the end it deserves");
    must(effects <= 1, "more than one effect");
    must(row.state != State::Completed || effects == 1, "completed without its effect");
    must(row.state != State::Completed || attempt_of(row) == Some(row.attempt), "the result is another attempt's");
    must(row.charged <= MAX_ATTEMPTS, "more failures charged than it may have");
    let history = world.ledger.attempts(row.id).await.unwrap();
    let numbers: Vec<u32> = history.iter().map(|attempt| attempt.attempt).collect();
    must(numbers == (1..=row.attempt).collect::<Vec<_>>(), "a hole in its history");
    let own = history.iter().filter(|attempt| matches!(attempt.ended, Ended::Error | Ended::Timeout | Ended::Fatal));
    must(own.count() == row.charged as usize, "charged for what was not its own failure");
    look_at_what_was_told(world, row).await;
}

/// Each transition, once or again and again, and nothing that the ledger does not tell.
async fn look_at_what_was_told(world: &World, row: &Job) {
    let history = world.ledger.history(row.id).await.unwrap().unwrap_or_default();
    let told = world.announced(row.id);
    let written: Vec<_> = history.iter().map(topic::announcement).collect();
    if told != written {
        world.find("what was announced is not what happened", format!("announced {told:?}, and there is {written:?}"));
    }
}
