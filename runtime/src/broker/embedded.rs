//! The broker inside the process, as unkind as RabbitMQ: prefetch, redelivery of what is dropped, duplicates on demand.
//! It keeps nothing across restarts and bounds what it holds; the reconciler refills it from the ledger. The queue itself is
//! in `embedded/queue.rs`, without tasks or locks.

mod queue;
#[cfg(test)]
mod watched;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::queue::{Message, Queue};
use super::link::unavailable;
use super::topology::Topology;
use super::{
    Announcement, Broker, BrokerError, Consumer, Control, Delivery, Depth, Feed, Health, Heard, JobMessage, Lane, Mark,
    Settlement,
};

/// What the embedded broker may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Jobs that wait per kind; publishing one more is answered with `Unavailable`, as by a full queue of RabbitMQ.
    pub ready_per_kind: usize,
    /// Buried messages, the newest of them.
    pub buried: usize,
    /// Announcements that wait for a slow listener before it hears of a gap.
    pub feed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ready_per_kind: 100_000, buried: 1_000, feed: 1_024 }
    }
}

/// A message that nobody could read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// The body.
    pub body: Bytes,
    /// The kind of the queue it was on.
    pub kind: String,
    /// The producer's message id.
    pub message_id: Option<String>,
    /// Why it was buried.
    pub reason: String,
}

/// An in-process broker.
pub struct Embedded {
    limits: Limits,
    /// Every so many messages one is delivered twice.
    duplicate_every: Option<u64>,
    queues: Arc<Queues>,
    buried: Mutex<VecDeque<Buried>>,
    events: broadcast::Sender<Announcement>,
    control: broadcast::Sender<Control>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Queues(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_kind: HashMap<String, Lanes>,
    published: u64,
    marks: HashSet<Mark>,
}

/// A kind's queues, in the order of [`Lane::ALL`].
#[derive(Debug, Default)]
struct Lanes([Queue; Lane::ALL.len()]);

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut Queue {
        &mut self.0[lane as usize]
    }

    fn ready(&self) -> usize {
        self.0.iter().map(Queue::ready).sum()
    }

    fn depth(&self) -> Option<Depth> {
        Depth::of_lanes(self.0.iter().map(|queue| Some(queue.depth())))
    }
}

impl Embedded {
    /// An empty broker.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self::with(limits, None))
    }

    /// A broker that delivers one message in two to nine twice, which `seed` chooses: so that whoever forgets that a
    /// delivery may be repeated learns it at home.
    pub fn unkind(limits: Limits, seed: u64) -> Arc<Self> {
        Arc::new(Self::with(limits, Some(2 + seed % 8)))
    }

    /// The messages that were buried, oldest first.
    pub fn buried(&self) -> Vec<Buried> {
        self.graveyard().iter().cloned().collect()
    }

    fn with(limits: Limits, duplicate_every: Option<u64>) -> Self {
        let (events, _) = broadcast::channel(limits.feed.max(1));
        let (control, _) = broadcast::channel(limits.feed.max(1));
        let (queues, buried) = (Arc::default(), Mutex::default());
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { limits, duplicate_every, queues, buried, events, control, closing, tasks }
    }

    fn graveyard(&self) -> MutexGuard<'_, VecDeque<Buried>> {
        self.buried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<(), BrokerError> {
        if self.closing.is_cancelled() { Err(unavailable("it is closed")) } else { Ok(()) }
    }

    fn feed<T: Clone + Send + 'static>(&self, source: &broadcast::Sender<T>) -> Result<Feed<T>, BrokerError> {
        self.open()?;
        let (out, feed) = mpsc::channel(1);
        let (heard, closing) = (source.subscribe(), self.closing.clone());
        self.tasks.spawn(async move { closing.run_until_cancelled(forward(heard, out)).await });
        Ok(feed)
    }
}

/// The names that RabbitMQ could not take are refused here too, or `dev` would accept what production does not.
fn nameable(kind: &str) -> Result<(), BrokerError> {
    Topology::default().job_queues(kind).map(drop)
}

async fn forward<T: Clone>(mut heard: broadcast::Receiver<T>, out: mpsc::Sender<Heard<T>>) {
    loop {
        let heard = tokio::select! {
            biased;
            () = out.closed() => return,
            heard = heard.recv() => match heard {
                Ok(message) => Heard::Message(message),
                Err(broadcast::error::RecvError::Lagged(_)) => Heard::Gap,
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
        if out.send(heard).await.is_err() {
            return;
        }
    }
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after one consumer until it is closed and everything it was handed is settled.
    async fn serve(
        self: Arc<Self>,
        (kind, lane, consumer): (String, Lane, u64),
        mut settlements: mpsc::UnboundedReceiver<Settlement>,
        closing: Arc<CancellationToken>,
        line: CancellationToken,
    ) {
        let (mut gathered, mut canceled) = (Vec::new(), false);
        loop {
            tokio::select! {
                biased;
                () = line.cancelled() => return self.lose(&kind, lane, consumer),
                () = closing.cancelled(), if !canceled => {}
                took = settlements.recv_many(&mut gathered, usize::MAX) => if took == 0 { return },
            }
            let mut state = self.lock();
            let Some(queue) = state.by_kind.get_mut(&kind).map(|lanes| lanes.of(lane)) else { return };
            // Before the returns, or they come straight back to it.
            if closing.is_cancelled() && !std::mem::replace(&mut canceled, true) {
                queue.cancel(consumer);
            }
            queue.settle(consumer, gathered.drain(..));
        }
    }
}

impl Queues {
    /// A consumer's line is cut: what it holds comes again, and what it says later is not heard.
    fn lose(&self, kind: &str, lane: Lane, consumer: u64) {
        if let Some(lanes) = self.lock().by_kind.get_mut(kind) {
            lanes.of(lane).lose(consumer);
        }
    }
}

impl Embedded {
    /// A consumer that loses everything it holds when `line` is cancelled, as one does whose connection breaks.
    pub(crate) async fn consume_on(
        &self,
        line: &CancellationToken,
        kind: &str,
        prefetch: u16,
    ) -> Result<Consumer, BrokerError> {
        self.declare(kind).await?;
        let prefetch = usize::from(prefetch.max(1));
        let closing = Arc::new(self.closing.child_token());
        let lanes = Lane::ALL.map(|lane| {
            let (out, deliveries) = mpsc::channel(prefetch);
            let (settle, settlements) = mpsc::unbounded_channel();
            let mut state = self.queues.lock();
            let queue = state.by_kind.entry(kind.to_owned()).or_default().of(lane);
            let consumer = (kind.to_owned(), lane, queue.join(prefetch, out, settle));
            let (queues, closing) = (Arc::clone(&self.queues), Arc::clone(&closing));
            self.tasks.spawn(queues.serve(consumer, settlements, closing, line.clone()));
            deliveries
        });
        Ok(Consumer::new(lanes, closing))
    }
}

#[async_trait]
impl Broker for Embedded {
    async fn declare(&self, kind: &str) -> Result<(), BrokerError> {
        self.open()?;
        nameable(kind)?;
        self.queues.lock().by_kind.entry(kind.to_owned()).or_default();
        Ok(())
    }

    async fn publish(&self, message: &JobMessage) -> Result<(), BrokerError> {
        self.declare(&message.kind).await?;
        let waiting = Message::of(message)?;
        let mut state = self.queues.lock();
        state.published += 1;
        let twice = self.duplicate_every.is_some_and(|every| state.published.is_multiple_of(every));
        let lanes = state.by_kind.entry(message.kind.clone()).or_default();
        if lanes.ready() >= self.limits.ready_per_kind {
            return Err(unavailable(format!("{} jobs of kind {} wait already", lanes.ready(), message.kind)));
        }
        let queue = lanes.of(message.lane);
        if twice {
            queue.put(waiting.clone());
        }
        queue.put(waiting);
        Ok(())
    }

    async fn consume(&self, kind: &str, prefetch: u16) -> Result<Consumer, BrokerError> {
        self.consume_on(&CancellationToken::new(), kind, prefetch).await
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), BrokerError> {
        self.open()?;
        // An error means that nobody listens, which is nobody's fault.
        let _ = self.events.send(announcement.clone());
        Ok(())
    }

    async fn events(&self) -> Result<Feed<Announcement>, BrokerError> {
        self.feed(&self.events)
    }

    async fn tell(&self, control: &Control) -> Result<(), BrokerError> {
        self.open()?;
        let _ = self.control.send(*control);
        Ok(())
    }

    async fn told(&self) -> Result<Feed<Control>, BrokerError> {
        self.feed(&self.control)
    }

    async fn depth(&self, kind: &str) -> Result<Option<Depth>, BrokerError> {
        self.open()?;
        Ok(self.queues.lock().by_kind.get(kind).and_then(Lanes::depth))
    }

    async fn mark(&self, mark: Mark) -> Result<(), BrokerError> {
        self.open()?;
        self.queues.lock().marks.insert(mark);
        Ok(())
    }

    async fn is_marked(&self, mark: Mark) -> Result<bool, BrokerError> {
        self.open()?;
        Ok(self.queues.lock().marks.contains(&mark))
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), BrokerError> {
        self.open()?;
        let mut buried = self.graveyard();
        buried.push_back(Buried {
            body: delivery.body.clone(),
            kind: delivery.kind.clone(),
            message_id: delivery.message_id.clone(),
            reason: reason.to_owned(),
        });
        let over = buried.len().saturating_sub(self.limits.buried);
        buried.drain(..over);
        Ok(())
    }

    fn health(&self) -> Health {
        Health { connected: !self.closing.is_cancelled(), blocked: false }
    }

    async fn close(&self) {
        self.closing.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_sdk::JobId;

    fn job() -> JobMessage {
        JobMessage {
            tenant: crate::tenant::Tenant::default(),
            job: JobId::fresh(),
            kind: "demo".into(),
            lane: Lane::Normal,
            correlation_id: None,
            trace: None,
        }
    }

    #[tokio::test]
    async fn an_unkind_broker_delivers_some_twice() {
        let broker = Embedded::unkind(Limits::default(), 1);
        for _ in 0..9 {
            broker.publish(&job()).await.unwrap();
        }
        assert_eq!(broker.depth("demo").await.unwrap().unwrap().ready, 12, "every third of nine comes twice");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_until_there_is_room() {
        let broker = Embedded::new(Limits { ready_per_kind: 2, ..Limits::default() });
        for _ in 0..2 {
            broker.publish(&job()).await.unwrap();
        }
        assert!(matches!(broker.publish(&job()).await, Err(BrokerError::Unavailable(_))));
        let mut consumer = broker.consume("demo", 1).await.unwrap();
        consumer.next().await.unwrap().ack();
        broker.publish(&job()).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_returned_keeps_its_place() {
        let broker = Embedded::new(Limits::default());
        let mut consumer = broker.consume("demo", 1).await.unwrap();
        for _ in 0..3 {
            broker.publish(&job()).await.unwrap();
        }
        let first = consumer.next().await.unwrap();
        let id = first.message_id.clone();
        drop(first);
        assert_eq!(consumer.next().await.unwrap().message_id, id);
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_buried_is_forgotten() {
        let broker = Embedded::new(Limits { buried: 2, ..Limits::default() });
        let mut consumer = broker.consume("demo", 1).await.unwrap();
        broker.publish(&job()).await.unwrap();
        let unread = consumer.next().await.unwrap();
        for reason in ["a", "b", "c"] {
            broker.bury(&unread, reason).await.unwrap();
        }
        let reasons: Vec<String> = broker.buried().into_iter().map(|buried| buried.reason).collect();
        assert_eq!(reasons, ["b", "c"]);
    }

    #[tokio::test]
    async fn a_listener_too_slow_hears_of_a_gap() {
        let broker = Embedded::new(Limits { feed: 2, ..Limits::default() });
        let mut feed = broker.told().await.unwrap();
        for _ in 0..20 {
            broker.tell(&Control::Wake).await.unwrap();
        }
        let mut heard = Vec::new();
        while !heard.contains(&Heard::Gap) {
            heard.push(feed.recv().await.unwrap());
        }
        assert!(heard.len() <= 4, "{heard:?}");
    }
}
