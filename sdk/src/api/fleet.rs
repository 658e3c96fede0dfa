//! Queues and workers, for people who keep them running: what lies where, and who is there to run it.
//! Shapes only, as in [`super`]; they are a look at one moment and decide nothing. Read [`super::KindView`] for what a kind is.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `GET /v1/queues` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueList {
    /// One per kind, by name.
    pub queues: Vec<QueueView>,
}

/// A kind's jobs and its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueView {
    /// The kind.
    pub kind: String,
    /// Messages on its queue; absent while the broker does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u64>,
    /// Who consumes it; absent while the broker does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<u64>,
    /// Jobs that could run now: those that back off or are scheduled are not among them.
    pub waiting: u64,
    /// Jobs that run.
    pub running: u64,
    /// Since when the oldest waiting job could have run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_waiting: Option<Timestamp>,
    /// Failed jobs that are kept with their evidence.
    pub dead_letters: u64,
}

/// What `GET /v1/workers` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerList {
    /// Those with a live lease, the oldest first.
    pub workers: Vec<WorkerView>,
}

/// A worker with a live lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    /// A new one at each start, and after each lost lease.
    pub id: String,
    /// Its machine.
    pub host: String,
    /// What it runs.
    pub kinds: Vec<String>,
    /// How many attempts at once.
    pub slots: u32,
    /// Slots in use at its last heartbeat.
    pub busy: u32,
    /// It takes no more jobs and finishes what it runs.
    pub draining: bool,
    /// When it took its lease.
    pub started_at: Timestamp,
    /// How long it has had its lease, by the ledger's clock.
    pub lease_age_seconds: f64,
    /// How long the lease lasts if it is not renewed again.
    pub lease_left_seconds: f64,
}
