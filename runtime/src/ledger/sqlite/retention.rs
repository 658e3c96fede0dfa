//! Forgetting: finished jobs, the ids that outlive them, and what they leave in the storage. What each call promises is
//! [`crate::ledger::retention`]'s.

use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::JobId;
use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::columns::{self, Columns, Id};
use super::jobs::{count, forget};
use super::{Sqlite, submit};
use crate::ledger::retention::{Keep, Removed, Retention};
use crate::ledger::webhooks::KIND;
use crate::ledger::{Answer, NewJob, Submitted};

/// Old jobs of ours by their ids, which begin with the time they were made, and all of foreign producers, whose do not.
const PAGE: &str = "select id from (\
     select id from (select id from jobs where id > ?1 and id < ?2 order by id limit ?3) union \
     select id from (select id from foreign_jobs where removed_at is null and id > ?1 order by id limit ?3)) order by id limit ?3";

fn remove_outlived(db: &Connection, now: i64, keep: Keep, after: Option<JobId>, limit: usize) -> Answer<Removed> {
    let after = after.map_or(Uuid::nil(), |job| job.0);
    let young = keep.least().map_or(Uuid::nil(), |least| first_of(before(now, least)));
    let page: Vec<JobId> = columns::rows(db, PAGE, (Id(after), Id(young), count(limit)), |row| Columns::of(row).job())?;
    let sql = format!(
        "delete from jobs where id = ?1 and state >= 2 and finished_at <= case when state = 3 then ?3 else ?2 end \
         and unannounced = 0 and kind <> '{KIND}' \
         and not exists (select 1 from idempotency i where i.job = jobs.id and i.expires_at > ?4) \
         and not exists (select 1 from webhook_deliveries d join jobs w on w.id = d.id where d.job = jobs.id and w.state < 2) \
         returning seq"
    );
    let [finished, failed] = [keep.finished, keep.failed].map(|keep| keep.map(|keep| before(now, keep)));
    let mut removed = 0;
    for job in &page {
        let seq = columns::rows(db, &sql, (Id(job.0), finished, failed, now), |row| row.get(0))?.pop();
        let Some(seq) = seq else { continue };
        leave_behind(db, now, *job, seq)?;
        removed += 1;
    }
    let is_full = page.len() >= limit;
    Ok(Removed { jobs: removed, next: page.last().copied().filter(|_| is_full) })
}

/// A job is gone: what belongs to it goes with it, what outlives it is marked.
pub(super) fn leave_behind(db: &Connection, now: i64, job: JobId, seq: i64) -> Answer<()> {
    forget(db, seq)?;
    let job = Id(job.0);
    for sql in [
        "delete from idempotency where job = ?1",
        "delete from file_uses where job = ?1",
        "insert into leftovers (job) values (?1) on conflict do nothing",
    ] {
        db.prepare_cached(sql)?.execute([&job])?;
    }
    let marked = "update foreign_jobs set removed_at = ?2 where id = ?1";
    Ok(db.prepare_cached(marked)?.execute((job, now)).map(drop)?)
}

fn adopt(db: &Connection, now: i64, job: &NewJob) -> Answer<Option<Submitted>> {
    let mut find = db.prepare_cached("select removed_at is not null from foreign_jobs where id = ?1")?;
    match find.query_row([Id(job.id.0)], |row| row.get(0)).optional()? {
        Some(true) => return Ok(None),
        Some(false) => {}
        None => {
            db.prepare_cached("insert into foreign_jobs (id) values (?1)")?.execute([Id(job.id.0)])?;
        }
    }
    let told = submit::submit(db, now, std::slice::from_ref(job))?.pop();
    if told.as_ref().is_some_and(Submitted::is_created) {
        db.prepare_cached("update jobs set unannounced = 1 where id = ?1")?.execute([Id(job.id.0)])?;
    }
    Ok(told)
}

fn before(now: i64, age: Duration) -> i64 {
    now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}

/// The first id of version 7 of that moment.
fn first_of(micros: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(micros / 1000).unwrap_or(0) << 80)
}

#[async_trait]
impl Retention for Sqlite {
    async fn remove_outlived(&self, keep: Keep, after: Option<JobId>, limit: usize) -> Answer<Removed> {
        self.write(move |db, now| remove_outlived(db, now, keep, after, limit)).await
    }

    async fn leftovers(&self, limit: usize) -> Answer<Vec<JobId>> {
        let sql = "select job from leftovers order by job limit ?1";
        self.read(move |db, _| columns::rows(db, sql, [count(limit)], |row| Columns::of(row).job())).await
    }

    async fn forget_leftovers(&self, jobs: &[JobId]) -> Answer<()> {
        let jobs = jobs.to_vec();
        let forget = move |db: &Connection, _| {
            let mut forget = db.prepare_cached("delete from leftovers where job = ?1")?;
            jobs.iter().try_for_each(|job| Ok(forget.execute([Id(job.0)]).map(drop)?))
        };
        self.write(forget).await
    }

    async fn adopt(&self, job: &NewJob) -> Answer<Option<Submitted>> {
        let job = job.clone();
        self.write(move |db, now| adopt(db, now, &job)).await
    }

    async fn forget_foreign(&self, age: Duration, limit: usize) -> Answer<usize> {
        let sql = "delete from foreign_jobs where id in \
             (select id from foreign_jobs where removed_at <= ?1 order by removed_at limit ?2)";
        self.write(move |db, now| Ok(db.prepare_cached(sql)?.execute((before(now, age), count(limit)))?)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_moment_comes_after_those_made_before_it() {
        let made = |ms: u64| {
            Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, ms / 1000, (ms % 1000) as u32 * 1_000_000))
        };
        let moment = 1_790_000_000_123;
        let first = first_of(i64::try_from(moment * 1000).unwrap());
        assert!(made(moment - 1) < first && first < made(moment));
        assert_eq!(first_of(-5), Uuid::nil());
    }
}
