//! One queue in memory, a lane of a kind: who waits, who takes, what is in whose hands.
//! It holds no lock and awaits nothing: its callers do. What is returned goes back to
//! its old place, as on a quorum queue that has a delivery limit (measured).

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use longshore_sdk::Trace;
use tokio::sync::mpsc;

use crate::broker::{BrokerError, Delivery, Depth, JobMessage, Settlement};

/// A message as it waits.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Its place in the order of arrival.
    place: u64,
    kind: String,
    id: String,
    body: Bytes,
    correlation_id: Option<String>,
    trace: Option<Trace>,
    tenant: String,
    redelivered: bool,
}

/// First in, first out, to several consumers in turn.
#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Message>,
    consumers: VecDeque<Taker>,
    /// What consumers hold, also those that are gone but have not settled it.
    in_hand: HashMap<(u64, u64), Message>,
    joined: u64,
    arrived: u64,
    /// Ids of messages that were acknowledged, for a simulation that looks whether they might have been.
    #[cfg(test)]
    pub(super) acked: Vec<String>,
}

/// A consumer. The one at the front of the line is next.
#[derive(Debug)]
struct Taker {
    id: u64,
    prefetch: usize,
    holds: usize,
    last_tag: u64,
    out: mpsc::Sender<Delivery>,
    settle: mpsc::UnboundedSender<Settlement>,
}

impl Message {
    #[cfg(test)]
    pub(super) fn whole(job: &longshore_sdk::wire::Envelope) -> Self {
        Self {
            place: 0,
            kind: job.kind.clone(),
            id: job.job.to_string(),
            body: longshore_sdk::wire::encode(job).expect("it is not that large").into(),
            correlation_id: None,
            trace: None,
            tenant: crate::tenant::Tenant::default().to_string(),
            redelivered: false,
        }
    }

    pub(super) fn of(job: &JobMessage) -> Result<Self, BrokerError> {
        let (kind, correlation_id, trace) = (job.kind.clone(), job.correlation_id.clone(), job.trace.clone());
        Ok(Self {
            place: 0,
            kind,
            id: job.job.to_string(),
            body: job.body()?,
            correlation_id,
            trace,
            tenant: job.tenant.to_string(),
            redelivered: false,
        })
    }
}

impl Queue {
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn depth(&self) -> Depth {
        Depth { ready: self.ready.len() as u64, consumers: self.consumers.len() as u64 }
    }

    /// Whether a message of this id waits or is in somebody's hands.
    #[cfg(test)]
    pub(super) fn carries(&self, id: &str) -> bool {
        self.ready.iter().chain(self.in_hand.values()).any(|message| message.id == id)
    }

    /// Another message at the tail.
    pub(super) fn put(&mut self, message: Message) {
        self.arrived += 1;
        self.ready.push_back(Message { place: self.arrived, ..message });
        self.hand_out();
    }

    /// A new consumer; returns its number.
    pub(super) fn join(
        &mut self,
        prefetch: usize,
        out: mpsc::Sender<Delivery>,
        settle: mpsc::UnboundedSender<Settlement>,
    ) -> u64 {
        self.joined += 1;
        self.consumers.push_back(Taker { id: self.joined, prefetch, holds: 0, last_tag: 0, out, settle });
        self.hand_out();
        self.joined
    }

    /// A consumer takes no more; what it holds stays its own until it is settled.
    pub(super) fn cancel(&mut self, consumer: u64) {
        self.consumers.retain(|taker| taker.id != consumer);
    }

    /// A consumer is gone with all it holds, which comes again.
    pub(super) fn lose(&mut self, consumer: u64) {
        self.cancel(consumer);
        let mut held: Vec<u64> =
            self.in_hand.keys().filter(|(holder, _)| *holder == consumer).map(|(_, tag)| *tag).collect();
        held.sort_unstable();
        self.settle(consumer, held.into_iter().map(Settlement::Return));
    }

    /// Forgets what is done and puts back what is returned.
    pub(super) fn settle(&mut self, consumer: u64, settlements: impl Iterator<Item = Settlement>) {
        let mut settled = 0;
        for settlement in settlements {
            let (Settlement::Ack(tag) | Settlement::Return(tag)) = settlement;
            let Some(message) = self.in_hand.remove(&(consumer, tag)) else { continue };
            settled += 1;
            if let Settlement::Ack(_) = settlement {
                #[cfg(test)]
                self.acked.push(message.id);
                continue;
            }
            let at = self.ready.partition_point(|waiting| waiting.place < message.place);
            self.ready.insert(at, Message { redelivered: true, ..message });
        }
        if let Some(taker) = self.consumers.iter_mut().find(|taker| taker.id == consumer) {
            taker.holds -= settled;
        }
        self.hand_out();
    }

    fn hand_out(&mut self) {
        while !self.ready.is_empty() {
            let Some(at) = self.consumers.iter().position(|taker| taker.holds < taker.prefetch) else { return };
            // In turn: whoever got one goes to the end of the line.
            let Some(mut taker) = self.consumers.remove(at) else { return };
            let taken = self.ready.pop_front().is_some_and(|message| self.hand_to(&mut taker, message));
            // One that is gone leaves the line here, before its own task comes to say so.
            if taken {
                self.consumers.push_back(taker);
            }
        }
    }

    /// `false` if the consumer is gone; the message is back at the head then.
    fn hand_to(&mut self, taker: &mut Taker, message: Message) -> bool {
        let Ok(place) = taker.out.try_reserve() else {
            self.ready.push_front(message);
            return false;
        };
        taker.last_tag += 1;
        taker.holds += 1;
        place.send(message.delivery(taker.last_tag, taker.settle.clone()));
        self.in_hand.insert((taker.id, taker.last_tag), message);
        true
    }
}

impl Message {
    fn delivery(&self, tag: u64, settle: mpsc::UnboundedSender<Settlement>) -> Delivery {
        let mut delivery = Delivery::new(self.body.clone(), self.kind.clone(), tag, settle);
        delivery.content_type = Some(longshore_sdk::wire::CONTENT_TYPE.to_owned());
        delivery.message_id = Some(self.id.clone());
        delivery.correlation_id.clone_from(&self.correlation_id);
        delivery.trace.clone_from(&self.trace);
        delivery.tenant = Some(self.tenant.clone());
        delivery.redelivered = self.redelivered;
        delivery
    }
}
