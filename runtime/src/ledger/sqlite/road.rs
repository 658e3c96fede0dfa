//! The road back into the broker: what the relay and the reconciler read, and their marks. Every mark names the version it was
//! read with, so that a late one misses a job that has moved on. Publishing itself is the agents'.

use std::time::Duration;

use longshore_sdk::JobId;
use rusqlite::Connection;

use super::columns::{self, Columns, Id};
use super::history;
use super::jobs::count;
use crate::ledger::{Announced, Answer, Census, Patience, Ready, Unannounced};

pub(super) fn unqueue(db: &Connection, now: i64, job: JobId, version: i64) -> Answer<()> {
    let sql = "update jobs set queued_at = null, due_at = ?3, unannounced = 1 \
         where id = ?1 and version = ?2 and state = 0 and queued_at is not null";
    Ok(db.prepare_cached(sql)?.execute((Id(job.0), version, now)).map(drop)?)
}

pub(super) fn due(db: &Connection, now: i64, limit: usize) -> Answer<Vec<Ready>> {
    columns::ready(db, "where due_at <= ?1 and state = 0 order by due_at limit ?2", (now, count(limit)))
}

pub(super) fn next_due(db: &Connection, now: i64) -> Answer<Option<Duration>> {
    let mut first = db.prepare_cached("select min(due_at) from jobs where due_at is not null")?;
    let first: Option<i64> = first.query_row([], |row| row.get(0))?;
    Ok(first.map(|due| Duration::from_micros(u64::try_from(due - now).unwrap_or(0))))
}

pub(super) fn overdue(db: &Connection, now: i64, kind: &str, patience: Patience, limit: usize) -> Answer<Vec<Ready>> {
    // In doubles: a patience of years shifted ten times must not wrap.
    let which = "where state = 0 and kind = ?1 and queued_at is not null \
         and queued_at < ?2 - ?3 * (1.0 * (1 << min(publishes, ?5))) order by queued_at limit ?4";
    columns::ready(db, which, (kind, now, patience.time.as_secs_f64() * 1e6, count(limit), patience.doublings))
}

pub(super) fn mark_queued(db: &Connection, now: i64, jobs: &[(JobId, i64)]) -> Answer<()> {
    let mut mark = db.prepare_cached(
        "update jobs set due_at = null, queued_at = ?3, ready_at = coalesce(due_at, ready_at), publishes = publishes + 1 \
         where id = ?1 and version = ?2 and state = 0 and (due_at is null or due_at <= ?3)",
    )?;
    for (job, version) in jobs {
        mark.execute((Id(job.0), version, now))?;
    }
    Ok(())
}

pub(super) fn census(db: &Connection, now: i64) -> Answer<Vec<Census>> {
    let sql = "select kind, sum(state = 0 and (due_at is null or due_at <= ?1)), sum(state = 1), \
         min(coalesce(due_at, ready_at, changed_at)) filter (where state = 0 and (due_at is null or due_at <= ?1)) \
         from jobs where finished_at is null group by kind order by kind";
    columns::rows(db, sql, [now], |row| {
        let mut row = Columns::of(row);
        let (kind, waiting, running) = (row.take()?, row.take::<i64>()?, row.take::<i64>()?);
        let (waiting, running) = (waiting.unsigned_abs(), running.unsigned_abs());
        Ok(Census { kind, waiting, running, oldest_waiting: row.maybe_at()? })
    })
}

pub(super) fn count_dead(db: &Connection) -> Answer<Vec<(String, u64)>> {
    let sql = "select kind, count(*) from jobs where state = 3 group by kind order by kind";
    columns::rows(db, sql, [], |row| {
        let mut row = Columns::of(row);
        Ok((row.take()?, row.take::<i64>()?.unsigned_abs()))
    })
}

pub(super) fn unannounced(db: &Connection, limit: usize) -> Answer<Vec<Unannounced>> {
    history::owed(db, "where unannounced = 1 order by changed_at limit ?1", [count(limit)])
}

/// What workers still owe is in their heartbeats, everything else carries the mark.
pub(super) fn announced(db: &Connection, now: i64) -> Answer<Announced> {
    let sql = "select min(?1, coalesce((select min(announced_to) from workers), ?1), \
         coalesce((select min(changed_at) from jobs where unannounced = 1), ?1))";
    let to = db.prepare_cached(sql)?.query_row([now], |row| row.get(0))?;
    Ok(Announced { now: columns::moment(now)?, to: columns::moment(to)? })
}

/// Sets the mark, wherever the job is since that version.
pub(super) fn owe(db: &Connection, jobs: &[(JobId, i64)]) -> Answer<()> {
    mark(db, jobs, "update jobs set unannounced = 1 where id = ?1 and version >= ?2 and unannounced = 0")
}

/// Clears the mark where nothing happened since that version.
pub(super) fn clear_owed(db: &Connection, jobs: &[(JobId, i64)]) -> Answer<()> {
    mark(db, jobs, "update jobs set unannounced = 0 where id = ?1 and version = ?2 and unannounced = 1")
}

fn mark(db: &Connection, jobs: &[(JobId, i64)], sql: &str) -> Answer<()> {
    let mut mark = db.prepare_cached(sql)?;
    jobs.iter().try_for_each(|(job, version)| Ok(mark.execute((Id(job.0), version)).map(drop)?))
}
