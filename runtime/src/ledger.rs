//! The ledger: the truth about every job. Each method is one transaction, decided by the ledger's own clock.
//! It doesn't know brokers, executors or HTTP. The types are in [`rows`]; [`batch`] gathers the hot calls; [`postgres`] and
//! [`sqlite`] implement it and pass one contract suite.

pub mod audit;
pub mod batch;
pub mod evidence;
mod facts;
pub mod history;
pub mod postgres;
pub mod retention;
pub mod rows;
pub mod sqlite;
pub mod trail;
pub mod uploads;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_sdk::JobId;
use serde_json::value::RawValue;
use uuid::Uuid;

use self::trail::{Actor, Line, NewLine};
use crate::metrics;
use crate::tenant::Tenant;
pub use audit::{AuditPage, AuditPatience, Check, Violation};
pub use facts::DatabaseFacts;
pub use retention::Retention;
pub use rows::*;
pub use uploads::Uploads;
pub use webhooks::Webhooks;

/// Why the ledger did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// It did not answer, or lost the race of a deadlock. Whether a commit happened is unknown: try again.
    #[error("the ledger does not answer: {0}")]
    Unavailable(String),
    /// It refuses us, whatever is asked of it: a right that is missing, another schema, a bug. It says nothing about what was to
    /// be stored, and is over when an operator has seen to it.
    #[error("the ledger refuses: {0}")]
    Refused(String),
    /// It can never store this value, whoever asks.
    #[error("the ledger cannot store it: {0}")]
    Unstorable(String),
}

impl LedgerError {
    /// Counts it. Where a database's error becomes ours, and nowhere else, so that each counts once.
    fn counted(self) -> Self {
        metrics::ours().ledger_failed(&self);
        self
    }
}

/// What a ledger answers.
pub type Answer<T> = Result<T, LedgerError>;

/// Every decision about a job, with [`Webhooks`] whom it is told, with [`Uploads`] how its inputs come, and with [`Retention`] when it
/// goes. Implementations may commit and then lose the reply: each method says what a repeat does.
#[async_trait]
pub trait Ledger: Webhooks + Uploads + Retention + Send + Sync + 'static {
    /// Brings the schema up to date. Safe to run at once from many processes.
    async fn migrate(&self) -> Answer<()>;
    /// How busy its connections are. Asks nobody.
    fn pool(&self) -> Pool;
    /// The ledger's clock: proof that it answers.
    async fn now(&self) -> Answer<Timestamp>;
    /// Up to when everything that happened to jobs is announced. Only the acceptance of a job whose API died with it may come later.
    async fn announced(&self) -> Answer<Announced>;

    // Submit and look.

    /// Inserts jobs. Those that are due now are marked queued: the caller publishes them. A job whose id exists is left
    /// as it is and answered with its present row, so a repeat is harmless; so is one whose idempotency key lives, under
    /// whatever id, and one whose unique key an unfinished job of its kind holds.
    async fn submit(&self, jobs: &[NewJob]) -> Answer<Vec<Submitted>>;
    /// The caller's publish failed: hands the job to the relay, with its announcements, if its version is unchanged.
    async fn unqueue(&self, job: JobId, version: i64) -> Answer<()>;
    /// One job.
    async fn job(&self, job: JobId) -> Answer<Option<Job>>;
    /// A job's ended attempts, oldest first.
    async fn attempts(&self, job: JobId) -> Answer<Vec<Attempt>>;
    /// Everything that happened to a job and was announced, in order: rebuilt from its row and its attempts, by one read.
    async fn history(&self, job: JobId) -> Answer<Option<Vec<Event>>>;
    /// The histories of the jobs that changed since this moment, whole and in no order; `None` if those are more than `limit` jobs.
    /// A scan of the table: for gaps, not for loops.
    async fn events_since(&self, since: Timestamp, limit: usize) -> Answer<Option<Vec<Event>>>;
    /// Whether a tenant's idempotency key is remembered.
    async fn knows_key(&self, of: &Tenant, key: &str) -> Answer<bool>;
    /// Jobs, newest first.
    async fn list(&self, filter: &Filter) -> Answer<Vec<Job>>;

    // One delivery.

    /// Claims and records of many slots in one transaction, answered in order. After an error nothing is known.
    async fn round(&self, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round>;
    /// Stores a checkpoint if the attempt still holds the job; says whether it does.
    async fn save_checkpoint(&self, fence: Fence, checkpoint: &RawValue) -> Answer<bool>;
    /// Stores progress of attempts that still hold their jobs. Not a transition: no version moves.
    async fn save_progress(&self, worker: Uuid, progress: &[(Fence, Report)]) -> Answer<()>;

    // What callers and operators ask.

    /// Cancels a pending job at once, asks a running one to stop.
    async fn cancel(&self, job: JobId) -> Answer<Canceling>;
    /// Makes a dead letter ready again, with a fresh account; its attempt number goes on rising. Not while another unfinished
    /// job holds its unique key.
    async fn replay(&self, job: JobId) -> Answer<Replaying>;

    /// Those of these jobs that are this tenant's. A job never changes hands, so the answer stays true.
    async fn owned(&self, tenant: &Tenant, jobs: &[JobId]) -> Answer<Vec<JobId>>;
    /// How many pending jobs a tenant has, without those that tell of its jobs; it stops counting at `most`. A scan of its jobs: not for
    /// every submit.
    async fn count_pending(&self, of: &Tenant, most: u64) -> Answer<u64>;
    /// A tenant's dead letters of a kind, oldest first.
    async fn dead_letters(&self, whose: &Tenant, kind: &str, limit: usize) -> Answer<Vec<JobId>>;
    /// Removes those of these jobs that are dead letters and owe no announcement, with their attempts and idempotency keys;
    /// says how many.
    async fn purge(&self, jobs: &[JobId]) -> Answer<usize>;
    /// Removes some unique keys that no unfinished job holds; says how many.
    async fn remove_idle_keys(&self, limit: usize) -> Answer<usize>;

    // The road back into the broker.

    /// Jobs whose time has come and that are not on the road, oldest first.
    async fn due(&self, limit: usize) -> Answer<Vec<Ready>>;
    /// How long until the next job is due; `None` when nothing waits.
    async fn next_due(&self) -> Answer<Option<Duration>>;
    /// Pending jobs published longer ago than the patience allows and not seen since, of one kind, the longest first.
    async fn overdue(&self, kind: &str, patience: Patience, limit: usize) -> Answer<Vec<Ready>>;
    /// They were published: marks those whose version is unchanged.
    async fn mark_queued(&self, jobs: &[(JobId, i64)]) -> Answer<()>;
    /// Jobs with a transition that no delivery stands behind, to announce.
    async fn unannounced(&self, limit: usize) -> Answer<Vec<Unannounced>>;
    /// The announcement of this version failed: leaves it to the relay, wherever the job is by now.
    async fn mark_unannounced(&self, jobs: &[(JobId, i64)]) -> Answer<()>;
    /// They were announced: clears the mark where the version is still the one looked at.
    async fn mark_announced(&self, jobs: &[(JobId, i64)]) -> Answer<()>;

    /// How many jobs of each kind wait and run now; kinds with none are left out. A scan of the unfinished: not for every second.
    async fn census(&self) -> Answer<Vec<Census>>;
    /// How many dead letters each kind has; kinds with none are left out. A scan of the table: for people, not for loops.
    async fn count_dead_letters(&self) -> Answer<Vec<(String, u64)>>;

    /// Looks at so many jobs after this one, in the order of their ids, for what must never be. Costs what the page costs.
    async fn audit(&self, after: Option<JobId>, limit: usize, patience: AuditPatience) -> Answer<AuditPage>;

    // Workers and their leases.

    /// Enters a worker, with a lease from now.
    async fn enlist(&self, worker: &WorkerCard, lease: Duration) -> Answer<Timestamp>;
    /// Renews its lease, unless the rescuer has taken it or it is known to be gone: `None`.
    async fn beat(&self, beat: &Beat, lease: Duration) -> Answer<Option<BeatAnswer>>;
    /// The running attempts credited to a worker.
    async fn credited(&self, worker: Uuid) -> Answer<Vec<Fence>>;
    /// Makes an attempt that its worker never ran pending again, uncharged.
    async fn hand_back(&self, fences: &[Fence]) -> Answer<()>;
    /// A worker that drained and announced everything leaves.
    async fn retire(&self, worker: Uuid) -> Answer<()>;
    /// Its process is known to be gone: a worker's lease ends now, and how it went is kept as evidence. A worker that has left
    /// in good order is not touched.
    async fn end_lease(&self, worker: Uuid, ending: &str) -> Answer<()>;
    /// Takes the lease of every worker whose lease ran out, or of every worker at all: loses its running attempts, marks
    /// what it settled after its watermark as unannounced, and drops its row, in one transaction each.
    async fn rescue(&self, crash_limit: u32, whose: Whose) -> Answer<Vec<Rescued>>;
    /// Loses running attempts whose worker has no lease row at all. A scan of the table: not for every second.
    async fn rescue_orphans(&self, crash_limit: u32) -> Answer<Vec<Rescued>>;
    /// Live workers.
    async fn workers(&self) -> Answer<Vec<WorkerRow>>;
    /// Takes or keeps a role (relay, rescuer) for `lease`; says whether `holder` has it. Two holders do no harm, only work.
    async fn lead(&self, role: &str, holder: Uuid, lease: Duration) -> Answer<bool>;

    // Kinds and files.

    /// Enters the kinds this process can run, with their schemas.
    async fn register_kinds(&self, kinds: &[Kind]) -> Answer<()>;
    /// All kinds ever registered.
    async fn kinds(&self) -> Answer<Vec<Kind>>;
    /// Enters an uploaded file.
    async fn add_file(&self, file: &File) -> Answer<()>;
    /// One uploaded file that is not doomed.
    async fn file(&self, id: Uuid) -> Answer<Option<File>>;

    // API keys. `of` is the tenant whose keys they must be; `None`: anybody's.

    /// Keeps a key. One whose id exists is left as it is, so a repeat is harmless.
    async fn add_key(&self, key: &NewKey) -> Answer<()>;
    /// One key, good or not.
    async fn key(&self, id: &str) -> Answer<Option<ApiKey>>;
    /// All keys, the oldest first.
    async fn keys(&self, of: Option<&Tenant>) -> Answer<Vec<ApiKey>>;
    /// Ends a key: `within` that time at the latest, or at once, which is a revoke. Says whether there is such a key.
    async fn end_key(&self, of: Option<&Tenant>, id: &str, within: Option<Duration>) -> Answer<bool>;
    /// It was used: noted to the minute.
    async fn use_key(&self, id: &str) -> Answer<()>;

    // The audit log.

    /// The same ledger in somebody's hands: what of keys, webhooks and jobs is changed through it is noted, by the same transaction.
    fn by(&self, actor: Actor) -> Arc<dyn Ledger>;
    /// Writes a line that no change stands behind.
    async fn note(&self, line: &NewLine) -> Answer<()>;
    /// The lines about a tenant's own, or about everybody's, the newest first.
    async fn trail(&self, of: Option<&Tenant>, before: Option<i64>, limit: usize) -> Answer<Vec<Line>>;
    /// Removes some lines older than `age`; says how many.
    async fn remove_old_lines(&self, age: Duration, limit: usize) -> Answer<usize>;
}
