//! One attempt, the same for a worker and for the test kit: run the executor under its deadline, behind a panic fence,
//! with an ear for cancellation. It records nothing; what follows from the [`Outcome`] is the runtime's verdict.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;
use serde_json::value::RawValue;

use crate::context::{CancelReason, Context};
use crate::executor::AnyExecutor;
use crate::outcome::{ErrorReport, Failure, Outcome, Result};

/// How the executor's future came to its end: an answer, a panic's text, or dropped because it outlived its grace.
enum End {
    Answered(Result<Box<RawValue>>),
    Panicked(String),
    Dropped,
}

/// Runs one attempt. Never panics, and ends at the latest `cancel_grace` after the deadline or a cancellation.
pub async fn run(executor: &dyn AnyExecutor, payload: &RawValue, context: &Context) -> Outcome {
    let mut work = pin!(AssertUnwindSafe(executor.run_json(payload, context)).catch_unwind());
    let end = tokio::select! {
        biased;
        end = &mut work => end.into(),
        () = stop_asked(context) => clean_up(work, context).await,
    };
    judge(end, context)
}

async fn stop_asked(context: &Context) {
    if tokio::time::timeout(context.timeout(), context.canceled()).await.is_err() {
        context.cancellation().cancel(CancelReason::Timeout);
    }
}

async fn clean_up<F>(work: F, context: &Context) -> End
where
    F: Future<Output = std::thread::Result<Result<Box<RawValue>>>>,
{
    match tokio::time::timeout(context.cancel_grace(), work).await {
        Ok(end) => end.into(),
        Err(_) => End::Dropped,
    }
}

fn judge(end: End, context: &Context) -> Outcome {
    match (end, context.cancellation().reason()) {
        (_, Some(CancelReason::LeaseLost)) => Outcome::LeaseLost,
        (End::Answered(Ok(result)), _) => Outcome::Done { result, artifacts: context.artifacts() },
        (End::Answered(Err(Failure::Yielded)), _) => Outcome::Yielded,
        (End::Answered(Err(failure @ Failure::Fatal(_))), _) => failure.into(),
        (End::Panicked(text), _) => retry("panic", format!("the executor panicked: {text}")),
        (_, Some(CancelReason::Drained)) => Outcome::Yielded,
        (_, Some(CancelReason::Requested)) => Outcome::Canceled,
        (_, Some(CancelReason::Timeout)) => {
            retry("timeout", format!("the attempt took longer than its {:?}", context.timeout()))
        }
        (End::Answered(Err(Failure::Canceled)), None) => {
            retry("stopped_unasked", "the executor ended as canceled, but nobody had cancelled it")
        }
        (End::Answered(Err(failure)), None) => failure.into(),
        (End::Dropped, None) => unreachable!("an attempt is dropped only after it was asked to stop"),
    }
}

fn retry(code: &str, message: impl std::fmt::Display) -> Outcome {
    Outcome::Retry { error: ErrorReport::new(code, message), after: None }
}

impl From<std::thread::Result<Result<Box<RawValue>>>> for End {
    fn from(end: std::thread::Result<Result<Box<RawValue>>>) -> Self {
        match end {
            Ok(answer) => Self::Answered(answer),
            Err(panic) => Self::Panicked(panic_text(panic.as_ref())),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "with no text".to_owned())
}
