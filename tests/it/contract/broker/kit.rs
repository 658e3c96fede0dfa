//! A broker under test, and what the stories of the contract ask of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use lapin::options::BasicGetOptions;
use lapin::types::AMQPValue;
use longshore_runtime::broker::embedded::{Embedded, Limits};
use longshore_runtime::broker::rabbitmq::{REASON_HEADER, RabbitMq, Settings};
use longshore_runtime::broker::{Broker, Consumer, Delivery, Depth, Feed, Heard, JobMessage, Lane};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::{JobId, wire};
use longshore_tests::rabbitmq;
use longshore_tests::until::until;
use tokio::time::timeout;

/// Far more than any step takes.
pub(super) const SOON: Duration = Duration::from_secs(30);
pub(super) const KIND: &str = "demo.echo";

pub(super) struct Kit {
    pub(super) broker: Arc<dyn Broker>,
    graves: Graves,
}

enum Graves {
    Embedded(Arc<Embedded>),
    RabbitMq(String),
}

impl Kit {
    pub(super) fn embedded() -> Self {
        let broker = Embedded::new(Limits::default());
        Self { broker: broker.clone(), graves: Graves::Embedded(broker) }
    }

    pub(super) async fn rabbitmq() -> Result<Self> {
        let url = rabbitmq::RabbitMq::shared().await?.vhost().await?;
        Ok(Self { broker: RabbitMq::connect(Settings::new(&[&url])?), graves: Graves::RabbitMq(url) })
    }

    /// The reason and body of what was buried, one message of it.
    pub(super) async fn exhumed(&self) -> Result<(String, Bytes)> {
        match &self.graves {
            Graves::Embedded(broker) => {
                let buried = broker.buried().pop().context("nothing was buried")?;
                Ok((buried.reason, buried.body))
            }
            Graves::RabbitMq(url) => exhumed_from(url).await,
        }
    }

    pub(super) async fn depth(&self) -> Result<Option<Depth>> {
        Ok(self.broker.depth(KIND).await?)
    }

    pub(super) async fn until_ready(&self, ready: u64) {
        let there = || async { self.depth().await.ok().flatten().filter(|depth| depth.ready == ready) };
        until(&format!("{ready} jobs to wait"), SOON, there).await;
    }

    pub(super) async fn publish(&self, count: usize) -> Result<Vec<JobMessage>> {
        let messages: Vec<JobMessage> = (0..count).map(|_| job()).collect();
        for message in &messages {
            self.broker.publish(message).await?;
        }
        Ok(messages)
    }
}

async fn exhumed_from(url: &str) -> Result<(String, Bytes)> {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let found = channel.basic_get("longshore.dead".into(), BasicGetOptions::default()).await?;
    let found = found.context("longshore.dead is empty")?;
    let headers = found.properties.headers().clone().unwrap_or_default();
    let Some(AMQPValue::LongString(reason)) = headers.inner().get(REASON_HEADER) else {
        bail!("no reason: {headers:?}")
    };
    Ok((reason.to_string(), Bytes::copy_from_slice(&found.data)))
}

pub(super) fn job() -> JobMessage {
    JobMessage {
        tenant: Tenant::default(),
        job: JobId::fresh(),
        kind: KIND.into(),
        lane: Lane::Normal,
        correlation_id: None,
        trace: None,
    }
}

pub(super) async fn next(consumer: &mut Consumer) -> Result<Delivery> {
    timeout(SOON, consumer.next()).await.context("no delivery came")?.context("the consumer ended")
}

pub(super) async fn heard<T>(feed: &mut Feed<T>) -> Result<Heard<T>> {
    timeout(SOON, feed.recv()).await.context("nothing was heard")?.context("the feed ended")
}

pub(super) fn id(delivery: &Delivery) -> Result<JobId> {
    Ok(wire::decode(&delivery.body)?.job)
}
