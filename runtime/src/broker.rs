//! The broker: the road from the ledger to a worker. It carries "this job is ready" and may lose, repeat or delay it.
//! It knows no ledger and decides nothing about a job. [`rabbitmq`] and [`embedded`] implement it and pass one contract
//! suite; exchanges and queues are plain data in [`topology`].

mod consumer;
pub mod embedded;
pub mod facts;
pub mod link;
pub mod rabbitmq;
pub mod topology;
pub mod turns;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_sdk::{JobId, Trace, wire};
use tokio::sync::mpsc;

use crate::tenant::Tenant;
pub use consumer::Consumer;

/// Why the broker did not take it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// No connection, no confirm in time, or a refusal that may pass. Whether it was published is unknown.
    #[error("the broker does not answer: {0}")]
    Unavailable(String),
    /// It confirmed that no queue took the message.
    #[error("no queue takes jobs of kind {0}")]
    Unroutable(String),
}

/// A job to put on the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMessage {
    /// The job; also the message's id.
    pub job: JobId,
    /// Whose it is, for who reads headers.
    pub tenant: Tenant,
    /// Its kind, which names the queue.
    pub kind: String,
    /// Which of the kind's queues.
    pub lane: Lane,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
}

impl JobMessage {
    /// The body: its id and kind, for the payload that counts is the ledger's.
    pub(crate) fn body(&self) -> Result<Bytes, BrokerError> {
        let envelope = wire::Envelope { job: self.job, kind: self.kind.clone(), payload: None };
        // Only a kind of a megabyte could be too large, and no queue has such a name.
        wire::encode(&envelope).map(Bytes::from).map_err(|_| BrokerError::Unroutable(self.kind.clone()))
    }
}

/// One of a kind's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Before the others.
    High,
    /// The usual.
    Normal,
    /// After the others.
    Low,
}

impl Lane {
    /// All three, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// An announcement on the events exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The event's id, the same on every repeat.
    pub id: String,
    /// Whose job it is about, for who reads headers.
    pub tenant: Tenant,
    /// The topic, e.g. `job.image.resize.completed`.
    pub topic: String,
    /// A CloudEvent as JSON.
    pub body: Bytes,
}

/// What every worker hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Whoever runs this job stops it.
    Cancel(JobId),
    /// A job became due: relays look now.
    Wake,
}

/// A thing of the broker's own that lasts as long as its data, so that somebody can tell that a broker has lost all it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Since it was set, what waits is being published anew.
    Filling,
    /// All that waited was published to this broker, by whoever set it.
    Filled,
}

/// The state of a kind's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages waiting, in all lanes.
    pub ready: u64,
    /// Consumers of the lane that has the fewest: one without any is served by nobody.
    pub consumers: u64,
}

impl Depth {
    /// Of a kind, from those of its lanes; `None` if one of them is missing.
    fn of_lanes(lanes: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let both = |one: Self, other: Self| Self {
            ready: one.ready + other.ready,
            consumers: one.consumers.min(other.consumers),
        };
        let lanes: Option<Vec<Self>> = lanes.into_iter().collect();
        lanes?.into_iter().reduce(both)
    }
}

/// Whether the broker can be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Connected.
    pub connected: bool,
    /// Connected, but it takes no messages (a memory or disk alarm).
    pub blocked: bool,
}

/// A broker. Every method ends in bounded time; reconnecting is its own affair.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Makes sure that the kind's queues exist.
    async fn declare(&self, kind: &str) -> Result<(), BrokerError>;
    /// Publishes, durably, and waits for the confirm.
    async fn publish(&self, message: &JobMessage) -> Result<(), BrokerError>;
    /// Starts to take deliveries of a kind, at most `prefetch` of each lane unsettled at a time. Goes on through
    /// reconnections until the consumer is closed.
    async fn consume(&self, kind: &str, prefetch: u16) -> Result<Consumer, BrokerError>;
    /// Publishes an event and waits for the confirm.
    async fn announce(&self, announcement: &Announcement) -> Result<(), BrokerError>;
    /// Events from now on. A feed for waking up, not a record: it may have gaps, after which it yields `Heard::Gap`.
    async fn events(&self) -> Result<Feed<Announcement>, BrokerError>;
    /// Tells every worker and relay.
    async fn tell(&self, control: &Control) -> Result<(), BrokerError>;
    /// What is told from now on, with gaps as in [`Broker::events`].
    async fn told(&self) -> Result<Feed<Control>, BrokerError>;
    /// The state of a kind's queues; `None` if one of them is missing.
    async fn depth(&self, kind: &str) -> Result<Option<Depth>, BrokerError>;
    /// Sets a mark that lasts as long as the broker's data.
    async fn mark(&self, mark: Mark) -> Result<(), BrokerError>;
    /// Whether the mark was set since the broker has what it has.
    async fn is_marked(&self, mark: Mark) -> Result<bool, BrokerError>;
    /// Puts a message nobody can read on `longshore.dead`, with the reason.
    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), BrokerError>;
    /// Whether it can be used now.
    fn health(&self) -> Health;
    /// Closes connections; consumers end.
    async fn close(&self);
}

/// Something heard on a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<T> {
    /// A message.
    Message(T),
    /// Messages may have been missed here.
    Gap,
}

/// A stream of what is heard; ends when the broker is closed.
pub type Feed<T> = mpsc::Receiver<Heard<T>>;

/// A message in a worker's hands. Dropped unsettled, it goes back to its queue.
#[derive(Debug)]
pub struct Delivery {
    /// The body.
    pub body: Bytes,
    /// Its media type, if the producer set one.
    pub content_type: Option<String>,
    /// The producer's message id.
    pub message_id: Option<String>,
    /// The kind: the `type` property, else the queue's.
    pub kind: String,
    /// The id that follows the request.
    pub correlation_id: Option<String>,
    /// Its place in a distributed trace.
    pub trace: Option<Trace>,
    /// Whose job it is, as its producer wrote it.
    pub tenant: Option<String>,
    /// The broker believes it delivered this before. A hint: false proves nothing.
    pub redelivered: bool,
    receipt: Receipt,
}

/// How a delivery was settled, told to whoever owns its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// Never deliver it again.
    Ack(u64),
    /// Back to the queue.
    Return(u64),
}

/// The one right to settle a delivery. Settling is a message to the channel's owner, which batches the acks.
#[derive(Debug)]
struct Receipt {
    tag: u64,
    settlements: mpsc::UnboundedSender<Settlement>,
    settled: bool,
}

impl Delivery {
    /// A delivery to be settled as `tag` through `settlements`.
    pub(crate) fn new(body: Bytes, kind: String, tag: u64, settlements: mpsc::UnboundedSender<Settlement>) -> Self {
        let receipt = Receipt { tag, settlements, settled: false };
        Self {
            body,
            content_type: None,
            message_id: None,
            kind,
            correlation_id: None,
            trace: None,
            tenant: None,
            redelivered: false,
            receipt,
        }
    }

    /// Never deliver it again. If its channel is gone this does nothing: the message comes again and its claim finds the
    /// job settled.
    pub fn ack(mut self) {
        self.receipt.settled = true;
        let _ = self.receipt.settlements.send(Settlement::Ack(self.receipt.tag));
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.settled {
            let _ = self.settlements.send(Settlement::Return(self.tag));
        }
    }
}
