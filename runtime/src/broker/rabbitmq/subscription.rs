//! Taking deliveries of one lane of a kind, for as long as the consumer lives: subscribe, forward, and when that ends subscribe again.
//! It waits for no ack and settles nothing; a delivery of a channel that died is settled into the void, for the broker has
//! put it back already. Read `acks.rs` for the settling.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Channel;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acks::Acker;
use super::declare::{Declarer, table};
use super::parcel;
use crate::broker::link::{Link, luck, pause, unavailable};
use crate::broker::{BrokerError, Delivery, Settlement, topology};

/// After so long without a delivery the queue is asked whether it knows us.
const SILENCE: Duration = Duration::from_secs(5);
/// A subscription that held so long was well: the next failure is a new one.
const WELL: Duration = Duration::from_secs(10);

/// The wish to consume a lane of a kind.
pub(super) struct Subscription {
    pub(super) link: Link,
    pub(super) declarer: Declarer,
    pub(super) kind: String,
    pub(super) queue: String,
    pub(super) prefetch: u16,
    pub(super) consumer_timeout: Duration,
    pub(super) out: mpsc::Sender<Delivery>,
    pub(super) closing: Arc<CancellationToken>,
    pub(super) tasks: TaskTracker,
}

/// One channel that consumes.
struct Session {
    generation: u64,
    deliveries: lapin::Consumer,
    settlements: mpsc::UnboundedSender<Settlement>,
}

/// How a subscription ended, if not by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The consumer was closed.
    Wanted,
    /// The server ended it: its queue is being deleted.
    ByServer,
    /// It followed an interruption and brought nothing.
    Doubted,
}

impl Subscription {
    /// Until the consumer is closed.
    pub(super) async fn run(self) {
        let (mut failed, mut doubted) = (0, false);
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            let ended = self.once(doubted).await;
            match &ended {
                Ok(End::Wanted) => {}
                Ok(end) => tracing::warn!(job.kind = %self.kind, ?end, "subscribing again"),
                Err(error) => tracing::warn!(job.kind = %self.kind, %error, "a consumer was interrupted"),
            }
            doubted = ended != Ok(End::Doubted);
            failed = if began.elapsed() > WELL { 1 } else { failed + 1 };
            let rest = async {
                sleep(pause(failed, luck())).await;
                self.link.until_connected().await
            };
            // `false`: the link was closed, and there will be no other.
            if self.closing.run_until_cancelled(rest).await == Some(false) {
                return;
            }
        }
    }

    async fn once(&self, doubted: bool) -> Result<End, BrokerError> {
        // A consumer that is closed meanwhile needs no subscription, and a channel dropped half-way closes itself.
        match self.closing.run_until_cancelled(self.subscribe()).await {
            Some(session) => self.forward(session?, doubted).await,
            None => Ok(End::Wanted),
        }
    }

    async fn subscribe(&self) -> Result<Session, BrokerError> {
        self.declarer.kind(&self.kind).await?;
        let (generation, channel) = self.link.channel().await?;
        let deliveries = self.link.within("subscribing", self.consume(&channel)).await?;
        let (settlements, settled) = mpsc::unbounded_channel();
        let acker = Acker {
            link: self.link.clone(),
            generation,
            channel: Arc::new(channel),
            consumer_tag: deliveries.tag(),
            closing: Arc::clone(&self.closing),
        };
        self.tasks.spawn(acker.run(settled));
        Ok(Session { generation, deliveries, settlements })
    }

    async fn consume(&self, channel: &Channel) -> lapin::Result<lapin::Consumer> {
        channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
        let arguments = table(&topology::consumer_arguments(self.consumer_timeout));
        let options = BasicConsumeOptions::default();
        channel.basic_consume(self.queue.as_str().into(), "".into(), options, arguments).await
    }

    /// Until the stream ends: by our own cancel (the acker sends it), by an error, or without a word when the server
    /// cancels. After closing it goes on to that end, so that what arrives meanwhile is dropped here and goes back.
    ///
    /// One that follows an interruption may have been granted by a queue that was still on its way out: then the next queue
    /// of that name counts it as a consumer, hands it messages, and none arrives (seen on 3.10). So it is given up once when
    /// it brings nothing at first; with its channel goes what it was handed.
    async fn forward(&self, mut session: Session, mut doubted: bool) -> Result<End, BrokerError> {
        loop {
            let arrived = tokio::select! {
                biased;
                arrived = session.deliveries.next() => arrived,
                () = self.link.until_lost(session.generation) => return Err(unavailable("the connection was lost")),
                () = sleep(SILENCE) => {
                    if doubted {
                        return Ok(End::Doubted);
                    }
                    if self.is_forgotten().await {
                        return Err(unavailable("the queue knows of no consumer"));
                    }
                    continue;
                }
            };
            let Some(arrived) = arrived else {
                return Ok(if self.closing.is_cancelled() { End::Wanted } else { End::ByServer });
            };
            doubted = false;
            let delivery = parcel::delivery(arrived.map_err(unavailable)?, &self.kind, &session.settlements);
            // A consumer that is gone gives it back, and dropping it here sends it home.
            let _ = self.out.send(delivery).await;
        }
    }

    /// Whether the queue counts no consumer, or is not there. A subscription to a queue that is just being deleted is granted and
    /// never ended (measured under load): another queue of that name is made, and this one would wait for ever.
    async fn is_forgotten(&self) -> bool {
        if self.closing.is_cancelled() {
            return false; // we cancelled it ourselves, and the stream is about to end
        }
        let Ok((_, channel)) = self.link.channel().await else { return false };
        match self.declarer.depth(&channel, &self.queue).await {
            Ok(depth) => depth.is_none_or(|depth| depth.consumers == 0),
            Err(_) => false, // a lost connection is noticed elsewhere
        }
    }
}
