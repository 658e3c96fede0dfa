//! Claims and records: the two decisions every job passes through. A pure function says what a claim or a record finds, and the
//! statement after it carries that out: nobody else writes between the two. A round's records go before its claims.

use longshore_sdk::ErrorReport;
use rusqlite::{Connection, OptionalExtension as _, ToSql};
use uuid::Uuid;

use super::columns::{self, Columns, Head, Id, Json};
use super::history;
use super::leaving::{leave, recorded};
use super::webhooks::tell;
use crate::job::state::State;
use crate::job::verdict::runs_alone;
use crate::ledger::{Answer, Claim, Claimed, Event, Fence, Granted, Record, Recorded, Report, Round, Settle};

pub(super) fn round(db: &Connection, now: i64, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round> {
    let leased = has_lease(db, now, worker)?;
    let records = records.iter().map(|one| record(db, now, worker, one)).collect::<Answer<_>>()?;
    let claims = claims.iter().map(|one| claim(db, now, worker, leased, *one)).collect::<Answer<_>>()?;
    Ok(Round { claims, records })
}

fn has_lease(db: &Connection, now: i64, worker: Uuid) -> Answer<bool> {
    let mut lease = db.prepare_cached("select 1 from workers where id = ?1 and lease_until > ?2")?;
    Ok(lease.exists((Id(worker), now))?)
}

/// What a claim meets.
#[derive(Debug, PartialEq, Eq)]
enum Met {
    Free,
    Settled,
    Busy,
    NotDue,
    Suspect,
    NoLease,
}

fn meets(head: &Head, alone: bool, leased: bool, now: i64) -> Met {
    match head.state {
        State::Completed | State::Failed | State::Canceled => Met::Settled,
        State::Running => Met::Busy,
        State::Pending if head.due_at.is_some_and(|due| due > now) => Met::NotDue,
        State::Pending if !leased => Met::NoLease,
        State::Pending if runs_alone(head.crashes) && !alone => Met::Suspect,
        State::Pending => Met::Free,
    }
}

fn claim(db: &Connection, now: i64, worker: Uuid, leased: bool, claim: Claim) -> Answer<Claimed> {
    let Some(head) = columns::head_of(db, claim.job)? else { return Ok(Claimed::Unknown) };
    Ok(match meets(&head, claim.alone, leased, now) {
        Met::Free => Claimed::Run(Box::new(start(db, now, worker, claim.alone, &head)?)),
        Met::Settled => Claimed::Settled(history::of(db, claim.job)?.unwrap_or_default()),
        Met::Busy => Claimed::Busy,
        Met::NotDue => Claimed::NotDue,
        Met::Suspect => Claimed::Suspect,
        Met::NoLease => Claimed::NoLease,
    })
}

fn start(db: &Connection, now: i64, worker: Uuid, alone: bool, head: &Head) -> Answer<Granted> {
    let fence = Fence { job: head.job, attempt: head.attempt + 1, worker };
    db.prepare_cached(
        "update jobs set state = 1, attempt = ?2, worker = ?3, alone = ?4, started_at = ?5, changed_at = ?5, \
         ready_at = coalesce(due_at, ready_at, changed_at), due_at = null, \
         queued_at = null, publishes = 0, progress = null, version = version + 1, started_version = version + 1 where seq = ?1",
    )?
    .execute((head.seq, fence.attempt, Id(worker), alone, now))?;
    let granted = granted(db, fence, head)?;
    tell(db, now, &granted.started(), head.webhook.as_ref())?;
    Ok(granted)
}

fn granted(db: &Connection, fence: Fence, head: &Head) -> Answer<Granted> {
    let sql = "select version, started_at, payload, checkpoint, max_attempts, timeout_ms, created_at, ready_at, started_at from jobs join payloads using (seq) \
         where seq = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        let mut row = Columns::of(row);
        Ok(Granted {
            fence,
            version: row.take()?,
            started_at: row.at()?,
            tenant: head.tenant.clone(),
            kind: head.kind.clone(),
            payload: row.raw()?,
            checkpoint: row.maybe_raw()?,
            charged: head.charged,
            max_attempts: row.take()?,
            timeout: row.millis()?,
            correlation_id: head.correlation_id.clone(),
            trace: head.trace.clone(),
            created_at: row.at()?,
            waited: row.between()?,
        })
    };
    Ok(db.prepare_cached(sql)?.query_row([head.seq], read)?)
}

/// The first half of a claim in two steps, for the simulation: the last attempt of each job that is free.
#[cfg(test)]
pub(super) fn free(db: &Connection, now: i64, worker: Uuid, claims: &[Claim]) -> Answer<Vec<Option<u32>>> {
    let leased = has_lease(db, now, worker)?;
    let look = |claim: &Claim| {
        let head = columns::head_of(db, claim.job)?;
        let free = head.filter(|head| meets(head, claim.alone, leased, now) == Met::Free);
        Ok(free.map(|head| head.attempt))
    };
    claims.iter().map(look).collect()
}

/// The second half: takes what was free before, as it was before.
#[cfg(test)]
pub(super) fn take(
    db: &Connection,
    now: i64,
    worker: Uuid,
    claims: &[Claim],
    free: &[Option<u32>],
) -> Answer<Vec<Claimed>> {
    let leased = has_lease(db, now, worker)?;
    let take = |(one, free): (&Claim, &Option<u32>)| match (columns::head_of(db, one.job)?, *free) {
        (Some(head), Some(attempt)) => {
            Ok(Claimed::Run(Box::new(start(db, now, worker, one.alone, &Head { attempt, ..head })?)))
        }
        _ => claim(db, now, worker, leased, *one),
    };
    claims.iter().zip(free).map(take).collect()
}

fn record(db: &Connection, now: i64, worker: Uuid, record: &Record) -> Answer<Recorded> {
    let Some(head) = columns::head_of(db, record.fence.job)? else { return Ok(Recorded::Fenced) };
    if record.fence.worker != worker || !head.runs(&record.fence) {
        return before(db, worker, record.fence);
    }
    let leaving = recorded(&head, &record.settle, now);
    leave(db, head, leaving, record.ended, record.settle.error(), now).map(Recorded::Done)
}

/// The attempt's own line says that it was recorded, wherever its job is by now: the reply was lost, and nothing is left to write. One
/// that was lost or handed back was ended by others, who see to its announcement.
fn before(db: &Connection, worker: Uuid, fence: Fence) -> Answer<Recorded> {
    let sql = "select 1 from attempts join jobs using (seq) where id = ?1 and attempts.attempt = ?2 and attempts.worker = ?3 \
         and ended not in ('lost', 'crashed', 'handed_back')";
    if !db.prepare_cached(sql)?.exists((Id(fence.job.0), fence.attempt, Id(worker)))? {
        return Ok(Recorded::Fenced);
    }
    let told = history::of(db, fence.job)?.unwrap_or_default();
    let end = told.into_iter().find(|event| event.attempt == fence.attempt && event.ended.is_some());
    Ok(end.map_or(Recorded::Fenced, Recorded::Before))
}

impl Settle {
    fn error(&self) -> Option<&ErrorReport> {
        match self {
            Self::Retry { error, .. } | Self::DeadLetter { error } => Some(error),
            Self::Complete { .. } | Self::Cancel | Self::HandBack { .. } => None,
        }
    }
}

pub(super) fn save_checkpoint(db: &Connection, fence: Fence, checkpoint: &str) -> Answer<bool> {
    write_for(db, fence, "update jobs set checkpoint = ?2 where seq = ?1", checkpoint)
}

pub(super) fn save_progress(db: &Connection, now: i64, progress: &[(Fence, Report)]) -> Answer<()> {
    for (fence, report) in progress {
        if !write_for(db, *fence, "update jobs set progress = ?2 where seq = ?1", Json(report))? {
            continue;
        }
        let Some(head) = columns::head_of(db, fence.job)? else { continue };
        tell(db, now, &progressed(&head, report), head.webhook.as_ref())?;
    }
    Ok(())
}

/// Under the start of its attempt, as its worker announces it.
fn progressed(head: &Head, report: &Report) -> Event {
    let accepted = Event::accepted(head.job, &head.tenant, &head.kind, head.correlation_id.as_deref(), report.at);
    Event {
        version: head.started_version.unwrap_or(head.version),
        state: State::Running,
        attempt: head.attempt,
        progress: Some(report.clone()),
        trace: head.trace.clone(),
        ..accepted
    }
}

/// Writes for an attempt, if it still holds its job.
fn write_for(db: &Connection, fence: Fence, sql: &str, json: impl ToSql) -> Answer<bool> {
    let mut held =
        db.prepare_cached("select seq from jobs where id = ?1 and attempt = ?2 and worker = ?3 and state = 1")?;
    let held = held.query_row((Id(fence.job.0), fence.attempt, Id(fence.worker)), |row| row.get::<_, i64>(0));
    let Some(seq) = held.optional()? else { return Ok(false) };
    Ok(db.prepare_cached(sql)?.execute((seq, json))? == 1)
}
