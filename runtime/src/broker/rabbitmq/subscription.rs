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

/// After so long without a delivery a subscription is made anew, and after twice as long each time that brings nothing.
const SILENCE: Duration = Duration::from_secs(5);
/// The longest such wait: an idle fleet must not busy its broker.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
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
    /// Asks the acker to cancel it: the consumer was closed, or it is to be made anew.
    closing: Arc<CancellationToken>,
}

impl Session {
    /// Whether every delivery that came by it is settled: each holds a sender.
    fn is_empty_handed(&self) -> bool {
        self.settlements.strong_count() == 1
    }
}

impl Subscription {
    /// Until the consumer is closed.
    pub(super) async fn run(self) {
        let (mut failed, mut patience) = (0, SILENCE);
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            let Err(error) = self.once(&mut patience).await else { continue };
            tracing::warn!(job.kind = %self.kind, %error, "a consumer was interrupted");
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

    async fn once(&self, patience: &mut Duration) -> Result<(), BrokerError> {
        // A consumer that is closed meanwhile needs no subscription, and a channel dropped half-way closes itself.
        match self.closing.run_until_cancelled(self.subscribe()).await {
            Some(session) => self.forward(session?, patience).await,
            None => Ok(()),
        }
    }

    async fn subscribe(&self) -> Result<Session, BrokerError> {
        self.declarer.kind(&self.kind).await?;
        let (generation, channel) = self.link.channel().await?;
        let deliveries = self.link.within("subscribing", self.consume(&channel)).await?;
        let (settlements, settled) = mpsc::unbounded_channel();
        let closing = Arc::new(self.closing.child_token());
        let acker = Acker {
            link: self.link.clone(),
            generation,
            channel: Arc::new(channel),
            consumer_tag: deliveries.tag(),
            closing: Arc::clone(&closing),
        };
        self.tasks.spawn(acker.run(settled));
        Ok(Session { generation, deliveries, settlements, closing })
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
    /// One that is silent and empty-handed is ended and made anew. When a queue is deleted and made again at once, RabbitMQ 3.10
    /// ends no subscription to the old one, counts it as a consumer of the new one and hands it messages that never
    /// arrive (two times in three); closing the channel sets them free.
    async fn forward(&self, mut session: Session, patience: &mut Duration) -> Result<(), BrokerError> {
        loop {
            let ending = session.closing.is_cancelled();
            let arrived = tokio::select! {
                biased;
                arrived = session.deliveries.next() => arrived,
                () = self.link.until_lost(session.generation) => return Err(unavailable("the connection was lost")),
                () = sleep(if ending { SILENCE } else { *patience }) => {
                    if ending {
                        return Err(unavailable("the server does not end a subscription"));
                    }
                    if session.is_empty_handed() {
                        *patience = (*patience * 2).min(LONGEST_SILENCE);
                        session.closing.cancel();
                    }
                    continue;
                }
            };
            let Some(arrived) = arrived else {
                let wanted = session.closing.is_cancelled();
                return if wanted { Ok(()) } else { Err(unavailable("the server ended the subscription")) };
            };
            *patience = SILENCE;
            let delivery = parcel::delivery(arrived.map_err(unavailable)?, &self.kind, &session.settlements);
            // A consumer that is gone gives it back, and dropping it here sends it home.
            let _ = self.out.send(delivery).await;
        }
    }
}
