//! Reads what a job's events are rebuilt from: its row and its attempts, which belong together because each caller is in one
//! transaction. How they are rebuilt is [`crate::ledger::history`]'s.

use jiff::Timestamp;
use longshore_sdk::JobId;
use rusqlite::Connection;

use super::columns::{self, Columns, Id};
use crate::ledger::history::{self, Line, Outline};
use crate::ledger::{Answer, Event, Unannounced};

const OUTLINE: &str = "seq, id, tenant, kind, version, state, attempt, created_at, changed_at, started_at, started_version, progress, \
     replays, correlation_id, trace";

/// A job's events, if there is such a job.
pub(super) fn of(db: &Connection, job: JobId) -> Answer<Option<Vec<Event>>> {
    Ok(owed(db, "where id = ?1", [Id(job.0)])?.pop().map(|owed| owed.events))
}

/// The histories of the jobs that changed since, unless they are more than `limit`.
pub(super) fn since(db: &Connection, since: Timestamp, limit: usize) -> Answer<Option<Vec<Event>>> {
    let enough = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let jobs = owed(db, "where changed_at >= ?1 limit ?2", [columns::micros(since), enough])?;
    Ok(history::of_all(jobs, limit))
}

/// The histories of the jobs that `which` (`where ...`) finds.
pub(super) fn owed(db: &Connection, which: &str, params: impl rusqlite::Params) -> Answer<Vec<Unannounced>> {
    // A reader is in no transaction: without one an attempt could end between the two reads.
    let _snapshot = db.is_autocommit().then(|| db.unchecked_transaction()).transpose()?;
    let outlines = columns::rows(db, &format!("select {OUTLINE} from jobs {which}"), params, outline)?;
    let tell = |(seq, outline): (i64, Outline)| {
        let events = history::events(&outline, &lines(db, seq)?);
        Ok(Unannounced { job: outline.job, version: outline.version, events })
    };
    outlines.into_iter().map(tell).collect()
}

fn outline(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Outline)> {
    let mut row = Columns::of(row);
    let seq = row.take()?;
    let outline = Outline {
        job: row.job()?,
        tenant: row.take()?,
        kind: row.take()?,
        version: row.take()?,
        state: row.take()?,
        attempt: row.take()?,
        created_at: row.at()?,
        changed_at: row.at()?,
        started_at: row.maybe_at()?,
        started_version: row.take()?,
        progress: row.json()?,
        replays: row.json()?.unwrap_or_default(),
        correlation_id: row.take()?,
        trace: row.trace()?,
    };
    Ok((seq, outline))
}

fn lines(db: &Connection, seq: i64) -> Answer<Vec<Line>> {
    let sql = "select attempt, ended, error, started_at, finished_at, started_version, version, state from attempts \
         where seq = ?1 order by attempt";
    columns::rows(db, sql, [seq], |row| {
        let mut row = Columns::of(row);
        Ok(Line {
            attempt: row.take()?,
            ended: row.ended()?,
            error: row.json()?,
            started_at: row.at()?,
            finished_at: row.at()?,
            started_version: row.take()?,
            version: row.take()?,
            state: row.take()?,
        })
    })
}
