//! A job's transition as strangers see it: a CloudEvent, the same with the same id on the topic exchange and on the streams
//! of the API. Shapes only; what each kind of job's state makes of a transition is the server's. Read [`super::JobView`] for
//! where a job stands now.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JobState;
use crate::context::Progress;
use crate::outcome::ErrorReport;
use crate::wire::JobId;

/// What happened to a job, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventWord {
    /// It was written down and will run.
    Accepted,
    /// An attempt began.
    Started,
    /// The attempt says how far it is. Of these only the newest is kept: a stream may leave out older ones.
    Progressed,
    /// The attempt failed or was lost with its worker; another will be made.
    AttemptFailed,
    /// It waits again though nothing failed: its worker handed it back, or it is a dead letter that was replayed.
    Requeued,
    /// Its output is recorded.
    Completed,
    /// It is a dead letter.
    Failed,
    /// It was canceled.
    Canceled,
}

impl EventWord {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Started,
        Self::Progressed,
        Self::AttemptFailed,
        Self::Requeued,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Started => "started",
            Self::Progressed => "progressed",
            Self::AttemptFailed => "attempt_failed",
            Self::Requeued => "requeued",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

/// Where in a job's life an event has its place: the sequence number of the transition and, for progress under it, a number
/// from 1. Written as in an event's id, `<job>.<sequence>` or `<job>.<sequence>.<n>`; ordered as the events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The job.
    pub job: JobId,
    /// The transition: 1, 2, 3, ... without a hole.
    pub sequence: i64,
    /// Which progress under the transition; 0 for the transition itself.
    pub progress: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.progress {
            0 => write!(f, "{}.{}", self.job, self.sequence),
            n => write!(f, "{}.{}.{n}", self.job, self.sequence),
        }
    }
}

/// A text that is no event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is <job>.<sequence> or <job>.<sequence>.<n>")]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let mut parts = text.split('.');
        let job = parts.next().and_then(|job| job.parse().ok()).ok_or(NoEventId)?;
        let sequence = parts.next().and_then(|number| number.parse().ok()).ok_or(NoEventId)?;
        let progress = parts.next().map_or(Ok(0), str::parse).map_err(|_| NoEventId)?;
        if parts.next().is_some() { Err(NoEventId) } else { Ok(Self { job, sequence, progress }) }
    }
}

/// What the stream of all jobs says where it cannot tell everything, under the word `gap`. It is no CloudEvent: nothing happened to
/// a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamGap {
    /// Whose fault it is.
    pub reason: GapReason,
    /// What happened from this moment on is not all told; what follows is.
    pub since: Timestamp,
    /// What to do about it, for people.
    pub detail: String,
}

/// Why a stream has a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The reader was too slow.
    Lagged,
    /// The reader was away too long, or the server heard nothing for a while in which too much happened.
    Forgotten,
}

impl StreamGap {
    /// The word.
    pub const WORD: &str = "gap";
}

/// A CloudEvent 1.0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// `1.0`.
    pub specversion: String,
    /// `<job>.<sequence>`, and `<job>.<sequence>.<n>` for progress: the same whenever and wherever the event is repeated.
    pub id: String,
    /// `/longshore`.
    pub source: String,
    /// `longshore.job.` and the word.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The job.
    pub subject: JobId,
    /// Whose job it is.
    #[serde(default = "house")]
    pub tenant: String,
    /// When it happened.
    pub time: Timestamp,
    /// `application/json`.
    pub datacontenttype: String,
    /// The job's place in a distributed trace: CloudEvents' extension for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// What happened.
    pub data: EventData,
}

/// The tenant of those who know none.
fn house() -> String {
    "default".into()
}

/// What happened to the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventData {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// What happened.
    pub event: EventWord,
    /// Where the job stood after it.
    pub state: JobState,
    /// Rises by one with every transition of this job, so that a hole shows; a progress has that of the transition before it.
    pub sequence: i64,
    /// The attempt; 0 before the first.
    pub attempt: u32,
    /// How the attempt ended, if this is its end: as in the job's attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// How far the attempt is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The id that follows the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The completed job's output. Only webhooks bring it, and only where it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Where the output is, in a webhook that it does not fit into: a path of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_its_event_has_its_place() {
        let job = JobId::fresh();
        let at = |sequence, progress| EventId { job, sequence, progress };
        for id in [at(1, 0), at(12, 3)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(at(2, 0) < at(2, 1) && at(2, 9) < at(2, 10) && at(2, 10) < at(3, 0));
    }

    #[test]
    fn what_is_no_events_id_is_refused() {
        let job = JobId::fresh();
        for text in ["", "x.1", &job.to_string(), &format!("{job}."), &format!("{job}.1.x"), &format!("{job}.1.2.3")] {
            assert_eq!(text.parse::<EventId>(), Err(NoEventId), "{text}");
        }
    }
}
