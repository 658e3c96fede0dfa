//! Kills an executor at each of its steps, to see that a fresh attempt still leaves one effect. A step is where an executor asks its
//! world for something: before and after each fetch, checkpoint, kept file, artifact and piece of heavy work, and each report of
//! progress. A killed attempt is dropped as its process would be, and nothing is recorded of it; a thread of its own may run on, as
//! does that of a worker which lost its lease.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;

use super::{Report, TestRun};

/// Counts steps, and says when the fatal one is there.
#[derive(Debug, Default)]
pub(super) struct Kill {
    at: Option<u32>,
    steps: AtomicU32,
    pub(super) killed: CancellationToken,
}

impl Kill {
    pub(super) fn at(step: Option<u32>) -> Self {
        Self { at: step, ..Self::default() }
    }

    /// Counts a step; from the fatal one on the attempt is dead.
    pub(super) fn count(&self) -> bool {
        let step = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        if self.at.is_some_and(|at| step >= at) {
            self.killed.cancel();
        }
        self.killed.is_cancelled()
    }

    /// A step at which the attempt can be held: it never returns from the fatal one.
    pub(super) async fn pass(&self) {
        if self.count() {
            std::future::pending().await
        }
    }
}

impl TestRun {
    /// Kills the attempt at its `step`th step, counted from 1, and runs the next one from the last checkpoint. `None` when the attempt
    /// ended before: it has fewer steps.
    ///
    /// # Panics
    /// When no payload was given.
    pub async fn kill_at(mut self, step: u32) -> Option<(Report, Report)> {
        let bench = self.bench();
        self.kill = Some(step);
        let first = self.once(&bench).await;
        self.kill = None;
        self.checkpoint = first.checkpoints.last().cloned().or(self.checkpoint.take());
        if !matches!(first.outcome, crate::Outcome::LeaseLost) {
            return None;
        }
        Some((first, self.next(&bench).await))
    }
}

/// Kills what `run` sets up at its first step, in another world at its second, and so on to its end; after each kill a fresh attempt
/// runs, and `check` sees its report: it must be done, with one effect. Answers how many steps there were.
///
/// # Panics
/// When the executor takes no step at all: then nothing was tried.
pub async fn kill_at_every_step(run: impl Fn() -> TestRun, mut check: impl AsyncFnMut(u32, Report)) -> u32 {
    let mut step = 1;
    while let Some((_, second)) = run().kill_at(step).await {
        check(step, second).await;
        step += 1;
    }
    assert!(step > 1, "the executor takes no step at which it could be killed");
    step - 1
}
