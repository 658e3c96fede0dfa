//! Waiting for a named moment with a deadline: the only way a test here may let time pass.
//!
//! There is no plain sleep to call. A wait that runs out says what it waited for, how long, and where it stands.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How long a poll waits between two looks: short beside everything we wait for, long beside one look.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until the probe has an answer. Panics at the deadline, naming the caller's line.
#[track_caller]
pub fn until<T, F, Fut>(what: &str, deadline: Duration, probe: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let asked_at = Location::caller();
    async move {
        match poll(what, deadline, probe).await {
            Ok(found) => found,
            Err(late) => panic!("{late} (asked at {asked_at})"),
        }
    }
}

/// The same as [`until`], for code that has more to say about a failure than the wait itself.
pub async fn poll<T, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        // The look itself is bounded too: a server that accepts and never answers would hang the wait.
        match tokio::time::timeout_at(end, probe()).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() + PAUSE < end => tokio::time::sleep(PAUSE).await,
            _ => bail!("waited {deadline:?} for {what}, in vain"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_looks_again_until_there_is_an_answer() {
        let mut looks = 0;
        let probe = || {
            looks += 1;
            std::future::ready((looks == 3).then_some("found"))
        };
        assert_eq!(until("the third look", Duration::from_secs(5), probe).await, "found");
    }

    #[tokio::test]
    async fn a_wait_in_vain_says_what_it_waited_for() {
        let late = poll("the end of the world", Duration::from_millis(30), || std::future::ready(None::<()>)).await;
        assert_eq!(late.unwrap_err().to_string(), "waited 30ms for the end of the world, in vain");
    }

    #[tokio::test]
    async fn a_look_that_never_returns_ends_at_the_deadline() {
        let late = poll("an answer", Duration::from_millis(30), std::future::pending::<Option<()>>).await;
        assert!(late.is_err());
    }
}
