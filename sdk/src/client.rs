//! Calls a Longshore over HTTP and turns a job into something to await.
//! It follows no redirect, never submits twice by itself, and has a limit on every wait and every answer.
//! Read [`JobHandle`] for the promise, [`crate::api`] for the JSON, `examples/await_a_job.rs` for a whole program.
//!
//! ```no_run
//! # use longshore_sdk::prelude::*;
//! # #[derive(Serialize, Deserialize, JsonSchema)]
//! # struct Greet { name: String }
//! # impl Payload for Greet { const KIND: &'static str = "demo.greet"; type Output = String; }
//! use longshore_sdk::client::Client;
//!
//! # async fn example() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:8080")?;
//! let greeting: String = client.submit(&Greet { name: "Ada".into() }).await?.await?;
//! # Ok(())
//! # }
//! ```

mod bulk;
mod events;
mod files;
mod fleet;
mod handle;
mod promise;
mod sse;
mod transport;

pub use bulk::ListOptions;
pub use events::{EventFilter, Events, Told};
pub use handle::{JobError, JobHandle};

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::api::{JobView, JobWebhook, KindList, KindView, Priority, Problem, SubmitRequest};
use crate::context::Context;
use crate::executor::Payload;
use crate::trace::Trace;
use crate::wire::JobId;
use transport::{Limits, Transport};

/// How long an awaited job outlives a server that does not answer, unless [`Client::with_patience`] says otherwise.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);
/// One call's limit, unless [`Client::with_call_timeout`] says otherwise.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest JSON answer, unless [`Client::with_max_answer_bytes`] says otherwise.
pub const DEFAULT_MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A connection to one Longshore. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    patience: Duration,
}

/// Why a call got no answer, or not the one it wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused, and says why. One whose type is `about:blank` has no more to tell than its status.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No answer: no connection, a broken one, or a wait past its limit. The call may have had its effect.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// An answer that is none of Longshore's, or a call that cannot be put into words.
    #[error("{0}")]
    Protocol(String),
    /// A local file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: std::io::Error,
    },
}

/// What a caller may ask for beside the payload. What is left out is the kind's policy.
#[derive(Debug, Clone, Default)]
pub struct SubmitOptions {
    /// Not before so much time has passed. Excludes `run_at`.
    pub delay: Option<Duration>,
    /// Not before this moment.
    pub run_at: Option<Timestamp>,
    /// Which of the kind's queues carries it.
    pub priority: Option<Priority>,
    /// One attempt's wall clock.
    pub timeout: Option<Duration>,
    /// How many attempts may fail.
    pub max_attempts: Option<u32>,
    /// The caller's own notes.
    pub metadata: Option<Map<String, Value>>,
    /// An id of the caller's that follows the job through logs and events.
    pub correlation_id: Option<String>,
    /// At most one unfinished job of the kind has this key; a submit that finds it held answers with the job that holds it.
    pub unique_key: Option<String>,
    /// Who is told over HTTP of its end, or of what else it names.
    pub webhook: Option<JobWebhook>,
    /// Submits with the same key make one job: choose one to repeat a submit whose answer was lost.
    pub idempotency_key: Option<String>,
    /// Its place in a distributed trace, sent as `traceparent` and `tracestate`.
    pub trace: Option<Trace>,
}

#[derive(Deserialize)]
struct Accepted {
    id: JobId,
}

impl Client {
    /// A client of the server at `base_url`, e.g. `https://jobs.example.org` or `http://127.0.0.1:8080/longshore`.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] for an address that is no `http(s)` one.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let limits = Limits { call_timeout: DEFAULT_CALL_TIMEOUT, max_answer_bytes: DEFAULT_MAX_ANSWER_BYTES };
        Ok(Self { transport: Transport::new(base_url, limits)?, patience: DEFAULT_PATIENCE })
    }

    /// Sends this API key with every call.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] for a key that no header can carry.
    pub fn with_api_key(mut self, key: &str) -> Result<Self, ClientError> {
        self.transport = self.transport.with_api_key(key)?;
        Ok(self)
    }

    /// How long an awaited job outlives a server that does not answer; [`DEFAULT_PATIENCE`] at first.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// One call's limit, on top of the time that the server is asked to wait; for a download, of each of its steps; an
    /// upload gets a second more per 64 KiB. [`DEFAULT_CALL_TIMEOUT`] at first.
    #[must_use]
    pub fn with_call_timeout(mut self, call_timeout: Duration) -> Self {
        self.transport.set_limits(Limits { call_timeout, ..self.transport.limits() });
        self
    }

    /// The largest answer that is read, files aside; [`DEFAULT_MAX_ANSWER_BYTES`] at first.
    #[must_use]
    pub fn with_max_answer_bytes(mut self, max_answer_bytes: usize) -> Self {
        self.transport.set_limits(Limits { max_answer_bytes, ..self.transport.limits() });
        self
    }

    /// Submits a job. `.await` on what it answers gives the job's output.
    ///
    /// # Errors
    /// Every [`ClientError`]; a [`ClientError::Problem`] names the fields at fault.
    pub async fn submit<P: Payload>(&self, payload: &P) -> Result<JobHandle<P::Output>, ClientError> {
        self.submit_with(payload, SubmitOptions::default()).await
    }

    /// Submits a job with options.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_with<P: Payload>(
        &self,
        payload: &P,
        options: SubmitOptions,
    ) -> Result<JobHandle<P::Output>, ClientError> {
        let payload = serde_json::value::to_raw_value(payload)
            .map_err(|error| ClientError::Protocol(format!("the payload cannot be written as JSON: {error}")))?;
        let id = self.send(P::KIND, payload, options).await?;
        Ok(JobHandle::new(self.clone(), id))
    }

    /// Submits a job of a kind that has no Rust type here. Its output is JSON.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_json(
        &self,
        kind: &str,
        payload: Box<RawValue>,
        options: SubmitOptions,
    ) -> Result<JobHandle<Box<RawValue>>, ClientError> {
        let id = self.send(kind, payload, options).await?;
        Ok(JobHandle::new(self.clone(), id))
    }

    /// A job submitted earlier, by its id, as a promise again.
    pub fn handle<P: Payload>(&self, id: JobId) -> JobHandle<P::Output> {
        JobHandle::new(self.clone(), id)
    }

    /// Where a job stands.
    ///
    /// # Errors
    /// Every [`ClientError`]; a problem of type [`NOT_FOUND`](crate::api::problem::NOT_FOUND) for an unknown id.
    pub async fn job(&self, id: JobId) -> Result<JobView, ClientError> {
        self.transport.get(&["v1", "jobs", &id.to_string()], None).await
    }

    /// Where a job stands once it has ended, or after `wait` (whole seconds, rounded up), whichever is first. The server
    /// may answer earlier.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn wait(&self, id: JobId, wait: Duration) -> Result<JobView, ClientError> {
        self.transport.get(&["v1", "jobs", &id.to_string()], Some(wait)).await
    }

    /// Asks for a job's cancellation. A pending job is canceled at once; a running one shows `canceling` until its
    /// executor has obeyed.
    ///
    /// # Errors
    /// As [`Client::job`]; a problem of type [`ALREADY_FINISHED`](crate::api::problem::ALREADY_FINISHED) when it has
    /// ended another way.
    pub async fn cancel(&self, id: JobId) -> Result<JobView, ClientError> {
        self.transport.post_empty(&["v1", "jobs", &id.to_string(), "cancel"]).await
    }

    /// The kinds that the server knows.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn kinds(&self) -> Result<Vec<KindView>, ClientError> {
        let list: KindList = self.transport.get(&["v1", "kinds"], None).await?;
        Ok(list.kinds)
    }

    /// Whether the server takes jobs now.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with what is missing; [`ClientError::Unreachable`].
    pub async fn health(&self) -> Result<(), ClientError> {
        self.transport.probe(&["readyz"]).await
    }

    async fn send(&self, kind: &str, payload: Box<RawValue>, options: SubmitOptions) -> Result<JobId, ClientError> {
        let (key, trace) = (options.idempotency_key.clone(), options.trace.clone());
        let request = options.into_request(kind, payload);
        let headers = [
            ("idempotency-key", key.as_deref()),
            ("traceparent", trace.as_ref().map(Trace::traceparent)),
            ("tracestate", trace.as_ref().and_then(Trace::tracestate)),
        ];
        let accepted: Accepted = self.transport.post_json(&["v1", "jobs"], &request, &headers).await?;
        Ok(accepted.id)
    }
}

impl SubmitOptions {
    /// Options for a job that an attempt submits: it has the attempt's correlation id and is seen in its trace.
    pub fn child_of(context: &Context) -> Self {
        let correlation_id = context.correlation_id().map(str::to_owned);
        Self { correlation_id, trace: context.trace().cloned(), ..Self::default() }
    }

    fn into_request(self, kind: &str, payload: Box<RawValue>) -> SubmitRequest {
        SubmitRequest {
            run_at: self.run_at,
            delay_seconds: self.delay.map(|delay| delay.as_secs_f64()),
            priority: self.priority,
            timeout_seconds: self.timeout.map(|timeout| timeout.as_secs_f64()),
            max_attempts: self.max_attempts,
            metadata: self.metadata,
            correlation_id: self.correlation_id,
            unique_key: self.unique_key,
            webhook: self.webhook,
            kind: kind.into(),
            payload,
        }
    }
}

#[cfg(test)]
mod tests;
