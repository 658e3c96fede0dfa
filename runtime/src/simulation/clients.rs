//! The callers: each submits a job through whichever API lives, with an idempotency key and until it hears a 202, or publishes it by
//! itself until the ledger has it, and some ask for its cancellation later.

use std::sync::Arc;
use std::time::Duration;

use longshore_sdk::api::JobView;
use longshore_sdk::wire::Envelope;
use longshore_sdk::{JobId, Payload as _};
use serde_json::json;
use tokio::task::JoinSet;

use super::doer::{Deed, MAX_ATTEMPTS};
use super::world::World;
use crate::ledger::Ledger as _;

const CALLERS: usize = 12;
/// So many of them publish by themselves.
const FOREIGN: usize = 2;
const PATIENCE: Duration = Duration::from_secs(10);

/// A job that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) id: JobId,
    pub(super) deed: Deed,
    /// Whether a cancel was accepted.
    pub(super) canceled: bool,
}

pub(super) fn submit_all(world: &Arc<World>) -> JoinSet<Asked> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(Arc::clone(world), caller));
    }
    callers
}

/// Their jobs, sorted.
pub(super) async fn all_accepted(callers: JoinSet<Asked>, patience: Duration) -> Vec<Asked> {
    let all = tokio::time::timeout(patience, callers.join_all()).await;
    let mut all = all.expect("every caller hears a 202 once the storm is over");
    all.sort_by_key(|asked| asked.id);
    all
}

async fn call(world: Arc<World>, caller: usize) -> Asked {
    let dice = &world.dice;
    tokio::time::sleep(dice.up_to(Duration::from_secs(25))).await;
    let deed = Deed {
        work_ms: [5, 300, 2_000, 9_000][dice.below(4)],
        fails: [0, 0, 1, 3, MAX_ATTEMPTS + 100][dice.below(5)],
        fatal: dice.in_thousand(60),
        deaf: dice.in_thousand(300),
        unstorable: dice.in_thousand(60),
    };
    let cancels = dice.in_thousand(200);
    let is_foreign = caller < FOREIGN;
    let caller = format!("caller-{caller}");
    let id = if is_foreign { publish(&world, &deed).await } else { submit(&world, &caller, &deed).await };
    world.note(&caller, "is accepted");
    if !cancels {
        return Asked { id, deed, canceled: false };
    }
    tokio::time::sleep(dice.up_to(Duration::from_secs(6))).await;
    let canceled = cancel(&world, &caller, id).await;
    Asked { id, deed, canceled }
}

/// Says whether the job was not finished already.
async fn cancel(world: &World, caller: &str, id: JobId) -> bool {
    loop {
        match ask(world, &format!("/v1/jobs/{id}/cancel"), caller, "").await {
            Some((200 | 202, _)) => return true,
            Some((409, _)) => return false,
            _ => tokio::time::sleep(world.dice.up_to(Duration::from_secs(1))).await,
        }
    }
}

async fn submit(world: &World, caller: &str, deed: &Deed) -> JobId {
    let body = json!({ "kind": "deed", "payload": deed }).to_string();
    loop {
        match ask(world, "/v1/jobs", caller, &body).await {
            Some((202, body)) => return serde_json::from_slice::<JobView>(&body).unwrap().id,
            Some((400..500, body)) => panic!("refused: {}", String::from_utf8_lossy(&body)),
            _ => tokio::time::sleep(world.dice.up_to(Duration::from_secs(1))).await,
        }
    }
}

/// Again and again: what the broker loses before a worker has taken it, its producer alone knows of.
async fn publish(world: &World, deed: &Deed) -> JobId {
    let payload = serde_json::to_string(deed).expect("a deed is JSON");
    let job = Envelope { job: JobId::fresh(), kind: Deed::KIND.to_owned(), payload: Some(payload) };
    while world.ledger.job(job.job).await.expect("nothing stands before the ledger here").is_none() {
        if !world.broker_is_away() {
            world.broker.put_whole(&job);
        }
        tokio::time::sleep(world.dice.up_to(Duration::from_secs(3))).await;
    }
    job.job
}

/// What one of the APIs answers; nothing when none does.
async fn ask(world: &World, path: &str, caller: &str, body: &str) -> Option<(u16, Vec<u8>)> {
    let doors: Vec<_> = world.doors.lock().unwrap().values().cloned().collect();
    let (gate, door) = doors.get(world.dice.below(doors.len().max(1)))?.clone();
    let posted = gate.through(door.post(path, caller, body.to_owned()));
    tokio::time::timeout(PATIENCE, posted).await.ok()
}
