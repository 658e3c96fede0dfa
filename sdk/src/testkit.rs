//! Runs an executor with no broker, no ledger and no worker, so that its author can test it in a line.
//! It goes through [`crate::attempt::run`] like a worker does and fakes no rule of it: deadline, panic fence, grace and
//! cancellation are the real ones. It fetches paths and uploaded files only, never a network. Read [`Report`] next.
//!
//! ```
//! use longshore_sdk::prelude::*;
//! use longshore_sdk::testkit::TestRun;
//!
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Count { to: u32 }
//!
//! impl Payload for Count {
//!     const KIND: &'static str = "demo.count";
//!     type Output = u32;
//! }
//!
//! struct Counter;
//!
//! impl Executor for Counter {
//!     type Payload = Count;
//!     async fn run(&self, count: Count, context: &Context) -> Result<u32> {
//!         let from = context.checkpoint::<u32>().unwrap_or(0);
//!         for n in from..count.to {
//!             context.save_checkpoint(&(n + 1)).await?;
//!             context.progress(Progress::of((n + 1).into(), count.to.into(), "counted"));
//!             if context.should_yield() && n + 1 < count.to {
//!                 return Err(Failure::Yielded);
//!             }
//!         }
//!         context.publish_bytes("count.txt", "text/plain", count.to.to_string().as_bytes()).await?;
//!         Ok(count.to - from)
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     // One attempt, from start to end.
//!     let report = TestRun::of(Counter).payload(&Count { to: 3 }).run().await;
//!     assert_eq!(report.output::<u32>(), 3);
//!     assert_eq!(report.artifact("count.txt").text(), "3");
//!
//!     // The worker drains when the first third is done; the next attempt goes on from the checkpoint.
//!     let run = TestRun::of(Counter).payload(&Count { to: 3 }).drain_when(|progress| progress.fraction > Some(0.3));
//!     let (first, second) = run.run_twice().await;
//!     assert!(matches!(first.outcome, longshore_sdk::Outcome::Yielded));
//!     assert_eq!(second.output::<u32>(), 2);
//! }
//! ```
//!
//! # One effect, wherever it is killed
//!
//! [`kill_at_every_step`] kills an executor at each thing it asks of its context, runs a fresh attempt after each, and lets the test
//! look at the effect. An executor that writes elsewhere than into artifacts passes only when it **fences** its effect: it writes the
//! attempt's number in the same transaction as the effect itself, and refuses to write under a lower one.
//!
//! ```sql
//! -- One transaction. No row comes back: a later attempt holds the job, so roll back and end as canceled.
//! insert into effects (job, attempt) values ($1, $2)
//!     on conflict (job) do update set attempt = excluded.attempt where effects.attempt <= excluded.attempt returning job;
//! insert into orders (job, line, total) values ($1, 1, 9.90) on conflict (job, line) do nothing;
//! ```
//!
//! `$1` is [`Context::job_id`](crate::Context::job_id), `$2` is [`Context::attempt`](crate::Context::attempt), which no two attempts
//! share and which never goes down.
//!
//! A test that wants a moved clock starts it with `#[tokio::test(start_paused = true)]`: the deadline then costs no time.

mod host;
mod kill;
mod report;

pub use kill::kill_at_every_step;
pub use report::{Report, Staged};

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::context::{AttemptInfo, CancelReason, Cancellation, Context, Progress};
use crate::executor::{AnyExecutor, Executor, Payload, erase};
use crate::outcome::Outcome;
use crate::wire::JobId;
use host::{Inputs, Moment, TestHost, Then};
use kill::Kill;

/// One attempt to come, or two. The run panics, naming what is missing, where a worker would never have started.
#[must_use = "nothing runs before `run` or `run_twice`"]
pub struct TestRun {
    executor: Arc<dyn AnyExecutor>,
    job: JobId,
    payload: Option<Box<RawValue>>,
    attempt: u32,
    checkpoint: Option<Box<RawValue>>,
    timeout: Option<Duration>,
    cancel_grace: Option<Duration>,
    stopped: Option<CancelReason>,
    draining: bool,
    kill: Option<u32>,
    moments: Vec<Moment>,
    inputs: Inputs,
}

impl TestRun {
    /// A run of `executor`: attempt 1, no checkpoint, the executor's own policy.
    pub fn of(executor: impl Executor) -> Self {
        Self::of_erased(erase(executor))
    }

    /// A run of an executor whose types are erased already, as a worker's registry holds it.
    pub fn of_erased(executor: Arc<dyn AnyExecutor>) -> Self {
        Self {
            executor,
            job: JobId::fresh(),
            payload: None,
            attempt: 1,
            checkpoint: None,
            timeout: None,
            cancel_grace: None,
            stopped: None,
            draining: false,
            kill: None,
            moments: Vec::new(),
            inputs: Inputs { roots: Vec::new(), files: HashMap::new() },
        }
    }

    /// What the job asks for.
    ///
    /// # Panics
    /// When the executor runs another kind than this payload's, or the payload is no JSON.
    #[track_caller]
    pub fn payload<P: Payload>(mut self, payload: &P) -> Self {
        assert_eq!(P::KIND, self.executor.kind(), "this payload is of a kind that the executor does not run");
        self.payload = Some(serde_json::value::to_raw_value(payload).expect("a payload can be written as JSON"));
        self
    }

    /// What the job asks for, as a caller in another language would write it.
    ///
    /// # Panics
    /// When it is no JSON: the API would have refused it.
    #[track_caller]
    pub fn payload_json(mut self, payload: &str) -> Self {
        self.payload = Some(RawValue::from_string(payload.to_owned()).expect("the payload is JSON"));
        self
    }

    /// The number of the (first) attempt.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// What an earlier attempt saved.
    ///
    /// # Panics
    /// When it cannot be written as JSON.
    #[track_caller]
    pub fn checkpoint(mut self, position: &impl serde::Serialize) -> Self {
        self.checkpoint = Some(serde_json::value::to_raw_value(position).expect("a checkpoint can be written as JSON"));
        self
    }

    /// The attempt's wall clock, in place of the policy's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a cancelled attempt may clean up, in place of the policy's.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = Some(grace);
        self
    }

    /// The caller cancelled the job before the executor looked.
    pub fn canceled(self) -> Self {
        self.stopped(CancelReason::Requested)
    }

    /// The (first) attempt is to stop for this reason before the executor looks.
    pub fn stopped(mut self, reason: CancelReason) -> Self {
        self.stopped = Some(reason);
        self
    }

    /// The caller cancels the job at the first progress report that `moment` accepts.
    pub fn cancel_when(self, moment: impl FnMut(&Progress) -> bool + Send + 'static) -> Self {
        self.stop_when(CancelReason::Requested, moment)
    }

    /// The attempt is to stop for `reason` from the first progress report on that `moment` accepts. With
    /// [`CancelReason::LeaseLost`] its later checkpoints are refused too, as the ledger would.
    pub fn stop_when(mut self, reason: CancelReason, moment: impl FnMut(&Progress) -> bool + Send + 'static) -> Self {
        self.moments.push(Moment { when: Box::new(moment), then: Then::Stop(reason) });
        self
    }

    /// The worker drains from the start.
    pub fn draining(mut self) -> Self {
        self.draining = true;
        self
    }

    /// The worker drains from the first progress report on that `moment` accepts.
    pub fn drain_when(mut self, moment: impl FnMut(&Progress) -> bool + Send + 'static) -> Self {
        self.moments.push(Moment { when: Box::new(moment), then: Then::Drain });
        self
    }

    /// Lets the executor fetch paths under `root`; every other path is forbidden.
    pub fn allow_paths(mut self, root: impl Into<PathBuf>) -> Self {
        self.inputs.roots.push(root.into());
        self
    }

    /// Lets the executor fetch the file at `path` as the upload `id`.
    pub fn file(mut self, id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.inputs.files.insert(id.into(), path.into());
        self
    }

    /// Runs one attempt.
    ///
    /// # Panics
    /// When no payload was given.
    pub async fn run(mut self) -> Report {
        let bench = self.bench();
        self.once(&bench).await
    }

    /// Runs an attempt and then the next one from its last checkpoint, as after a crash, a drain or a failure.
    /// Cancellation, drain and their moments concern the first alone.
    ///
    /// # Panics
    /// When no payload was given.
    pub async fn run_twice(mut self) -> (Report, Report) {
        let bench = self.bench();
        let first = self.once(&bench).await;
        self.checkpoint = first.checkpoints.last().cloned().or(self.checkpoint.take());
        let second = self.next(&bench).await;
        (first, second)
    }

    /// The attempt after the first, from its last checkpoint.
    async fn next(&mut self, bench: &Arc<tempfile::TempDir>) -> Report {
        self.attempt += 1;
        self.stopped = None;
        self.draining = false;
        self.once(bench).await
    }

    fn bench(&self) -> Arc<tempfile::TempDir> {
        let named = tempfile::Builder::new().prefix("longshore-test-").tempdir();
        Arc::new(named.expect("a temporary directory can be made"))
    }

    async fn once(&mut self, bench: &Arc<tempfile::TempDir>) -> Report {
        let payload = self.payload.as_deref().expect("call `payload` or `payload_json` before `run`");
        let drain = CancellationToken::new();
        let cancellation = Cancellation::draining_with(drain.clone());
        if self.draining {
            drain.cancel();
        }
        if let Some(reason) = self.stopped {
            cancellation.cancel(reason);
        }
        let moments = std::mem::take(&mut self.moments);
        let host = TestHost::new(
            bench,
            self.attempt,
            Kill::at(self.kill),
            self.inputs.clone(),
            moments,
            cancellation.clone(),
            drain,
        );
        let context = Context::new(self.info(), Arc::clone(&host) as _, cancellation);
        let outcome = tokio::select! {
            biased;
            // As with its process: what the attempt held is dropped, and nobody hears of it any more.
            () = host.killed() => Outcome::LeaseLost,
            outcome = crate::attempt::run(self.executor.as_ref(), payload, &context) => outcome,
        };
        // The context first: it removes the attempt's scratch directory, as the worker does.
        drop(context);
        host.report(outcome, Arc::clone(bench))
    }

    fn info(&self) -> AttemptInfo {
        let policy = self.executor.policy();
        AttemptInfo {
            job: self.job,
            kind: self.executor.kind().into(),
            attempt: self.attempt,
            charged: self.attempt.saturating_sub(1),
            max_attempts: policy.max_attempts,
            timeout: self.timeout.unwrap_or(policy.timeout),
            cancel_grace: self.cancel_grace.unwrap_or(policy.cancel_grace),
            correlation_id: None,
            trace: None,
            checkpoint: self.checkpoint.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
