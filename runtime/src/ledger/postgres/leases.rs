//! Workers and their leases: one row per worker, renewed by its heartbeat, taken by the rescuer. A lease ends by the
//! server's clock alone.

use std::time::Duration;

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, int, long_ms};
use super::webhooks::{ended, tell};
use crate::ledger::{Answer, Beat, BeatAnswer, Ended, Fence, Rescued, Whose, WorkerCard, WorkerRow, evidence};

impl Postgres {
    pub(super) async fn enter_worker(&self, card: &WorkerCard, lease: Duration) -> Answer<Timestamp> {
        let sql = "insert into workers (id, host, kinds, slots, lease_until) \
             values ($1, $2, $3, $4, now() + $5 * interval '1 ms') \
             on conflict (id) do update set lease_until = excluded.lease_until returning now() as now";
        let params: super::Params<'_> = &[&card.id, &card.host, &card.kinds, &int(card.slots), &ms(lease)];
        Ok(self.one(sql, params).await?.expect("an upsert returns its row").get("now"))
    }

    pub(super) async fn renew(&self, beat: &Beat, lease: Duration) -> Answer<Option<BeatAnswer>> {
        let sql = "update workers set lease_until = now() + $2 * interval '1 ms', busy = $3, draining = $4, announced_to = $5, \
             peak_memory = $6 \
             where id = $1 and ending is null returning now() as now, \
             array(select j.id from jobs j where j.cancel_requested and j.worker = $1 and j.state = 1) as cancels";
        let peak = beat.peak_memory.and_then(|bytes| i64::try_from(bytes).ok());
        let params: super::Params<'_> =
            &[&beat.worker, &ms(lease), &int(beat.busy), &beat.draining, &beat.announced_to, &peak];
        let row = self.one(sql, params).await?;
        Ok(row.map(|row| BeatAnswer {
            now: row.get("now"),
            cancels: row.get::<_, Vec<Uuid>>("cancels").into_iter().map(JobId).collect(),
        }))
    }

    pub(super) async fn running_of(&self, worker: Uuid) -> Answer<Vec<Fence>> {
        let rows = self.query("select id, attempt from jobs where state = 1 and worker = $1", &[&worker]).await?;
        Ok(rows.iter().map(|row| read::fence(row, worker)).collect())
    }

    pub(super) async fn reopen(&self, fences: &[Fence]) -> Answer<()> {
        let told = tell(&ended("false"));
        let sql = format!(
            "with v as (select * from unnest($1::uuid[], $2::int[], $3::uuid[]) as v(id, attempt, worker)), \
             moved as (update jobs j set state = case when j.cancel_requested then 4 else 0 end, version = j.version + 1, \
                changed_at = now(), unannounced = true, \
                due_at = case when j.cancel_requested then null else now() end, queued_at = null, \
                finished_at = case when j.cancel_requested then now() end, cancel_requested = false, worker = null \
                from v where j.id = v.id and j.attempt = v.attempt and j.worker = v.worker and j.state = 1 \
                returning j.id, j.tenant, j.kind, j.attempt, j.state, j.version, j.started_version, v.worker, j.started_at, j.correlation_id, \
                    j.trace, j.webhook), \
             history as (insert into attempts (job, attempt, worker, ended, started_at, started_version, version, state) \
                select id, attempt, worker, 'handed_back', started_at, started_version, version, state from moved \
                on conflict do nothing) {told} select id from moved"
        );
        let jobs: Vec<Uuid> = fences.iter().map(|fence| fence.job.0).collect();
        let attempts: Vec<i32> = fences.iter().map(|fence| int(fence.attempt)).collect();
        let workers: Vec<Uuid> = fences.iter().map(|fence| fence.worker).collect();
        self.query(&sql, &[&jobs, &attempts, &workers]).await.map(drop)
    }

    pub(super) async fn cut_lease(&self, worker: Uuid, ending: &str) -> Answer<()> {
        let sql = "update workers set lease_until = now(), ending = $2 where id = $1 and ending is null";
        self.query(sql, &[&worker, &ending]).await.map(drop)
    }

    /// One transaction for each dead worker: first its running jobs, **then** the mark on every attempt that it ended and may
    /// not have announced, then its row. In this order nothing it still records in between is missed.
    pub(super) async fn take_leases(&self, crash_limit: u32, whose: Whose) -> Answer<Vec<Rescued>> {
        let mut client = self.client().await?;
        let everyones = whose == Whose::Everyones;
        let mut rescued = vec![];
        loop {
            let transaction = client.transaction().await?;
            // Another rescuer's workers are skipped; a heartbeat that comes now waits, and finds its row gone.
            let sql = "select id, host, peak_memory, ending, announced_to from workers where $1 or lease_until <= now() limit 1 for update skip locked";
            let Some(dead) = transaction.query_opt(sql, &[&everyones]).await? else { return Ok(rescued) };
            let (worker, announced_to): (Uuid, Timestamp) = (dead.get("id"), dead.get("announced_to"));
            let ended = evidence::ended(dead.get("ending"));
            let known = evidence::of_worker(dead.get("host"), dead.get("peak_memory"), dead.get("ending"));
            rescued.extend(lose(&transaction, crash_limit, (ended, &known), "j.worker = $4", &[&worker]).await?);
            transaction
                .execute(
                    "update jobs j set unannounced = true from attempts a \
                     where a.worker = $1 and a.finished_at >= $2 and j.id = a.job and not j.unannounced",
                    &[&worker, &announced_to],
                )
                .await?;
            transaction.execute("delete from workers where id = $1", &[&worker]).await?;
            transaction.commit().await?;
        }
    }

    pub(super) async fn take_orphans(&self, crash_limit: u32) -> Answer<Vec<Rescued>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let nobodys = "not exists (select from workers w where w.id = j.worker)";
        let rescued = lose(&transaction, crash_limit, (evidence::ended(None), ""), nobodys, &[]).await?;
        transaction.commit().await?;
        Ok(rescued)
    }

    pub(super) async fn read_workers(&self) -> Answer<Vec<WorkerRow>> {
        let rows = self.query("select * from workers where lease_until > now() order by started_at", &[]).await?;
        Ok(rows.iter().map(worker).collect())
    }

    pub(super) async fn take_role(&self, role: &str, holder: Uuid, lease: Duration) -> Answer<bool> {
        let sql = "insert into roles (role, holder, until) values ($1, $2, now() + $3 * interval '1 ms') \
             on conflict (role) do update set holder = excluded.holder, until = excluded.until \
             where roles.holder = excluded.holder or roles.until <= now() returning role";
        Ok(self.one(sql, &[&role, &holder, &ms(lease)]).await?.is_some())
    }
}

/// Running jobs `whose` worker is gone become lost attempts: pending again and uncharged, canceled if a cancel was accepted,
/// or failed as poison when they crashed their worker too often while nothing else ran there. `ended` and `known` are the evidence of
/// the worker.
async fn lose(
    transaction: &Transaction<'_>,
    crash_limit: u32,
    (ended_so, known): (Ended, &str),
    whose: &str,
    params: super::Params<'_>,
) -> Answer<Vec<Rescued>> {
    let told = tell(&ended("true"));
    let (word, (code, how)) = (ended_so.word(), evidence::of_attempt(ended_so));
    let sql = format!(
        "with lost as (select j.id, j.version, j.worker, {SHOWN} as shown from jobs j where j.state = 1 and {whose}), \
         moved as (update jobs j set \
            crashes = j.crashes + 1, crashed_alone = j.crashed_alone + j.alone::int, version = j.version + 1, changed_at = now(), \
            state = case when j.cancel_requested then 4 when j.crashed_alone + j.alone::int >= $1 then 3 else 0 end, \
            error = case when j.cancel_requested then j.error when j.crashed_alone + j.alone::int >= $1 \
                then json_build_object('code', 'poison', 'message', $2::text || old.shown) else j.error end, \
            due_at = case when j.cancel_requested or j.crashed_alone + j.alone::int >= $1 then null else now() end, \
            finished_at = case when j.cancel_requested or j.crashed_alone + j.alone::int >= $1 then now() end, \
            queued_at = null, progress = null, cancel_requested = false, unannounced = true, worker = null \
            from lost old where old.id = j.id and j.state = 1 and j.version = old.version \
            returning old.shown, j.id, j.kind, j.attempt, j.state, j.version, j.started_version, old.worker, j.started_at, j.tenant, j.correlation_id, j.trace, j.webhook), \
         history as (insert into attempts (job, attempt, worker, ended, error, started_at, started_version, version, state) \
            select id, attempt, worker, '{word}', json_build_object('code', case when state = 3 then 'poison' else '{code}' end, \
                    'message', case when state = 3 then $2::text else $3::text end || shown), \
                started_at, started_version, version, state from moved on conflict do nothing){told} \
         select id, kind, attempt, state, worker, correlation_id from moved"
    );
    let (poison, lost) = (format!("{}{known}", evidence::POISON), format!("{how}{known}"));
    let (limit, mut all): (i32, Vec<&(dyn super::ToSql + Sync)>) = (int(crash_limit), vec![]);
    all.extend([&limit as &(dyn super::ToSql + Sync), &poison, &lost]);
    all.extend(params);
    let rows = transaction.query(&sql, &all).await?;
    Ok(rows.iter().map(|row| rescued(row, ended_so)).collect())
}

/// [`evidence::of_progress`] in SQL.
const SHOWN: &str =
    "coalesce('; the attempt had shown ' || floor(100 * (j.progress->>'fraction')::float8) || ' %', '')";

fn rescued(row: &Row, ended: Ended) -> Rescued {
    let worker = row.get::<_, Option<Uuid>>("worker").unwrap_or_default();
    let (fence, state) = (read::fence(row, worker), read::state(row));
    Rescued { fence, ended, kind: row.get("kind"), state, correlation_id: row.get("correlation_id") }
}

fn worker(row: &Row) -> WorkerRow {
    WorkerRow {
        card: WorkerCard {
            id: row.get("id"),
            host: row.get("host"),
            kinds: row.get("kinds"),
            slots: read::number(row, "slots"),
        },
        busy: read::number(row, "busy"),
        draining: row.get("draining"),
        started_at: row.get("started_at"),
        lease_until: row.get("lease_until"),
    }
}

/// As a double, because `$n * interval` takes one.
fn ms(duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a lease")]
    let ms = long_ms(duration) as f64;
    ms
}
