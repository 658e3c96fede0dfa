//! Something of our own at the broker that only a wipe takes away: how a storm sees that the broker's data is really gone. Nothing is ever
//! published there.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};

/// The exchange's name.
const MARK: &str = "chaos.mark";
/// No answer takes longer while the broker lives.
const ANSWER: Duration = Duration::from_secs(20);

/// Leaves the mark.
pub async fn leave(amqp_url: &str) -> Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    Ok(declare(amqp_url, durable).await??)
}

/// Whether it is there.
///
/// # Errors
/// When the broker says neither.
pub async fn stands(amqp_url: &str) -> Result<bool> {
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    match declare(amqp_url, passive).await? {
        Ok(()) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn declare(amqp_url: &str, options: ExchangeDeclareOptions) -> Result<lapin::Result<()>> {
    let declared = async {
        let connection = Connection::connect(amqp_url, ConnectionProperties::default()).await?;
        let channel: Channel = connection.create_channel().await?;
        let name = MARK.into();
        let declared = channel.exchange_declare(name, ExchangeKind::Fanout, options, FieldTable::default()).await;
        connection.close(200, "done".into()).await?;
        anyhow::Ok(declared)
    };
    tokio::time::timeout(ANSWER, declared).await.context("the broker did not answer in time")?
}

/// Whether the broker says that what was asked for does not exist.
pub(super) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(said) if said.get_id() == 404)
}
