//! Looks into the ledger beside the system, over a connection of its own that no proxy cuts. It changes nothing; when the server is
//! away it says so and connects again at the next look.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use longshore_sdk::JobId;
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use crate::postgres::connect;
use crate::until::poll;

/// No question takes longer while the server lives.
const ANSWER: Duration = Duration::from_secs(20);

/// Parameters of a question.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The observer.
pub struct Eye {
    url: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl Eye {
    /// Of the database at this URL.
    pub fn on(url: &str) -> Eye {
        Eye { url: url.to_owned(), client: Mutex::new(None) }
    }

    /// The rows of one answer.
    pub async fn ask(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let client = self.client().await?;
        let answer = tokio::time::timeout(ANSWER, client.query(sql, params)).await;
        Ok(answer.context("the eye got no answer")??)
    }

    /// The one number of the answer.
    pub async fn count(&self, sql: &str, params: Params<'_>) -> Result<i64> {
        let rows = self.ask(sql, params).await?;
        Ok(rows.first().context("a count is one row")?.try_get(0)?)
    }

    /// Waits until the worker's row is gone, and with it every job it ran: somebody else has rescued them.
    pub async fn gone(&self, worker: Uuid, patience: Duration) -> Result<()> {
        let none =
            |sql: &'static str| async move { self.count(sql, &[&worker]).await.is_ok_and(|n| n == 0).then_some(()) };
        let row = || none("select count(*) from workers where id = $1");
        poll("the lease of a dead worker to be taken", patience, row).await?;
        // Asked apart, for it is a scan.
        let jobs = || none("select count(*) from jobs where state = 1 and worker = $1");
        poll("the jobs of a dead worker to be rescued", patience, jobs).await
    }

    /// How many jobs this worker, in this process, has in hand just now; of the newest starts, for all jobs would be a scan.
    pub async fn runs(&self, pid: u32, worker: Uuid) -> Result<i64> {
        let sql = "select count(*) from (select job from chaos.starts where pid = $1 order by seq desc limit 100) newest \
             join jobs j on j.id = newest.job where j.state = 1 and j.worker = $2";
        self.count(sql, &[&pid.cast_signed(), &worker]).await
    }

    /// How many attempts were lost with this worker, once the ledger answers.
    pub async fn lost_with(&self, worker: Uuid, patience: Duration) -> Result<usize> {
        let sql = "select count(*) from attempts where worker = $1 and ended = 'lost'";
        let counted = || async { self.count(sql, &[&worker]).await.ok() };
        Ok(usize::try_from(poll("a count of the lost attempts", patience, counted).await?)?)
    }

    /// When the server was started that answers now, in its own words.
    pub async fn born(&self, patience: Duration) -> Result<String> {
        let asked =
            || async { self.ask("select pg_postmaster_start_time()::text", &[]).await.ok()?.into_iter().next() };
        Ok(poll("the database to tell its start", patience, asked).await?.get(0))
    }

    /// Waits until this process has just begun work of at least this length, and answers which attempt it is: half of it is left.
    pub async fn long_work_of(&self, pid: u32, long: Duration, patience: Duration) -> Result<(JobId, i32)> {
        let (pid, ms) = (pid.cast_signed(), i64::try_from(long.as_millis())?);
        let sql = "select job, attempt from (select * from chaos.starts order by seq desc limit 1000) newest \
             where pid = $1 and work_ms >= $2::bigint and at > now() - interval '1 ms' * ($2::bigint / 2)";
        let look = || async { self.ask(sql, &[&pid, &ms]).await.ok()?.into_iter().next() };
        let row = poll("a worker to begin long work", patience, look).await?;
        Ok((JobId(row.get("job")), row.get("attempt")))
    }

    /// Waits until a newer attempt at the job has begun.
    pub async fn begun_again(&self, job: JobId, attempt: i32, patience: Duration) -> Result<()> {
        let sql = "select count(*) from chaos.starts where job = $1 and attempt > $2";
        let look = || async { self.count(sql, &[&job.0, &attempt]).await.is_ok_and(|n| n > 0).then_some(()) };
        poll("a newer attempt to begin", patience, look).await
    }

    /// Waits until this attempt came too late with its effect.
    pub async fn refused(&self, job: JobId, attempt: i32, patience: Duration) -> Result<()> {
        let sql = "select count(*) from chaos.stale where job = $1 and attempt = $2";
        let look = || async { self.count(sql, &[&job.0, &attempt]).await.is_ok_and(|n| n > 0).then_some(()) };
        poll("a late attempt to be refused", patience, look).await
    }

    async fn client(&self) -> Result<Arc<Client>> {
        let mut kept = self.client.lock().await;
        if let Some(client) = kept.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let fresh = tokio::time::timeout(ANSWER, connect(&self.url)).await.context("no connection for the eye")??;
        let fresh = Arc::new(fresh);
        *kept = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}
