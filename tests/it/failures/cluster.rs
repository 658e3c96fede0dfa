//! A node of a RabbitMQ cluster dies. Its quorum queues live on, and so must everybody's way to them.

use std::time::Duration;

use anyhow::Result;
use longshore_runtime::broker::rabbitmq::{RabbitMq, Settings};
use longshore_runtime::broker::{Broker, JobMessage, Lane};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;
use longshore_tests::rabbitmq;
use longshore_tests::until::until;

/// An election takes a second; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(30);
const KIND: &str = "demo.echo";

fn job(lane: Lane) -> JobMessage {
    JobMessage {
        tenant: Tenant::default(),
        job: JobId::fresh(),
        kind: KIND.into(),
        lane,
        correlation_id: None,
        trace: None,
    }
}

/// A channel of RabbitMQ that first meets a queue while its leader is dead takes the dead one for its leader from then on, and refuses
/// whatever is published to that queue (seen with 3.10.8: for ten minutes).
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_first_met_without_its_leader_is_published_to_when_it_has_another() -> Result<()> {
    let first = rabbitmq::RabbitMq::start().await?;
    let (second, _third) = (first.start_beside().await?, first.start_beside().await?);
    // A queue's leader is on the node that was asked for it.
    RabbitMq::connect(Settings::new(&[&first.url()])?).declare(KIND).await?;
    let publisher = RabbitMq::connect(Settings::new(&[&second.url()])?);
    until("a first publish", SOON, || async { publisher.publish(&job(Lane::Normal)).await.ok() }).await;
    first.kill9().await?;
    until("a publish to be taken", SOON, || async { publisher.publish(&job(Lane::High)).await.ok() }).await;
    Ok(())
}
