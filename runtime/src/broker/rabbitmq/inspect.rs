//! Looks at a server without leaving a trace: its version, a publish that nobody gets, and each kind's queue, declared once
//! more with our arguments if it is there. It makes no queue and takes no message. What follows is `preflight/broker.rs`'s.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, LongString, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::declare::table;
use super::{Settings, hello};
use crate::broker::BrokerError;
use crate::broker::facts::{BrokerFacts, Confirm, Found, QueueFacts};
use crate::broker::link::{Reach, dial, unavailable};
use crate::broker::topology::Queue;

/// AMQP's codes for a missing queue, for one with other arguments, and for one that we may not touch.
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const ACCESS_REFUSED: u16 = 403;
/// A key that no queue is bound to: the server confirms such a message and forgets it.
const NOWHERE: &str = "longshore.preflight";
/// What makes a queue replicated, or not.
const QUEUE_TYPE: &str = "x-queue-type";
/// How often a notice that the server is blocked is looked for beside the confirm.
const LOOK: Duration = Duration::from_millis(50);

/// The first server that answers, with the queues of these kinds.
///
/// # Errors
/// When none of them answers.
pub async fn inspect(settings: &Settings, kinds: &[String]) -> Result<BrokerFacts, BrokerError> {
    let mut last = unavailable("no address was given");
    let reach = settings.reach();
    for uri in reach.uris.clone() {
        match connect(&uri, &reach).await {
            Ok(connection) => {
                let facts = look(settings, &uri, &connection, kinds).await;
                // It served its purpose; a server that does not say goodbye is left alone.
                let _ = timeout(settings.answer_within, connection.close(200, ShortString::from("OK"))).await;
                return facts;
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(uri: &AMQPUri, reach: &Reach) -> Result<Connection, BrokerError> {
    let properties = ConnectionProperties::default().with_connection_name(LongString::from("longshore preflight"));
    let (place, within) = (place(uri), reach.connect_within);
    let connecting = timeout(within, dial(uri.clone(), properties, reach.tls.clone())).await;
    let connected = connecting.map_err(|_| unavailable(format!("{place}: no answer in {within:?}")))?;
    connected.map_err(|error| unavailable(format!("{place}: {error}")))
}

fn place(uri: &AMQPUri) -> String {
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

async fn look(
    settings: &Settings,
    uri: &AMQPUri,
    connection: &Connection,
    kinds: &[String],
) -> Result<BrokerFacts, BrokerError> {
    let mut queues = vec![];
    for kind in kinds {
        for queue in settings.topology.job_queues(kind)? {
            let found = find(connection, &queue, settings.answer_within).await?;
            queues.push(QueueFacts { kind: kind.clone(), name: queue.name, found });
        }
    }
    Ok(BrokerFacts {
        place: place(uri),
        version: hello::version(uri, settings.connect_within).await,
        confirm: confirm(connection, settings.answer_within).await?,
        queues,
    })
}

/// Each refusal costs a channel, so each queue has one of its own.
async fn find(connection: &Connection, queue: &Queue, within: Duration) -> Result<Found, BrokerError> {
    let channel = connection.create_channel().await.map_err(unavailable)?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let waiting = match declare(&channel, queue, passive, FieldTable::default(), within).await {
        Ok(waiting) => waiting,
        Err(found) => return found,
    };
    // There, so that declaring it makes nothing: the server compares.
    let ours = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    match declare(&channel, queue, ours, table(&queue.arguments), within).await {
        Err(Ok(Found::Other(words))) => return other(connection, queue, words, within).await,
        Err(found) => return found,
        Ok(_) => {}
    }
    // A queue that counts its messages has a leader. An empty one is asked for a message, which has no effect.
    if waiting > 0 || answers(&channel, queue, within).await {
        return Ok(Found::Ours);
    }
    still_there(connection)?;
    Ok(Found::Leaderless)
}

/// What a server did not answer because the wire was cut says nothing about the server.
fn still_there(connection: &Connection) -> Result<(), BrokerError> {
    if connection.status().connected() { Ok(()) } else { Err(unavailable("the connection was lost on the way")) }
}

/// The server names the first argument that differs, and the queue's type is never the first; nothing matters more.
async fn other(connection: &Connection, queue: &Queue, words: String, within: Duration) -> Result<Found, BrokerError> {
    let channel = connection.create_channel().await.map_err(unavailable)?;
    let kind_alone = queue.arguments.iter().filter(|(name, _)| *name == QUEUE_TYPE).cloned().collect();
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    match declare(&channel, queue, options, table(&kind_alone), within).await {
        Err(Ok(Found::Other(of_type))) if of_type.contains(QUEUE_TYPE) => Ok(Found::Other(of_type)),
        _ => Ok(Found::Other(words)),
    }
}

/// How many messages wait, or what else was found.
async fn declare(
    channel: &Channel,
    queue: &Queue,
    options: QueueDeclareOptions,
    arguments: FieldTable,
    within: Duration,
) -> Result<u32, Result<Found, BrokerError>> {
    let declared = timeout(within, channel.queue_declare(queue.name.as_str().into(), options, arguments)).await;
    let Ok(declared) = declared else { return Err(Ok(Found::Leaderless)) };
    declared.map(|queue| queue.message_count()).map_err(|error| refusal(&error).ok_or_else(|| unavailable(error)))
}

/// What a refusal means for a queue; `None` for one that is not about the queue.
fn refusal(error: &lapin::Error) -> Option<Found> {
    let ErrorKind::ProtocolError(refused) = error.kind() else { return None };
    match refused.get_id() {
        NOT_FOUND => Some(Found::Missing),
        PRECONDITION_FAILED => Some(Found::Other(refused.get_message().to_string())),
        ACCESS_REFUSED => Some(Found::Forbidden(refused.get_message().to_string())),
        _ => None,
    }
}

async fn answers(channel: &Channel, queue: &Queue, within: Duration) -> bool {
    let asked = timeout(within, channel.basic_get(queue.name.as_str().into(), BasicGetOptions::default())).await;
    if let Ok(Ok(Some(message))) = &asked {
        // One that came in this very moment goes back.
        let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        let _ = timeout(within, message.delivery.acker.nack(back)).await;
    }
    matches!(asked, Ok(Ok(_)))
}

async fn confirm(connection: &Connection, within: Duration) -> Result<Confirm, BrokerError> {
    let channel = connection.create_channel().await.map_err(unavailable)?;
    let published = timeout(within, publish(&channel));
    let mut published = std::pin::pin!(published);
    loop {
        match timeout(LOOK, published.as_mut()).await {
            Ok(Ok(Ok(true))) => return Ok(Confirm::Confirmed),
            Ok(Ok(Ok(false))) => return Ok(Confirm::Refused("it was not acknowledged".to_owned())),
            Ok(Ok(Err(error))) => {
                still_there(connection)?;
                return Ok(Confirm::Refused(error.to_string()));
            }
            Ok(Err(_)) => return Ok(Confirm::Silent),
            Err(_) if connection.status().blocked() => {
                return Ok(Confirm::Blocked("a memory or disk alarm".to_owned()));
            }
            Err(_) => {}
        }
    }
}

async fn publish(channel: &Channel) -> lapin::Result<bool> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), NOWHERE.into(), options, b"", BasicProperties::default()).await?;
    Ok(sent.await?.is_ack())
}
