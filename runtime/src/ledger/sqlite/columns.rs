//! Rows into the ledger's types and back, column by column in the order of the select lists here. A value that no version of
//! this program wrote is an error, not a guess: unlike a server's, this file has one writer. Times are microseconds.

use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::{ErrorReport, JobId, Trace};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::job::state::State;
use crate::ledger::webhooks::Hook;
use crate::ledger::{Answer, Ended, Fence, Job, LedgerError, Priority, Ready};
use crate::tenant::Tenant;

/// A moment, stored as microseconds since 1970.
pub(super) struct At(pub(super) Timestamp);
/// An id, stored as its 16 bytes.
pub(super) struct Id(pub(super) Uuid);
/// JSON that must come back byte for byte.
pub(super) struct Raw(pub(super) Box<RawValue>);
/// A value of ours, stored as JSON.
pub(super) struct Json<T>(pub(super) T);

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_microsecond(value.as_i64()?).map(Self).map_err(FromSqlError::other)
    }
}

impl FromSql for Id {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Uuid::from_slice(value.as_blob()?).map(Self).map_err(FromSqlError::other)
    }
}

impl ToSql for Id {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_bytes().as_slice()))
    }
}

impl FromSql for Raw {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        RawValue::from_string(value.as_str()?.to_owned()).map(Self).map_err(FromSqlError::other)
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0);
        text.map(ToSqlOutput::from).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        i16::try_from(code).ok().and_then(Self::from_code).ok_or(FromSqlError::OutOfRange(code))
    }
}

impl FromSql for Tenant {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::stored)
    }
}

impl ToSql for Tenant {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.code().into())
    }
}

/// The last moment that is stored: what `Timestamp` holds beyond its last full second it cannot read back from microseconds.
fn last() -> i64 {
    Timestamp::MAX.as_second() * 1_000_000
}

pub(super) fn micros(moment: Timestamp) -> i64 {
    moment.as_microsecond().min(last())
}

/// So long after `now`, or the last moment there is.
pub(super) fn later(now: i64, wait: Duration) -> i64 {
    let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    now.saturating_add(wait).min(last())
}

pub(super) fn moment(micros: i64) -> Answer<Timestamp> {
    let bad = |error| LedgerError::Refused(format!("{micros} is no moment in microseconds: {error}"));
    Timestamp::from_microsecond(micros).map_err(bad)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Hands out a row's columns from left to right.
pub(super) struct Columns<'row> {
    row: &'row Row<'row>,
    next: usize,
}

impl<'row> Columns<'row> {
    pub(super) fn of(row: &'row Row<'row>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub(super) fn job(&mut self) -> rusqlite::Result<JobId> {
        self.take().map(|Id(id)| JobId(id))
    }

    pub(super) fn id(&mut self) -> rusqlite::Result<Option<Uuid>> {
        Ok(self.take::<Option<Id>>()?.map(|Id(id)| id))
    }

    pub(super) fn at(&mut self) -> rusqlite::Result<Timestamp> {
        self.take().map(|At(at)| at)
    }

    /// From one moment to the next column's, or nothing if the clock stepped back between them.
    pub(super) fn between(&mut self) -> rusqlite::Result<Duration> {
        let (from, to) = (self.at()?, self.at()?);
        Ok(Duration::try_from(to.duration_since(from)).unwrap_or_default())
    }

    pub(super) fn maybe_at(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<At>>()?.map(|At(at)| at))
    }

    pub(super) fn raw(&mut self) -> rusqlite::Result<Box<RawValue>> {
        self.take().map(|Raw(raw)| raw)
    }

    pub(super) fn maybe_raw(&mut self) -> rusqlite::Result<Option<Box<RawValue>>> {
        Ok(self.take::<Option<Raw>>()?.map(|Raw(raw)| raw))
    }

    pub(super) fn trace(&mut self) -> rusqlite::Result<Option<Trace>> {
        let kept: Option<String> = self.take()?;
        kept.map(|text| text.parse().map_err(|error| FromSqlError::other(error).into())).transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        Ok(self.take::<Option<Json<T>>>()?.map(|Json(value)| value))
    }

    pub(super) fn millis(&mut self) -> rusqlite::Result<Duration> {
        Ok(Duration::from_millis(self.take::<i64>()?.unsigned_abs()))
    }

    pub(super) fn ended(&mut self) -> rusqlite::Result<Ended> {
        Ok(Ended::from_word(&self.take::<String>()?))
    }
}

/// All the rows of a query, each read by `read`.
pub(super) fn rows<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Answer<Vec<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What a decision needs to know of a job: everything but its payload and its output.
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) job: JobId,
    pub(super) tenant: Tenant,
    pub(super) kind: String,
    pub(super) state: State,
    pub(super) version: i64,
    pub(super) attempt: u32,
    pub(super) charged: u32,
    pub(super) crashes: u32,
    pub(super) crashed_alone: u32,
    pub(super) alone: bool,
    pub(super) worker: Option<Uuid>,
    pub(super) cancel_requested: bool,
    pub(super) due_at: Option<i64>,
    pub(super) started_at: Option<i64>,
    pub(super) started_version: Option<i64>,
    pub(super) error: Option<ErrorReport>,
    pub(super) correlation_id: Option<String>,
    pub(super) trace: Option<Trace>,
    /// How far it last said that it was.
    pub(super) shown: Option<f64>,
    /// Its own webhook.
    pub(super) webhook: Option<Hook>,
}

const HEAD: &str = "seq, id, tenant, kind, state, version, attempt, charged, crashes, crashed_alone, alone, worker, \
     cancel_requested, due_at, started_at, started_version, error, correlation_id, trace, json_extract(progress, '$.fraction'), webhook";

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let mut row = Columns::of(row);
    Ok(Head {
        seq: row.take()?,
        job: row.job()?,
        tenant: row.take()?,
        kind: row.take()?,
        state: row.take()?,
        version: row.take()?,
        attempt: row.take()?,
        charged: row.take()?,
        crashes: row.take()?,
        crashed_alone: row.take()?,
        alone: row.take()?,
        worker: row.id()?,
        cancel_requested: row.take()?,
        due_at: row.take()?,
        started_at: row.take()?,
        started_version: row.take()?,
        error: row.json()?,
        correlation_id: row.take()?,
        trace: row.trace()?,
        shown: row.take()?,
        webhook: row.json()?,
    })
}

/// The heads of the jobs that `which` (`where ...`) finds.
pub(super) fn heads(db: &Connection, which: &str, params: impl Params) -> Answer<Vec<Head>> {
    rows(db, &format!("select {HEAD} from jobs {which}"), params, head)
}

pub(super) fn head_of(db: &Connection, job: JobId) -> Answer<Option<Head>> {
    Ok(heads(db, "where id = ?1", [Id(job.0)])?.pop())
}

impl Head {
    /// Whether this very attempt runs.
    pub(super) fn runs(&self, fence: &Fence) -> bool {
        self.state == State::Running && self.attempt == fence.attempt && self.worker == Some(fence.worker)
    }
}

const JOB: &str = "id, tenant, kind, state, priority, version, attempt, charged, max_attempts, crashes, timeout_ms, payload, result, \
     error, progress, artifacts, metadata, correlation_id, trace, unique_key, created_at, due_at, queued_at, started_at, finished_at, worker, \
     cancel_requested, webhook";

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let mut row = Columns::of(row);
    Ok(Job {
        id: row.job()?,
        tenant: row.take()?,
        kind: row.take()?,
        state: row.take()?,
        priority: Priority::from_code(row.take()?),
        version: row.take()?,
        attempt: row.take()?,
        charged: row.take()?,
        max_attempts: row.take()?,
        crashes: row.take()?,
        timeout: row.millis()?,
        payload: row.raw()?,
        result: row.maybe_raw()?,
        error: row.json()?,
        progress: row.json()?,
        artifacts: row.json()?.unwrap_or_default(),
        metadata: row.maybe_raw()?,
        correlation_id: row.take()?,
        trace: row.trace()?,
        unique_key: row.take()?,
        created_at: row.at()?,
        due_at: row.maybe_at()?,
        queued_at: row.maybe_at()?,
        started_at: row.maybe_at()?,
        finished_at: row.maybe_at()?,
        worker: row.id()?,
        cancel_requested: row.take()?,
        webhook: row.json()?,
    })
}

/// The whole rows of the jobs that `which` (`where ...`) finds.
pub(super) fn jobs(db: &Connection, which: &str, params: impl Params) -> Answer<Vec<Job>> {
    rows(db, &format!("select {JOB} from jobs join payloads using (seq) {which}"), params, job)
}

pub(super) fn job_of(db: &Connection, job: JobId) -> Answer<Option<Job>> {
    Ok(jobs(db, "where id = ?1", [Id(job.0)])?.pop())
}

/// The pending jobs that `which` (`where ...`) finds, for the road.
pub(super) fn ready(db: &Connection, which: &str, params: impl Params) -> Answer<Vec<Ready>> {
    rows(
        db,
        &format!(
            "select id, tenant, kind, priority, version, attempt, created_at, correlation_id, trace from jobs {which}"
        ),
        params,
        |row| {
            let mut row = Columns::of(row);
            Ok(Ready {
                job: row.job()?,
                tenant: row.take()?,
                kind: row.take()?,
                priority: Priority::from_code(row.take()?),
                version: row.take()?,
                attempt: row.take()?,
                created_at: row.at()?,
                correlation_id: row.take()?,
                trace: row.trace()?,
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_past_the_end_of_time_ends_there() {
        assert_eq!(later(5, Duration::from_micros(7)), 12);
        for end in [later(5, Duration::MAX), micros(Timestamp::MAX)] {
            assert_eq!(moment(end).unwrap().as_second(), Timestamp::MAX.as_second());
        }
    }
}
