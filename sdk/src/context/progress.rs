//! How far an attempt is, for people and dashboards. Progress is never durable and decides nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A report on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Between 0 and 1, when the end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// A few words, e.g. `120,000 rows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Progress {
    /// `done` of `total`, with a few words.
    pub fn of(done: u64, total: u64, message: impl Into<String>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a fraction for people")]
        let fraction = if total == 0 { 1.0 } else { done as f64 / total as f64 };
        Self { fraction: Some(fraction.clamp(0.0, 1.0)), message: Some(message.into()) }
    }
}

impl From<f64> for Progress {
    fn from(fraction: f64) -> Self {
        Self { fraction: Some(if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) }), message: None }
    }
}

impl From<&str> for Progress {
    fn from(message: &str) -> Self {
        Self { fraction: None, message: Some(message.to_owned()) }
    }
}
