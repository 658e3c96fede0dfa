//! Deliveries that nobody sent: the envelopes of jobs of all ages, published again past the system, several times and in any order.
//! It makes no job up: every id is one that a client was promised.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use longshore_sdk::wire::{CONTENT_TYPE, Envelope, encode};
use longshore_sdk::{JobId, Payload as _};

use super::deed::Deed;

/// How long the broker may take.
const CONFIRMED: Duration = Duration::from_secs(30);

/// Publishes all of them; fails when the broker is away or did not take one.
pub async fn publish(amqp_url: &str, jobs: &[JobId]) -> Result<()> {
    let published = async {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        for job in jobs {
            let kind = Deed::KIND.to_owned();
            let body = encode(&Envelope { job: *job, kind, payload: None })?;
            let properties = BasicProperties::default()
                .with_content_type(CONTENT_TYPE.into())
                .with_type(Deed::KIND.into())
                .with_message_id(job.to_string().into());
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let sent = channel.basic_publish("longshore.jobs".into(), Deed::KIND.into(), options, &body, properties);
            let confirm = sent.await?.await?;
            ensure!(matches!(confirm, Confirmation::Ack(None)), "not taken: {confirm:?}");
        }
        connection.close(200, "done".into()).await?;
        Ok(())
    };
    tokio::time::timeout(CONFIRMED, published).await.context("the broker did not confirm in time")?
}
