//! Forgetting: finished jobs, the ids that outlive them, and what they leave in the storage. No index knows when a job ended, for it
//! would cost every update of a job its short way; old ones are found by their ids, which begin with the time they were made.
//! What each call promises is [`crate::ledger::retention`]'s.

use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::JobId;
use uuid::Uuid;

use super::Postgres;
use super::read::long_ms;
use super::submit::{Keys, answers, insert};
use crate::ledger::retention::{Keep, Removed, Retention};
use crate::ledger::webhooks::KIND;
use crate::ledger::{Answer, NewJob, Submitted};

/// Further common table expressions behind one called `gone` (ids of removed jobs): what belongs to them goes with them, what outlives
/// them is marked.
pub(super) const WITH_THEM: &str = ", history as (delete from attempts a using gone where a.job = gone.id), \
     keys as (delete from idempotency i using gone where i.job = gone.id), \
     uses as (delete from file_uses u using gone where u.job = gone.id), \
     marked as (update foreign_jobs f set removed_at = now() from gone where f.id = gone.id), \
     bytes as (insert into leftovers (job) select id from gone on conflict do nothing)";

/// Whether job `j` has outlived its time, `$2` and `$3` in milliseconds.
fn outlived() -> String {
    format!(
        "j.state >= 2 and j.finished_at <= now() - (case when j.state = 3 then $3::bigint else $2::bigint end) * interval '1 ms' \
         and not j.unannounced and j.kind <> '{KIND}' \
         and not exists (select from idempotency i where i.job = j.id and i.expires_at > now()) \
         and not exists (select from webhook_deliveries d join jobs w on w.id = d.id where d.job = j.id and w.state < 2)"
    )
}

/// The first id of version 7 that can have been made within the shorter of both times; none when there is none.
const YOUNG: &str = "rpad(lpad(to_hex(greatest(0, floor(extract(epoch from now()) * 1000)::bigint - least($2::bigint, $3::bigint))), \
     12, '0'), 32, '0')::uuid";

#[async_trait]
impl Retention for Postgres {
    async fn remove_outlived(&self, keep: Keep, after: Option<JobId>, limit: usize) -> Answer<Removed> {
        let outlived = outlived();
        // Whoever holds a row is at it: it is looked at next time.
        let sql = format!(
            "with page as (select id from (\
                (select id from jobs where id > $1 and id < {YOUNG} order by id limit $4) union \
                (select id from foreign_jobs where removed_at is null and id > $1 order by id limit $4)) as p order by id limit $4), \
             old as (select j.id from jobs j join page p on p.id = j.id where {outlived} order by j.id for update of j skip locked), \
             gone as (delete from jobs j using old where j.id = old.id returning j.id){WITH_THEM} \
             select (select count(*) from gone) as removed, (select count(*) from page) as looked, \
                (select id from page order by id desc limit 1) as last"
        );
        let (finished, failed) = (keep.finished.map(long_ms), keep.failed.map(long_ms));
        let after = after.map_or(Uuid::nil(), |job| job.0);
        let row =
            self.one(&sql, &[&after, &finished, &failed, &count(limit)]).await?.expect("an aggregate answers one row");
        let is_full = row.get::<_, i64>("looked") >= count(limit);
        let last = row.get::<_, Option<Uuid>>("last").map(JobId);
        Ok(Removed { jobs: number(row.get("removed")), next: last.filter(|_| is_full) })
    }

    async fn leftovers(&self, limit: usize) -> Answer<Vec<JobId>> {
        let rows = self.query("select job from leftovers order by job limit $1", &[&count(limit)]).await?;
        Ok(rows.iter().map(|row| JobId(row.get("job"))).collect())
    }

    async fn forget_leftovers(&self, jobs: &[JobId]) -> Answer<()> {
        let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
        self.query("delete from leftovers where job = any($1)", &[&jobs]).await.map(drop)
    }

    async fn adopt(&self, job: &NewJob) -> Answer<Option<Submitted>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // Held until the commit, also where it was there before: a removal of the job waits, or has been.
        let sql = "insert into foreign_jobs (id) values ($1) on conflict (id) do update set id = excluded.id \
             returning removed_at is not null as removed";
        let known = transaction.query_one(&transaction.prepare_cached(sql).await?, &[&job.id.0]).await?;
        if known.get("removed") {
            return Ok(None);
        }
        let made = insert(&transaction, &[job]).await?;
        let told = answers(&transaction, std::slice::from_ref(job), made, &Keys::default()).await?.pop();
        if told.as_ref().is_some_and(Submitted::is_created) {
            let owe = transaction.prepare_cached("update jobs set unannounced = true where id = $1").await?;
            transaction.execute(&owe, &[&job.id.0]).await?;
        }
        transaction.commit().await?;
        Ok(told)
    }

    async fn forget_foreign(&self, age: Duration, limit: usize) -> Answer<usize> {
        let sql = "with old as (delete from foreign_jobs where id in (select id from foreign_jobs \
                where removed_at <= now() - $1::bigint * interval '1 ms' order by removed_at limit $2) returning id) \
             select count(*) from old";
        let row = self.one(sql, &[&long_ms(age), &count(limit)]).await?.expect("an aggregate answers one row");
        Ok(number(row.get(0)))
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn number(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}
