//! Rows into the ledger's types. A value that no version of this program wrote is read as the nearest sane one, so that one
//! strange row cannot stop the rest.

use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::{JobId, Trace};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::job::state::State;
use crate::ledger::{Ended, Event, Fence, Job, Priority, Ready, history};
use crate::tenant::Tenant;

/// The columns that [`job`] reads.
pub(super) const JOB: &str = "id, tenant, kind, state, priority, version, attempt, charged, max_attempts, crashes, timeout_ms, \
     payload, result, error, progress, artifacts, metadata, correlation_id, trace, unique_key, created_at, due_at, queued_at, started_at, \
     finished_at, worker, cancel_requested, webhook";

pub(super) fn job(row: &Row) -> Job {
    Job {
        id: JobId(row.get("id")),
        tenant: tenant(row),
        kind: row.get("kind"),
        state: state(row),
        priority: Priority::from_code(row.get("priority")),
        version: row.get("version"),
        attempt: number(row, "attempt"),
        charged: number(row, "charged"),
        max_attempts: number(row, "max_attempts"),
        crashes: number(row, "crashes"),
        timeout: millis(row, "timeout_ms"),
        payload: raw(row, "payload").unwrap_or_default(),
        result: raw(row, "result"),
        error: json(row, "error"),
        progress: json(row, "progress"),
        artifacts: json(row, "artifacts").unwrap_or_default(),
        metadata: raw(row, "metadata"),
        correlation_id: row.get("correlation_id"),
        trace: trace(row),
        unique_key: row.get("unique_key"),
        created_at: row.get("created_at"),
        due_at: row.get("due_at"),
        queued_at: row.get("queued_at"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
        worker: row.get("worker"),
        cancel_requested: row.get("cancel_requested"),
        webhook: json(row, "webhook"),
    }
}

/// What a record has just moved, as it is announced. The history tells the same of it later.
pub(super) fn moved(row: &Row) -> Event {
    history::ending(Event {
        job: JobId(row.get("id")),
        tenant: tenant(row),
        kind: row.get("kind"),
        version: row.get("version"),
        state: state(row),
        attempt: number(row, "attempt"),
        ended: Some(Ended::from_word(row.get("ended"))),
        error: json(row, "error"),
        progress: None,
        correlation_id: row.get("correlation_id"),
        trace: trace(row),
        at: row.get("changed_at"),
    })
}

/// The columns that [`ready`] reads.
pub(super) const READY: &str = "id, tenant, kind, priority, version, attempt, created_at, correlation_id, trace";

pub(super) fn ready(row: &Row) -> Ready {
    Ready {
        job: JobId(row.get("id")),
        tenant: tenant(row),
        kind: row.get("kind"),
        priority: Priority::from_code(row.get("priority")),
        version: row.get("version"),
        attempt: number(row, "attempt"),
        created_at: row.get("created_at"),
        correlation_id: row.get("correlation_id"),
        trace: trace(row),
    }
}

pub(super) fn trace(row: &Row) -> Option<Trace> {
    row.get::<_, Option<&str>>("trace")?.parse().ok()
}

pub(super) fn tenant(row: &Row) -> Tenant {
    Tenant::stored(row.get("tenant"))
}

pub(super) fn state(row: &Row) -> State {
    State::from_code(row.get("state")).unwrap_or(State::Failed)
}

pub(super) fn fence(row: &Row, worker: Uuid) -> Fence {
    Fence { job: JobId(row.get("id")), attempt: number(row, "attempt"), worker }
}

pub(super) fn number(row: &Row, column: &str) -> u32 {
    u32::try_from(row.get::<_, i32>(column)).unwrap_or(0)
}

pub(super) fn millis(row: &Row, column: &str) -> Duration {
    Duration::from_millis(u64::try_from(row.get::<_, i64>(column)).unwrap_or(0))
}

/// From one moment to another, or nothing if a clock stepped back between them.
pub(super) fn between(row: &Row, from: &str, to: &str) -> Duration {
    let (from, to): (Timestamp, Timestamp) = (row.get(from), row.get(to));
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

pub(super) fn raw(row: &Row, column: &str) -> Option<Box<RawValue>> {
    row.get::<_, Option<Json<Box<RawValue>>>>(column).map(|Json(value)| value)
}

pub(super) fn json<T: DeserializeOwned>(row: &Row, column: &str) -> Option<T> {
    serde_json::from_str(raw(row, column)?.get()).ok()
}

/// Numbers into the column's type; ours never come near its end.
pub(super) fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn long_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys")
}
