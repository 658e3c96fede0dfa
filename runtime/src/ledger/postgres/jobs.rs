//! Look, cancel, replay, purge, and what a running attempt saves on its way. How a job comes in is in [`super::submit`].

use longshore_sdk::JobId;
use longshore_sdk::api::EventWord;
use serde_json::value::RawValue;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, JOB, int, text};
use super::retention::WITH_THEM;
use super::trail::noted;
use super::webhooks::{tell, tell_of};
use crate::job::state::State;
use crate::ledger::trail::Deed;
use crate::ledger::webhooks::KIND;
use crate::ledger::{Answer, Attempt, Canceling, Ended, Fence, Filter, Job, Replaying, Report};
use crate::tenant::Tenant;

/// Of one tenant, in words by which the partial index is found.
const WHOSE: &str = "tenant = $5 and tenant <> 'default'";

/// Makes a dead letter ready again, and notes by whom.
pub(super) fn raise() -> String {
    let told = [tell_of(EventWord::Requeued), noted(2, Deed::JobReplayed, "id", "moved")].concat();
    format!(
        "with moved as (update jobs set state = 0, version = version + 1, changed_at = now(), charged = 0, crashes = 0, crashed_alone = 0, \
            due_at = now(), queued_at = null, finished_at = null, worker = null, unannounced = true, \
            replays = (coalesce(replays::jsonb, '[]') || jsonb_build_object('version', version + 1, \
                'at_us', (extract(epoch from now()) * 1000000)::bigint))::json \
         where id = $1 and state = 3 returning *){told}select {JOB} from moved"
    )
}

impl Postgres {
    pub(super) async fn read_job(&self, job: JobId) -> Answer<Option<Job>> {
        let row = self.one(&format!("select {JOB} from jobs where id = $1"), &[&job.0]).await?;
        Ok(row.as_ref().map(read::job))
    }

    pub(super) async fn read_attempts(&self, job: JobId) -> Answer<Vec<Attempt>> {
        let sql = "select attempt, worker, ended, error, started_at, finished_at from attempts where job = $1 order by attempt";
        let rows = self.query(sql, &[&job.0]).await?;
        let attempts = rows.iter().map(|row| Attempt {
            attempt: read::number(row, "attempt"),
            worker: row.get("worker"),
            ended: Ended::from_word(row.get("ended")),
            error: read::json(row, "error"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
        });
        Ok(attempts.collect())
    }

    pub(super) async fn read_list(&self, filter: &Filter) -> Answer<Vec<Job>> {
        // Ids are of version 7: their order is the order of submission, and the primary key serves it.
        let whose = match &filter.tenant {
            Some(tenant) if !tenant.is_default() => WHOSE,
            _ => "($5::text is null or tenant = $5)",
        };
        let sql = format!(
            "select {JOB} from jobs where ($1::smallint is null or state = $1) and ($2::text is null or kind = $2) \
             and ($3::uuid is null or id < $3) and {whose} order by id desc limit $4"
        );
        let tenant = filter.tenant.as_ref().map(Tenant::as_str);
        let (state, before) = (filter.state.map(State::code), filter.before.map(|job| job.0));
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let rows = self.query(&sql, &[&state, &filter.kind, &before, &limit, &tenant]).await?;
        Ok(rows.iter().map(read::job).collect())
    }

    pub(super) async fn write_checkpoint(&self, fence: Fence, checkpoint: &RawValue) -> Answer<bool> {
        let sql =
            "update jobs set checkpoint = $4 where id = $1 and attempt = $2 and worker = $3 and state = 1 returning id";
        let row = self.one(sql, &[&fence.job.0, &int(fence.attempt), &fence.worker, &Json(checkpoint)]).await?;
        Ok(row.is_some())
    }

    pub(super) async fn write_progress(&self, worker: Uuid, progress: &[(Fence, Report)]) -> Answer<()> {
        let told = tell_of(EventWord::Progressed);
        let sql = format!(
            "with moved as (update jobs j set progress = v.progress::json from unnest($2::uuid[], $3::int[], $4::text[]) \
                as v(id, attempt, progress) where j.id = v.id and j.attempt = v.attempt and j.worker = $1 and j.state = 1 \
                returning j.id, j.tenant, j.kind, coalesce(j.started_version, j.version) as version, j.progress, j.correlation_id, \
                    j.trace, j.webhook){told}select id from moved"
        );
        let mut sorted: Vec<_> = progress.iter().filter(|(fence, _)| fence.worker == worker).collect();
        sorted.sort_unstable_by_key(|(fence, _)| fence.job);
        let jobs: Vec<Uuid> = sorted.iter().map(|(fence, _)| fence.job.0).collect();
        let attempts: Vec<i32> = sorted.iter().map(|(fence, _)| int(fence.attempt)).collect();
        let reports: Vec<String> = sorted.iter().map(|(_, progress)| text(progress)).collect();
        self.query(&sql, &[&worker, &jobs, &attempts, &reports]).await.map(drop)
    }

    pub(super) async fn cancel_job(&self, job: JobId) -> Answer<Canceling> {
        // One statement, so that the state it decides by is the state it changes.
        let told = tell("case when m.state = 4 then 'canceled' end");
        let told = [told, noted(2, Deed::JobCanceled, "id", "moved")].concat();
        let sql = format!(
            "with moved as (update jobs set version = version + (state = 0)::int, changed_at = case when state = 0 then now() else changed_at end, \
                state = case when state = 0 then 4 else state end, \
                cancel_requested = state = 1, unannounced = unannounced or state = 0, \
                due_at = null, queued_at = null, checkpoint = case when state = 1 then checkpoint end, \
                finished_at = case when state = 0 then now() end \
             where id = $1 and (state = 0 or state = 1 and not cancel_requested) returning *){told}select {JOB} from moved"
        );
        let (name, address, request) = self.actor();
        if let Some(row) = self.one(&sql, &[&job.0, &name, &address, &request]).await? {
            let job = read::job(&row);
            return Ok(if job.state == State::Running { Canceling::Requested(job) } else { Canceling::Canceled(job) });
        }
        Ok(match self.read_job(job).await? {
            Some(job) if job.state == State::Running => Canceling::Requested(job),
            Some(job) => Canceling::Settled(job),
            None => Canceling::Unknown,
        })
    }

    pub(super) async fn replay_job(&self, job: JobId) -> Answer<Replaying> {
        let Some(dead) = self.read_job(job).await? else { return Ok(Replaying::Unknown) };
        if dead.state != State::Failed {
            return Ok(Replaying::NotDead(dead));
        }
        if let Some(key) = &dead.unique_key {
            return self.replay_unique(&dead, key).await;
        }
        let (name, address, request) = self.actor();
        if let Some(row) = self.one(&raise(), &[&job.0, &name, &address, &request]).await? {
            return Ok(Replaying::Ready(read::job(&row)));
        }
        Ok(self.read_job(job).await?.map_or(Replaying::Unknown, Replaying::NotDead))
    }

    pub(super) async fn dead_of(&self, whose: &Tenant, kind: &str, limit: usize) -> Answer<Vec<JobId>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "select id from jobs where state = 3 and kind = $1 and tenant = $3 order by id limit $2";
        let rows = self.query(sql, &[&kind, &limit, &whose.as_str()]).await?;
        Ok(rows.iter().map(|row| JobId(row.get("id"))).collect())
    }

    pub(super) async fn pending_of(&self, of: &Tenant, most: u64) -> Answer<u64> {
        // In words by which the partial index is found.
        let of_others = if of.is_default() { "" } else { "and tenant <> 'default'" };
        let sql = format!(
            "select count(*) from (select from jobs where state = 0 and tenant = $1 {of_others} and kind <> '{KIND}' limit $2) as pending"
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let row = self.one(&sql, &[&of.as_str(), &most]).await?.expect("an aggregate answers one row");
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    pub(super) async fn whose(&self, tenant: &Tenant, jobs: &[JobId]) -> Answer<Vec<JobId>> {
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
        let sql = "select id from jobs where id = any($1) and tenant = $2";
        let rows = self.query(sql, &[&ids, &tenant.as_str()]).await?;
        Ok(rows.iter().map(|row| JobId(row.get("id"))).collect())
    }

    pub(super) async fn purge_jobs(&self, jobs: &[JobId]) -> Answer<usize> {
        // One statement: what belongs to a job goes with it or stays with it. In the order of ids, as all who lock many.
        let purge = "with gone as (delete from jobs where id in (select id from jobs where id = any($1) and state = 3 \
                and not unannounced order by id for update) returning id, tenant), \
             tries as (delete from webhook_tries t using gone where t.delivery = gone.id), \
             deliveries as (delete from webhook_deliveries d using gone where d.id = gone.id)";
        let sql = [purge, WITH_THEM, &noted(2, Deed::JobPurged, "id", "gone"), "select count(*) from gone"].concat();
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
        let (name, address, request) = self.actor();
        let row = self.one(&sql, &[&ids, &name, &address, &request]).await?.expect("an aggregate answers one row");
        Ok(usize::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }
}
