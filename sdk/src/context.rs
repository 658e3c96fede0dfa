//! What an executor may ask of the world that runs it: progress, cancellation, checkpoint, artifacts, inputs, threads.
//! It holds no connection and no policy; everything that leaves it goes through [`Host`], which the worker and the test
//! kit each implement. Read [`crate::attempt`] for who drives it.

mod artifacts;
mod cancel;
mod checkpoint;
mod keep;
mod progress;

pub use artifacts::{Artifact, artifact_name_is_valid};
pub use cancel::{CancelReason, Cancellation};
pub use checkpoint::MAX_CHECKPOINT_BYTES;
pub use keep::Kept;
pub use progress::Progress;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;

use crate::outcome::{ErrorReport, Failure, Result};
use crate::source::Source;
use crate::trace::Trace;
use crate::wire::JobId;

/// The facts of one attempt, as its claim returned them.
#[derive(Debug, Clone)]
pub struct AttemptInfo {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: Arc<str>,
    /// This attempt, counted from 1. It never goes down and no two attempts of a job share it: a fencing token.
    pub attempt: u32,
    /// How many attempts failed before this one and count against `max_attempts`.
    pub charged: u32,
    /// How many failed attempts the job may have.
    pub max_attempts: u32,
    /// This attempt's wall clock.
    pub timeout: Duration,
    /// How long it may clean up once cancelled.
    pub cancel_grace: Duration,
    /// The id that follows the request through logs and events.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
    /// What an earlier attempt saved, as JSON.
    pub checkpoint: Option<Box<RawValue>>,
}

/// The outside world of an attempt. Implemented by the worker and by the test kit, never by an executor.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Where scratch directories are made.
    fn scratch_root(&self) -> &Path;
    /// Shows progress. Never waits; a newer report replaces an older one.
    fn progress(&self, progress: Progress);
    /// Where the test kit may kill an attempt: before and after whatever an executor asks for.
    async fn step(&self) {}
    /// Stores a checkpoint, fenced by the attempt.
    async fn save_checkpoint(&self, checkpoint: Box<RawValue>) -> Result<()>;
    /// Brings a source to a local path, within the operator's rules. `scratch` is the attempt's own directory.
    async fn fetch(&self, source: &Source, scratch: &Path) -> Result<Input>;
    /// Puts a file aside under this attempt's number, for later attempts of the job.
    async fn keep(&self, name: &str, file: &Path) -> Result<()>;
    /// Brings a kept file to a local path; `None` when it is gone.
    async fn recall(&self, kept: &Kept, scratch: &Path) -> Result<Option<Input>>;
    /// Moves a file to the staging place of this attempt.
    async fn stage(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact>;
}

/// A job's input on the local disk. Not to be written to: it may be the only copy.
#[derive(Debug, Clone)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Handed to [`crate::Executor::run`].
pub struct Context {
    info: AttemptInfo,
    host: Arc<dyn Host>,
    cancellation: Cancellation,
    scratch: OnceLock<tempfile::TempDir>,
    artifacts: Mutex<Vec<Artifact>>,
    artifact_names: Mutex<HashSet<String>>,
}

impl Context {
    /// A context for one attempt. Called by whoever runs attempts, not by executors.
    pub fn new(info: AttemptInfo, host: Arc<dyn Host>, cancellation: Cancellation) -> Self {
        let (artifacts, artifact_names) = Default::default();
        Self { info, host, cancellation, scratch: OnceLock::new(), artifacts, artifact_names }
    }

    /// The job's id.
    pub fn job_id(&self) -> JobId {
        self.info.job
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        &self.info.kind
    }

    /// This attempt, counted from 1; rises with every start. Use it as the fencing token for effects of your own: a store
    /// that remembers the highest number it saw refuses an attempt that lost its lease.
    pub fn attempt(&self) -> u32 {
        self.info.attempt
    }

    /// How many attempts failed before this one and count against [`Self::max_attempts`]: those lost with an innocent worker, handed
    /// back on a drain, or made before a replay do not.
    pub fn charged(&self) -> u32 {
        self.info.charged
    }

    /// How many failed attempts the job may have.
    pub fn max_attempts(&self) -> u32 {
        self.info.max_attempts
    }

    /// This attempt's wall clock limit, from its start.
    pub fn timeout(&self) -> Duration {
        self.info.timeout
    }

    /// How long a cancelled attempt may clean up.
    pub fn cancel_grace(&self) -> Duration {
        self.info.cancel_grace
    }

    /// The id that follows the request through logs and events.
    pub fn correlation_id(&self) -> Option<&str> {
        self.info.correlation_id.as_deref()
    }

    /// The header `traceparent` for a request of this attempt's to somebody else, so that both are seen in one trace. `None`
    /// when nobody traces this job.
    pub fn traceparent(&self) -> Option<&str> {
        self.info.trace.as_ref().map(Trace::traceparent)
    }

    /// The whole of it, with the header `tracestate`.
    pub fn trace(&self) -> Option<&Trace> {
        self.info.trace.as_ref()
    }

    /// Shows how far the work is. Never waits and never fails; call it as often as you like.
    pub fn progress(&self, progress: impl Into<Progress>) {
        self.host.progress(progress.into());
    }

    /// This attempt's cancellation, to hand to a thread or a task.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Brings `source` to the local disk, within the operator's rules (allowed roots, schemes, size).
    ///
    /// # Errors
    /// Fatal when the source is forbidden, missing or too large; a retry when the store does not answer.
    pub async fn fetch(&self, source: &Source) -> Result<Input> {
        let scratch = self.scratch()?;
        self.host.step().await;
        let fetched = self.host.fetch(source, scratch).await;
        self.host.step().await;
        fetched
    }

    /// A directory of this attempt's own, made at the first call and removed with all it holds when the attempt ends.
    ///
    /// # Errors
    /// A retry when the directory cannot be made.
    pub fn scratch(&self) -> Result<&Path> {
        if self.scratch.get().is_none() {
            let made = tempfile::Builder::new()
                .prefix(&format!("{}-{}-", self.info.job, self.info.attempt))
                .tempdir_in(self.host.scratch_root())
                .map_err(|error| Failure::retry("scratch_unavailable", error))?;
            // A race makes two; the loser is removed here.
            let _ = self.scratch.set(made);
        }
        Ok(self.scratch.get().expect("set above").path())
    }

    /// Runs CPU work on a thread of the blocking pool, within the attempt's span. A panic in it ends the attempt like any panic.
    /// The thread cannot be stopped from outside: let long work look at [`Cancellation::is_canceled`].
    ///
    /// # Errors
    /// Those of `work`; a retry when the runtime shuts down before it ran.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let span = tracing::Span::current();
        self.host.step().await;
        let ended = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
        self.host.step().await;
        match ended {
            Ok(answer) => answer,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Failure::Retry {
                    error: ErrorReport::new("shutdown", "the worker's threads are gone"),
                    after: None,
                }),
            },
        }
    }
}
