//! The broker as RabbitMQ, from 3.10 on. Two connections: a blocked publisher must not stop acks.
//! It decides nothing about a job and repairs no connection; what it cannot do in time it answers with an error, and the
//! ledger sees to the rest. Read `link.rs` first, then `rabbitmq/{publisher,subscription,acks,feed}.rs`.

mod acks;
mod declare;
mod feed;
mod hello;
mod inspect;
mod parcel;
mod publisher;
mod settings;
mod subscription;

use std::sync::Arc;

use async_trait::async_trait;
use lapin::Channel;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::declare::Declarer;
use self::feed::{FEED_BUFFER, Listener};
use self::parcel::Parcel;
use self::publisher::{Landed, Publisher};
use self::subscription::Subscription;
use super::link::{Link, unavailable};
use super::topology::Exchange;
use super::{
    Announcement, Broker, BrokerError, Consumer, Control, Delivery, Depth, Feed, Health, JobMessage, Lane, Mark,
};
pub use inspect::inspect;
pub use parcel::REASON_HEADER;
pub use settings::{Settings, SettingsError};

/// A RabbitMQ broker.
pub struct RabbitMq {
    settings: Settings,
    publishing: Link,
    consuming: Link,
    publisher: Publisher,
    declarer: Declarer,
    /// For passive declares alone: a missing queue closes it.
    asking: Mutex<Option<Channel>>,
    /// Ends consumers and feeds.
    closing: CancellationToken,
    /// Ends the connections, after them.
    hanging_up: CancellationToken,
    /// Consumers, ackers and listeners.
    tasks: TaskTracker,
    /// The keepers of the connections.
    links: TaskTracker,
}

impl RabbitMq {
    /// Starts to connect, and returns at once: whether and when there is a broker is [`Broker::health`]'s to say.
    pub fn connect(settings: Settings) -> Arc<Self> {
        let (links, hanging_up) = (TaskTracker::new(), CancellationToken::new());
        let link = |name: &str| Link::keep(name.to_owned(), settings.reach(), hanging_up.clone(), &links);
        let (publishing, consuming) = (link("longshore publishing"), link("longshore consuming"));
        // Declared on the consuming connection: the server doesn't read a blocked one.
        let declarer = Declarer::new(consuming.clone(), settings.topology.clone());
        let publisher = Publisher::new(publishing.clone(), declarer.clone(), settings.answer_within, settings.window);
        let (asking, closing, tasks) = (Mutex::default(), CancellationToken::new(), TaskTracker::new());
        Arc::new(Self {
            settings,
            publishing,
            consuming,
            publisher,
            declarer,
            asking,
            closing,
            hanging_up,
            tasks,
            links,
        })
    }

    /// Publishes what must reach a queue; if none takes it, makes sure of the queue and tries once more.
    async fn deliver(&self, parcel: &Parcel, kind: Option<&str>) -> Result<(), BrokerError> {
        if self.publisher.publish(parcel).await? == Landed::Taken {
            return Ok(());
        }
        match kind {
            Some(kind) => self.declarer.kind(kind).await?,
            None => self.declarer.base().await?,
        }
        match self.publisher.publish(parcel).await? {
            Landed::Taken => Ok(()),
            Landed::Returned => Err(BrokerError::Unroutable(kind.unwrap_or("dead").to_owned())),
        }
    }

    async fn listen<T: Send + 'static>(
        &self,
        exchange: Exchange,
        read: fn(lapin::message::Delivery) -> Option<T>,
    ) -> Result<Feed<T>, BrokerError> {
        let (out, feed) = mpsc::channel(FEED_BUFFER);
        let (link, topology) = (self.consuming.clone(), self.settings.topology.clone());
        let listener = Listener { link, topology, exchange, read, out, closing: self.closing.clone() };
        let (began, first) = oneshot::channel();
        self.tasks.spawn(listener.run(began));
        feed::listening(first).await?;
        Ok(feed)
    }

    /// Takes from one queue until `closing`.
    fn subscribe(
        &self,
        kind: &str,
        queue: String,
        prefetch: u16,
        closing: &Arc<CancellationToken>,
    ) -> mpsc::Receiver<Delivery> {
        // To AMQP, 0 means without limit.
        let prefetch = prefetch.max(1);
        let (out, deliveries) = mpsc::channel(usize::from(prefetch));
        let subscription = Subscription {
            link: self.consuming.clone(),
            declarer: self.declarer.clone(),
            kind: kind.to_owned(),
            queue,
            prefetch,
            consumer_timeout: self.settings.consumer_timeout,
            out,
            closing: Arc::clone(closing),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(subscription.run());
        deliveries
    }

    async fn ask_depth(&self, kind: &str) -> Result<Option<Depth>, BrokerError> {
        let mut asking = self.asking.lock().await;
        let channel = match asking.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => self.consuming.channel().await?.1,
        };
        let mut lanes = [None; Lane::ALL.len()];
        for (lane, depth) in Lane::ALL.into_iter().zip(&mut lanes) {
            *depth = self.declarer.depth(&channel, &self.settings.topology.job_queue_name(kind, lane)?).await?;
            if depth.is_none() {
                return Ok(None); // and no channel any more
            }
        }
        *asking = Some(channel);
        Ok(Depth::of_lanes(lanes))
    }
}

#[async_trait]
impl Broker for RabbitMq {
    async fn declare(&self, kind: &str) -> Result<(), BrokerError> {
        self.declarer.kind(kind).await
    }

    async fn publish(&self, message: &JobMessage) -> Result<(), BrokerError> {
        self.deliver(&parcel::job(&self.settings.topology, message)?, Some(&message.kind)).await
    }

    async fn consume(&self, kind: &str, prefetch: u16) -> Result<Consumer, BrokerError> {
        let [high, normal, low] = Lane::ALL.map(|lane| self.settings.topology.job_queue_name(kind, lane));
        let closing = Arc::new(self.closing.child_token());
        let lanes = [high?, normal?, low?].map(|queue| self.subscribe(kind, queue, prefetch, &closing));
        Ok(Consumer::new(lanes, closing))
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), BrokerError> {
        self.publisher.publish(&parcel::event(&self.settings.topology, announcement)?).await.map(drop)
    }

    async fn events(&self) -> Result<Feed<Announcement>, BrokerError> {
        self.listen(self.settings.topology.events(), parcel::read_event).await
    }

    async fn tell(&self, control: &Control) -> Result<(), BrokerError> {
        self.publisher.publish(&parcel::control(&self.settings.topology, control)?).await.map(drop)
    }

    async fn told(&self) -> Result<Feed<Control>, BrokerError> {
        self.listen(self.settings.topology.control(), parcel::read_control).await
    }

    async fn depth(&self, kind: &str) -> Result<Option<Depth>, BrokerError> {
        let asked = timeout(self.settings.answer_within, self.ask_depth(kind)).await;
        asked.unwrap_or_else(|_| Err(unavailable("no answer about a queue's depth in time")))
    }

    async fn mark(&self, mark: Mark) -> Result<(), BrokerError> {
        self.declarer.exchange(&self.settings.topology.mark(mark)).await
    }

    async fn is_marked(&self, mark: Mark) -> Result<bool, BrokerError> {
        self.declarer.has_exchange(&self.settings.topology.mark(mark)).await
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), BrokerError> {
        self.deliver(&parcel::dead(&self.settings.topology, delivery, reason)?, None).await
    }

    fn health(&self) -> Health {
        let connected = self.publishing.connected() && self.consuming.connected();
        Health { connected, blocked: self.publishing.blocked() }
    }

    async fn close(&self) {
        let goodbyes = self.settings.answer_within;
        // Consumers first, so that their last acks and returns get out; the connections when that is done, or late.
        self.closing.cancel();
        self.tasks.close();
        let _ = timeout(goodbyes, self.tasks.wait()).await;
        self.hanging_up.cancel();
        self.links.close();
        let _ = timeout(goodbyes, self.links.wait()).await;
    }
}
