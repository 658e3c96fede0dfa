//! The rescuer: a running job whose worker lost its lease becomes ready again. After an outage of the ledger it waits one lease,
//! for no worker could renew while the ledger was down. Whether a lost job is poison is `job::verdict`'s.

use std::time::Duration;

use tokio::time::Instant;

use super::{Agents, Leading};
use crate::ledger::{Answer, Rescued, Whose};
use crate::metrics;
use crate::stop::Stop;

/// The longest time from a lease's end to the rescue.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Running jobs without any lease row are looked for by a scan.
const ORPHANS_EVERY: Duration = Duration::from_secs(60);
/// From the end of a lease to the rescue, at the latest, while everything is well.
pub(super) const SLOWEST: Duration = Duration::from_secs(65);

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let mut quiet_until = Instant::now() + if agents.alone { Duration::ZERO } else { agents.lease };
    let mut orphans_at = Instant::now();
    while leading.lead(&stop).await {
        let rescued = if Instant::now() < quiet_until {
            // Asked all the same, to notice an outage that goes on.
            agents.ledger.now().await.map(|_| vec![])
        } else {
            agents.rescue_once(&mut orphans_at).await
        };
        match rescued {
            Ok(rescued) => agents.report(&rescued),
            Err(error) => {
                tracing::warn!(%error, "the rescuer waits for the ledger, and then for one lease");
                quiet_until = Instant::now() + agents.lease;
            }
        }
        stop.sleep(LOOK_EVERY).await;
    }
}

impl Agents {
    async fn rescue_once(&self, orphans_at: &mut Instant) -> Answer<Vec<Rescued>> {
        let mut rescued = self.ledger.rescue(self.crash_limit, Whose::Expired).await?;
        if Instant::now() >= *orphans_at {
            rescued.extend(self.ledger.rescue_orphans(self.crash_limit).await?);
            *orphans_at = Instant::now() + ORPHANS_EVERY;
        }
        Ok(rescued)
    }

    fn report(&self, rescued: &[Rescued]) {
        for job in rescued {
            let (id, attempt, state) = (job.fence.job, job.fence.attempt, job.state.word());
            let correlation_id = job.correlation_id.as_deref();
            tracing::warn!(job.id = %id, job.kind = job.kind, attempt, correlation_id, worker = %job.fence.worker, state, "rescued from a lost worker");
        }
        metrics::ours().rescued(rescued);
        if !rescued.is_empty() {
            self.hints.notify_one();
        }
    }
}
