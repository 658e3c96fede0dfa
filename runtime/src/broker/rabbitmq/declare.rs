//! The topology carried to a server: exchanges, queues, bindings.
//! It deletes nothing and changes nothing that is there; a queue that exists with other arguments is an error that names
//! them. A refusal closes the channel it came on, so nobody's is used but its own. Read `topology.rs` for what is declared.

use std::collections::HashMap;
use std::sync::Arc;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ErrorKind, ExchangeKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::broker::link::Link;
use crate::broker::topology::{Arguments, Exchange, Queue, Spread, Topology, Value};
use crate::broker::{BrokerError, Depth};

/// AMQP's code for a missing queue or exchange.
const NOT_FOUND: u16 = 404;

/// Makes sure that what is to be used exists.
#[derive(Debug, Clone)]
pub(super) struct Declarer {
    link: Link,
    topology: Topology,
    /// When the last declaration of a kind began.
    began: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Declarer {
    pub(super) fn new(link: Link, topology: Topology) -> Self {
        Self { link, topology, began: Arc::default() }
    }

    /// The exchanges, and the queue of the dead.
    pub(super) async fn base(&self) -> Result<(), BrokerError> {
        let (_, channel) = self.link.channel().await?;
        for exchange in self.topology.exchanges() {
            self.link.within("declaring an exchange", declare_exchange(&channel, &exchange)).await?;
        }
        self.link.within("declaring a queue", declare_queue(&channel, &self.topology.dead_queue())).await
    }

    /// The queues of a kind, and what its messages need on their way. One at a time: a thousand publishers that find a queue
    /// missing are all served by the first declaration that began after they asked.
    pub(super) async fn kind(&self, kind: &str) -> Result<(), BrokerError> {
        let asked = Instant::now();
        let mut began = self.began.lock().await;
        if began.get(kind).is_some_and(|began| *began > asked) {
            return Ok(());
        }
        let begins = Instant::now();
        self.kind_now(kind).await?;
        began.insert(kind.to_owned(), begins);
        Ok(())
    }

    async fn kind_now(&self, kind: &str) -> Result<(), BrokerError> {
        let queues = self.topology.job_queues(kind)?;
        self.base().await?;
        let (_, channel) = self.link.channel().await?;
        for queue in &queues {
            self.link.within("declaring a queue", declare_queue(&channel, queue)).await?;
        }
        Ok(())
    }

    /// The state of a queue, `None` if it is missing. A missing queue costs the channel.
    pub(super) async fn depth(&self, channel: &Channel, name: &str) -> Result<Option<Depth>, BrokerError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = async {
            match channel.queue_declare(name.into(), passive, FieldTable::default()).await {
                Ok(queue) => Ok(Some(queue)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let queue = self.link.within("asking for a queue's depth", asked).await?;
        Ok(queue.map(|queue| Depth { ready: queue.message_count().into(), consumers: queue.consumer_count().into() }))
    }

    /// Makes the exchange.
    pub(super) async fn exchange(&self, exchange: &Exchange) -> Result<(), BrokerError> {
        let (_, channel) = self.link.channel().await?;
        self.link.within("declaring an exchange", declare_exchange(&channel, exchange)).await
    }

    /// Whether there is such an exchange. A missing one costs the channel.
    pub(super) async fn has_exchange(&self, exchange: &Exchange) -> Result<bool, BrokerError> {
        let (_, channel) = self.link.channel().await?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let asked = async {
            let (name, spread) = (exchange.name.as_str().into(), ExchangeKind::Fanout);
            match channel.exchange_declare(name, spread, passive, FieldTable::default()).await {
                Ok(()) => Ok(true),
                Err(error) if is_missing(&error) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.link.within("asking for an exchange", asked).await
    }
}

pub(super) async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> lapin::Result<()> {
    let spread = match exchange.spread {
        Spread::Direct => ExchangeKind::Direct,
        Spread::Fanout => ExchangeKind::Fanout,
        Spread::Topic => ExchangeKind::Topic,
    };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange.name.as_str().into(), spread, durable, FieldTable::default()).await
}

pub(super) async fn declare_queue(channel: &Channel, queue: &Queue) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        durable: queue.lasting,
        exclusive: !queue.lasting,
        auto_delete: !queue.lasting,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(queue.name.as_str().into(), options, table(&queue.arguments)).await?;
    let (name, exchange) = (queue.name.as_str().into(), queue.exchange.as_str().into());
    channel
        .queue_bind(name, exchange, queue.key.as_str().into(), QueueBindOptions::default(), FieldTable::default())
        .await
}

pub(super) fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Value::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Value::Number(number) => AMQPValue::LongLongInt(*number),
        };
        table.insert((*name).into(), value);
    }
    table
}

fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == NOT_FOUND)
}
