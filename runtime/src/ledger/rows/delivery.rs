//! What one delivery asks of the ledger and hears: the claim, the record, and the event to announce.
//! Shapes only; the conditions are in the ledgers' SQL.

use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::api::{EventId, EventWord};
use longshore_sdk::{Artifact, ErrorReport, JobId, Progress, Trace};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Ended;
use crate::job::state::State;
use crate::tenant::Tenant;

/// The right to write for one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Who holds it.
    pub worker: Uuid,
}

/// A delivery asks to run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// Whether nothing else runs in this worker: a suspect may be claimed.
    pub alone: bool,
}

/// What a claim found.
#[derive(Debug, Clone)]
pub enum Claimed {
    /// It is ours: run it.
    Run(Box<Granted>),
    /// It is settled; announce its history again, then ack.
    Settled(Vec<Event>),
    /// It runs under a worker: ack.
    Busy,
    /// It backs off or is scheduled; the relay will publish it: ack.
    NotDue,
    /// It must run alone and this worker isn't.
    Suspect,
    /// The ledger has no such job.
    Unknown,
    /// Our own lease is over (or was, a moment ago): nothing was claimed; give the delivery back.
    NoLease,
}

/// What a granted claim gives the worker.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The right to write.
    pub fence: Fence,
    /// Its version: the sequence number of the event that it started.
    pub version: i64,
    /// When it started.
    pub started_at: Timestamp,
    /// Whose job it is.
    pub tenant: Tenant,
    /// Its kind, as the ledger has it.
    pub kind: String,
    /// Its payload, as the ledger has it.
    pub payload: Box<RawValue>,
    /// What an earlier attempt saved.
    pub checkpoint: Option<Box<RawValue>>,
    /// Failures charged before this attempt.
    pub charged: u32,
    /// Failures it may have.
    pub max_attempts: u32,
    /// This attempt's wall clock.
    pub timeout: Duration,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How long it could have run already: from its due time to this claim.
    pub waited: Duration,
}

/// What is to be recorded of an attempt.
#[derive(Debug, Clone)]
pub struct Record {
    /// Of which attempt.
    pub fence: Fence,
    /// How it ended, for the history.
    pub ended: Ended,
    /// Where the job goes.
    pub settle: Settle,
}

/// Where a job goes after an attempt.
#[derive(Debug, Clone)]
pub enum Settle {
    /// Completed, with its output.
    Complete {
        /// The executor's output.
        result: Box<RawValue>,
        /// Its output files, published by this commit.
        artifacts: Vec<Artifact>,
    },
    /// Pending, due after the wait; the failure is charged. Canceled instead if a cancel was asked for.
    Retry {
        /// The backoff.
        wait: Duration,
        /// The evidence.
        error: ErrorReport,
    },
    /// Failed.
    DeadLetter {
        /// The evidence.
        error: ErrorReport,
    },
    /// Canceled.
    Cancel,
    /// Pending, due after the wait, uncharged. Canceled instead if a cancel was asked for.
    HandBack {
        /// Zero on a drain.
        wait: Duration,
    },
}

/// What recording found.
#[derive(Debug, Clone)]
pub enum Recorded {
    /// Done; announce this, then ack.
    Done(Event),
    /// This very attempt had settled it before (the reply was lost): announce again, then ack.
    Before(Event),
    /// The lease was lost; the outcome is dropped.
    Fenced,
}

/// The answers of one round, in the order of its questions.
#[derive(Debug, Default)]
pub struct Round {
    /// One for each claim.
    pub claims: Vec<Claimed>,
    /// One for each record.
    pub records: Vec<Recorded>,
}

/// A job's transition, as it is announced. A repeat of the same transition is equal to it, from whichever of the ledger's
/// answers it comes. An attempt's progress is announced under the transition that started it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its kind.
    pub kind: String,
    /// Its version after the transition: the event's sequence number.
    pub version: i64,
    /// Where the job was then.
    pub state: State,
    /// Its attempt then.
    pub attempt: u32,
    /// How the attempt ended, if this is its end.
    pub ended: Option<Ended>,
    /// The error of a failed attempt or a dead letter.
    pub error: Option<ErrorReport>,
    /// How far the attempt is, if this is no transition but a word from within it.
    pub progress: Option<Report>,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
    /// When it happened.
    pub at: Timestamp,
}

/// A running attempt's progress, with its place among the attempt's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Rises within the attempt, from 1.
    pub n: u32,
    /// When it was taken down, by its worker's clock.
    pub at: Timestamp,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
}

/// A job that owes announcements.
#[derive(Debug, Clone, PartialEq)]
pub struct Unannounced {
    /// The job.
    pub job: JobId,
    /// Its version when it was looked at.
    pub version: i64,
    /// Its whole history: which of them were announced before is not known, and a repeat is recognised by its id.
    pub events: Vec<Event>,
}

impl Event {
    /// A job was accepted; its trace, if it has one, is the caller's to add.
    pub fn accepted(job: JobId, tenant: &Tenant, kind: &str, correlation_id: Option<&str>, at: Timestamp) -> Self {
        Self {
            job,
            tenant: tenant.clone(),
            kind: kind.to_owned(),
            version: 1,
            state: State::Pending,
            attempt: 0,
            ended: None,
            error: None,
            progress: None,
            correlation_id: correlation_id.map(str::to_owned),
            trace: None,
            at,
        }
    }

    /// What happened, in one word.
    pub fn word(&self) -> EventWord {
        match self.state {
            State::Pending if self.attempt == 0 => EventWord::Accepted,
            State::Pending if self.error.is_some() => EventWord::AttemptFailed,
            State::Pending => EventWord::Requeued,
            State::Running if self.progress.is_some() => EventWord::Progressed,
            State::Running => EventWord::Started,
            State::Completed => EventWord::Completed,
            State::Failed => EventWord::Failed,
            State::Canceled => EventWord::Canceled,
        }
    }

    /// Its place among the job's events.
    pub fn id(&self) -> EventId {
        let progress = self.progress.as_ref().map_or(0, |report| report.n);
        EventId { job: self.job, sequence: self.version, progress }
    }
}

impl Granted {
    /// Its attempt started.
    pub fn started(&self) -> Event {
        Event {
            version: self.version,
            state: State::Running,
            attempt: self.fence.attempt,
            trace: self.trace.clone(),
            ..Event::accepted(self.fence.job, &self.tenant, &self.kind, self.correlation_id.as_deref(), self.started_at)
        }
    }
}
