//! One attempt, the same for a worker and for the test kit: run the executor under its deadline, behind a panic fence,
//! with an ear for cancellation. It records nothing; what follows from the [`Outcome`] is the runtime's verdict.
//! Read [`crate::testkit`] for how to run one by hand.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use serde_json::value::RawValue;
use tracing::{Instrument, info_span};

use crate::context::{CancelReason, Context};
use crate::executor::AnyExecutor;
use crate::outcome::{ErrorReport, Failure, Outcome, Result, Seen};

/// How the executor's future came to its end: an answer, a panic's text, or dropped because it outlived its grace.
enum End {
    Answered(Result<Box<RawValue>>),
    Panicked(String),
    Dropped,
}

/// Runs one attempt. Never panics, and ends at the latest `cancel_grace` after the deadline or a cancellation.
pub async fn run(executor: &dyn AnyExecutor, payload: &RawValue, context: &Context) -> Outcome {
    let (id, kind, attempt) = (context.job_id(), context.kind(), context.attempt());
    let correlation_id = context.correlation_id();
    let span = info_span!("attempt", job.id = %id, job.kind = kind, attempt, correlation_id);
    // The fence stands around the whole drive: dropping an executor that ignored its cancellation may panic as well.
    let fenced = AssertUnwindSafe(drive(executor, payload, context)).catch_unwind();
    let end = fenced.instrument(span).await.unwrap_or_else(|panic| End::Panicked(panic_text(panic.as_ref())));
    judge(end, context)
}

async fn drive(executor: &dyn AnyExecutor, payload: &RawValue, context: &Context) -> End {
    let mut work = executor.run_json(payload, context);
    let end = tokio::select! {
        biased;
        answer = &mut work => Some(answer),
        () = stop_asked(context) => tokio::time::timeout(context.cancel_grace(), &mut work).await.ok(),
    };
    end.map_or(End::Dropped, End::Answered)
}

async fn stop_asked(context: &Context) {
    if tokio::time::timeout(context.timeout(), context.canceled()).await.is_err() {
        context.cancellation().cancel(CancelReason::Timeout);
    }
}

// The order is the rule. A lost lease beats everything, for another worker may hold the job by now; what the executor
// brought to an end beats the cancellation that came too late for it; what the cancellation interrupted is put down to it.
fn judge(end: End, context: &Context) -> Outcome {
    match (end, context.cancellation().reason()) {
        (_, Some(CancelReason::LeaseLost)) => Outcome::LeaseLost,
        (End::Answered(Ok(result)), _) => Outcome::Done { result, artifacts: context.artifacts() },
        (End::Answered(Err(Failure::Yielded)), _) if context.should_yield() => Outcome::Yielded,
        (End::Answered(Err(failure @ Failure::Fatal(_))), _) => failure.into(),
        (End::Panicked(text), _) => retry(Seen::Panicking, "panic", format!("the executor panicked: {text}")),
        (_, Some(CancelReason::Drained)) => Outcome::Drained,
        (_, Some(CancelReason::Requested)) => Outcome::Canceled,
        (_, Some(CancelReason::Timeout)) => {
            retry(Seen::TimingOut, "timeout", format!("the attempt took longer than its {:?}", context.timeout()))
        }
        (End::Answered(Err(Failure::Canceled)), None) => {
            retry(Seen::Failing, "stopped_unasked", "the executor ended as canceled, but nobody had cancelled it")
        }
        // Free of charge it would come back for ever.
        (End::Answered(Err(Failure::Yielded)), None) => {
            retry(Seen::Failing, "yielded_unasked", "the executor handed the job back, but its worker does not drain")
        }
        (End::Answered(Err(failure)), None) => failure.into(),
        (End::Dropped, None) => unreachable!("an attempt is dropped only after it was asked to stop"),
    }
}

fn retry(seen: Seen, code: &str, message: impl std::fmt::Display) -> Outcome {
    Outcome::Retry { error: ErrorReport::new(code, message), after: None, seen }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "with no text".to_owned())
}

#[cfg(test)]
mod tests;
