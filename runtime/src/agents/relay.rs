//! The relay: publishes jobs whose time has come (retries, schedules, rescued jobs, failed publishes) and announces transitions
//! that no delivery stands behind. It publishes first and marks afterwards, by version: a crash between the two repeats a
//! delivery, which the claim recognises; the other order would lose it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use longshore_sdk::JobId;

use super::{Agents, Leading};
use crate::broker::{Broker, BrokerError};
use crate::ledger::{Answer, Ready, Unannounced};
use crate::notify::{road, topic};
use crate::stop::Stop;
use crate::traces;

/// Jobs in one pass.
const BATCH: usize = 500;
/// Confirms outstanding at once.
const WINDOW: usize = 100;
/// It looks so often whatever else: a hint may be lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    while leading.lead(&stop).await {
        match agents.relay_once().await {
            Ok(true) => {} // there may be more
            Ok(false) => agents.wait_for_due(&stop).await,
            Err(error) => {
                tracing::warn!(%error, "the relay waits for the ledger");
                stop.sleep(LOOK_EVERY).await;
            }
        }
    }
}

impl Agents {
    /// One pass; says whether to look again at once.
    async fn relay_once(&self) -> Answer<bool> {
        let announced = self.announce_owed().await?;
        let due = self.ledger.due(BATCH).await?;
        let published = publish(&self.broker, due).await;
        if !published.is_empty() {
            self.ledger.mark_queued(&published).await?;
        }
        // When nothing could be published the broker is down: no circle.
        Ok(announced || !published.is_empty())
    }

    async fn announce_owed(&self) -> Answer<bool> {
        let owed = self.ledger.unannounced(BATCH).await?;
        let told = owed.into_iter().map(|owed| tell(Arc::clone(&self.broker), owed));
        let told: Vec<_> = stream::iter(told).buffer_unordered(WINDOW).filter_map(std::future::ready).collect().await;
        if !told.is_empty() {
            self.ledger.mark_announced(&told).await?;
        }
        Ok(!told.is_empty())
    }

    async fn wait_for_due(&self, stop: &Stop) {
        let next = self.ledger.next_due().await.ok().flatten().unwrap_or(LOOK_EVERY);
        // A due job that could not be published is due still: not sooner than the shortest pause.
        let pause = next.clamp(SHORTEST_PAUSE, LOOK_EVERY);
        tokio::select! {
            biased;
            _ = stop.sleep(pause) => {}
            () = self.hints.notified() => {}
        }
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// Publishes, many at once; answers those that the broker confirmed.
pub(super) async fn publish(broker: &Arc<dyn Broker>, jobs: Vec<Ready>) -> Vec<(JobId, i64)> {
    let sent = jobs.into_iter().map(|job| send(Arc::clone(broker), job));
    stream::iter(sent).buffer_unordered(WINDOW).filter_map(std::future::ready).collect().await
}

async fn send(broker: Arc<dyn Broker>, job: Ready) -> Option<(JobId, i64)> {
    match put(&*broker, &job).await {
        Ok(()) => Some((job.job, job.version)),
        Err(error) => {
            let (attempt, correlation_id) = (job.attempt, job.correlation_id.as_deref());
            tracing::debug!(job.id = %job.job, job.kind = job.kind, attempt, correlation_id, %error, "not published; it stays due");
            None
        }
    }
}

/// Its acceptance goes first where it may not have been announced; both are on their way before either is confirmed.
async fn put(broker: &dyn Broker, job: &Ready) -> Result<(), BrokerError> {
    let announced = job.accepted().filter(topic::is_announced);
    let Some(accepted) = announced else { return publish_one(broker, job).await };
    let announcement = topic::announcement(&accepted);
    tokio::try_join!(broker.announce(&announcement), publish_one(broker, job)).map(drop)
}

async fn publish_one(broker: &dyn Broker, job: &Ready) -> Result<(), BrokerError> {
    let mut message = road::message(job);
    let span = traces::publish(&mut message);
    let published = broker.publish(&message).await;
    span.published(&published);
    published
}

/// A job's history in order; if not all of it was taken, it is owed still.
async fn tell(broker: Arc<dyn Broker>, owed: Unannounced) -> Option<(JobId, i64)> {
    for event in owed.events.iter().filter(|event| topic::is_announced(event)) {
        broker.announce(&topic::announcement(event)).await.ok()?;
    }
    Some((owed.job, owed.version))
}
