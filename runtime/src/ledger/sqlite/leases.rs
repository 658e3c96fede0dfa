//! Workers and their leases: one row per worker, renewed by its heartbeat, taken by the rescuer. A lease ends by the ledger's
//! clock alone. What becomes of a dead worker's jobs is decided in [`super::leaving`].

use std::time::Duration;

use longshore_sdk::JobId;
use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::columns::{self, Columns, Head, Id, Json, later, micros, moment};
use super::leaving::{handed_back, leave, loss, lost};
use crate::ledger::{Answer, Beat, BeatAnswer, Ended, Fence, Rescued, Whose, WorkerCard, WorkerRow, evidence};

pub(super) fn enlist(db: &Connection, now: i64, card: &WorkerCard, lease: Duration) -> Answer<jiff::Timestamp> {
    db.prepare_cached(
        "insert into workers (id, host, kinds, slots, started_at, announced_to, lease_until) \
         values (?1, ?2, ?3, ?4, ?5, ?5, ?6) on conflict (id) do update set lease_until = excluded.lease_until",
    )?
    .execute((Id(card.id), &card.host, Json(&card.kinds), card.slots, now, later(now, lease)))?;
    moment(now)
}

pub(super) fn beat(db: &Connection, now: i64, beat: &Beat, lease: Duration) -> Answer<Option<BeatAnswer>> {
    let peak = beat.peak_memory.and_then(|bytes| i64::try_from(bytes).ok());
    let renewed = db
        .prepare_cached(
            "update workers set lease_until = ?2, busy = ?3, draining = ?4, announced_to = ?5, peak_memory = ?6 where id = ?1 and ending is null",
        )?
        .execute((Id(beat.worker), later(now, lease), beat.busy, beat.draining, micros(beat.announced_to), peak))?;
    if renewed == 0 {
        return Ok(None);
    }
    let running = columns::heads(db, "where state = 1 and worker = ?1 and cancel_requested", [Id(beat.worker)])?;
    let cancels = running.into_iter().map(|head| head.job).collect();
    Ok(Some(BeatAnswer { now: moment(now)?, cancels }))
}

pub(super) fn credited(db: &Connection, worker: Uuid) -> Answer<Vec<Fence>> {
    let running = columns::heads(db, "where state = 1 and worker = ?1", [Id(worker)])?;
    Ok(running.iter().map(|head| fence(head, worker)).collect())
}

fn fence(head: &Head, worker: Uuid) -> Fence {
    Fence { job: head.job, attempt: head.attempt, worker }
}

pub(super) fn hand_back(db: &Connection, now: i64, fences: &[Fence]) -> Answer<()> {
    for fence in fences {
        let head = columns::head_of(db, fence.job)?;
        if let Some(head) = head.filter(|head| head.runs(fence)) {
            let leaving = handed_back(&head, now);
            leave(db, head, leaving, Ended::HandedBack, None, now)?;
        }
    }
    Ok(())
}

pub(super) fn retire(db: &Connection, worker: Uuid) -> Answer<()> {
    Ok(db.prepare_cached("delete from workers where id = ?1")?.execute([Id(worker)]).map(drop)?)
}

pub(super) fn end_lease(db: &Connection, now: i64, worker: Uuid, ending: &str) -> Answer<()> {
    let mut end =
        db.prepare_cached("update workers set lease_until = ?2, ending = ?3 where id = ?1 and ending is null")?;
    Ok(end.execute((Id(worker), now, ending)).map(drop)?)
}

/// Takes the lease of one worker: first its running jobs, **then** the mark on every attempt that it ended and may not
/// have announced, then its row. In this order nothing is missed that it recorded before. `None` when no lease is left to take.
pub(super) fn rescue_next(db: &Connection, now: i64, crash_limit: u32, whose: Whose) -> Answer<Option<Vec<Rescued>>> {
    let sql = "select id, announced_to, host, peak_memory, ending from workers where ?1 or lease_until <= ?2 limit 1";
    let read = |row: &rusqlite::Row<'_>| {
        let ending: Option<String> = row.get(4)?;
        let known = evidence::of_worker(&row.get::<_, String>(2)?, row.get(3)?, ending.as_deref());
        Ok((row.get(0)?, row.get::<_, i64>(1)?, Seen { ended: evidence::ended(ending.as_deref()), known }))
    };
    let dead = db.prepare_cached(sql)?.query_row((whose == Whose::Everyones, now), read).optional()?;
    let Some((Id(worker), announced_to, seen)) = dead else { return Ok(None) };
    let running = columns::heads(db, "where state = 1 and worker = ?1", [Id(worker)])?;
    let rescued = lose(db, now, crash_limit, &seen, running)?;
    db.prepare_cached(OWED)?.execute((Id(worker), announced_to))?;
    retire(db, worker)?;
    Ok(Some(rescued))
}

/// Jobs that had an attempt which the worker ended since a moment, whoever has settled them by now. Each of the four has an index,
/// and none is longer than what happened since then or is not settled yet.
const OWED: &str = "update jobs set unannounced = 1 where seq in (select seq from jobs where finished_at >= ?2 \
     union all select seq from jobs where due_at is not null union all select seq from jobs where queued_at is not null \
     union all select seq from jobs where state = 1) \
     and exists (select 1 from attempts a where a.seq = jobs.seq and a.worker = ?1 and a.finished_at >= ?2)";

pub(super) fn rescue_orphans(db: &Connection, now: i64, crash_limit: u32) -> Answer<Vec<Rescued>> {
    let orphans = columns::heads(db, "where state = 1 and worker not in (select id from workers)", [])?;
    lose(db, now, crash_limit, &Seen { ended: evidence::ended(None), known: String::new() }, orphans)
}

/// How the attempts of a worker ended, and what is known of it.
struct Seen {
    ended: Ended,
    known: String,
}

fn lose(db: &Connection, now: i64, crash_limit: u32, seen: &Seen, running: Vec<Head>) -> Answer<Vec<Rescued>> {
    running.into_iter().map(|head| lose_one(db, now, crash_limit, seen, head)).collect()
}

fn lose_one(db: &Connection, now: i64, crash_limit: u32, seen: &Seen, head: Head) -> Answer<Rescued> {
    let known = format!("{}{}", seen.known, evidence::of_progress(head.shown));
    let leaving = lost(&head, crash_limit, &known, now);
    let fence = fence(&head, head.worker.unwrap_or_default());
    let error = loss(&leaving, seen.ended, &known);
    let event = leave(db, head, leaving, seen.ended, Some(&error), now)?;
    Ok(Rescued { fence, ended: seen.ended, kind: event.kind, state: event.state, correlation_id: event.correlation_id })
}

pub(super) fn workers(db: &Connection, now: i64) -> Answer<Vec<WorkerRow>> {
    let sql = "select id, host, kinds, slots, busy, draining, started_at, lease_until from workers \
         where lease_until > ?1 order by started_at";
    columns::rows(db, sql, [now], |row| {
        let mut row = Columns::of(row);
        let card = WorkerCard {
            id: row.job().map(|JobId(id)| id)?,
            host: row.take()?,
            kinds: row.json()?.unwrap_or_default(),
            slots: row.take()?,
        };
        let (busy, draining) = (row.take()?, row.take()?);
        Ok(WorkerRow { card, busy, draining, started_at: row.at()?, lease_until: row.at()? })
    })
}

pub(super) fn lead(db: &Connection, now: i64, role: &str, holder: Uuid, lease: Duration) -> Answer<bool> {
    let taken = db
        .prepare_cached(
            "insert into roles (role, holder, until) values (?1, ?2, ?3) on conflict (role) \
             do update set holder = excluded.holder, until = excluded.until where holder = excluded.holder or until <= ?4",
        )?
        .execute((role, Id(holder), later(now, lease), now))?;
    Ok(taken == 1)
}
