//! The JSON of `/v1/audit`: who did what, to which object, and with which outcome. Shapes only.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditLine {
    /// Its place: later lines have higher numbers.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Whose the object is.
    pub tenant: String,
    /// Who: `key:<id>`, `subject:<name>`, `anonymous`, or who sat at the command line.
    pub actor: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// By which request, as its answer's `X-Request-Id` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What, such as `key.revoked` or `job.canceled`.
    pub deed: String,
    /// To what: an id, or the call that was refused.
    pub object: String,
    /// `done` or `refused`.
    pub outcome: String,
}

/// Lines, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    /// The lines.
    pub lines: Vec<AuditLine>,
    /// What to give as `before` for the next page; none: this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}
