//! What goes into the ledger and what comes out of it. Shapes only: the rules are in [`crate::job`], the SQL beside.

mod delivery;
mod keys;
mod road;
mod submit;
mod workers;

pub use delivery::*;
pub use keys::*;
pub use road::*;
pub use submit::*;
pub use workers::*;

use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::{Artifact, ErrorReport, JobId, Policy, Progress, Trace};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::webhooks::Hook;
use crate::job::state::State;
use crate::tenant::Tenant;

/// Which of a kind's jobs go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before all others.
    High,
    /// The usual.
    Normal,
    /// When nothing else waits.
    Low,
}

impl Priority {
    /// All three, highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The number it is stored as.
    pub const fn code(self) -> i16 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// The priority stored as `code`; an unknown one is normal.
    pub fn from_code(code: i16) -> Self {
        Self::ALL.into_iter().find(|priority| priority.code() == code).unwrap_or(Self::Normal)
    }
}

/// A job's whole row.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its kind.
    pub kind: String,
    /// Where it is.
    pub state: State,
    /// Its priority.
    pub priority: Priority,
    /// Rises with every transition; the sequence number of its events.
    pub version: i64,
    /// Its last attempt's number; 0 before the first. Never goes down.
    pub attempt: u32,
    /// Failures charged against `max_attempts`.
    pub charged: u32,
    /// Failures it may have.
    pub max_attempts: u32,
    /// Times it was lost with its worker since it last ended otherwise.
    pub crashes: u32,
    /// One attempt's wall clock.
    pub timeout: Duration,
    /// Its payload.
    pub payload: Box<RawValue>,
    /// Its executor's output, once completed.
    pub result: Option<Box<RawValue>>,
    /// Its last error.
    pub error: Option<ErrorReport>,
    /// How far its running attempt is.
    pub progress: Option<Progress>,
    /// Its published output files.
    pub artifacts: Vec<Artifact>,
    /// The caller's notes.
    pub metadata: Option<Box<RawValue>>,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
    /// No other unfinished job of its kind has it.
    pub unique_key: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the relay is to publish it; `None` while it is on the road, runs, or is settled.
    pub due_at: Option<Timestamp>,
    /// When it was last published, while it is on the road.
    pub queued_at: Option<Timestamp>,
    /// When its last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    pub finished_at: Option<Timestamp>,
    /// The worker that runs it or settled it.
    pub worker: Option<Uuid>,
    /// Whether a cancel of the running attempt was asked for.
    pub cancel_requested: bool,
    /// Who is told of it beside the subscriptions.
    pub webhook: Option<Hook>,
}

impl Job {
    /// The event of its acceptance.
    pub fn accepted(&self) -> Event {
        let accepted =
            Event::accepted(self.id, &self.tenant, &self.kind, self.correlation_id.as_deref(), self.created_at);
        Event { trace: self.trace.clone(), ..accepted }
    }
}

/// A job's ended attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its number.
    pub attempt: u32,
    /// Who ran it.
    pub worker: Option<Uuid>,
    /// How it ended.
    pub ended: Ended,
    /// With which error.
    pub error: Option<ErrorReport>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// How an attempt ended, as the history keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its output was recorded.
    Done,
    /// It failed; another was or would have been made.
    Error,
    /// It took too long.
    Timeout,
    /// The executor panicked.
    Panic,
    /// The executor gave the job up.
    Fatal,
    /// It obeyed a cancellation.
    Canceled,
    /// It was handed back on drain.
    Yielded,
    /// Its worker was lost.
    Lost,
    /// Its worker's process ended under it, and the guard saw how.
    Crashed,
    /// It was handed back by a worker that never ran it.
    HandedBack,
    /// It was taken from its executor at the end of a drain's grace.
    Drained,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Done,
        Self::Error,
        Self::Timeout,
        Self::Panic,
        Self::Fatal,
        Self::Canceled,
        Self::Yielded,
        Self::Lost,
        Self::Crashed,
        Self::HandedBack,
        Self::Drained,
    ];

    /// Its word in the ledger, the API and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Fatal => "fatal",
            Self::Canceled => "canceled",
            Self::Yielded => "yielded",
            Self::Lost => "lost",
            Self::Crashed => "crashed",
            Self::HandedBack => "handed_back",
            Self::Drained => "drained",
        }
    }

    /// The ending with this word; an unknown one is an error.
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|ended| ended.word() == word).unwrap_or(Self::Error)
    }
}

/// What a cancel found.
#[derive(Debug, Clone)]
pub enum Canceling {
    /// It was pending and is canceled now.
    Canceled(Job),
    /// It runs; its worker was asked to stop it.
    Requested(Job),
    /// It was settled before: canceled already, or ended another way.
    Settled(Job),
    /// There is no such job.
    Unknown,
}

/// What a replay found.
#[derive(Debug, Clone)]
pub enum Replaying {
    /// It is pending again.
    Ready(Job),
    /// It is no dead letter.
    NotDead(Job),
    /// Another unfinished job holds its unique key: this one.
    Held(JobId),
    /// There is no such job.
    Unknown,
}

/// A pending job to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its kind.
    pub kind: String,
    /// Its priority.
    pub priority: Priority,
    /// Its version when it was picked.
    pub version: i64,
    /// Its last attempt's number; 0 before the first.
    pub attempt: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
}

impl From<&Job> for Ready {
    fn from(job: &Job) -> Self {
        Self {
            job: job.id,
            tenant: job.tenant.clone(),
            kind: job.kind.clone(),
            priority: job.priority,
            version: job.version,
            attempt: job.attempt,
            created_at: job.created_at,
            correlation_id: job.correlation_id.clone(),
            trace: job.trace.clone(),
        }
    }
}

impl Ready {
    /// The event of its acceptance, if no attempt was made yet: whoever publishes a job for the first time announces it first,
    /// so that none runs unannounced.
    pub fn accepted(&self) -> Option<Event> {
        let accepted = || Event {
            trace: self.trace.clone(),
            ..Event::accepted(self.job, &self.tenant, &self.kind, self.correlation_id.as_deref(), self.created_at)
        };
        (self.attempt == 0).then(accepted)
    }
}

/// How far everything is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The ledger's clock.
    pub now: Timestamp,
    /// What happened before this moment is announced.
    pub to: Timestamp,
}

/// A kind's unfinished jobs, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// The kind.
    pub kind: String,
    /// Pending jobs that could run now: those that back off or are scheduled are not among them.
    pub waiting: u64,
    /// Running ones.
    pub running: u64,
    /// Since when the oldest of the waiting could have run.
    pub oldest_waiting: Option<Timestamp>,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant: Option<Tenant>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only those older than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

/// A kind as it is registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kind {
    /// Its name.
    pub kind: String,
    /// JSON Schema of its payload.
    pub payload_schema: serde_json::Value,
    /// JSON Schema of its output.
    pub output_schema: serde_json::Value,
    /// Its policy.
    pub policy: Policy,
}

/// An uploaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: Tenant,
    /// What the uploader called it; never used as a path.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}
