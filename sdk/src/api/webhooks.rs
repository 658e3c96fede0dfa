//! Webhooks: who is told, and what became of each telling. What is told is an [`Event`](super::Event); how it is signed is
//! [`crate::webhook`]'s. A secret is in a request and in the answer that made it, and nowhere else.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventWord, JobState};
use crate::webhook::Secret;
use crate::wire::JobId;

/// Who is told of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobWebhook {
    /// Where it is POSTed: https, on the public internet.
    pub url: String,
    /// What it is signed with. Without one it is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Of what it is told. Left out: of `completed`, `failed` and `canceled`. With `progressed` it may be told twice a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventWord>>,
}

/// The body of `POST /v1/webhooks`: who is told of all jobs, or of all of some kinds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where it is POSTed: https, on the public internet.
    pub url: String,
    /// Of which kinds; left out or empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Of what it is told. Left out: of `completed`, `failed` and `canceled`. With `progressed` it may be told twice a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<EventWord>>,
}

/// The body of `POST /v1/webhooks/{id}/rotate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRotation {
    /// So long both secrets sign; left out: as the server is set, a day by default. 0: the old one is no secret any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<f64>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookView {
    /// Its id.
    pub id: String,
    /// Where it is POSTed.
    pub url: String,
    /// Of which kinds; empty: of all.
    pub kinds: Vec<String>,
    /// Of what.
    pub events: Vec<EventWord>,
    /// Whether anything is sent.
    pub enabled: bool,
    /// Why nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Since when every try to reach it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it is signed with. Only in the answer that made it: keep it, for it is never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Until when earlier secrets sign too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<Timestamp>,
}

/// `GET /v1/webhooks`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookList {
    /// The oldest first.
    pub webhooks: Vec<WebhookView>,
}

/// One event on its way to one receiver. It is a job itself, of the same id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    /// Its id, and that of its job.
    pub id: JobId,
    /// Of which job it tells; none in a test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The event's place among the job's.
    pub sequence: i64,
    /// Which progress under it; left out if it is the transition itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u32>,
    /// What happened to the job, or `test`.
    pub event: String,
    /// `completed` once the receiver took it, `failed` when it is given up and can be replayed.
    pub state: JobState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is tried next, if it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Every try so far, the first first.
    pub tries: Vec<TryView>,
}

/// One try to deliver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TryView {
    /// The attempt of its job.
    pub attempt: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration_seconds: f64,
    /// What the receiver answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was no delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How the answer's body begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// `GET /v1/webhooks/{id}/deliveries`, and `GET /v1/jobs/{id}/deliveries` for a job's own webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryList {
    /// The newest first.
    pub deliveries: Vec<DeliveryView>,
    /// `before` of the next page, if there may be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}
