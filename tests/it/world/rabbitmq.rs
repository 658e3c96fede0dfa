//! What the stories take for granted about RabbitMQ.

use anyhow::{Context, Result, ensure};
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::until::until;

use super::{SOON, all_gone};

/// One story for one boot: a broker keeps what it confirmed through a kill, loses it in a wipe, and leaves nobody behind.
#[tokio::test]
async fn a_broker_keeps_confirmed_messages_through_a_kill_and_loses_them_in_a_wipe() -> Result<()> {
    let broker = RabbitMq::start_with("consumer_timeout = 900000").await?;
    put(&channel(&broker.url()).await?, b"kept").await?;
    broker.remembers("road").await?;

    broker.kill9().await?;
    ensure!(channel(&broker.url()).await.is_err(), "a killed broker answers");
    broker.restart().await?;
    // A broker answers before its quorum queues have a leader; a get until then is an error that costs the connection.
    let kept =
        until("the queue to have a leader", SOON, || async { get(&channel(&broker.url()).await.ok()?).await.ok() });
    ensure!(kept.await == b"kept", "the message changed");

    broker.wipe_and_restart().await?;
    let queues = broker.ctl(&["list_queues", "name"]).await?;
    ensure!(!queues.contains("road"), "a wiped broker still has its queue: {queues}");

    let everyone = broker.pids();
    ensure!(everyone.len() > 2, "a broker is more than itself and epmd: {everyone:?}");
    drop(broker);
    all_gone(&everyone).await;
    Ok(())
}

#[tokio::test]
async fn virtual_hosts_of_the_shared_broker_do_not_see_each_other() -> Result<()> {
    let shared = RabbitMq::shared().await?;
    let (one, other) = (shared.vhost().await?, shared.vhost().await?);
    put(&channel(&one).await?, b"mine").await?;
    let theirs = channel(&other).await?;
    declare(&theirs).await?;
    let found = theirs.basic_get("road".into(), BasicGetOptions::default()).await?;
    ensure!(found.is_none(), "one story sees another's message");
    Ok(())
}

#[tokio::test]
async fn a_broker_that_cannot_boot_says_why_at_once() {
    let failed = RabbitMq::start_with("no_such_key = 1").await;
    let error = format!("{:#}", failed.expect_err("a wrong key must not boot"));
    assert!(error.contains("no_such_key"), "{error}");
}

async fn channel(url: &str) -> Result<Channel> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    Ok(connection.create_channel().await?)
}

async fn declare(channel: &Channel) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.queue_declare("road".into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok(())
}

async fn put(channel: &Channel, body: &[u8]) -> Result<()> {
    declare(channel).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let confirm = channel.basic_publish("".into(), "road".into(), options, body, properties).await?.await?;
    ensure!(confirm.is_ack(), "the broker didn't take it: {confirm:?}");
    Ok(())
}

async fn get(channel: &Channel) -> Result<Vec<u8>> {
    let message = channel.basic_get("road".into(), BasicGetOptions { no_ack: true }).await?;
    Ok(message.context("the queue is empty")?.delivery.data)
}
