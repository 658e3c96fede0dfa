//! The whole API over a real ledger (SQLite) and a real broker (the embedded one), called as a router. A worker is played
//! by the ledger's own calls, so that every state a caller can see is one that the ledger made.

mod all_events;
mod batches;
mod cors;
mod dead_letters;
mod events;
mod files;
mod fleet;
mod idempotency;
mod jobs;
mod limits;
mod probes;
mod submits;
mod unique;
mod uploads;

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use longshore_sdk::api::{JobView, Problem};
use longshore_sdk::{Artifact, ErrorReport, JobId, Policy};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::broker::embedded::{Embedded, Limits};
use crate::ledger::sqlite::Sqlite;
use crate::ledger::{Claim, Claimed, Ended, Fence, Kind, Record, Settle, WorkerCard};
use crate::notify::topic;
use crate::storage::StorageSettings;

const LEASE: Duration = Duration::from_secs(60);

/// One API with all that stands behind it.
struct World {
    directory: tempfile::TempDir,
    ledger: Arc<dyn Ledger>,
    broker: Arc<Embedded>,
    storage: Arc<Storage>,
    router: Router,
    stop: Stop,
    worker: Uuid,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl World {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        Self::limited(change, LimitSettings::default()).await
    }

    async fn limited(change: impl FnOnce(&mut ApiSettings), limits: LimitSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::open(ledger_path(directory.path())).unwrap());
        ledger.migrate().await.unwrap();
        ledger.register_kinds(&[kind()]).await.unwrap();
        let worker = enlist(ledger.as_ref()).await;
        let location = directory.path().join("storage").display().to_string();
        let storage = Arc::new(Storage::open(StorageSettings { location, ..StorageSettings::default() }).unwrap());
        let (stop, broker) = (Stop::new(), Embedded::new(Limits::default()));
        broker.declare("demo").await.unwrap();
        let mut settings = ApiSettings::default();
        change(&mut settings);
        let feed = Feed::start(&stop, broker.clone());
        let auth = AuthSettings { anonymous: Anonymous::Always, ..AuthSettings::default() };
        let api = Api::new(&stop, ledger.clone(), broker.clone(), storage.clone(), feed, settings, (auth, limits));
        Self { directory, ledger, broker, storage, router: router(Arc::new(api)), stop, worker }
    }

    /// One more API process on the same ledger, with a broker of its own.
    fn another(&self, broker: Arc<Embedded>, settings: ApiSettings) -> Router {
        let feed = Feed::start(&self.stop, broker.clone());
        let auth = AuthSettings { anonymous: Anonymous::Always, ..AuthSettings::default() };
        let callers = (auth, LimitSettings::default());
        let api = Api::new(&self.stop, self.ledger.clone(), broker, self.storage.clone(), feed, settings, callers);
        router(Arc::new(api))
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 1 << 24).await.unwrap().to_vec();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn get_with(&self, path: &str, header: (&str, &str)) -> Reply {
        self.send(Request::get(path).header(header.0, header.1).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.send(Request::post(path).body(body.into()).unwrap()).await
    }

    async fn submit(&self, fields: Value) -> Reply {
        let mut whole = json!({ "kind": "demo", "payload": { "n": 1 } });
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.post("/v1/jobs", whole.to_string()).await
    }

    async fn submit_with(&self, key: &str, fields: Value) -> Reply {
        let mut whole = json!({ "kind": "demo", "payload": { "n": 1 } });
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let request = Request::post("/v1/jobs").header("idempotency-key", key).body(Body::from(whole.to_string()));
        self.send(request.unwrap()).await
    }

    /// A job that waits for a worker.
    async fn accepted(&self) -> JobId {
        self.submit(json!({})).await.view().id
    }

    async fn start(&self, job: JobId) -> Fence {
        let round = self.ledger.round(self.worker, &[Claim { job, alone: true }], &[]).await.unwrap();
        match &round.claims[0] {
            Claimed::Run(granted) => granted.fence,
            other => panic!("not granted: {other:?}"),
        }
    }

    async fn record(&self, fence: Fence, ended: Ended, settle: Settle) {
        let round = self.ledger.round(self.worker, &[], &[Record { fence, ended, settle }]).await.unwrap();
        assert_eq!(round.records.len(), 1);
    }

    async fn complete(&self, job: JobId, artifacts: Vec<Artifact>) {
        let fence = self.start(job).await;
        let result = RawValue::from_string("42".into()).unwrap();
        self.record(fence, Ended::Done, Settle::Complete { result, artifacts }).await;
    }

    /// Tells all that happened to the job, as its worker does and the relay after it.
    async fn announce(&self, job: JobId) {
        for event in self.ledger.history(job).await.unwrap().unwrap() {
            self.broker.announce(&topic::announcement(&event)).await.unwrap();
        }
    }

    async fn fail(&self, job: JobId) {
        let fence = self.start(job).await;
        let error = ErrorReport::new("broken", "it broke");
        self.record(fence, Ended::Fatal, Settle::DeadLetter { error }).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

impl Reply {
    fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn view(&self) -> JobView {
        self.json()
    }

    /// The problem, which must have the answer's status and content type.
    fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status);
        problem
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn ledger_path(directory: &Path) -> std::path::PathBuf {
    directory.join("ledger.db")
}

fn kind() -> Kind {
    let payload_schema = json!({
        "type": "object", "required": ["n"], "properties": { "n": { "type": "integer", "minimum": 0 } }
    });
    Kind { kind: "demo".into(), payload_schema, output_schema: json!({}), policy: Policy::default() }
}

async fn enlist(ledger: &dyn Ledger) -> Uuid {
    let id = Uuid::now_v7();
    let card = WorkerCard { id, host: "test".into(), kinds: vec!["demo".into()], slots: 4 };
    ledger.enlist(&card, LEASE).await.unwrap();
    id
}
