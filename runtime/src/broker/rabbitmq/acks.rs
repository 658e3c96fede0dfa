//! Settling deliveries on their channel: acks are gathered and told cumulatively, returns are told singly.
//! The arithmetic of tags is pure ([`Tags`]) and never covers a delivery that is still in somebody's hands; the consume
//! loop never waits for it. Read `subscription.rs` for who opens the channel and hands the deliveries out.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions};
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::broker::link::Link;
use crate::broker::{BrokerError, Settlement};

/// So many settlements are told in one go at most; a bound on memory, far above what gathers during one write.
const GATHER: usize = 4096;

/// What the broker is told, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Back to the queue, one by one. First, for a cumulative ack after them must not find them still open.
    pub(super) returns: Vec<u64>,
    /// Done, with every tag below it.
    pub(super) ack_up_to: Option<u64>,
    /// Done, though an older one is still in somebody's hands.
    pub(super) acks: Vec<u64>,
}

/// Which tags of one channel are settled. A channel numbers its deliveries 1, 2, 3 and so on, so that the tags below `next`
/// are all but `open` settled; `open` is no larger than the prefetch, however long the oldest of them takes.
#[derive(Debug)]
pub(super) struct Tags {
    next: u64,
    open: BTreeSet<u64>,
}

impl Tags {
    pub(super) fn new() -> Self {
        Self { next: 1, open: BTreeSet::new() }
    }

    /// Decides what to tell of these settlements. A tag settled twice counts once.
    pub(super) fn settle(&mut self, settlements: impl Iterator<Item = Settlement>) -> Told {
        let mut told = Told::default();
        for settlement in settlements {
            match settlement {
                Settlement::Ack(tag) if self.close(tag) => told.acks.push(tag),
                Settlement::Return(tag) if self.close(tag) => told.returns.push(tag),
                Settlement::Ack(_) | Settlement::Return(_) => {}
            }
        }
        // RabbitMQ refuses a cumulative ack whose own tag isn't open there: so the largest fresh one below all open ones.
        let oldest_open = self.open.first().copied().unwrap_or(self.next);
        told.ack_up_to = told.acks.iter().copied().filter(|tag| *tag < oldest_open).max();
        told.acks.retain(|tag| *tag > oldest_open);
        told
    }

    fn close(&mut self, tag: u64) -> bool {
        if tag < self.next {
            return self.open.remove(&tag);
        }
        self.open.extend(self.next..tag);
        self.next = tag + 1;
        true
    }
}

/// Tells the broker of one channel's settlements.
pub(super) struct Acker {
    pub(super) link: Link,
    pub(super) generation: u64,
    pub(super) channel: Arc<Channel>,
    pub(super) consumer_tag: ShortString,
    pub(super) closing: Arc<CancellationToken>,
}

impl Acker {
    /// Until every delivery of the channel is settled and its consumer gone (all senders are dropped), or the channel is
    /// dead. What is settled after that goes nowhere: the broker has already put it back.
    pub(super) async fn run(self, settlements: mpsc::UnboundedReceiver<Settlement>) {
        tokio::select! {
            settled = self.settle_all(settlements) => match settled {
                Ok(()) => drop(self.link.within("closing a channel", self.channel.close(200, "OK".into())).await),
                Err(error) => tracing::debug!(%error, "a channel died; its deliveries come again"),
            },
            () = self.link.until_lost(self.generation) => {}
        }
    }

    async fn settle_all(&self, mut settlements: mpsc::UnboundedReceiver<Settlement>) -> Result<(), BrokerError> {
        let (mut tags, mut gathered, mut canceled) = (Tags::new(), Vec::new(), false);
        loop {
            let took = tokio::select! {
                biased;
                () = self.closing.cancelled(), if !canceled => 0,
                took = settlements.recv_many(&mut gathered, GATHER) => if took == 0 { return Ok(()) } else { took },
            };
            // Looked at again after the receive: a delivery returned because of the closing must be told after the cancel,
            // or the broker hands it to this very consumer again (measured).
            if !canceled && (took == 0 || self.closing.is_cancelled()) {
                canceled = true;
                self.cancel().await?;
            }
            self.tell(tags.settle(gathered.drain(..))).await?;
        }
    }

    async fn cancel(&self) -> Result<(), BrokerError> {
        let cancel = self.channel.basic_cancel(self.consumer_tag.clone(), BasicCancelOptions::default());
        self.link.within("cancelling a consumer", cancel).await
    }

    /// The frames of a batch are queued before the first is waited for, so that it costs one write. Only the returns are
    /// waited for on their own, for the cumulative ack must not overtake them.
    async fn tell(&self, told: Told) -> Result<(), BrokerError> {
        let requeue = BasicNackOptions { requeue: true, multiple: false };
        self.all(told.returns.into_iter().map(|tag| self.channel.basic_nack(tag, requeue))).await?;
        let prefix = told.ack_up_to.map(|tag| (tag, BasicAckOptions { multiple: true }));
        let stragglers = told.acks.into_iter().map(|tag| (tag, BasicAckOptions { multiple: false }));
        self.all(prefix.into_iter().chain(stragglers).map(|(tag, how)| self.channel.basic_ack(tag, how))).await
    }

    async fn all(
        &self,
        frames: impl Iterator<Item = impl Future<Output = lapin::Result<()>>>,
    ) -> Result<(), BrokerError> {
        let written = async { join_all(frames).await.into_iter().find(Result::is_err).unwrap_or(Ok(())) };
        self.link.within("settling", written).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Settlement::{Ack, Return};

    fn told(returns: &[u64], ack_up_to: Option<u64>, acks: &[u64]) -> Told {
        Told { returns: returns.to_vec(), ack_up_to, acks: acks.to_vec() }
    }

    #[test]
    fn a_contiguous_run_is_one_ack() {
        let mut tags = Tags::new();
        assert_eq!(tags.settle([Ack(2), Ack(1), Ack(3)].into_iter()), told(&[], Some(3), &[]));
        assert_eq!(tags.settle([Ack(4)].into_iter()), told(&[], Some(4), &[]));
    }

    #[test]
    fn stragglers_are_acked_singly_and_remembered() {
        let mut tags = Tags::new();
        assert_eq!(tags.settle([Ack(2), Ack(4), Ack(5)].into_iter()), told(&[], None, &[2, 4, 5]));
        // 5 was told before: the cumulative ack must name 3, which the broker still has open.
        assert_eq!(tags.settle([Ack(1), Ack(3)].into_iter()), told(&[], Some(3), &[]));
    }

    #[test]
    fn returns_are_told_before_the_ack_that_would_cover_them() {
        let mut tags = Tags::new();
        assert_eq!(tags.settle([Ack(1), Return(2), Ack(3)].into_iter()), told(&[2], Some(3), &[]));
    }

    #[test]
    fn a_tag_settled_twice_counts_once() {
        let mut tags = Tags::new();
        tags.settle([Ack(1)].into_iter());
        assert_eq!(tags.settle([Ack(1), Return(1)].into_iter()), Told::default());
    }

    /// A broker's view of one channel, to judge what it is told: it refuses exactly what RabbitMQ refuses.
    struct Server {
        open: BTreeSet<u64>,
        done: Vec<u64>,
    }

    impl Server {
        fn hear(&mut self, told: &Told, in_hand: &BTreeSet<u64>) {
            for tag in told.returns.iter().chain(&told.acks) {
                assert!(self.open.contains(tag) && !in_hand.contains(tag), "{tag} is unknown or in hand");
            }
            self.close(told.returns.clone());
            if let Some(up_to) = told.ack_up_to {
                assert!(self.open.contains(&up_to), "{up_to} is unknown");
                let covered: Vec<u64> = self.open.range(..=up_to).copied().collect();
                assert!(covered.iter().all(|tag| !in_hand.contains(tag)), "{covered:?} covers one in hand");
                self.close(covered);
            }
            self.close(told.acks.clone());
        }

        fn close(&mut self, tags: Vec<u64>) {
            self.open.retain(|tag| !tags.contains(tag));
            self.done.extend(tags);
        }
    }

    #[test]
    fn in_any_order_every_settled_tag_is_told_once_and_nothing_in_hand_is_covered() {
        for seed in 1..=300u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut draw = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let (mut tags, mut in_hand, mut delivered) = (Tags::new(), BTreeSet::new(), 0);
            let mut server = Server { open: BTreeSet::new(), done: Vec::new() };
            while delivered < 200 || !in_hand.is_empty() {
                while delivered < 200 && in_hand.len() < 12 {
                    delivered += 1;
                    in_hand.insert(delivered);
                    server.open.insert(delivered);
                }
                let count = 1 + draw(in_hand.len() as u64);
                let batch: Vec<Settlement> = (0..count)
                    .filter_map(|_| {
                        let at = usize::try_from(draw(in_hand.len().max(1) as u64)).unwrap();
                        let tag = in_hand.iter().nth(at).copied()?;
                        in_hand.remove(&tag);
                        Some(if draw(4) == 0 { Return(tag) } else { Ack(tag) })
                    })
                    .collect();
                server.hear(&tags.settle(batch.into_iter()), &in_hand);
            }
            server.done.sort_unstable();
            assert_eq!(server.done, (1..=200).collect::<Vec<u64>>(), "seed {seed}");
            assert!(tags.open.len() <= 12);
        }
    }
}
