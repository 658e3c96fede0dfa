//! Look, cancel, replay and purge: what callers and operators do with jobs. It runs nothing and publishes nothing; what goes
//! back on the road is in [`super::road`], how a job comes in in [`super::submit`].

use longshore_sdk::JobId;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::columns::{self, Columns, Head, Id, moment};
use super::retention::leave_behind;
use super::trail;
use super::unique;
use super::webhooks::tell;
use crate::job::state::State;
use crate::ledger::trail::{Actor, Deed};
use crate::ledger::webhooks::KIND;
use crate::ledger::{Answer, Attempt, Canceling, Event, Filter, Job, LedgerError, Replaying};
use crate::tenant::Tenant;

pub(super) fn present(db: &Connection, job: JobId) -> Answer<Job> {
    columns::job_of(db, job)?.ok_or_else(|| LedgerError::Refused(format!("job {job} has a row but no payload")))
}

pub(super) fn attempts(db: &Connection, job: JobId) -> Answer<Vec<Attempt>> {
    let sql = "select a.attempt, a.worker, a.ended, a.error, a.started_at, a.finished_at \
         from jobs j join attempts a on a.seq = j.seq where j.id = ?1 order by a.attempt";
    columns::rows(db, sql, [Id(job.0)], |row| {
        let mut row = Columns::of(row);
        Ok(Attempt {
            attempt: row.take()?,
            worker: row.id()?,
            ended: row.ended()?,
            error: row.json()?,
            started_at: row.at()?,
            finished_at: row.at()?,
        })
    })
}

pub(super) fn list(db: &Connection, filter: &Filter) -> Answer<Vec<Job>> {
    let (mut conditions, mut params) = (vec!["true".to_owned()], Vec::<Value>::new());
    // The state as a literal: only then may SQLite use the index of that state.
    conditions.extend(filter.state.map(|state| format!("state = {}", state.code())));
    if let Some(tenant) = &filter.tenant {
        params.push(tenant.as_str().to_owned().into());
        conditions.push(format!("tenant = ?{}", params.len()));
        // In words by which the partial index is found.
        conditions.extend((!tenant.is_default()).then(|| "tenant <> 'default'".to_owned()));
    }
    if let Some(kind) = &filter.kind {
        params.push(kind.clone().into());
        conditions.push(format!("kind = ?{}", params.len()));
    }
    if let Some(JobId(before)) = filter.before {
        params.push(before.as_bytes().to_vec().into());
        conditions.push(format!("id < ?{}", params.len()));
    }
    params.push(count(filter.limit).into());
    // Ids are of version 7: their order is the order of submission.
    let which = format!("where {} order by id desc limit ?{}", conditions.join(" and "), params.len());
    columns::jobs(db, &which, params_from_iter(params))
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn cancel(db: &Connection, now: i64, job: JobId, by: Option<&Actor>) -> Answer<Canceling> {
    let Some(head) = columns::head_of(db, job)? else { return Ok(Canceling::Unknown) };
    match head.state {
        State::Pending => {
            // No delivery need ever come for it, hence the mark for the relay.
            db.prepare_cached(
                "update jobs set state = 4, version = version + 1, changed_at = ?2, finished_at = ?2, due_at = null, \
                 queued_at = null, checkpoint = null, unannounced = 1 where seq = ?1",
            )?
            .execute((head.seq, now))?;
            tell(db, now, &moved(&head, State::Canceled, now)?, head.webhook.as_ref())?;
            trail::note(db, now, by, &head.tenant, Deed::JobCanceled, &job.to_string())?;
            present(db, job).map(Canceling::Canceled)
        }
        State::Running => {
            let asked = "update jobs set cancel_requested = 1 where seq = ?1 and cancel_requested = 0";
            if db.prepare_cached(asked)?.execute([head.seq])? == 1 {
                trail::note(db, now, by, &head.tenant, Deed::JobCanceled, &job.to_string())?;
            }
            present(db, job).map(Canceling::Requested)
        }
        State::Completed | State::Failed | State::Canceled => present(db, job).map(Canceling::Settled),
    }
}

pub(super) fn replay(db: &Connection, now: i64, job: JobId, by: Option<&Actor>) -> Answer<Replaying> {
    let Some(head) = columns::head_of(db, job)? else { return Ok(Replaying::Unknown) };
    if head.state != State::Failed {
        return present(db, job).map(Replaying::NotDead);
    }
    if let Some(key) = &present(db, job)?.unique_key {
        if let Some(holder) = unique::other_holder(db, &head.tenant, &head.kind, key, job)? {
            return Ok(Replaying::Held(holder));
        }
        unique::take(db, &head.tenant, &head.kind, key, job)?;
    }
    db.prepare_cached(
        "update jobs set state = 0, version = version + 1, changed_at = ?2, due_at = ?2, queued_at = null, publishes = 0, \
         finished_at = null, charged = 0, crashes = 0, crashed_alone = 0, worker = null, unannounced = 1, \
         replays = json_insert(coalesce(replays, '[]'), '$[#]', json_object('version', version + 1, 'at_us', ?2)) \
         where seq = ?1",
    )?
    .execute((head.seq, now))?;
    tell(db, now, &moved(&head, State::Pending, now)?, head.webhook.as_ref())?;
    trail::note(db, now, by, &head.tenant, Deed::JobReplayed, &job.to_string())?;
    present(db, job).map(Replaying::Ready)
}

pub(super) fn pending_of(db: &Connection, of: &Tenant, most: u64) -> Answer<u64> {
    // In words by which the partial index is found.
    let of_others = if of.is_default() { "" } else { "and tenant <> 'default'" };
    let sql = format!(
        "select count(*) from (select 1 from jobs where state = 0 and tenant = ?1 {of_others} and kind <> '{KIND}' limit ?2)"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(db.prepare_cached(&sql)?.query_row((of, most), |row| row.get::<_, i64>(0))?.unsigned_abs())
}

/// A move that ends no attempt.
fn moved(head: &Head, to: State, now: i64) -> Answer<Event> {
    let accepted = Event::accepted(head.job, &head.tenant, &head.kind, head.correlation_id.as_deref(), moment(now)?);
    let (version, attempt, trace) = (head.version + 1, head.attempt, head.trace.clone());
    Ok(Event { version, state: to, attempt, trace, ..accepted })
}

pub(super) fn owned(db: &Connection, tenant: &Tenant, jobs: &[JobId]) -> Answer<Vec<JobId>> {
    let mut find = db.prepare_cached("select 1 from jobs where id = ?1 and tenant = ?2")?;
    let mut owned = vec![];
    for job in jobs {
        if find.exists((Id(job.0), tenant))? {
            owned.push(*job);
        }
    }
    Ok(owned)
}

pub(super) fn dead_of(db: &Connection, whose: &Tenant, kind: &str, limit: usize) -> Answer<Vec<JobId>> {
    let sql = "select id from jobs where state = 3 and kind = ?1 and tenant = ?3 order by id limit ?2";
    columns::rows(db, sql, (kind, count(limit), whose), |row| Columns::of(row).job())
}

/// What belongs to a job that is gone.
pub(super) fn forget(db: &Connection, seq: i64) -> Answer<()> {
    for sql in ["delete from payloads where seq = ?1", "delete from attempts where seq = ?1"] {
        db.prepare_cached(sql)?.execute([seq])?;
    }
    Ok(())
}

pub(super) fn purge(db: &Connection, now: i64, jobs: &[JobId], by: Option<&Actor>) -> Answer<usize> {
    let mut purged = 0;
    for job in jobs {
        let sql = "delete from jobs where id = ?1 and state = 3 and unannounced = 0 returning seq, tenant";
        let gone: Option<(i64, Tenant)> =
            columns::rows(db, sql, [Id(job.0)], |row| Ok((row.get(0)?, row.get(1)?)))?.pop();
        let Some((seq, tenant)) = gone else { continue };
        trail::note(db, now, by, &tenant, Deed::JobPurged, &job.to_string())?;
        leave_behind(db, now, *job, seq)?;
        for sql in ["delete from webhook_tries where delivery = ?1", "delete from webhook_deliveries where id = ?1"] {
            db.prepare_cached(sql)?.execute([Id(job.0)])?;
        }
        purged += 1;
    }
    Ok(purged)
}
