//! # The Longshore SDK
//!
//! Everything an author of executors or a caller needs. An executor is a payload, an output and one async function;
//! here is a whole one, with its test:
//!
//! ```
//! use longshore_sdk::prelude::*;
//!
//! /// What the caller sends.
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Greet { name: String }
//!
//! /// What a completed job answers.
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! struct Greeting { text: String }
//!
//! impl Payload for Greet {
//!     const KIND: &'static str = "demo.greet";
//!     type Output = Greeting;
//! }
//!
//! struct Greeter;
//!
//! impl Executor for Greeter {
//!     type Payload = Greet;
//!     async fn run(&self, greet: Greet, context: &Context) -> Result<Greeting> {
//!         if greet.name.is_empty() {
//!             return Err(Fatal::new("empty_name", "a greeting needs a name").at("/name").into());
//!         }
//!         context.progress(0.5);                                        // shown live
//!         let text = format!("Hello {}, at attempt {}", greet.name, context.attempt());
//!         context.publish_bytes("card.txt", "text/plain", text.as_bytes()).await?; // `?`: try again
//!         Ok(Greeting { text })
//!     }
//! }
//!
//! // Its test: one attempt, with no broker, no ledger and no worker.
//! #[tokio::main]
//! async fn main() {
//!     let run = |name: &str| longshore_sdk::testkit::TestRun::of(Greeter).payload(&Greet { name: name.into() });
//!     let report = run("Ada").run().await;
//!     assert_eq!(report.output::<Greeting>().text, "Hello Ada, at attempt 1");
//!     assert_eq!(report.artifact("card.txt").text(), "Hello Ada, at attempt 1");
//!     assert!(matches!(run("").run().await.outcome, longshore_sdk::Outcome::Fatal(_)));
//! }
//! ```
//!
//! How it ends says what happens next: `Ok` completes the job; an error through `?` is tried again later; [`Fatal`], and
//! [`or_fatal`](OrFatal::or_fatal) on a result or an option, gives up at once. [`Policy`] holds how often and how long.
//!
//! To run it, a binary of ten lines hands it to `longshore_runtime::run` and has every command of `longshore`:
//! `examples/wordcount` is such a crate, to be copied. To call it, `examples/await_a_job.rs` submits a job and awaits it.
//!
//! Rooms: [`executor`] (the trait and its policy), [`context`] (what an executor may ask for), [`outcome`] (how it ends),
//! [`attempt`] (who runs it), [`source`] (inputs by reference), [`trace`] (where a job has its place in a trace), [`testkit`] (an executor under test, with no broker),
//! [`client`] (submit a job and await it), [`api`] (the JSON between client and server), [`webhook`] (whether a message
//! is ours), [`wire`] (the message on RabbitMQ). An author of executors reads [`executor`], [`context`] and [`testkit`]; a caller reads [`client`].

pub mod api;
pub mod attempt;
pub mod client;
pub mod context;
pub mod executor;
pub mod outcome;
pub mod source;
pub mod testkit;
pub mod trace;
pub mod webhook;
pub mod wire;

pub use context::{Artifact, CancelReason, Cancellation, Context, Progress};
pub use executor::{AnyExecutor, Backoff, Executor, Payload, Policy, erase};
pub use outcome::{ErrorReport, Failure, Fatal, OrFatal, Outcome, Result, Seen};
pub use source::Source;
pub use trace::Trace;
pub use wire::JobId;

/// What an executor's file, or a caller's, usually needs.
pub mod prelude {
    pub use crate::client::{Client, JobError, JobHandle};
    pub use crate::{Backoff, Context, Executor, Failure, Fatal, OrFatal, Payload, Policy, Progress, Result, Source};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}
