//! The road back into the broker: what the relay and the reconciler read and mark. Every mark names the version it was read
//! with, so that a late one misses a job that has moved on.

use std::time::Duration;

use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, READY, long_ms};
use crate::ledger::{Announced, Answer, Census, Patience, Ready, Unannounced};

impl Postgres {
    pub(super) async fn give_to_relay(&self, job: JobId, version: i64) -> Answer<()> {
        let sql = "update jobs set queued_at = null, due_at = now(), unannounced = true where id = $1 and version = $2 and state = 0 and due_at is null";
        self.query(sql, &[&job.0, &version]).await.map(drop)
    }

    pub(super) async fn read_due(&self, limit: usize) -> Answer<Vec<Ready>> {
        let sql = format!("select {READY} from jobs where due_at <= now() and state = 0 order by due_at limit $1");
        Ok(self.query(&sql, &[&count(limit)]).await?.iter().map(read::ready).collect())
    }

    pub(super) async fn read_next_due(&self) -> Answer<Option<Duration>> {
        let sql = "select (extract(epoch from min(due_at) - now()) * 1000)::bigint as wait_ms from jobs where due_at is not null";
        let row = self.one(sql, &[]).await?.expect("an aggregate answers one row");
        Ok(row.get::<_, Option<i64>>("wait_ms").map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    pub(super) async fn read_overdue(&self, kind: &str, patience: Patience, limit: usize) -> Answer<Vec<Ready>> {
        let sql = format!(
            "select {READY} from jobs where state = 0 and due_at is null and kind = $1 \
             and queued_at <= now() - $2 * power(2, least(publishes, $4)) * interval '1 ms' \
             order by queued_at limit $3"
        );
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a patience")]
        let patience_ms = long_ms(patience.time) as f64;
        Ok(self
            .query(&sql, &[&kind, &patience_ms, &count(limit), &patience.doublings])
            .await?
            .iter()
            .map(read::ready)
            .collect())
    }

    pub(super) async fn write_queued(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        let sql = "update jobs j set due_at = null, queued_at = now(), ready_at = coalesce(j.due_at, j.ready_at), \
             publishes = j.publishes + 1 \
             from unnest($1::uuid[], $2::bigint[]) as t(id, version) where j.id = t.id and j.version = t.version and j.state = 0 and (j.due_at is null or j.due_at <= now())";
        let (ids, versions) = split(jobs);
        self.query(sql, &[&ids, &versions]).await.map(drop)
    }

    pub(super) async fn count_waiting_and_running(&self) -> Answer<Vec<Census>> {
        let sql = "select kind, count(*) filter (where state = 1) as running, \
             count(*) filter (where state = 0 and (due_at is null or due_at <= now())) as waiting, \
             min(coalesce(due_at, ready_at, changed_at)) \
                 filter (where state = 0 and (due_at is null or due_at <= now())) as oldest_waiting \
             from jobs where state < 2 group by kind order by kind";
        Ok(self.query(sql, &[]).await?.iter().map(census).collect())
    }

    pub(super) async fn count_dead(&self) -> Answer<Vec<(String, u64)>> {
        let sql = "select kind, count(*) as dead from jobs where state = 3 group by kind order by kind";
        let dead = |row: &Row| (row.get("kind"), u64::try_from(row.get::<_, i64>("dead")).unwrap_or(0));
        Ok(self.query(sql, &[]).await?.iter().map(dead).collect())
    }

    pub(super) async fn read_unannounced(&self, limit: usize) -> Answer<Vec<Unannounced>> {
        let rows = self.query("select id from jobs where unannounced limit $1", &[&count(limit)]).await?;
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let jobs: Vec<Uuid> = rows.iter().map(|row| row.get("id")).collect();
        Ok(self.histories(&jobs).await?.into_values().collect())
    }

    /// What workers still owe is in their heartbeats, everything else carries the mark. Before a worker's row goes,
    /// the mark is set in the same transaction.
    pub(super) async fn read_announced(&self) -> Answer<Announced> {
        let sql = "select now(), least(now(), (select min(announced_to) from workers), \
             (select min(changed_at) from jobs where unannounced))";
        let row = self.one(sql, &[]).await?.expect("select without from answers one row");
        Ok(Announced { now: row.get(0), to: row.get(1) })
    }

    pub(super) async fn owe(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        let sql = "update jobs j set unannounced = true from unnest($1::uuid[], $2::bigint[]) as t(id, version) \
             where j.id = t.id and j.version >= t.version and not j.unannounced";
        let (ids, versions) = split(jobs);
        self.query(sql, &[&ids, &versions]).await.map(drop)
    }

    pub(super) async fn clear_owed(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        let sql = "update jobs j set unannounced = false from unnest($1::uuid[], $2::bigint[]) as t(id, version) \
             where j.id = t.id and j.version = t.version and j.unannounced";
        let (ids, versions) = split(jobs);
        self.query(sql, &[&ids, &versions]).await.map(drop)
    }
}

fn census(row: &Row) -> Census {
    let count = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    let (waiting, running) = (count("waiting"), count("running"));
    Census { kind: row.get("kind"), waiting, running, oldest_waiting: row.get("oldest_waiting") }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn split(jobs: &[(JobId, i64)]) -> (Vec<Uuid>, Vec<i64>) {
    let mut sorted = jobs.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().map(|(job, version)| (job.0, version)).unzip()
}
