//! How the process's tasks start and end: every task is counted, told to stop by one token, and waited for. The only place
//! that spawns, so that nothing outlives a shutdown unseen.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A group of tasks with one end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Stop {
    /// A group with no task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. It should end soon after [`Stop::asked`] completes.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        #[cfg(test)]
        let task = crate::simulation::gate::inherited(task);
        let span = tracing::debug_span!("task", name);
        tokio::spawn(self.tasks.track_future(task.instrument(span)));
    }

    /// Starts a short task that nobody names: one delivery. No span, for there are tens of thousands a second.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn_quiet(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[cfg(test)]
        let task = crate::simulation::gate::inherited(task);
        tokio::spawn(self.tasks.track_future(task));
    }

    /// Tells every task to end.
    pub fn ask(&self) {
        self.token.cancel();
    }

    /// Whether the tasks were told to end.
    pub fn is_asked(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes when the tasks are told to end.
    pub async fn asked(&self) {
        self.token.cancelled().await;
    }

    /// The token behind [`Stop::asked`], for libraries that want one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// A group that is told to end with this one, and may be told earlier. Its tasks are its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tasks: TaskTracker::new() }
    }

    /// Waits until every task has ended, at most so long; says whether they have.
    pub async fn finished(&self, patience: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }

    /// Sleeps, unless told to end first; says whether it slept to the end.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.asked()).await.is_err()
    }
}
