//! What an executor is: a kind, a typed payload and output, a policy, and one async function.
//! It knows nothing of queues, ledgers or workers. Read [`crate::context`] next, then [`crate::attempt`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::context::Context;
use crate::outcome::{Failure, Fatal, Result};

/// The contract between whoever submits a job and the executor that runs it.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The job's kind: lower-case words joined by `.`, `_` or `-`, at most 64 bytes, e.g. `image.resize`.
    const KIND: &'static str;
    /// What a completed job of this kind answers.
    type Output: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
}

/// Runs the jobs of one kind.
pub trait Executor: Send + Sync + 'static {
    /// What it is given, and by [`Payload::KIND`] what it answers to.
    type Payload: Payload;

    /// How long, how often and how many at once.
    fn policy(&self) -> Policy {
        Policy::default()
    }

    /// Runs one attempt. It may be run again after any step, so it must leave one effect however often it starts:
    /// write outputs as artifacts (published by the completing attempt alone), or fence its own writes by
    /// [`Context::attempt`].
    ///
    /// # Errors
    /// Any error with `?` means *try again*; [`Fatal`] means *give up*.
    fn run(
        &self,
        payload: Self::Payload,
        context: &Context,
    ) -> impl Future<Output = Result<<Self::Payload as Payload>::Output>> + Send;
}

/// How long an attempt may take, how often a job is tried, and how many run side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// One attempt's wall clock; past it the attempt is cancelled and counts as failed. Default 10 minutes.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub timeout: Duration,
    /// How many attempts may fail before the job is a dead letter. Default 5.
    pub max_attempts: u32,
    /// The wait before the next attempt.
    pub backoff: Backoff,
    /// How many attempts of this kind one worker runs at once; `None`: as many as it has slots.
    pub concurrency: Option<u32>,
    /// How many of the worker's slots one attempt takes, e.g. 2 for a transcode that fills two cores. 0 for one that only waits for
    /// others: then `concurrency` alone limits them. Default 1.
    pub cost: u32,
    /// How long a cancelled attempt may take to clean up before it is dropped. Default 5 s.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub cancel_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            max_attempts: 5,
            backoff: Backoff::default(),
            concurrency: None,
            cost: 1,
            cancel_grace: Duration::from_secs(5),
        }
    }
}

/// Exponential backoff: the nth wait is drawn evenly from zero to `initial * factor^(n-1)`, capped at `max`
/// (full jitter, so that jobs that failed together do not come back together).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The first wait's upper bound. Default 1 s.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub initial: Duration,
    /// The growth from one wait to the next. Default 2.
    pub factor: f64,
    /// No wait is longer. Default 5 minutes.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(300) }
    }
}

/// An [`Executor`] with its types erased, as a worker's registry holds it.
pub trait AnyExecutor: Send + Sync + 'static {
    /// The kind it runs.
    fn kind(&self) -> &str;
    /// Its policy.
    fn policy(&self) -> Policy;
    /// JSON Schema of its payload.
    fn payload_schema(&self) -> serde_json::Value;
    /// JSON Schema of its output.
    fn output_schema(&self) -> serde_json::Value;
    /// Decodes the payload, runs one attempt and encodes the output.
    fn run_json<'a>(&'a self, payload: &'a RawValue, context: &'a Context) -> BoxedRun<'a>;
}

/// The future of one attempt.
pub type BoxedRun<'a> = Pin<Box<dyn Future<Output = Result<Box<RawValue>>> + Send + 'a>>;

/// Erases an executor's types.
pub fn erase<E: Executor>(executor: E) -> Arc<dyn AnyExecutor> {
    Arc::new(Typed(executor))
}

struct Typed<E>(E);

impl<E: Executor> AnyExecutor for Typed<E> {
    fn kind(&self) -> &str {
        E::Payload::KIND
    }

    fn policy(&self) -> Policy {
        self.0.policy()
    }

    fn payload_schema(&self) -> serde_json::Value {
        schemars::schema_for!(E::Payload).to_value()
    }

    fn output_schema(&self) -> serde_json::Value {
        schemars::schema_for!(<E::Payload as Payload>::Output).to_value()
    }

    fn run_json<'a>(&'a self, payload: &'a RawValue, context: &'a Context) -> BoxedRun<'a> {
        Box::pin(async move {
            let payload = decode::<E::Payload>(payload)?;
            let output = self.0.run(payload, context).await?;
            serde_json::value::to_raw_value(&output)
                .map_err(|error| Failure::Fatal(crate::ErrorReport::new("output_not_json", error)))
        })
    }
}

/// A payload that does not fit its type will not fit next time either.
fn decode<P: Payload>(payload: &RawValue) -> std::result::Result<P, Fatal> {
    serde_json::from_str(payload.get()).map_err(|error| Fatal::new("invalid_payload", error).at("/payload"))
}

/// Whether `kind` may name a queue: lower-case words joined by `.`, `_` or `-`, 1 to 64 bytes.
pub fn kind_is_valid(kind: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    kind.len() <= 64
        && kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind.ends_with(word)
        && kind.chars().all(|c| word(c) || matches!(c, '.' | '_' | '-'))
}

/// Durations are seconds in JSON and TOML.
pub mod seconds {
    use super::{Deserialize, Duration, Serialize};

    /// `#[serde(with = "longshore_sdk::executor::seconds")]`
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        value.as_secs_f64().serialize(to)
    }

    /// # Errors
    /// A number that is no duration: negative, not finite, too large.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::kind_is_valid;

    #[test]
    fn a_kind_is_a_name_that_a_queue_can_carry() {
        for good in ["image.resize", "a", "csv.import_2", "long-shore.webhook"] {
            assert!(kind_is_valid(good), "{good}");
        }
        for bad in ["", "Image", ".a", "a.", "a b", "ä", "2d", &"a".repeat(65)] {
            assert!(!kind_is_valid(bad), "{bad}");
        }
    }
}
