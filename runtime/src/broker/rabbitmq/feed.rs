//! Listening on an exchange: a queue of one's own that lives and dies with the connection, subscribed again after a loss.
//! A feed is no record. Whatever may have been missed, by a lost connection or a listener too slow, shows as one
//! `Heard::Gap`; memory stays bounded. Read `broker.rs` for who listens.

use futures_util::StreamExt as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::declare::{declare_exchange, declare_queue};
use crate::broker::link::{Link, luck, pause, unavailable};
use crate::broker::topology::{Exchange, Topology};
use crate::broker::{BrokerError, Heard};

/// So much may wait for a slow listener; then it hears of a gap instead.
pub(super) const FEED_BUFFER: usize = 1024;

/// The wish to hear what passes through an exchange.
pub(super) struct Listener<T> {
    pub(super) link: Link,
    pub(super) topology: Topology,
    pub(super) exchange: Exchange,
    pub(super) read: fn(lapin::message::Delivery) -> Option<T>,
    pub(super) out: mpsc::Sender<Heard<T>>,
    pub(super) closing: CancellationToken,
}

impl<T: Send + 'static> Listener<T> {
    /// Until the listener or the broker is gone. Says through `listening` when the first try to subscribe has ended, well or
    /// not; if not, the feed begins with a gap.
    pub(super) async fn run(self, listening: oneshot::Sender<()>) {
        let over = async {
            tokio::select! { () = self.closing.cancelled() => {}, () = self.out.closed() => {} }
        };
        tokio::select! {
            () = over => {}
            () = self.listen(listening) => {}
        }
    }

    async fn listen(&self, listening: oneshot::Sender<()>) {
        let (mut listening, mut failed, mut gap) = (Some(listening), 0, false);
        loop {
            let subscribed = self.subscribe().await;
            if gap && subscribed.is_ok() && self.out.send(Heard::Gap).await.is_err() {
                return;
            }
            // Nobody waits for the second try.
            let _ = listening.take().map(|listening| listening.send(()));
            match subscribed {
                Ok((generation, heard)) => {
                    failed = 0;
                    self.forward(generation, heard).await;
                }
                Err(error) => tracing::warn!(exchange = %self.exchange.name, %error, "cannot listen"),
            }
            (gap, failed) = (true, failed + 1);
            sleep(pause(failed, luck())).await;
            if !self.link.until_connected().await {
                return;
            }
        }
    }

    async fn subscribe(&self) -> Result<(u64, lapin::Consumer), BrokerError> {
        let (generation, channel) = self.link.channel().await?;
        let queue = self.topology.feed_queue(&self.exchange, &uuid::Uuid::new_v4().simple().to_string());
        // No acks: a message lost between the socket and us is a gap like any other, and gaps are looked up in the ledger.
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let subscribing = async {
            declare_exchange(&channel, &self.exchange).await?;
            declare_queue(&channel, &queue).await?;
            channel.basic_consume(queue.name.as_str().into(), "".into(), options, FieldTable::default()).await
        };
        Ok((generation, self.link.within("listening", subscribing).await?))
    }

    async fn forward(&self, generation: u64, mut heard: lapin::Consumer) {
        let mut missed = false;
        loop {
            let arrived = tokio::select! {
                biased;
                arrived = heard.next() => arrived,
                () = self.link.until_lost(generation) => return,
            };
            let Some(Ok(arrived)) = arrived else { return };
            if missed {
                missed = self.out.try_send(Heard::Gap).is_err();
            }
            if let Some(message) = (self.read)(arrived)
                && !missed
            {
                missed = self.out.try_send(Heard::Message(message)).is_err();
            }
        }
    }
}

/// Waits for the first try to subscribe, which ends in bounded time.
pub(super) async fn listening(first: oneshot::Receiver<()>) -> Result<(), BrokerError> {
    first.await.map_err(|_| unavailable("it is closed"))
}
