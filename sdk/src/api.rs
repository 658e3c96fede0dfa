//! The JSON of the HTTP API, one definition for the server, for its OpenAPI page and for [`crate::client`].
//! Shapes only: nothing here checks a limit, reads a clock or knows HTTP, and requests refuse fields they do not know
//! while answers may gain fields that an older client skips. Read [`problem`] for the errors.

mod audit;
mod bulk;
mod event;
mod files;
mod fleet;
mod keys;
pub mod problem;
mod webhooks;

pub use audit::{AuditLine, AuditList};
pub use bulk::{BatchAnswer, BatchItem, BatchRequest, DeadLetterChoice, PurgedMany, ReplayedMany};
pub use event::{Event, EventData, EventId, EventWord, GapReason, NoEventId, StreamGap};
pub use files::{DirectRequest, DirectView, FileView, LinkView, UploadView};
pub use fleet::{QueueList, QueueView, WorkerList, WorkerView};
pub use keys::{KeyList, KeyMade, KeyRequest, KeyView, RotateRequest};
pub use problem::{FieldError, Problem};
pub use webhooks::{
    DeliveryList, DeliveryView, JobWebhook, TryView, WebhookList, WebhookRequest, WebhookRotation, WebhookView,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::context::Progress;
use crate::executor::Policy;
use crate::outcome::ErrorReport;
use crate::wire::JobId;

/// The body of `POST /v1/jobs`. `run_at` and `delay_seconds` exclude each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// What sort of job, e.g. `image.resize`; `GET /v1/kinds` lists them.
    pub kind: String,
    /// The executor's input. It must fit the kind's `payload_schema`.
    #[schemars(with = "Value")]
    pub payload: Box<RawValue>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Not before so many seconds have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<f64>,
    /// Which of the kind's three queues carries it; `normal` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// One attempt's wall clock, in place of the kind's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// How many attempts may fail, in place of the kind's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The caller's own notes; kept, shown, never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// An id of the caller's that follows the job through logs and events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// At most one unfinished job of the kind has this key: while it is pending or running, a submit finds it instead of
    /// making another. 1 to 255 visible ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// Who is told over HTTP of its end, or of what else it names, beside the subscriptions of `/v1/webhooks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<JobWebhook>,
}

impl SubmitRequest {
    /// A job of `kind` with every option left to the server.
    pub fn new(kind: impl Into<String>, payload: Box<RawValue>) -> Self {
        Self {
            kind: kind.into(),
            payload,
            run_at: None,
            delay_seconds: None,
            priority: None,
            timeout_seconds: None,
            max_attempts: None,
            metadata: None,
            correlation_id: None,
            unique_key: None,
            webhook: None,
        }
    }
}

/// Which of a kind's three queues carries a job. Workers weigh them; none is starved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before the others.
    High,
    /// The default.
    #[default]
    Normal,
    /// When there is room.
    Low,
}

/// Where a job stands. Exactly these five; the last three are for good, unless a failed job is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; [`JobView::waiting`] says what it waits for.
    Pending,
    /// An executor has it.
    Running,
    /// Done; its result and artifacts are there.
    Completed,
    /// Given up; its error is there.
    Failed,
    /// Cancelled on request.
    Canceled,
}

impl JobState {
    /// All five.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Canceled];

    /// Its word in JSON and in queries.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether no executor will touch the job again by itself.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

/// What a pending job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A free worker.
    Queued,
    /// The moment its caller asked for.
    Scheduled,
    /// The end of the wait after a failed attempt.
    BackingOff,
    /// Another job, or the return of something the worker needs.
    Blocked,
}

/// A job as `GET /v1/jobs/{id}` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// What sort of job.
    pub kind: String,
    /// Where it stands.
    pub state: JobState,
    /// What it waits for; only while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// A cancellation is asked for and not yet obeyed.
    #[serde(default)]
    pub canceling: bool,
    /// Failed with its evidence kept; it can be replayed.
    #[serde(default)]
    pub dead_letter: bool,
    /// The latest attempt, counted from 1; 0 before the first.
    pub attempt: u32,
    /// How many attempts may fail.
    pub max_attempts: u32,
    /// How many attempts count against `max_attempts`: those that yielded on a drain or were lost with an innocent
    /// worker do not.
    pub charged: u32,
    /// The latest report of a running attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The executor's output, once completed. It fits the kind's `output_schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub result: Option<Box<RawValue>>,
    /// Why it failed, or while it backs off: why its last attempt did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// Its output files, once completed.
    #[serde(default)]
    pub artifacts: Vec<ArtifactView>,
    /// Every attempt so far, the first first.
    #[serde(default)]
    pub attempts: Vec<AttemptView>,
    /// The caller's own notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The id that follows the job through logs and events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The key of which it is the one unfinished job of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_key: Option<String>,
    /// Who is told of its end, without the secret. Of no events: it answered 410 Gone, and is told nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<JobWebhook>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its next attempt may start; only while pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// When its latest attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it reached its terminal state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Where to go on from here.
    pub urls: Urls,
    /// Rises by one with every transition: the sequence number of its event. The entity tag has it, too.
    pub version: u64,
}

/// A published output file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArtifactView {
    /// Its name within the job.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Where to get it.
    pub url: String,
}

/// One attempt of a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// Its number, counted from 1.
    pub attempt: u32,
    /// The worker that ran it.
    pub worker: String,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AttemptOutcome>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The executor answered.
    Done,
    /// It failed; another attempt may do better.
    Error,
    /// It took longer than it may.
    Timeout,
    /// The executor panicked.
    Panic,
    /// The executor gave up.
    Fatal,
    /// A cancellation was obeyed.
    Canceled,
    /// Handed back on a drain, or put off by its executor.
    Yielded,
    /// Its worker's lease ended, and nobody saw why.
    Lost,
    /// Its worker's process ended under it; the error says by which signal.
    Crashed,
    /// Its worker never started it and gave it back.
    HandedBack,
    /// Taken from its executor at the end of a drain's grace.
    Drained,
}

/// A job's addresses, absolute or relative to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Urls {
    /// `GET` it for this view.
    #[serde(rename = "self")]
    pub this: String,
    /// `POST` to it to cancel.
    pub cancel: String,
    /// `GET` it for the live events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    /// `POST` to it to run a failed job again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// What `GET /v1/jobs` answers: jobs without their attempts, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobList {
    /// One page of them.
    pub jobs: Vec<JobView>,
    /// What to ask with as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}

/// What `GET /readyz` answers, with 200 when `ready` and 503 when not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Whether every part is.
    pub ready: bool,
    /// The ledger.
    pub ledger: PartReadiness,
    /// The broker.
    pub broker: PartReadiness,
}

/// One part of [`Readiness`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartReadiness {
    /// Whether it can be used now.
    pub ready: bool,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What `GET /v1/kinds` answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KindList {
    /// Every kind, by name.
    pub kinds: Vec<KindView>,
}

/// A kind as `GET /v1/kinds` shows it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KindView {
    /// Its name.
    pub kind: String,
    /// JSON Schema of what it is given.
    pub payload_schema: Value,
    /// JSON Schema of what it answers.
    pub output_schema: Value,
    /// How long, how often and how many at once.
    pub policy: Policy,
    /// How many live workers run it.
    pub workers: u32,
}

#[cfg(test)]
mod tests;
