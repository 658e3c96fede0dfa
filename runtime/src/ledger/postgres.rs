//! The ledger on PostgreSQL. Each call is one transaction and goes by the server's clock; the SQL lies beside, by purpose:
//! [`round`] (claim and record), [`jobs`] (submit, look, cancel), [`road`] (relay and reconciler), [`leases`], [`registry`].
//! It makes no decision that `job` could make; what it must hold is the contract suite.

pub mod address;
mod audit;
mod facts;
mod history;
mod jobs;
mod keys;
mod leases;
mod migrate;
mod read;
mod registry;
mod retention;
mod road;
mod round;
mod submit;
mod trail;
mod trouble;
mod unique;
mod uploads;
mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use jiff::Timestamp;
use longshore_sdk::JobId;
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use self::address::Address;
use super::trail::{Actor, Line, NewLine};
use super::{
    Announced, Answer, ApiKey, Attempt, AuditPage, AuditPatience, Beat, BeatAnswer, Canceling, Census, Claim, Event,
    Fence, File, Filter, Job, Kind, Ledger, LedgerError, NewJob, NewKey, Patience, Ready, Record, Replaying, Report,
    Rescued, Round, Submitted, Unannounced, Whose, WorkerCard, WorkerRow,
};
use crate::tenant::Tenant;

/// No statement of ours is long: one that takes this long is stuck behind a lock or a dead server.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A ledger on PostgreSQL 14 or later.
pub struct Postgres {
    pool: Pool,
    /// In whose hands it is.
    by: Option<Arc<Actor>>,
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Postgres {
    /// A ledger at `url` with at most `connections` of them, opened when needed: a server that is down shows at the first
    /// call, not here.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when the URL is none.
    pub fn connect(url: &str, connections: usize) -> Answer<Self> {
        Self::connect_trusting(url, None, connections)
    }

    /// The same, believing a server over TLS if the authority in the file `ca` signed for it, else by this machine's authorities.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when the URL is none, or there is nobody to believe.
    pub fn connect_trusting(url: &str, ca: Option<&Path>, connections: usize) -> Answer<Self> {
        let Address { mut config, tls } =
            Address::read(url, ca, &address::LEDGER).map_err(|error| LedgerError::Refused(error.to_string()))?;
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(STATEMENT_TIMEOUT);
        config.application_name("longshore");
        // Generic plans: the hot statements take arrays whose lengths vary, and a custom plan each time costs more than
        // the statement. Nor is any of them worth compiling, which a plan that was forced to look costly would be.
        let options = format!(
            "-c plan_cache_mode=force_generic_plan -c jit=off -c statement_timeout={}",
            STATEMENT_TIMEOUT.as_millis()
        );
        config.options(&options);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls {
            Some(tls) => Manager::from_config(config, MakeRustlsConnect::new(tls.as_ref().clone()), recycling),
            None => Manager::from_config(config, NoTls, recycling),
        };
        let timeouts =
            Timeouts { wait: Some(CONNECT_TIMEOUT), create: Some(CONNECT_TIMEOUT), recycle: Some(CONNECT_TIMEOUT) };
        let pool = Pool::builder(manager).max_size(connections).timeouts(timeouts).runtime(Runtime::Tokio1).build();
        pool.map(|pool| Self { pool, by: None }).map_err(|error| LedgerError::Refused(error.to_string()))
    }

    async fn client(&self) -> Answer<Object> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error.into(),
            other => LedgerError::Unavailable(other.to_string()).counted(),
        })
    }

    async fn query(&self, sql: &str, params: Params<'_>) -> Answer<Vec<Row>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, params).await?)
    }

    async fn one(&self, sql: &str, params: Params<'_>) -> Answer<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }
}

#[async_trait]
impl Ledger for Postgres {
    async fn migrate(&self) -> Answer<()> {
        migrate::migrate(&mut *self.client().await?).await
    }

    fn pool(&self) -> super::Pool {
        let status = self.pool.status();
        let in_use = status.size.saturating_sub(status.available);
        super::Pool { size: status.size, in_use, waiting: status.waiting }
    }

    async fn now(&self) -> Answer<Timestamp> {
        let row = self.one("select now()", &[]).await?;
        Ok(row.expect("select without from answers one row").get(0))
    }

    async fn announced(&self) -> Answer<Announced> {
        self.read_announced().await
    }

    async fn submit(&self, jobs: &[NewJob]) -> Answer<Vec<Submitted>> {
        self.accept(jobs).await
    }

    async fn unqueue(&self, job: JobId, version: i64) -> Answer<()> {
        self.give_to_relay(job, version).await
    }

    async fn job(&self, job: JobId) -> Answer<Option<Job>> {
        self.read_job(job).await
    }

    async fn attempts(&self, job: JobId) -> Answer<Vec<Attempt>> {
        self.read_attempts(job).await
    }

    async fn history(&self, job: JobId) -> Answer<Option<Vec<Event>>> {
        self.read_history(job).await
    }

    async fn events_since(&self, since: Timestamp, limit: usize) -> Answer<Option<Vec<Event>>> {
        self.read_events_since(since, limit).await
    }

    async fn knows_key(&self, of: &Tenant, key: &str) -> Answer<bool> {
        let sql = "select from idempotency where tenant = $1 and key = $2 and expires_at > now()";
        Ok(self.one(sql, &[&of.as_str(), &key]).await?.is_some())
    }

    async fn list(&self, filter: &Filter) -> Answer<Vec<Job>> {
        self.read_list(filter).await
    }

    async fn round(&self, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round> {
        self.commit_round(worker, claims, records).await
    }

    async fn save_checkpoint(&self, fence: Fence, checkpoint: &RawValue) -> Answer<bool> {
        self.write_checkpoint(fence, checkpoint).await
    }

    async fn save_progress(&self, worker: Uuid, progress: &[(Fence, Report)]) -> Answer<()> {
        self.write_progress(worker, progress).await
    }

    async fn cancel(&self, job: JobId) -> Answer<Canceling> {
        self.cancel_job(job).await
    }

    async fn replay(&self, job: JobId) -> Answer<Replaying> {
        self.replay_job(job).await
    }

    async fn owned(&self, tenant: &Tenant, jobs: &[JobId]) -> Answer<Vec<JobId>> {
        self.whose(tenant, jobs).await
    }

    async fn count_pending(&self, of: &Tenant, most: u64) -> Answer<u64> {
        self.pending_of(of, most).await
    }

    async fn dead_letters(&self, whose: &Tenant, kind: &str, limit: usize) -> Answer<Vec<JobId>> {
        self.dead_of(whose, kind, limit).await
    }

    async fn purge(&self, jobs: &[JobId]) -> Answer<usize> {
        self.purge_jobs(jobs).await
    }

    async fn remove_idle_keys(&self, limit: usize) -> Answer<usize> {
        self.remove_idle_unique_keys(limit).await
    }

    async fn due(&self, limit: usize) -> Answer<Vec<Ready>> {
        self.read_due(limit).await
    }

    async fn next_due(&self) -> Answer<Option<Duration>> {
        self.read_next_due().await
    }

    async fn overdue(&self, kind: &str, patience: Patience, limit: usize) -> Answer<Vec<Ready>> {
        self.read_overdue(kind, patience, limit).await
    }

    async fn mark_queued(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        self.write_queued(jobs).await
    }

    async fn unannounced(&self, limit: usize) -> Answer<Vec<Unannounced>> {
        self.read_unannounced(limit).await
    }

    async fn mark_unannounced(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        self.owe(jobs).await
    }

    async fn mark_announced(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        self.clear_owed(jobs).await
    }

    async fn census(&self) -> Answer<Vec<Census>> {
        self.count_waiting_and_running().await
    }

    async fn count_dead_letters(&self) -> Answer<Vec<(String, u64)>> {
        self.count_dead().await
    }

    async fn audit(&self, after: Option<JobId>, limit: usize, patience: AuditPatience) -> Answer<AuditPage> {
        self.audit_page(after, limit, patience).await
    }

    async fn enlist(&self, worker: &WorkerCard, lease: Duration) -> Answer<Timestamp> {
        self.enter_worker(worker, lease).await
    }

    async fn beat(&self, beat: &Beat, lease: Duration) -> Answer<Option<BeatAnswer>> {
        self.renew(beat, lease).await
    }

    async fn credited(&self, worker: Uuid) -> Answer<Vec<Fence>> {
        self.running_of(worker).await
    }

    async fn hand_back(&self, fences: &[Fence]) -> Answer<()> {
        self.reopen(fences).await
    }

    async fn retire(&self, worker: Uuid) -> Answer<()> {
        self.query("delete from workers where id = $1", &[&worker]).await.map(drop)
    }

    async fn end_lease(&self, worker: Uuid, ending: &str) -> Answer<()> {
        self.cut_lease(worker, ending).await
    }

    async fn rescue(&self, crash_limit: u32, whose: Whose) -> Answer<Vec<Rescued>> {
        self.take_leases(crash_limit, whose).await
    }

    async fn rescue_orphans(&self, crash_limit: u32) -> Answer<Vec<Rescued>> {
        self.take_orphans(crash_limit).await
    }

    async fn workers(&self) -> Answer<Vec<WorkerRow>> {
        self.read_workers().await
    }

    async fn lead(&self, role: &str, holder: Uuid, lease: Duration) -> Answer<bool> {
        self.take_role(role, holder, lease).await
    }

    async fn register_kinds(&self, kinds: &[Kind]) -> Answer<()> {
        self.write_kinds(kinds).await
    }

    async fn kinds(&self) -> Answer<Vec<Kind>> {
        self.read_kinds().await
    }

    async fn add_file(&self, file: &File) -> Answer<()> {
        self.write_file(file).await
    }

    async fn file(&self, id: Uuid) -> Answer<Option<File>> {
        self.read_file(id).await
    }

    async fn add_key(&self, key: &NewKey) -> Answer<()> {
        self.write_key(key).await
    }

    async fn key(&self, id: &str) -> Answer<Option<ApiKey>> {
        self.read_key(id).await
    }

    async fn keys(&self, of: Option<&Tenant>) -> Answer<Vec<ApiKey>> {
        self.read_keys(of).await
    }

    async fn end_key(&self, of: Option<&Tenant>, id: &str, within: Option<Duration>) -> Answer<bool> {
        Postgres::end_key(self, of, id, within).await
    }

    async fn use_key(&self, id: &str) -> Answer<()> {
        self.touch_key(id).await
    }

    fn by(&self, actor: Actor) -> Arc<dyn Ledger> {
        Arc::new(Self { pool: self.pool.clone(), by: Some(Arc::new(actor)) })
    }

    async fn note(&self, line: &NewLine) -> Answer<()> {
        self.write_line(line).await
    }

    async fn trail(&self, of: Option<&Tenant>, before: Option<i64>, limit: usize) -> Answer<Vec<Line>> {
        self.read_trail(of, before, limit).await
    }

    async fn remove_old_lines(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.remove_lines(age, limit).await
    }
}
