//! What the loop writes out of a delivery and its grant: the job of a foreign producer, what an executor is told of its attempt, and a
//! record that says what the ledger could not store. It asks nobody.

use longshore_sdk::ErrorReport;
use longshore_sdk::context::AttemptInfo;

use crate::broker::Delivery;
use crate::ledger::{Claim, Ended, Granted, NewJob, Priority, Record, Settle};
use crate::tenant::Tenant;
use crate::worker::registry::Entry;

pub(super) fn new_job(
    claim: Claim,
    delivery: &Delivery,
    tenant: Tenant,
    payload: Box<serde_json::value::RawValue>,
    entry: &Entry,
) -> NewJob {
    NewJob {
        id: claim.job,
        tenant,
        kind: delivery.kind.clone(),
        payload,
        priority: Priority::Normal,
        max_attempts: entry.policy.max_attempts,
        timeout: entry.policy.timeout,
        run_at: None,
        metadata: None,
        correlation_id: delivery.correlation_id.clone(),
        trace: delivery.trace.clone(),
        unique_key: None,
        webhook: None,
        idempotency: None,
    }
}

pub(super) fn info(job: &Granted, here: Option<longshore_sdk::Trace>, entry: &Entry) -> AttemptInfo {
    AttemptInfo {
        job: job.fence.job,
        kind: job.kind.as_str().into(),
        attempt: job.fence.attempt,
        charged: job.charged,
        max_attempts: job.max_attempts,
        timeout: job.timeout,
        cancel_grace: entry.policy.cancel_grace,
        correlation_id: job.correlation_id.clone(),
        trace: here,
        checkpoint: job.checkpoint.clone(),
    }
}

/// The ledger will never take this output, and the job fails with the reason; or this error, and the reason takes its place.
pub(super) fn without_what_it_cannot_store(record: Record, reason: &str) -> Record {
    let because = |what| format!("the ledger cannot store the executor's {what}: {reason}");
    let error = || ErrorReport::new("error_refused", because("error"));
    match record.settle {
        Settle::Complete { .. } => {
            let error = ErrorReport::new("output_refused", because("output"));
            Record { ended: Ended::Fatal, settle: Settle::DeadLetter { error }, ..record }
        }
        Settle::Retry { wait, .. } => Record { settle: Settle::Retry { wait, error: error() }, ..record },
        Settle::DeadLetter { .. } => Record { settle: Settle::DeadLetter { error: error() }, ..record },
        Settle::Cancel | Settle::HandBack { .. } => record,
    }
}
