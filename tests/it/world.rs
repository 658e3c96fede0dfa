//! The world itself: what the other stories take for granted about their servers, wires and processes is seen to hold.
//!
//! Nothing here knows the system under test. A story that needs a broker of its own does all it wants with it in one go,
//! because a boot costs seconds.

mod postgres;
mod processes;
mod proxy;
mod rabbitmq;

use std::time::Duration;

use longshore_tests::procfs;
use longshore_tests::until::until;

/// Far more than anything here takes, so that only what never happens runs into it.
const SOON: Duration = Duration::from_secs(30);

/// Waits until none of these processes runs.
async fn all_gone(pids: &[u32]) {
    assert!(!pids.is_empty(), "a wait for nobody would prove nothing");
    until("every process to be gone", SOON, || async { (!pids.iter().any(|pid| procfs::alive(*pid))).then_some(()) })
        .await
}
