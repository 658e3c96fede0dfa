//! What a submit brings and what it is told. Shapes only; the checks are the API's and the decisions the ledger's.
//! A caller's dedupe key is stored in the transaction that makes the job, so none is ever "in progress" behind a crash.
//! Read [`super::Job`] for the row that comes of it.

use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::{JobId, Trace};
use serde_json::value::RawValue;

use super::{Job, Priority};
use crate::ledger::webhooks::Hook;
use crate::tenant::Tenant;

/// A job to accept.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id, made by the caller, so that a repeat is recognised.
    pub id: JobId,
    /// Whose it is; its keys are this tenant's too.
    pub tenant: Tenant,
    /// Its kind.
    pub kind: String,
    /// Its payload, checked by the caller.
    pub payload: Box<RawValue>,
    /// Its priority.
    pub priority: Priority,
    /// Failures it may have.
    pub max_attempts: u32,
    /// One attempt's wall clock.
    pub timeout: Duration,
    /// When it is to run; `None`: now.
    pub run_at: Option<RunAt>,
    /// The caller's notes, a JSON object.
    pub metadata: Option<Box<RawValue>>,
    /// The id that follows the request through logs and events.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
    /// At most one unfinished job of its kind has this key.
    pub unique_key: Option<String>,
    /// Who is told of it beside the subscriptions.
    pub webhook: Option<Hook>,
    /// What makes a repeated submit find the first one's job.
    pub idempotency: Option<Idempotency>,
}

#[cfg(test)]
impl NewJob {
    /// A job of this kind, due now, with one attempt, and nothing that is optional.
    pub(crate) fn plain(kind: &str) -> Self {
        Self {
            id: JobId::fresh(),
            tenant: Tenant::default(),
            kind: kind.to_owned(),
            payload: RawValue::NULL.to_owned(),
            priority: Priority::Normal,
            max_attempts: 1,
            timeout: Duration::from_secs(60),
            run_at: None,
            metadata: None,
            correlation_id: None,
            trace: None,
            unique_key: None,
            webhook: None,
            idempotency: None,
        }
    }
}

/// A caller's dedupe key. While it lives, a submit with the same key and fingerprint makes no second job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, as the caller chose it.
    pub key: String,
    /// SHA-256 of what was asked with it.
    pub fingerprint: [u8; 32],
    /// How long it is remembered, by the ledger's clock, from the submit that made the job.
    pub lives: Duration,
}

/// When a job is to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RunAt {
    /// So long after the ledger accepted it.
    After(Duration),
    /// At this moment; now if it is past.
    At(Timestamp),
}

/// What [`crate::ledger::Ledger::submit`] did with a job.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// This call made it.
    Created(Job),
    /// An earlier one did, under the same id or the same idempotency key: its present row.
    Repeated(Job),
    /// An unfinished job of its kind holds its unique key: that one's present row. Nothing was made.
    Held(Job),
    /// Its idempotency key came before with another fingerprint, and made this job. Nothing was written.
    Conflict(JobId),
}

impl Submitted {
    /// The row, new or already there; `None` after a conflict.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Created(job) | Self::Repeated(job) | Self::Held(job) => Some(job),
            Self::Conflict(_) => None,
        }
    }

    /// Whether this call made it.
    pub fn is_created(&self) -> bool {
        matches!(self, Self::Created(_))
    }
}
