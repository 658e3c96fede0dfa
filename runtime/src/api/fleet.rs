//! `GET /v1/queues` and `GET /v1/workers`: what lies where, and who is there to run it, for people and dashboards. Counting the
//! jobs scans the table, so one look is shown to everybody for a moment. Read `agents/surveyor.rs` for the same as metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use longshore_sdk::api::{QueueList, QueueView, WorkerList};
use tokio::sync::Mutex;

use super::problem::Answer;
use super::{Api, json, view};
use crate::broker::Depth;
use crate::ledger::{Census, Kind};

/// How long a look at the queues is shown: many who watch cost the ledger no more than one.
const FRESH: Duration = Duration::from_secs(1);

/// The last look at the queues, and when it was taken.
pub(super) type LastLook = Mutex<Option<(Instant, QueueList)>>;

pub(super) async fn queues(State(api): State<Arc<Api>>) -> Answer<Response> {
    // Held while looking: whoever comes meanwhile is shown the same.
    let mut last = api.last_look.lock().await;
    let list = match last.take().filter(|(at, _)| at.elapsed() < FRESH) {
        Some(fresh) => last.insert(fresh),
        None => last.insert((Instant::now(), api.look().await?)),
    };
    json(StatusCode::OK, &list.1)
}

pub(super) async fn workers(State(api): State<Arc<Api>>) -> Answer<Response> {
    let now = api.ask(api.ledger.now()).await?;
    let workers = api.ask(api.ledger.workers()).await?;
    json(StatusCode::OK, &WorkerList { workers: workers.into_iter().map(|row| view::worker(row, now)).collect() })
}

impl Api {
    async fn look(&self) -> Answer<QueueList> {
        let kinds = self.ask(self.ledger.kinds()).await?;
        let census = self.ask(self.ledger.census()).await?;
        let dead = self.ask(self.ledger.count_dead_letters()).await?;
        let depths = self.depths(&kinds).await;
        // A foreign producer's jobs may be of a kind that nobody registered.
        let named = kinds.iter().map(|kind| kind.kind.as_str()).chain(census.iter().map(|row| row.kind.as_str()));
        let mut names: Vec<&str> = named.chain(dead.iter().map(|(kind, _)| kind.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        let queues = names.into_iter().map(|kind| queue(kind, &census, &dead, &depths));
        Ok(QueueList { queues: queues.collect() })
    }

    /// Of those queues that the broker tells of. Once it does not answer it is not asked again.
    async fn depths(&self, kinds: &[Kind]) -> Vec<(String, Depth)> {
        let mut depths = vec![];
        for Kind { kind, .. } in kinds {
            let Ok(depth) = self.broker.depth(kind).await else { return depths };
            // A queue that nobody has made yet is empty.
            depths.push((kind.clone(), depth.unwrap_or(Depth { ready: 0, consumers: 0 })));
        }
        depths
    }
}

fn queue(kind: &str, census: &[Census], dead: &[(String, u64)], depths: &[(String, Depth)]) -> QueueView {
    let jobs = census.iter().find(|row| row.kind == kind);
    let depth = depths.iter().find(|(of, _)| of == kind).map(|(_, depth)| depth);
    QueueView {
        kind: kind.to_owned(),
        ready: depth.map(|depth| depth.ready),
        consumers: depth.map(|depth| depth.consumers),
        waiting: jobs.map_or(0, |row| row.waiting),
        running: jobs.map_or(0, |row| row.running),
        oldest_waiting: jobs.and_then(|row| row.oldest_waiting),
        dead_letters: dead.iter().find(|(of, _)| of == kind).map_or(0, |(_, count)| *count),
    }
}
