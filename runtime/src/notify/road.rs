//! A ready job as the message that carries it to a worker: its id and where it goes, for the payload that counts is the ledger's.
//! Pure, and the only place where a priority becomes a lane.

use crate::broker::{JobMessage, Lane};
use crate::ledger::{Priority, Ready};

/// The message of a ready job.
pub fn message(ready: &Ready) -> JobMessage {
    let lane = match ready.priority {
        Priority::High => Lane::High,
        Priority::Normal => Lane::Normal,
        Priority::Low => Lane::Low,
    };
    let (kind, correlation_id, trace) = (ready.kind.clone(), ready.correlation_id.clone(), ready.trace.clone());
    JobMessage { job: ready.job, tenant: ready.tenant.clone(), kind, lane, correlation_id, trace }
}
