//! The callers: each submits a job through whichever API lives, with an idempotency key and until it hears a 202, and some ask for its
//! cancellation later.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use longshore_sdk::JobId;
use longshore_sdk::api::JobView;
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::doer::{Deed, MAX_ATTEMPTS};
use super::world::World;

const CALLERS: usize = 12;
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
    };
    let cancels = dice.in_thousand(200);
    let id = until(&world, 202, "/v1/jobs", caller, &json!({ "kind": "deed", "payload": deed }).to_string()).await.id;
    world.note(&format!("caller-{caller}"), "has its 202");
    if !cancels {
        return Asked { id, deed, canceled: false };
    }
    tokio::time::sleep(dice.up_to(Duration::from_secs(6))).await;
    let canceled = cancel(&world, id).await;
    Asked { id, deed, canceled }
}

/// Says whether the job was not finished already.
async fn cancel(world: &World, id: JobId) -> bool {
    loop {
        let request = Request::post(format!("/v1/jobs/{id}/cancel")).body(Body::empty()).unwrap();
        match ask(world, request).await {
            Some((200 | 202, _)) => return true,
            Some((409, _)) => return false,
            _ => tokio::time::sleep(world.dice.up_to(Duration::from_secs(1))).await,
        }
    }
}

async fn until(world: &World, wanted: u16, path: &str, caller: usize, body: &str) -> JobView {
    loop {
        let request = Request::post(path).header("idempotency-key", format!("caller-{caller}"));
        match ask(world, request.body(Body::from(body.to_owned())).unwrap()).await {
            Some((status, body)) if status == wanted => return serde_json::from_slice(&body).unwrap(),
            Some((400..500, body)) => panic!("refused: {}", String::from_utf8_lossy(&body)),
            _ => tokio::time::sleep(world.dice.up_to(Duration::from_secs(1))).await,
        }
    }
}

/// What one of the APIs answers; nothing when none does.
async fn ask(world: &World, request: Request<Body>) -> Option<(u16, Vec<u8>)> {
    let doors: Vec<_> = world.doors.lock().unwrap().values().cloned().collect();
    let (gate, door) = doors.get(world.dice.below(doors.len().max(1)))?.clone();
    let answer = tokio::time::timeout(PATIENCE, gate.through(door.oneshot(request))).await.ok()?.unwrap();
    let status = answer.status().as_u16();
    Some((status, axum::body::to_bytes(answer.into_body(), 1 << 20).await.ok()?.to_vec()))
}
