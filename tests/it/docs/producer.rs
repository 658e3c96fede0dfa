//! A message made by the README's table alone, by a client that knows nothing of Longshore, is a job like any other.

use anyhow::{Context, Result};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use longshore_sdk::{JobId, wire};
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::until;

use super::page::Page;

const KIND: &str = "trial.work";

/// What the README's table says of one part of a message.
fn told(part: &str) -> Result<String> {
    let rows = Page::open("README.md")?.section("On RabbitMQ and PostgreSQL").rows();
    let row = rows.into_iter().find(|row| row[0].trim_matches('`') == part);
    let value = row.with_context(|| format!("nothing is told of {part}"))?.swap_remove(1);
    Ok(if value == "the kind" { KIND.to_owned() } else { value.trim_matches('`').to_owned() })
}

/// Publishes once. As long as the kind has no queue the broker gives the message back, which `mandatory` asks it to.
async fn is_taken(channel: &Channel, properties: &BasicProperties) -> Result<bool> {
    let (exchange, key) = (told("exchange")?, told("routing key")?);
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = channel.basic_publish(exchange.into(), key.into(), options, b"{\"work_ms\": 1}", properties.clone());
    Ok(matches!(sent.await?.await?, Confirmation::Ack(None)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_as_the_readme_describes_it_becomes_a_job() -> Result<()> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    let id = JobId::fresh().to_string();
    assert!(told("message_id")?.starts_with("unique: a UUID is the job's id"), "this story relies on it");
    let properties = BasicProperties::default()
        .with_content_type(told("content_type")?.into())
        .with_type(told("type")?.into())
        .with_message_id(id.as_str().into());
    let channel = Connection::connect(&broker, ConnectionProperties::default()).await?.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let taken = || async { is_taken(&channel, &properties).await.ok().filter(|taken| *taken) };
    until("the kind's queue to take the message", PATIENCE, taken).await;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    Ok(())
}

#[test]
fn the_readmes_limit_of_a_message_is_the_codes() -> Result<()> {
    let page = Page::open("README.md")?.section("On RabbitMQ and PostgreSQL");
    assert!(wire::MAX_BODY_BYTES == 1024 * 1024 && page.text.contains("at most 1 MiB"));
    Ok(())
}
