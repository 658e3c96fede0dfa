//! Workers and their leases, as the ledger knows them. Shapes only.

use jiff::Timestamp;
use longshore_sdk::JobId;
use uuid::Uuid;

use super::{Ended, Fence};
use crate::job::state::State;

/// A worker as it introduces itself.
#[derive(Debug, Clone)]
pub struct WorkerCard {
    /// A new one at each start.
    pub id: Uuid,
    /// Its machine.
    pub host: String,
    /// What it runs.
    pub kinds: Vec<String>,
    /// How many attempts at once.
    pub slots: u32,
}

/// A heartbeat.
#[derive(Debug, Clone)]
pub struct Beat {
    /// Who.
    pub worker: Uuid,
    /// Slots in use.
    pub busy: u32,
    /// Everything it settled up to this moment of the ledger's clock is announced.
    pub announced_to: Timestamp,
    /// It takes no more jobs.
    pub draining: bool,
    /// The most memory its process has had in use, in bytes; evidence, should it be lost.
    pub peak_memory: Option<u64>,
}

/// What a heartbeat hears.
#[derive(Debug, Clone)]
pub struct BeatAnswer {
    /// The ledger's clock.
    pub now: Timestamp,
    /// Its running jobs that are to be cancelled.
    pub cancels: Vec<JobId>,
}

/// A worker as the ledger knows it.
#[derive(Debug, Clone)]
pub struct WorkerRow {
    /// How it introduced itself.
    pub card: WorkerCard,
    /// Slots in use at its last heartbeat.
    pub busy: u32,
    /// It takes no more jobs.
    pub draining: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When its lease ends.
    pub lease_until: Timestamp,
}

/// The connections to a ledger's database, now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pool {
    /// Open ones.
    pub size: usize,
    /// Those that serve a call.
    pub in_use: usize,
    /// Calls that wait for one.
    pub waiting: usize,
}

/// Whose leases the rescuer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those that ran out.
    Expired,
    /// All: the caller knows that every worker is gone (the embedded default holds the data directory's lock).
    Everyones,
}

/// A running job that was lost with its worker.
#[derive(Debug, Clone)]
pub struct Rescued {
    /// The lost attempt.
    pub fence: Fence,
    /// The job's kind.
    pub kind: String,
    /// How it ended: crashed, if its worker's guard told of it, or lost.
    pub ended: Ended,
    /// Where the job is now: pending, canceled, or failed as poison.
    pub state: State,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
}
