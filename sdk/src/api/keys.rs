//! The JSON of `/v1/keys`: what is asked for a key, and what is shown of one. Shapes only; a key's text is in one answer, the one
//! that makes it.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Asks for a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What its owner calls it.
    pub name: String,
    /// What it may do: some of `submit`, `read`, `cancel` and `admin`, which is all of them.
    pub scopes: Vec<String>,
    /// For whom it acts; the caller's own tenant unless said otherwise, and only a key of `default` may say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How long it is good; until it is revoked unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<f64>,
}

/// Asks for a new key in an old one's place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// How long the old one stays good beside it; the server's `auth.rotation_overlap` unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_seconds: Option<f64>,
}

/// What is shown of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// Names it, in logs too.
    pub id: String,
    /// For whom it acts.
    pub tenant: String,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it opens the door now.
    pub good: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is good no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When somebody revoked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// A key just made.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyMade {
    /// The key itself. It is kept nowhere and never shown again.
    pub key: String,
    /// What is shown of it from now on.
    #[serde(flatten)]
    pub view: KeyView,
}

impl fmt::Debug for KeyMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMade").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Keys, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyList {
    /// The keys.
    pub keys: Vec<KeyView>,
}
