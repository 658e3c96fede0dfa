//! The surveyor: looks how much lies on the queues and how much of it waits, for people and for what scales workers. It publishes
//! and changes nothing. One process at a time surveys, the one with the agents' role; what it finds is [`crate::metrics`]'.

use std::time::Duration;

use tokio::time::Instant;

use super::{Agents, Leading};
use crate::ledger::Answer;
use crate::stop::Stop;
use crate::{clock, metrics};

/// How often the queues' depths are asked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the ledger counts: a scan of what is unfinished.
const COUNT_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let mut count_at = Instant::now();
    while leading.lead(&stop).await {
        match agents.survey(&mut count_at).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the surveyor waits for the ledger"),
        }
        stop.sleep(LOOK_EVERY).await;
        if !leading.leads() {
            metrics::ours().queues_forgotten();
            count_at = Instant::now();
        }
    }
}

impl Agents {
    async fn survey(&self, count_at: &mut Instant) -> Answer<()> {
        let known = self.look_at_queues().await?;
        if Instant::now() >= *count_at {
            metrics::ours().census_taken(&self.ledger.census().await?);
            *count_at = Instant::now() + COUNT_EVERY;
        }
        // Only of a whole look: its age is how one sees that the surveyor is blind.
        if known {
            metrics::ours().queues_surveyed(clock::now());
        }
        Ok(())
    }

    /// Says whether the broker answered for every queue.
    async fn look_at_queues(&self) -> Answer<bool> {
        for kind in self.ledger.kinds().await? {
            let Ok(depth) = self.broker.depth(&kind.kind).await else { return Ok(false) };
            let (ready, consumers) = depth.map_or((0, 0), |depth| (depth.ready, depth.consumers));
            metrics::ours().queue_seen(&kind.kind, ready, consumers);
        }
        Ok(true)
    }
}
