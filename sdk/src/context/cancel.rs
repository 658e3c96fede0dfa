//! Whether an attempt should stop, and why. Stopping is asked for here and obeyed by the executor; [`crate::attempt`]
//! enforces it after the grace period.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::Context;
use crate::outcome::{Failure, Result};

/// Why an attempt is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// The caller cancelled the job.
    Requested,
    /// The attempt's wall clock is over.
    Timeout,
    /// The worker's lease is over; another worker may hold the job by now.
    LeaseLost,
    /// The worker's drain is over and the attempt neither ended nor yielded: it is handed back, uncharged.
    Drained,
}

/// One attempt's cancellation, shared by the worker that asks and the executor that obeys.
#[derive(Debug, Clone, Default)]
pub struct Cancellation {
    stop: CancellationToken,
    reason: Arc<OnceLock<CancelReason>>,
    lease_lost: Arc<AtomicBool>,
    drain: CancellationToken,
}

impl Cancellation {
    /// Not cancelled; drains when `drain` is cancelled.
    pub fn draining_with(drain: CancellationToken) -> Self {
        Self { drain, ..Self::default() }
    }

    /// Asks the attempt to stop. The first reason stays, except that a lost lease outranks the others: an attempt that
    /// is cleaning up after its deadline may lose it too, and must then record nothing.
    pub fn cancel(&self, reason: CancelReason) {
        if reason == CancelReason::LeaseLost {
            self.lease_lost.store(true, Ordering::Release);
        }
        // The reason before the token: who sees the token sees the reason.
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    /// Why the attempt is to stop, if it is.
    pub fn reason(&self) -> Option<CancelReason> {
        let lost = self.lease_lost.load(Ordering::Acquire);
        if lost { Some(CancelReason::LeaseLost) } else { self.reason.get().copied() }
    }

    /// Whether the attempt is to stop. Cheap enough for inner loops.
    pub fn is_canceled(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when the attempt is to stop.
    pub async fn canceled(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the worker drains: an executor that can should save a checkpoint and answer [`Failure::Yielded`].
    pub fn should_yield(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Completes when the worker starts to drain.
    pub async fn yield_requested(&self) {
        self.drain.cancelled().await;
    }

    /// `cancellation.check()?` between two steps ends a cancelled attempt.
    ///
    /// # Errors
    /// [`Failure::Canceled`] once the attempt is to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_canceled() { Err(Failure::Canceled) } else { Ok(()) }
    }
}

impl Context {
    /// See [`Cancellation::canceled`].
    pub async fn canceled(&self) {
        self.cancellation.canceled().await;
    }

    /// See [`Cancellation::is_canceled`].
    pub fn is_canceled(&self) -> bool {
        self.cancellation.is_canceled()
    }

    /// See [`Cancellation::check`].
    ///
    /// # Errors
    /// [`Failure::Canceled`] once the attempt is to stop.
    pub fn check(&self) -> Result<()> {
        self.cancellation.check()
    }

    /// See [`Cancellation::should_yield`].
    pub fn should_yield(&self) -> bool {
        self.cancellation.should_yield()
    }
}

#[cfg(test)]
mod tests {
    use super::{CancelReason, Cancellation};

    #[test]
    fn the_first_reason_stays_unless_the_lease_is_lost() {
        let cancellation = Cancellation::default();
        assert_eq!((cancellation.reason(), cancellation.is_canceled()), (None, false));
        cancellation.cancel(CancelReason::Timeout);
        cancellation.cancel(CancelReason::Requested);
        assert_eq!((cancellation.reason(), cancellation.is_canceled()), (Some(CancelReason::Timeout), true));
        cancellation.cancel(CancelReason::LeaseLost);
        assert_eq!(cancellation.reason(), Some(CancelReason::LeaseLost));
    }
}
