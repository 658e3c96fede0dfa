//! Submit, look, cancel, replay, and what a running attempt saves on its way.

use longshore_sdk::{JobId, Progress};
use serde_json::value::RawValue;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, JOB, int, long_ms, text};
use crate::job::state::State;
use crate::ledger::{Answer, Attempt, Canceling, Ended, Fence, Filter, Job, NewJob, Replaying, RunAt, Submitted};

impl Postgres {
    pub(super) async fn insert(&self, jobs: &[NewJob]) -> Answer<Vec<Submitted>> {
        // A job that is due already goes on the road at once (queued_at), a later one waits for the relay (due_at).
        let sql = format!(
            "insert into jobs (id, kind, payload, priority, max_attempts, timeout_ms, metadata, correlation_id, due_at, queued_at) \
             select id, kind, payload::json, priority, max_attempts, timeout_ms, metadata::json, correlation_id, \
                case when due > now() then due end, case when due > now() then null else now() end \
             from (select *, coalesce(run_at, now() + delay_ms * interval '1 ms') as due from unnest($1::uuid[], $2::text[], $3::text[], \
                $4::smallint[], $5::int[], $6::bigint[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[]) \
                as t(id, kind, payload, priority, max_attempts, timeout_ms, metadata, correlation_id, run_at, delay_ms)) as t \
             on conflict (id) do nothing returning {JOB}"
        );
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.0).collect();
        let kinds: Vec<&str> = jobs.iter().map(|job| job.kind.as_str()).collect();
        let payloads: Vec<&str> = jobs.iter().map(|job| job.payload.get()).collect();
        let priorities: Vec<i16> = jobs.iter().map(|job| job.priority.code()).collect();
        let attempts: Vec<i32> = jobs.iter().map(|job| int(job.max_attempts)).collect();
        let timeouts: Vec<i64> = jobs.iter().map(|job| long_ms(job.timeout)).collect();
        let metadata: Vec<Option<&str>> = jobs.iter().map(|job| job.metadata.as_deref().map(RawValue::get)).collect();
        let correlations: Vec<Option<&str>> = jobs.iter().map(|job| job.correlation_id.as_deref()).collect();
        let run_ats: Vec<_> = jobs.iter().map(|job| at(job.run_at)).collect();
        let delays: Vec<i64> = jobs.iter().map(|job| delay_ms(job.run_at)).collect();
        let rows = self
            .query(
                &sql,
                &[
                    &ids,
                    &kinds,
                    &payloads,
                    &priorities,
                    &attempts,
                    &timeouts,
                    &metadata,
                    &correlations,
                    &run_ats,
                    &delays,
                ],
            )
            .await?;
        let mut made: std::collections::HashMap<_, _> =
            rows.iter().map(read::job).map(|job| (job.id, Submitted { job, created: true })).collect();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match made.remove(&job.id) {
                Some(submitted) => submitted,
                None => self.submitted_before(job.id).await?,
            });
        }
        Ok(answers)
    }

    async fn submitted_before(&self, job: JobId) -> Answer<Submitted> {
        let present = self.read_job(job).await?;
        let gone = || crate::ledger::LedgerError::Unavailable(format!("job {job} was removed while it was submitted"));
        Ok(Submitted { job: present.ok_or_else(gone)?, created: false })
    }

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
        let sql = format!(
            "select {JOB} from jobs where ($1::smallint is null or state = $1) and ($2::text is null or kind = $2) \
             and ($3::uuid is null or id < $3) order by id desc limit $4"
        );
        let (state, before) = (filter.state.map(State::code), filter.before.map(|job| job.0));
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let rows = self.query(&sql, &[&state, &filter.kind, &before, &limit]).await?;
        Ok(rows.iter().map(read::job).collect())
    }

    pub(super) async fn write_checkpoint(&self, fence: Fence, checkpoint: &RawValue) -> Answer<bool> {
        let sql =
            "update jobs set checkpoint = $4 where id = $1 and attempt = $2 and worker = $3 and state = 1 returning id";
        let row = self.one(sql, &[&fence.job.0, &int(fence.attempt), &fence.worker, &Json(checkpoint)]).await?;
        Ok(row.is_some())
    }

    pub(super) async fn write_progress(&self, worker: Uuid, progress: &[(Fence, Progress)]) -> Answer<()> {
        let sql = "update jobs j set progress = v.progress::json from unnest($2::uuid[], $3::int[], $4::text[]) \
             as v(id, attempt, progress) where j.id = v.id and j.attempt = v.attempt and j.worker = $1 and j.state = 1";
        let mut sorted: Vec<_> = progress.iter().filter(|(fence, _)| fence.worker == worker).collect();
        sorted.sort_unstable_by_key(|(fence, _)| fence.job);
        let jobs: Vec<Uuid> = sorted.iter().map(|(fence, _)| fence.job.0).collect();
        let attempts: Vec<i32> = sorted.iter().map(|(fence, _)| int(fence.attempt)).collect();
        let reports: Vec<String> = sorted.iter().map(|(_, progress)| text(progress)).collect();
        self.query(sql, &[&worker, &jobs, &attempts, &reports]).await.map(drop)
    }

    pub(super) async fn cancel_job(&self, job: JobId) -> Answer<Canceling> {
        // One statement, so that the state it decides by is the state it changes.
        let sql = format!(
            "update jobs set version = version + 1, changed_at = now(), \
                state = case when state = 0 then 4 else state end, \
                cancel_requested = state = 1, unannounced = unannounced or state = 0, \
                due_at = null, queued_at = null, checkpoint = case when state = 1 then checkpoint end, \
                finished_at = case when state = 0 then now() end \
             where id = $1 and (state = 0 or state = 1 and not cancel_requested) returning {JOB}"
        );
        if let Some(row) = self.one(&sql, &[&job.0]).await? {
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
        let sql = format!(
            "update jobs set state = 0, version = version + 1, changed_at = now(), charged = 0, crashes = 0, crashed_alone = 0, \
                due_at = now(), queued_at = null, finished_at = null, worker = null, unannounced = true \
             where id = $1 and state = 3 returning {JOB}"
        );
        if let Some(row) = self.one(&sql, &[&job.0]).await? {
            return Ok(Replaying::Ready(read::job(&row)));
        }
        Ok(self.read_job(job).await?.map_or(Replaying::Unknown, Replaying::NotDead))
    }
}

fn at(run_at: Option<RunAt>) -> Option<jiff::Timestamp> {
    match run_at {
        Some(RunAt::At(moment)) => Some(moment),
        Some(RunAt::After(_)) | None => None,
    }
}

fn delay_ms(run_at: Option<RunAt>) -> i64 {
    match run_at {
        Some(RunAt::After(delay)) => long_ms(delay),
        Some(RunAt::At(_)) | None => 0,
    }
}
