//! RabbitMQ killed, cut off, frozen and full: no job is lost, no call hangs, and all goes on by itself.
//!
//! What a delivery means to a job is the ledger's affair; here a message that comes twice is fine and one that never comes
//! is not.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use longshore_runtime::broker::rabbitmq::{RabbitMq, Settings};
use longshore_runtime::broker::{Announcement, Broker, BrokerError, Consumer, Delivery, Heard, JobMessage, Lane};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::{JobId, wire};
use longshore_tests::proxy::Proxy;
use longshore_tests::until::until;
use longshore_tests::{ports, rabbitmq};
use tokio::time::{Instant, timeout};

/// A boot of RabbitMQ beside other tests, and then some.
const SOON: Duration = Duration::from_secs(120);
/// The answer time of five seconds, and what a busy machine adds.
const PROMPT: Duration = Duration::from_secs(8);
const KIND: &str = "demo.echo";

fn job() -> JobMessage {
    JobMessage {
        tenant: Tenant::default(),
        job: JobId::fresh(),
        kind: KIND.into(),
        lane: Lane::Normal,
        correlation_id: None,
        trace: None,
    }
}

fn connect(urls: &[&str]) -> Result<Arc<RabbitMq>> {
    Ok(RabbitMq::connect(Settings::new(urls)?))
}

fn id(delivery: &Delivery) -> Result<JobId> {
    Ok(wire::decode(&delivery.body)?.job)
}

async fn next(consumer: &mut Consumer) -> Result<Delivery> {
    timeout(SOON, consumer.next()).await.context("no delivery came")?.context("the consumer ended")
}

async fn until_published(broker: &RabbitMq, message: &JobMessage) {
    until("a publish to be taken", SOON, || async { broker.publish(message).await.ok() }).await;
}

async fn publish(broker: &RabbitMq, count: usize) -> Result<HashSet<JobId>> {
    let messages: Vec<JobMessage> = (0..count).map(|_| job()).collect();
    try_join_all(messages.iter().map(|message| broker.publish(message))).await?;
    Ok(messages.iter().map(|message| message.job).collect())
}

/// Takes and acks until `missing` is no longer than `left`.
async fn work(consumer: &mut Consumer, missing: &mut HashSet<JobId>, left: usize) -> Result<()> {
    while missing.len() > left {
        let delivery = next(consumer).await?;
        missing.remove(&id(&delivery)?);
        delivery.ack();
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_killed_with_five_hundred_jobs_on_it_loses_none() -> Result<()> {
    let server = rabbitmq::RabbitMq::start().await?;
    let broker = connect(&[&server.url()])?;
    let mut missing = publish(&broker, 500).await?;
    // A quorum queue younger than the half second or so after which RabbitMQ writes its list of queues loses its log to a
    // kill, confirmed messages and all, and on a lone node it never finds a leader again (measured on 3.10.8: term 0).
    server.ctl(&["eval", "[dets:sync(Table) || Table <- dets:all()]."]).await?;
    let mut consumer = broker.consume(KIND, 50).await?;
    let mut events = broker.events().await?;
    work(&mut consumer, &mut missing, 400).await?;
    let held = next(&mut consumer).await?;

    server.kill9().await?;
    let asked = Instant::now();
    ensure!(matches!(broker.publish(&job()).await, Err(BrokerError::Unavailable(_))));
    ensure!(asked.elapsed() < PROMPT, "an outage is answered at once, not after {:?}", asked.elapsed());
    until("the loss to show", SOON, || async { (!broker.health().connected).then_some(()) }).await;
    // Its channel is dead, so this goes nowhere and the job comes again.
    held.ack();

    server.restart().await?;
    work(&mut consumer, &mut missing, 0).await?;
    ensure!(timeout(SOON, events.recv()).await? == Some(Heard::Gap), "a listener must hear that it missed something");
    let late = job();
    until_published(&broker, &late).await;
    work(&mut consumer, &mut HashSet::from([late.job]), 0).await?;
    broker.close().await;
    Ok(())
}

#[tokio::test]
async fn a_cut_wire_is_mended_and_what_was_in_hand_comes_again() -> Result<()> {
    let url = rabbitmq::RabbitMq::shared().await?.vhost().await?;
    let wire = Proxy::before(&url).await?;
    let broker = connect(&[wire.url()])?;
    let mut consumer = broker.consume(KIND, 5).await?;
    let mut missing = publish(&broker, 3).await?;
    let mut events = broker.events().await?;
    let held = next(&mut consumer).await?;

    wire.cut();
    ensure!(timeout(SOON, events.recv()).await? == Some(Heard::Gap));
    let event = Announcement {
        id: "e-1".into(),
        tenant: Tenant::default(),
        topic: "job.demo.echo.completed".into(),
        body: Bytes::new(),
    };
    until("the publishing wire to be mended", SOON, || async { broker.announce(&event).await.ok() }).await;
    ensure!(timeout(SOON, events.recv()).await? == Some(Heard::Message(event)));
    held.ack();
    // The held one too: its ack had no channel to go by.
    work(&mut consumer, &mut missing, 0).await?;
    broker.close().await;
    Ok(())
}

#[tokio::test]
async fn a_frozen_broker_is_answered_for_in_time() -> Result<()> {
    let url = rabbitmq::RabbitMq::shared().await?.vhost().await?;
    let wire = Proxy::before(&url).await?;
    let broker = connect(&[wire.url()])?;
    broker.publish(&job()).await?;

    wire.pause();
    let asked = Instant::now();
    let message = job();
    let (published, depth) = tokio::join!(broker.publish(&message), broker.depth(KIND));
    ensure!(matches!(published, Err(BrokerError::Unavailable(_))), "{published:?}");
    ensure!(matches!(depth, Err(BrokerError::Unavailable(_))), "{depth:?}");
    ensure!(asked.elapsed() < PROMPT, "it took {:?}", asked.elapsed());
    wire.resume();
    until_published(&broker, &job()).await;
    broker.close().await;
    Ok(())
}

#[tokio::test]
async fn a_broker_out_of_memory_refuses_jobs_but_not_acks() -> Result<()> {
    let server = rabbitmq::RabbitMq::start().await?;
    let broker = connect(&[&server.url()])?;
    let mut consumer = broker.consume(KIND, 5).await?;
    publish(&broker, 2).await?;
    let held = next(&mut consumer).await?;

    server.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await?;
    let refused = || async {
        let asked = Instant::now();
        let refused = broker.publish(&job()).await.is_err();
        assert!(asked.elapsed() < PROMPT, "a publish hung for {:?}", asked.elapsed());
        refused.then_some(())
    };
    until("the alarm to reach the publisher", SOON, refused).await;
    until("health to say so", SOON, || async { broker.health().blocked.then_some(()) }).await;
    let asked = Instant::now();
    ensure!(matches!(broker.publish(&job()).await, Err(BrokerError::Unavailable(_))));
    ensure!(asked.elapsed() < Duration::from_secs(1), "a known alarm is answered at once");
    held.ack();
    next(&mut consumer).await?.ack();

    server.ctl(&["set_vm_memory_high_watermark", "0.6"]).await?;
    until_published(&broker, &job()).await;
    ensure!(broker.health() == longshore_runtime::broker::Health { connected: true, blocked: false });
    broker.close().await;
    Ok(())
}

#[tokio::test]
async fn the_second_uri_serves_when_the_first_is_dead() -> Result<()> {
    let url = rabbitmq::RabbitMq::shared().await?.vhost().await?;
    let dead = format!("amqp://guest:guest@127.0.0.1:{}/%2f", ports::free()?);
    let broker = connect(&[&dead, &url])?;
    // No waiting for health: a start is waited for, an outage isn't.
    broker.publish(&job()).await?;
    ensure!(broker.depth(KIND).await?.is_some());
    broker.close().await;
    Ok(())
}

#[tokio::test]
async fn connecting_to_nothing_returns_at_once_and_every_call_is_answered() -> Result<()> {
    let dead = format!("amqp://guest:guest@127.0.0.1:{}/%2f", ports::free()?);
    let asked = Instant::now();
    let broker = connect(&[&dead])?;
    ensure!(matches!(broker.publish(&job()).await, Err(BrokerError::Unavailable(_))));
    ensure!(matches!(broker.declare(KIND).await, Err(BrokerError::Unavailable(_))));
    ensure!(matches!(broker.depth(KIND).await, Err(BrokerError::Unavailable(_))));
    let _feed = broker.told().await?;
    let _consumer = broker.consume(KIND, 1).await?;
    ensure!(!broker.health().connected);
    broker.close().await;
    ensure!(asked.elapsed() < PROMPT, "it took {:?}", asked.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_queue_deleted_under_a_consumer_is_made_and_consumed_again() -> Result<()> {
    let server = rabbitmq::RabbitMq::shared().await?;
    let url = server.vhost().await?;
    let broker = connect(&[&url])?;
    let mut consumer = broker.consume(KIND, 5).await?;
    let mut missing = publish(&broker, 1).await?;
    work(&mut consumer, &mut missing, 0).await?;
    let vhost = url.rsplit('/').next().context("a URL ends in its virtual host")?;
    // The server cancels the consumer without an error (measured).
    server.ctl(&["delete_queue", "--vhost", vhost, &format!("longshore.jobs.{KIND}")]).await?;
    // What is published while the old queue goes may go with it; the reconciler publishes again, and so does this.
    let deadline = Instant::now() + SOON;
    loop {
        ensure!(Instant::now() < deadline, "nothing came from the queue that was made again");
        if broker.publish(&job()).await.is_ok()
            && let Ok(Some(delivery)) = timeout(PROMPT, consumer.next()).await
        {
            delivery.ack();
            break;
        }
    }
    broker.close().await;
    Ok(())
}

#[tokio::test]
async fn what_was_acked_out_of_order_stays_acked_when_the_connection_is_gone() -> Result<()> {
    let url = rabbitmq::RabbitMq::shared().await?.vhost().await?;
    let broker = connect(&[&url])?;
    let mut missing = publish(&broker, 1_000).await?;
    let mut consumer = broker.consume(KIND, 100).await?;
    let stuck = next(&mut consumer).await?;
    missing.remove(&id(&stuck)?);
    let mut pairs = Vec::new();
    while !missing.is_empty() {
        let delivery = next(&mut consumer).await?;
        ensure!(missing.remove(&id(&delivery)?), "one came twice");
        pairs.push(delivery);
        while pairs.len() > 1 || (missing.is_empty() && !pairs.is_empty()) {
            pairs.pop().context("not empty")?.ack();
        }
    }
    let expected = id(&stuck)?;
    drop(stuck);
    drop(consumer);
    broker.close().await;

    let broker = connect(&[&url])?;
    let mut consumer = broker.consume(KIND, 100).await?;
    let last = next(&mut consumer).await?;
    ensure!(id(&last)? == expected && last.redelivered, "only the returned one may come back");
    last.ack();
    ensure!(broker.depth(KIND).await?.context("the queue is there")?.ready == 0);
    broker.close().await;
    Ok(())
}
