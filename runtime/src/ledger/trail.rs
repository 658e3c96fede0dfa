//! The audit log: who did what to which object, from where, and with which outcome. A line is written by the very transaction that makes
//! the change, so that there is no change without it; nobody changes a line, and the janitor removes old ones. What is changed through
//! [`super::Ledger::by`] is noted, and nothing else. (`audit.rs` beside is another thing: what must be true of every job.)

use jiff::Timestamp;

use crate::tenant::Tenant;

/// Whoever changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `key:<id>`, `subject:<name>`, `anonymous`, or who sits at the command line.
    pub name: String,
    /// From where.
    pub address: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
}

/// What may be noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// An API key was made.
    KeyCreated,
    /// One was replaced: it ends after the overlap.
    KeyRotated,
    /// One was ended.
    KeyRevoked,
    /// A subscription was made.
    WebhookCreated,
    /// One was removed.
    WebhookRemoved,
    /// It signs with another secret.
    WebhookRotated,
    /// It is told again.
    WebhookEnabled,
    /// It is told nothing more.
    WebhookDisabled,
    /// A job was canceled, or asked to stop.
    JobCanceled,
    /// A dead letter was made ready again.
    JobReplayed,
    /// A dead letter was removed.
    JobPurged,
    /// A caller was not let in, or not to this call.
    AccessRefused,
    /// A test event was sent to a subscription.
    WebhookTested,
    /// A delivery that had ended was sent again.
    DeliveryReplayed,
}

impl Deed {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::KeyCreated => "key.created",
            Self::KeyRotated => "key.rotated",
            Self::KeyRevoked => "key.revoked",
            Self::WebhookCreated => "webhook.created",
            Self::WebhookRemoved => "webhook.removed",
            Self::WebhookRotated => "webhook.rotated",
            Self::WebhookEnabled => "webhook.enabled",
            Self::WebhookDisabled => "webhook.disabled",
            Self::JobCanceled => "job.canceled",
            Self::JobReplayed => "job.replayed",
            Self::JobPurged => "job.purged",
            Self::AccessRefused => "access.refused",
            Self::WebhookTested => "webhook.tested",
            Self::DeliveryReplayed => "delivery.replayed",
        }
    }
}

/// How a change ended that was made.
pub const DONE: &str = "done";
/// How a call ended that was not let in.
pub const REFUSED: &str = "refused";

/// A line to write that no change stands behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// Who.
    pub by: Actor,
    /// Whose the object is.
    pub tenant: Tenant,
    /// What.
    pub deed: Deed,
    /// To what.
    pub object: String,
    /// With which outcome.
    pub outcome: &'static str,
}

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place: later lines have higher numbers.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Whose the object is.
    pub tenant: Tenant,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
    /// What, as [`Deed::word`].
    pub deed: String,
    /// To what.
    pub object: String,
    /// With which outcome.
    pub outcome: String,
}
