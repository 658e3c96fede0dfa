//! How a job comes in: its keys first, then its row and its payload, in the caller's transaction.
//! It checks nothing of what a job asks for; that is the API's. What becomes of the row is in [`super::jobs`] and [`super::round`].

use longshore_sdk::{JobId, Trace};
use rusqlite::{Connection, OptionalExtension as _, named_params};
use serde_json::value::RawValue;

use super::columns::{self, Id, Json, later, micros, millis};
use super::jobs::present;
use super::unique;
use super::webhooks::tell;
use crate::ledger::{Answer, Idempotency, NewJob, RunAt, Submitted};
use crate::tenant::Tenant;

/// Expired keys removed by one keyed submit: more than it adds, so the table shrinks to what lives.
const SWEEP: i64 = 4;

pub(super) fn submit(db: &Connection, now: i64, jobs: &[NewJob]) -> Answer<Vec<Submitted>> {
    jobs.iter().map(|new| submit_one(db, now, new)).collect()
}

fn submit_one(db: &Connection, now: i64, new: &NewJob) -> Answer<Submitted> {
    if let Some(asked) = &new.idempotency {
        sweep(db, now)?;
        if let Some((job, fingerprint)) = holder(db, now, &new.tenant, &asked.key)? {
            let same = fingerprint == asked.fingerprint;
            return if same { present(db, job).map(Submitted::Repeated) } else { Ok(Submitted::Conflict(job)) };
        }
    }
    if let Some(key) = &new.unique_key
        && let Some(holder) = unique::other_holder(db, &new.tenant, &new.kind, key, new.id)?
        // One that is here already (its reply was lost) is as it was, whoever has its key now.
        && columns::head_of(db, new.id)?.is_none()
    {
        new.idempotency.as_ref().map_or(Ok(()), |asked| hold(db, now, &new.tenant, asked, holder))?;
        return present(db, holder).map(Submitted::Held);
    }
    let created = insert(db, now, new)?;
    if let Some(key) = new.unique_key.as_ref().filter(|_| created) {
        unique::take(db, &new.tenant, &new.kind, key, new.id)?;
    }
    if let Some(asked) = new.idempotency.as_ref().filter(|_| created) {
        hold(db, now, &new.tenant, asked, new.id)?;
    }
    let job = present(db, new.id)?;
    if !created {
        return Ok(Submitted::Repeated(job));
    }
    tell(db, now, &job.accepted(), job.webhook.as_ref())?;
    Ok(Submitted::Created(job))
}

/// Removes some expired keys.
fn sweep(db: &Connection, now: i64) -> Answer<()> {
    let sql = "delete from idempotency where (tenant, key) in \
         (select tenant, key from idempotency where expires_at <= ?1 order by expires_at limit ?2)";
    Ok(db.prepare_cached(sql)?.execute((now, SWEEP)).map(drop)?)
}

pub(super) fn knows_key(db: &Connection, now: i64, of: &Tenant, key: &str) -> Answer<bool> {
    Ok(holder(db, now, of, key)?.is_some())
}

/// The job that a living key made, and the fingerprint it came with.
fn holder(db: &Connection, now: i64, tenant: &Tenant, key: &str) -> Answer<Option<(JobId, [u8; 32])>> {
    let sql = "select job, fingerprint from idempotency where tenant = ?3 and key = ?1 and expires_at > ?2";
    let mut find = db.prepare_cached(sql)?;
    Ok(find.query_row((key, now, tenant), |row| Ok((JobId(row.get::<_, Id>(0)?.0), row.get(1)?))).optional()?)
}

fn hold(db: &Connection, now: i64, tenant: &Tenant, asked: &Idempotency, job: JobId) -> Answer<()> {
    let sql =
        "insert or replace into idempotency (tenant, key, fingerprint, job, expires_at) values (?1, ?2, ?3, ?4, ?5)";
    let expires_at = later(now, asked.lives);
    Ok(db.prepare_cached(sql)?.execute((tenant, &asked.key, asked.fingerprint, Id(job.0), expires_at)).map(drop)?)
}

/// Inserts it unless its id exists. One that is due now is on the road at once; a later one waits for the relay.
fn insert(db: &Connection, now: i64, new: &NewJob) -> Answer<bool> {
    let due_at = due(new.run_at, now);
    let inserted = db
        .prepare_cached(
            "insert into jobs (id, tenant, kind, priority, max_attempts, timeout_ms, correlation_id, trace, unique_key, webhook, \
             created_at, changed_at, due_at, queued_at) values (:id, :tenant, :kind, :priority, :max_attempts, :timeout_ms, \
             :correlation_id, :trace, :unique_key, :webhook, :now, :now, :due_at, :queued_at) on conflict (id) do nothing",
        )?
        .execute(named_params! {
            ":id": Id(new.id.0),
            ":tenant": new.tenant,
            ":kind": new.kind,
            ":priority": new.priority.code(),
            ":max_attempts": new.max_attempts,
            ":timeout_ms": millis(new.timeout),
            ":correlation_id": new.correlation_id,
            ":trace": new.trace.as_ref().map(Trace::to_string),
            ":unique_key": new.unique_key,
            ":webhook": new.webhook.as_ref().map(Json),
            ":now": now,
            ":due_at": due_at,
            ":queued_at": due_at.is_none().then_some(now),
        })?;
    if inserted == 1 {
        let metadata = new.metadata.as_deref().map(RawValue::get);
        db.prepare_cached("insert into payloads (seq, payload, metadata) values (last_insert_rowid(), ?1, ?2)")?
            .execute((new.payload.get(), metadata))?;
    }
    Ok(inserted == 1)
}

/// When the relay is to publish it; `None`: it is due now.
fn due(run_at: Option<RunAt>, now: i64) -> Option<i64> {
    let due = match run_at? {
        RunAt::After(wait) => later(now, wait),
        RunAt::At(moment) => micros(moment),
    };
    (due > now).then_some(due)
}
