//! The baseline: what RabbitMQ and lapin carry when nothing is recorded.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};

const QUEUE: &str = "raw";

/// The time to take and ack `count` messages of a preloaded quorum queue, each ack from a task of its own.
pub(crate) async fn drain(url: &str, count: usize, prefetch: u16) -> Result<Duration> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    preload(&channel, count).await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let started = Instant::now();
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    let (acks, mut to_ack) = tokio::sync::mpsc::unbounded_channel::<lapin::message::Delivery>();
    // A task of its own, that the taking need not wait for a single ack: the fastest of the loops that were tried.
    let acker = tokio::spawn(async move {
        for _ in 0..count {
            to_ack.recv().await.context("the consumer ended")?.ack(BasicAckOptions::default()).await?;
        }
        anyhow::Ok(())
    });
    for _ in 0..count {
        acks.send(consumer.next().await.context("the stream ended")??)?;
    }
    acker.await??;
    Ok(started.elapsed())
}

async fn preload(channel: &lapin::Channel, count: usize) -> Result<()> {
    let body = [b'x'; 200];
    let properties = BasicProperties::default().with_delivery_mode(2);
    for window in (0..count).collect::<Vec<_>>().chunks(1000) {
        let mut confirms = vec![];
        for _ in window {
            let options = BasicPublishOptions::default();
            confirms.push(channel.basic_publish("".into(), QUEUE.into(), options, &body, properties.clone()).await?);
        }
        try_join_all(confirms).await?;
    }
    Ok(())
}
