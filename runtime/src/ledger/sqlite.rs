//! The ledger in one file, for the embedded default. Each write is a transaction on one thread ([`lane`]) and goes by the
//! machine's clock, which is this ledger's. It makes no decision twice: [`round`] and [`leaving`] decide, by what `job` says;
//! [`jobs`], [`road`], [`leases`] and [`registry`] hold the rest, [`schema`] opens the file.

mod audit;
#[cfg(test)]
mod careless;
mod columns;
mod history;
mod jobs;
mod keys;
mod lane;
mod leases;
mod leaving;
mod registry;
mod retention;
mod road;
mod round;
mod schema;
mod submit;
#[cfg(test)]
mod tests;
mod trail;
mod unique;
mod uploads;
mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_sdk::JobId;
use rusqlite::{Connection, ErrorCode};
use serde_json::value::RawValue;
use uuid::Uuid;

use self::lane::{Lane, Lanes};
use super::trail::{Actor, Line, NewLine};
use super::{
    Announced, Answer, ApiKey, Attempt, AuditPage, AuditPatience, Beat, BeatAnswer, Canceling, Census, Claim, Event,
    Fence, File, Filter, Job, Kind, Ledger, LedgerError, NewJob, NewKey, Patience, Ready, Record, Replaying, Report,
    Rescued, Round, Submitted, Unannounced, Whose, WorkerCard, WorkerRow,
};
use crate::tenant::Tenant;

/// Threads that read beside the writer: one for a long listing, one for everybody else.
const READERS: usize = 2;

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A ledger in a file.
pub struct Sqlite {
    lanes: Arc<Lanes>,
    clock: Clock,
    /// In whose hands it is.
    by: Option<Arc<Actor>>,
}

impl Sqlite {
    /// Opens the file at `path`, or makes it. [`Ledger::migrate`] comes next.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when the file cannot be opened or is no ledger.
    pub fn open(path: impl AsRef<Path>) -> Answer<Self> {
        let path = path.as_ref();
        let writer = Lane::writer(schema::open_writer(path)?, lane::Group::default())?;
        let reader = |_| Lane::reader(schema::open_reader(path)?);
        let readers = (0..READERS).map(reader).collect::<Answer<_>>()?;
        Ok(Self { lanes: Lanes::of(writer, readers), clock: Arc::new(crate::clock::now), by: None })
    }

    /// A ledger in memory, which answers at once and in its caller's thread: for simulated time.
    #[cfg(test)]
    pub(crate) fn simulated(clock: Clock) -> Answer<Self> {
        let db = Arc::new(std::sync::Mutex::new(Connection::open_in_memory()?));
        let (writer, readers) = (Lane::here(&db), vec![Lane::here(&db)]);
        Ok(Self { lanes: Lanes::of(writer, readers), clock, by: None })
    }

    /// The same ledger going by another clock, so that a test can move it.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self { clock, ..self }
    }

    /// Runs `work` in a transaction. It is asked for the time when its turn comes, not before.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, i64) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let clock = Arc::clone(&self.clock);
        self.lanes.writer.call(move |db| work(db, columns::micros(clock()))).await
    }

    /// Runs one query on what is committed, without waiting for the writer.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection, i64) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let clock = Arc::clone(&self.clock);
        let turn = self.lanes.next_reader.fetch_add(1, Ordering::Relaxed) % self.lanes.readers.len();
        self.lanes.readers[turn].call(move |db| query(db, columns::micros(clock()))).await
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        let error = match error.sqlite_error_code() {
            Some(code) if may_pass(code) => Self::Unavailable(error.to_string()),
            Some(ErrorCode::TooBig) => Self::Unstorable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        };
        error.counted()
    }
}

/// Whether it may be otherwise in a moment, or after an operator has made room.
fn may_pass(code: ErrorCode) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OperationAborted,
        OperationInterrupted, OutOfMemory, ReadOnly, SystemIoFailure,
    };
    matches!(
        code,
        CannotOpen
            | DatabaseBusy
            | DatabaseLocked
            | DiskFull
            | FileLockingProtocolFailed
            | OperationAborted
            | OperationInterrupted
            | OutOfMemory
            | ReadOnly
            | SystemIoFailure
    )
}

#[async_trait]
impl Ledger for Sqlite {
    async fn migrate(&self) -> Answer<()> {
        self.write(schema::migrate).await
    }

    fn pool(&self) -> super::Pool {
        let lanes = || self.lanes.readers.iter().chain([&self.lanes.writer]).map(Lane::open);
        let (size, in_use) = (lanes().count(), lanes().filter(|open| *open > 0).count());
        super::Pool { size, in_use, waiting: lanes().sum::<usize>().saturating_sub(in_use) }
    }

    async fn now(&self) -> Answer<Timestamp> {
        // Through the writer: a ledger that only reads does not answer.
        self.write(|_, now| columns::moment(now)).await
    }

    async fn announced(&self) -> Answer<Announced> {
        self.read(road::announced).await
    }

    async fn submit(&self, jobs: &[NewJob]) -> Answer<Vec<Submitted>> {
        let new = jobs.to_vec();
        self.write(move |db, now| submit::submit(db, now, &new)).await
    }

    async fn unqueue(&self, job: JobId, version: i64) -> Answer<()> {
        self.write(move |db, now| road::unqueue(db, now, job, version)).await
    }

    async fn job(&self, job: JobId) -> Answer<Option<Job>> {
        self.read(move |db, _| columns::job_of(db, job)).await
    }

    async fn attempts(&self, job: JobId) -> Answer<Vec<Attempt>> {
        self.read(move |db, _| jobs::attempts(db, job)).await
    }

    async fn history(&self, job: JobId) -> Answer<Option<Vec<Event>>> {
        self.read(move |db, _| history::of(db, job)).await
    }

    async fn events_since(&self, since: Timestamp, limit: usize) -> Answer<Option<Vec<Event>>> {
        self.read(move |db, _| history::since(db, since, limit)).await
    }

    async fn knows_key(&self, of: &Tenant, key: &str) -> Answer<bool> {
        let (of, key) = (of.clone(), key.to_owned());
        self.read(move |db, now| submit::knows_key(db, now, &of, &key)).await
    }

    async fn list(&self, filter: &Filter) -> Answer<Vec<Job>> {
        let filter = filter.clone();
        self.read(move |db, _| jobs::list(db, &filter)).await
    }

    async fn round(&self, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round> {
        let (claims, records) = (claims.to_vec(), records.to_vec());
        self.write(move |db, now| round::round(db, now, worker, &claims, &records)).await
    }

    async fn save_checkpoint(&self, fence: Fence, checkpoint: &RawValue) -> Answer<bool> {
        let checkpoint = checkpoint.get().to_owned();
        self.write(move |db, _| round::save_checkpoint(db, fence, &checkpoint)).await
    }

    async fn save_progress(&self, worker: Uuid, progress: &[(Fence, Report)]) -> Answer<()> {
        let progress: Vec<_> = progress.iter().filter(|(fence, _)| fence.worker == worker).cloned().collect();
        self.write(move |db, now| round::save_progress(db, now, &progress)).await
    }

    async fn cancel(&self, job: JobId) -> Answer<Canceling> {
        let by = self.by.clone();
        self.write(move |db, now| jobs::cancel(db, now, job, by.as_deref())).await
    }

    async fn replay(&self, job: JobId) -> Answer<Replaying> {
        let by = self.by.clone();
        self.write(move |db, now| jobs::replay(db, now, job, by.as_deref())).await
    }

    async fn owned(&self, tenant: &Tenant, jobs: &[JobId]) -> Answer<Vec<JobId>> {
        let (tenant, jobs) = (tenant.clone(), jobs.to_vec());
        self.read(move |db, _| jobs::owned(db, &tenant, &jobs)).await
    }

    async fn count_pending(&self, of: &Tenant, most: u64) -> Answer<u64> {
        let of = of.clone();
        self.read(move |db, _| jobs::pending_of(db, &of, most)).await
    }

    async fn dead_letters(&self, whose: &Tenant, kind: &str, limit: usize) -> Answer<Vec<JobId>> {
        let (whose, kind) = (whose.clone(), kind.to_owned());
        self.read(move |db, _| jobs::dead_of(db, &whose, &kind, limit)).await
    }

    async fn purge(&self, jobs: &[JobId]) -> Answer<usize> {
        let (jobs, by) = (jobs.to_vec(), self.by.clone());
        self.write(move |db, now| jobs::purge(db, now, &jobs, by.as_deref())).await
    }

    async fn remove_idle_keys(&self, limit: usize) -> Answer<usize> {
        self.write(move |db, _| unique::remove_idle(db, limit)).await
    }

    async fn due(&self, limit: usize) -> Answer<Vec<Ready>> {
        self.read(move |db, now| road::due(db, now, limit)).await
    }

    async fn next_due(&self) -> Answer<Option<Duration>> {
        self.read(road::next_due).await
    }

    async fn overdue(&self, kind: &str, patience: Patience, limit: usize) -> Answer<Vec<Ready>> {
        let kind = kind.to_owned();
        self.read(move |db, now| road::overdue(db, now, &kind, patience, limit)).await
    }

    async fn mark_queued(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        let marked = jobs.to_vec();
        self.write(move |db, now| road::mark_queued(db, now, &marked)).await
    }

    async fn unannounced(&self, limit: usize) -> Answer<Vec<Unannounced>> {
        self.read(move |db, _| road::unannounced(db, limit)).await
    }

    async fn mark_unannounced(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        let marked = jobs.to_vec();
        self.write(move |db, _| road::owe(db, &marked)).await
    }

    async fn mark_announced(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
        let marked = jobs.to_vec();
        self.write(move |db, _| road::clear_owed(db, &marked)).await
    }

    async fn census(&self) -> Answer<Vec<Census>> {
        self.read(road::census).await
    }

    async fn count_dead_letters(&self) -> Answer<Vec<(String, u64)>> {
        self.read(|db, _| road::count_dead(db)).await
    }

    async fn audit(&self, after: Option<JobId>, limit: usize, patience: AuditPatience) -> Answer<AuditPage> {
        self.read(move |db, now| audit::page(db, now, after, limit, patience)).await
    }

    async fn enlist(&self, worker: &WorkerCard, lease: Duration) -> Answer<Timestamp> {
        let card = worker.clone();
        self.write(move |db, now| leases::enlist(db, now, &card, lease)).await
    }

    async fn beat(&self, beat: &Beat, lease: Duration) -> Answer<Option<BeatAnswer>> {
        let beat = beat.clone();
        self.write(move |db, now| leases::beat(db, now, &beat, lease)).await
    }

    async fn credited(&self, worker: Uuid) -> Answer<Vec<Fence>> {
        self.read(move |db, _| leases::credited(db, worker)).await
    }

    async fn hand_back(&self, fences: &[Fence]) -> Answer<()> {
        let fences = fences.to_vec();
        self.write(move |db, now| leases::hand_back(db, now, &fences)).await
    }

    async fn retire(&self, worker: Uuid) -> Answer<()> {
        self.write(move |db, _| leases::retire(db, worker)).await
    }

    async fn end_lease(&self, worker: Uuid, ending: &str) -> Answer<()> {
        let ending = ending.to_owned();
        self.write(move |db, now| leases::end_lease(db, now, worker, &ending)).await
    }

    async fn rescue(&self, crash_limit: u32, whose: Whose) -> Answer<Vec<Rescued>> {
        let mut rescued = vec![];
        // A call for each, so that heartbeats get their turn between two.
        while let Some(more) = self.write(move |db, now| leases::rescue_next(db, now, crash_limit, whose)).await? {
            rescued.extend(more);
        }
        Ok(rescued)
    }

    async fn rescue_orphans(&self, crash_limit: u32) -> Answer<Vec<Rescued>> {
        self.write(move |db, now| leases::rescue_orphans(db, now, crash_limit)).await
    }

    async fn workers(&self) -> Answer<Vec<WorkerRow>> {
        self.read(leases::workers).await
    }

    async fn lead(&self, role: &str, holder: Uuid, lease: Duration) -> Answer<bool> {
        let role = role.to_owned();
        self.write(move |db, now| leases::lead(db, now, &role, holder, lease)).await
    }

    async fn register_kinds(&self, kinds: &[Kind]) -> Answer<()> {
        let kinds = kinds.to_vec();
        self.write(move |db, _| registry::register_kinds(db, &kinds)).await
    }

    async fn kinds(&self) -> Answer<Vec<Kind>> {
        self.read(|db, _| registry::kinds(db)).await
    }

    async fn add_file(&self, file: &File) -> Answer<()> {
        let file = file.clone();
        self.write(move |db, now| registry::add_file(db, now, &file)).await
    }

    async fn file(&self, id: Uuid) -> Answer<Option<File>> {
        self.read(move |db, _| registry::file(db, id)).await
    }

    async fn add_key(&self, key: &NewKey) -> Answer<()> {
        let (key, by) = (key.clone(), self.by.clone());
        self.write(move |db, now| keys::add(db, now, &key, by.as_deref())).await
    }

    async fn key(&self, id: &str) -> Answer<Option<ApiKey>> {
        let id = id.to_owned();
        self.read(move |db, now| keys::of_id(db, now, &id)).await
    }

    async fn keys(&self, of: Option<&Tenant>) -> Answer<Vec<ApiKey>> {
        let of = of.cloned();
        self.read(move |db, now| keys::of_tenant(db, now, of.as_ref())).await
    }

    async fn end_key(&self, of: Option<&Tenant>, id: &str, within: Option<Duration>) -> Answer<bool> {
        let (of, id, by) = (of.cloned(), id.to_owned(), self.by.clone());
        self.write(move |db, now| keys::end(db, now, of.as_ref(), &id, within, by.as_deref())).await
    }

    async fn use_key(&self, id: &str) -> Answer<()> {
        let id = id.to_owned();
        self.write(move |db, now| keys::touch(db, now, &id)).await
    }

    fn by(&self, actor: Actor) -> Arc<dyn Ledger> {
        Arc::new(Self { lanes: Arc::clone(&self.lanes), clock: Arc::clone(&self.clock), by: Some(Arc::new(actor)) })
    }

    async fn note(&self, line: &NewLine) -> Answer<()> {
        let line = line.clone();
        self.write(move |db, now| trail::write(db, now, &line)).await
    }

    async fn trail(&self, of: Option<&Tenant>, before: Option<i64>, limit: usize) -> Answer<Vec<Line>> {
        let of = of.cloned();
        self.read(move |db, _| trail::read(db, of.as_ref(), before, limit)).await
    }

    async fn remove_old_lines(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.write(move |db, now| trail::remove(db, now, age, limit)).await
    }
}
