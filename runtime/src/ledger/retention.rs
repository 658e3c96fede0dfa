//! How long finished jobs are kept, and what outlives them. A job goes in one transaction with all that is its own; what is left of it
//! in the storage is noted by the same one and goes after it, so that nobody is ever shown a job without its outputs. The id of a job
//! that came from a producer of its own stays, for such a producer may publish it once more.

use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::JobId;

use super::{Answer, NewJob, Submitted};

/// How long jobs are kept from their end on; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Those that are completed or canceled.
    pub finished: Option<Duration>,
    /// Dead letters.
    pub failed: Option<Duration>,
}

impl Keep {
    /// The shortest; `None`: all are kept for ever.
    pub fn least(&self) -> Option<Duration> {
        self.finished.into_iter().chain(self.failed).min()
    }
}

/// A page of the walk through what is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// So many jobs of it were removed.
    pub jobs: usize,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<JobId>,
}

/// The ledger's part in forgetting.
#[async_trait]
pub trait Retention: Send + Sync + 'static {
    /// Looks at so many old jobs after this one, in the order of their ids, and removes those that ended so long ago, with their
    /// attempts. A job stays while it owes an announcement, a webhook is on its way about it, or an idempotency key that made it lives;
    /// deliveries of webhooks go by their own age.
    async fn remove_outlived(&self, keep: Keep, after: Option<JobId>, limit: usize) -> Answer<Removed>;
    /// Some jobs that are gone and whose bytes may not be.
    async fn leftovers(&self, limit: usize) -> Answer<Vec<JobId>>;
    /// The bytes of these are gone.
    async fn forget_leftovers(&self, jobs: &[JobId]) -> Answer<()>;

    /// Takes in a job that came over the queue, as [`super::Ledger::submit`] does; `None` when it was here and is removed. It owes the
    /// announcement of its acceptance: when it comes again, nobody would see that whoever took it in died before saying so.
    async fn adopt(&self, job: &NewJob) -> Answer<Option<Submitted>>;
    /// Forgets some ids of such jobs that were removed so long ago; says how many.
    async fn forget_foreign(&self, age: Duration, limit: usize) -> Answer<usize>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_is_the_least_and_for_ever_is_none() {
        let (day, week) = (Some(Duration::from_secs(86_400)), Some(Duration::from_secs(604_800)));
        let least = |finished, failed| Keep { finished, failed }.least();
        assert_eq!((least(week, day), least(day, None), least(None, week)), (day, day, week));
        assert_eq!(least(None, None), None);
    }
}
