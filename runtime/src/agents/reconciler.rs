//! The reconciler: publishes again what should be on the road and may have fallen off it. Pending jobs published long ago, whatever
//! the queue's depth, after a patience that doubles with every publish; all of them at once when the broker has not the mark that
//! says that they were published to it, for then it has lost its data. Duplicates are harmless by the claim.

use std::time::Duration;

use tokio::time::Instant;

use super::relay::publish;
use super::{Agents, Leading};
use crate::broker::{BrokerError, Depth, Mark};
use crate::ledger::{Answer, Patience};
use crate::stop::Stop;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const BATCH: usize = 500;

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let mut filling = None;
    while leading.lead(&stop).await {
        if let Err(error) = agents.reconcile_once(&mut filling).await {
            tracing::warn!(%error, "the reconciler waits for the ledger");
        }
        stop.sleep(LOOK_EVERY).await;
        if !leading.leads() {
            filling = None;
        }
    }
}

impl Agents {
    /// One look. `filling` is since when a broker that has lost its data is being filled again.
    async fn reconcile_once(&self, filling: &mut Option<Instant>) -> Answer<()> {
        if self.look_at_the_marks(filling).await.is_err() {
            return Ok(()); // down: nothing to publish to
        }
        let mut all = true;
        for kind in self.ledger.kinds().await? {
            let Ok(depth) = self.broker.depth(&kind.kind).await else { return Ok(()) };
            // A lane that is missing is made, or it would be found missing, and all be published, at every look.
            if depth.is_none() && self.broker.declare(&kind.kind).await.is_err() {
                return Ok(());
            }
            all &= self.reconcile_kind(&kind.kind, patience(depth, filling.map(|since| since.elapsed()))).await?;
        }
        if filling.is_some() && all && self.seal().await.is_ok_and(|sealed| sealed) {
            *filling = None;
        }
        Ok(())
    }

    /// What was published before the first mark was set may be lost; what is published after it is lost only if the mark is.
    async fn look_at_the_marks(&self, filling: &mut Option<Instant>) -> Result<(), BrokerError> {
        if self.broker.is_marked(Mark::Filled).await? {
            *filling = None;
            return Ok(());
        }
        if filling.is_none() || !self.broker.is_marked(Mark::Filling).await? {
            self.broker.mark(Mark::Filling).await?;
            // New or wiped, it cannot tell; how much is published again tells it.
            tracing::info!("the broker has not the mark of one that was filled; what waits is published again");
            *filling = Some(Instant::now());
        }
        Ok(())
    }

    /// Says whether the broker is still the one that was filled, and marks it.
    async fn seal(&self) -> Result<bool, BrokerError> {
        let same = self.broker.is_marked(Mark::Filling).await?;
        if same {
            self.broker.mark(Mark::Filled).await?;
        }
        Ok(same)
    }

    /// Says whether all that was overdue was published.
    async fn reconcile_kind(&self, kind: &str, patience: Patience) -> Answer<bool> {
        let started = Instant::now();
        loop {
            // Counted from the start of this pass, so that what it publishes is not overdue again within it.
            let overdue = self.ledger.overdue(kind, patience.and(started.elapsed()), BATCH).await?;
            let wanted = overdue.len();
            let published = publish(&self.broker, overdue).await;
            if published.is_empty() {
                return Ok(wanted == 0);
            }
            tracing::info!(kind, jobs = published.len(), "published again");
            self.ledger.mark_queued(&published).await?;
        }
    }
}

/// How long a published job may wait before it is published again; `filling` is for how long the broker has been filled. Unacked
/// deliveries don't show in a depth, so an empty queue is a hint, not a proof.
fn patience(depth: Option<Depth>, filling: Option<Duration>) -> Patience {
    match (depth, filling) {
        (None, _) => Patience::plain(Duration::ZERO),
        (_, Some(filling)) => Patience::plain(filling),
        (Some(Depth { ready: 0, .. }), None) => Patience::doubling(Duration::from_secs(10)),
        (Some(_), None) => Patience::doubling(Duration::from_secs(300)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_sdk::JobId;

    use super::*;
    use crate::agents::tests::agents;
    use crate::broker::embedded::Embedded;
    use crate::broker::{Broker, JobMessage, Lane};
    use crate::ledger::{Kind, NewJob};

    const KIND: &str = "demo.greet";

    /// Three jobs on the road, and a broker that is known to have them.
    async fn on_the_road() -> (Agents, Arc<Embedded>) {
        let (agents, broker) = agents().await;
        agents.ledger.register_kinds(&[kind()]).await.unwrap();
        let jobs: Vec<_> = (0..3).map(|_| NewJob::plain(KIND)).collect();
        agents.ledger.submit(&jobs).await.unwrap();
        for job in &jobs {
            broker.publish(&message(job.id)).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        agents.reconcile_once(&mut None).await.unwrap();
        (agents, broker)
    }

    fn kind() -> Kind {
        let policy = longshore_sdk::Policy::default();
        Kind { kind: KIND.into(), payload_schema: true.into(), output_schema: true.into(), policy }
    }

    fn message(job: JobId) -> JobMessage {
        JobMessage {
            tenant: crate::tenant::Tenant::default(),
            job,
            kind: KIND.into(),
            lane: Lane::Normal,
            correlation_id: None,
            trace: None,
        }
    }

    async fn ready(broker: &Embedded) -> Option<u64> {
        broker.depth(KIND).await.unwrap().map(|depth| depth.ready)
    }

    /// A broker that other processes have begun to use again is not empty, and looks as if it had lost nothing.
    #[tokio::test(start_paused = true)]
    async fn a_broker_that_lost_its_data_is_filled_though_others_publish_to_it_already() {
        let (agents, broker) = on_the_road().await;
        broker.wipe();
        broker.publish(&message(JobId::fresh())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        agents.reconcile_once(&mut None).await.unwrap();
        assert_eq!(ready(&broker).await, Some(4));
        tokio::time::sleep(Duration::from_secs(5)).await;
        agents.reconcile_once(&mut None).await.unwrap();
        assert_eq!(ready(&broker).await, Some(4), "once is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_wiped_while_it_is_filled_is_filled_again() {
        let (agents, broker) = on_the_road().await;
        broker.wipe();
        let mut filling = None;
        agents.look_at_the_marks(&mut filling).await.unwrap();
        broker.wipe();
        assert!(
            filling.is_some() && !agents.seal().await.unwrap(),
            "it is another broker than the one that was filled"
        );
        broker.publish(&message(JobId::fresh())).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        agents.reconcile_once(&mut filling).await.unwrap();
        assert_eq!((ready(&broker).await, filling), (Some(4), None));
    }

    #[test]
    fn a_queue_that_lost_everything_is_filled_at_once_and_a_full_one_is_left_alone() {
        let depth = |ready| Some(Depth { ready, consumers: 1 });
        let seconds = Duration::from_secs;
        assert_eq!(patience(None, None), Patience::plain(Duration::ZERO));
        assert_eq!(patience(depth(5), Some(seconds(1))), Patience::plain(seconds(1)));
        assert_eq!(patience(depth(0), None), Patience::doubling(seconds(10)));
        assert_eq!(patience(depth(9), None), Patience::doubling(seconds(300)));
    }
}
