//! Calls about many jobs at once: a batch of submits, and what is done with dead letters.
//! Shapes only, as in [`super`]; how many are too many is the server's to say. Read [`super::SubmitRequest`] for one item.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JobView, Problem, SubmitRequest};
use crate::wire::JobId;

/// The body of `POST /v1/jobs/batch`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The jobs; each is accepted or refused by itself.
    #[schemars(length(min = 1))]
    pub jobs: Vec<SubmitRequest>,
}

/// What `POST /v1/jobs/batch` answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchAnswer {
    /// One answer per job, in the order of the request.
    pub items: Vec<BatchItem>,
}

/// What became of one job of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchItem {
    /// The status that `POST /v1/jobs` would have answered.
    pub status: u16,
    /// Whether an earlier batch with the same `Idempotency-Key` made it.
    #[serde(default)]
    pub replayed: bool,
    /// Whether it is another request's job, not finished yet, that holds the `unique_key`.
    #[serde(default)]
    pub held: bool,
    /// The job, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    /// Why it was not. Its pointers begin at the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Which dead letters are meant: either some by their ids, or those of a kind, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterChoice {
    /// These jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ids: Option<Vec<JobId>>,
    /// Jobs of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// At most so many of the kind; absent: as many as the server does at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What `POST /v1/dead-letters/replay` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplayedMany {
    /// How many are pending again.
    pub replayed: usize,
    /// How many were no dead letters, or unknown.
    pub skipped: usize,
    /// Whether the kind may have more: ask again.
    pub more: bool,
}

/// What `POST /v1/dead-letters/purge` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgedMany {
    /// How many are gone for good.
    pub purged: usize,
    /// How many were no dead letters, unknown, or so fresh that their failure is not announced yet.
    pub skipped: usize,
    /// Whether the kind may have more: ask again.
    pub more: bool,
}
