//! Publishing: persistent, confirmed, many at once. An Ack is believed only without a returned message in it, a Nack means
//! send again, silence means unknown.
//! It never makes one publisher wait for another's confirm, and never holds on while the broker takes no messages.
//! Read `link.rs` for the connection, which is the publishers' alone: blocking it must not stop acks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::declare::Declarer;
use super::parcel::Parcel;
use crate::broker::BrokerError;
use crate::broker::link::{Link, luck, pause, unavailable};
use crate::metrics;

/// A leader election takes under a second (measured: 690 ms), a full queue longer than anyone should hold a caller.
const NACKS: u32 = 4;

/// Where a confirmed message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landed {
    /// To a queue, or nowhere if that was allowed.
    Taken,
    /// Back to us: no queue is bound with its key.
    Returned,
}

/// Publishes on one channel, opened anew when it dies.
pub(super) struct Publisher {
    link: Link,
    declarer: Declarer,
    answer_within: Duration,
    window: Semaphore,
    channel: Mutex<Option<Arc<Channel>>>,
    opening: tokio::sync::Mutex<()>,
}

impl Publisher {
    pub(super) fn new(link: Link, declarer: Declarer, answer_within: Duration, window: usize) -> Self {
        let window = Semaphore::new(window.max(1));
        Self {
            link,
            declarer,
            answer_within,
            window,
            channel: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// Publishes and awaits the confirm: once, or again after a Nack, and all of it in the time for one answer.
    pub(super) async fn publish(&self, parcel: &Parcel) -> Result<Landed, BrokerError> {
        let sent = Instant::now();
        let landed = tokio::select! {
            biased;
            reason = self.link.until_blocked() => Err(unavailable(format!("it takes no messages now ({reason})"))),
            landed = timeout(self.answer_within, self.insist(parcel)) => match landed {
                Ok(landed) => landed,
                Err(_) => Err(unavailable(format!("no confirm within {:?}", self.answer_within))),
            },
        };
        if landed.is_ok() {
            metrics::ours().confirmed(sent.elapsed());
        }
        landed
    }

    async fn insist(&self, parcel: &Parcel) -> Result<Landed, BrokerError> {
        let _place = self.window.acquire().await.map_err(unavailable)?;
        for nacks in 1..=NACKS {
            let channel = self.open().await?;
            match self.send(parcel, Arc::clone(&channel)).await? {
                Confirmation::Ack(None) => return Ok(Landed::Taken),
                // Unroutable: the broker acknowledges it all the same.
                Confirmation::Ack(Some(_)) => return Ok(Landed::Returned),
                Confirmation::Nack(_) => {
                    // A channel that first met a queue while its leader was dead refuses for ever, however well the queue is (3.10.8).
                    if nacks > 1 {
                        self.retire(&channel);
                    }
                    sleep(pause(nacks, luck())).await;
                }
                Confirmation::NotRequested => return Err(unavailable("the channel confirms nothing")),
            }
        }
        Err(unavailable("it refuses the message; its queue is full or has no leader"))
    }

    async fn send(&self, parcel: &Parcel, channel: Arc<Channel>) -> Result<Confirmation, BrokerError> {
        let mut sending = Sending { publisher: self, channel, answered: false };
        let options = BasicPublishOptions { mandatory: parcel.mandatory, immediate: false };
        let (exchange, key) = (parcel.exchange.clone(), parcel.key.clone());
        let sent = sending.channel.basic_publish(exchange, key, options, &parcel.body, parcel.properties.clone());
        let confirmation = sent.await.map_err(unavailable)?.await.map_err(unavailable)?;
        sending.answered = true;
        Ok(confirmation)
    }

    async fn open(&self) -> Result<Arc<Channel>, BrokerError> {
        if let Some(channel) = self.usable() {
            return Ok(channel);
        }
        // One opens, the others wait for it rather than open their own.
        let _opening = self.opening.lock().await;
        if let Some(channel) = self.usable() {
            return Ok(channel);
        }
        // Before the first publish: a missing exchange would close the channel under everyone.
        self.declarer.base().await?;
        let (_, channel) = self.link.channel().await?;
        self.link.within("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let channel = Arc::new(channel);
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&channel));
        Ok(channel)
    }

    fn usable(&self) -> Option<Arc<Channel>> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        channel.as_ref().filter(|channel| channel.status().connected()).cloned()
    }

    fn retire(&self, channel: &Arc<Channel>) {
        let mut current = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|current| Arc::ptr_eq(current, channel));
    }
}

/// A publish under way. Given up or failed, it retires the channel, which closes when the last publish on it has its
/// answer: lapin keeps every abandoned confirm for as long as the channel lives.
struct Sending<'a> {
    publisher: &'a Publisher,
    channel: Arc<Channel>,
    answered: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.publisher.retire(&self.channel);
        }
    }
}
