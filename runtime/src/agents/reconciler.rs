//! The reconciler: publishes again what should be on the road and may have fallen off it. Pending jobs published long ago, whatever
//! the queue's depth, after a patience that doubles with every publish; sooner when their queue is empty or new, for then the
//! broker lost its data. Duplicates are harmless by the claim.

use std::time::Duration;

use tokio::time::Instant;

use super::relay::publish;
use super::{Agents, Leading};
use crate::broker::Depth;
use crate::ledger::Answer;
use crate::stop::Stop;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const BATCH: usize = 500;

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    // The embedded broker starts with nothing: what the ledger has is published at once.
    let mut broker_is_new = agents.alone;
    while leading.lead(&stop).await {
        match agents.reconcile_once(broker_is_new).await {
            Ok(()) => broker_is_new = false,
            Err(error) => tracing::warn!(%error, "the reconciler waits for the ledger"),
        }
        stop.sleep(LOOK_EVERY).await;
    }
}

impl Agents {
    async fn reconcile_once(&self, broker_is_new: bool) -> Answer<()> {
        for kind in self.ledger.kinds().await? {
            let Ok(depth) = self.broker.depth(&kind.kind).await else { return Ok(()) }; // down: nothing to publish to
            // A lane that is missing is made, or it would be found missing, and all be published, at every look.
            if depth.is_none() && self.broker.declare(&kind.kind).await.is_err() {
                return Ok(());
            }
            self.reconcile_kind(&kind.kind, patience(depth, broker_is_new)).await?;
        }
        Ok(())
    }

    async fn reconcile_kind(&self, kind: &str, patience: Duration) -> Answer<()> {
        let started = Instant::now();
        loop {
            // Counted from the start of this pass, so that what it publishes is not overdue again within it.
            let overdue = self.ledger.overdue(kind, patience + started.elapsed(), BATCH).await?;
            let published = publish(&self.broker, overdue).await;
            if published.is_empty() {
                return Ok(());
            }
            tracing::info!(kind, jobs = published.len(), "published again");
            self.ledger.mark_queued(&published).await?;
        }
    }
}

/// How long a published job may wait before it is published again. Unacked deliveries don't show in a depth, so an empty queue is a
/// hint, not a proof.
fn patience(depth: Option<Depth>, broker_is_new: bool) -> Duration {
    match depth {
        _ if broker_is_new => Duration::ZERO,
        None => Duration::ZERO,
        Some(Depth { ready: 0, .. }) => Duration::from_secs(10),
        Some(_) => Duration::from_secs(300),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_lost_everything_is_filled_at_once_and_a_full_one_is_left_alone() {
        let depth = |ready| Some(Depth { ready, consumers: 1 });
        assert_eq!(patience(None, false), Duration::ZERO);
        assert_eq!(patience(depth(5), true), Duration::ZERO);
        assert_eq!(patience(depth(0), false), Duration::from_secs(10));
        assert_eq!(patience(depth(9), false), Duration::from_secs(300));
    }
}
