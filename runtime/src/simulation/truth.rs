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
use crate::ledger::{AuditPatience, Ended, Filter, Job};

/// What is wrong; nothing, if all is well.
pub(super) async fn of(world: &Arc<World>, jobs: &[Asked], patience: Duration) -> Vec<String> {
    let mut wrong = vec![];
    if !quiet(world, patience).await {
        wrong.push(format!("not over after {patience:?}: {:?}", unfinished(world).await));
    }
    let rows = rows(world).await;
    if rows.len() != jobs.len() {
        wrong.push(format!("{} callers and {} jobs", jobs.len(), rows.len()));
    }
    for asked in jobs {
        match rows.iter().find(|row| row.id == asked.id) {
            Some(row) => wrong.extend(of_one(world, asked, row).await),
            None => wrong.push(format!("{asked:?} is lost")),
        }
    }
    let patience = AuditPatience { rescue: Duration::from_secs(70), announce: Duration::from_secs(60) };
    let audit = world.ledger.audit(None, 1000, patience).await.unwrap();
    wrong.extend(audit.violations.iter().map(|violation| format!("the audit finds {violation:?}")));
    wrong.extend(world.broker.buried().iter().map(|buried| format!("buried: {buried:?}")));
    wrong
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

async fn of_one(world: &World, asked: &Asked, row: &Job) -> Vec<String> {
    let mut wrong = vec![];
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{what}: {asked:?}, {row:?}"));
        }
    };
    let effects = world.effects.lock().unwrap().left.get(&row.id).map_or(0, Vec::len);
    let deserved = if asked.deed.fatal || asked.deed.fails >= MAX_ATTEMPTS { State::Failed } else { State::Completed };
    let canceled = asked.canceled && row.state == State::Canceled;
    must(canceled || row.state == deserved, "not the end it deserves");
    must(effects <= 1, "more than one effect");
    must(row.state != State::Completed || effects == 1, "completed without its effect");
    must(world.was_announced(row.id, row.version), "its end was never announced");
    must(row.state != State::Completed || attempt_of(row) == Some(row.attempt), "the result is another attempt's");
    must(row.charged <= MAX_ATTEMPTS, "more failures charged than it may have");
    let history = world.ledger.attempts(row.id).await.unwrap();
    let numbers: Vec<u32> = history.iter().map(|attempt| attempt.attempt).collect();
    must(numbers == (1..=row.attempt).collect::<Vec<_>>(), "a hole in its history");
    let own = history.iter().filter(|attempt| matches!(attempt.ended, Ended::Error | Ended::Timeout | Ended::Fatal));
    must(own.count() == row.charged as usize, "charged for what was not its own failure");
    wrong
}
