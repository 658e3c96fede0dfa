//! Room to run: so many slots in a worker, so many attempts of a kind, and the whole worker for a job that must run alone.
//! It takes no delivery and knows no job. The arithmetic of prefetch is here too, as pure functions.

use std::collections::HashMap;
use std::sync::Arc;

use longshore_sdk::Policy;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::registry::Registry;
use crate::metrics::BusySlots;

/// A worker's slots.
pub struct Slots {
    total: u32,
    all: Arc<Semaphore>,
    kinds: HashMap<String, Kind>,
}

struct Kind {
    cost: u32,
    attempts: Arc<Semaphore>,
}

/// Room for one attempt, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    _kind: Option<OwnedSemaphorePermit>,
    _slots: OwnedSemaphorePermit,
    /// Nothing else runs in this worker.
    pub alone: bool,
    _busy: BusySlots,
}

impl Seat {
    fn new(kind: Option<OwnedSemaphorePermit>, slots: OwnedSemaphorePermit, alone: bool) -> Self {
        let busy = BusySlots::take(u32::try_from(slots.num_permits()).unwrap_or(u32::MAX));
        Self { _kind: kind, _slots: slots, alone, _busy: busy }
    }
}

impl Slots {
    /// `total` slots (at least one) for the registry's kinds.
    pub fn new(total: u32, registry: &Registry) -> Self {
        let total = total.max(1);
        let kinds = registry.entries().map(|(kind, entry)| {
            let attempts = Arc::new(Semaphore::new(attempts_at_once(total, &entry.policy) as usize));
            (kind.to_owned(), Kind { cost: cost(total, &entry.policy), attempts })
        });
        Self { total, all: Arc::new(Semaphore::new(total as usize)), kinds: kinds.collect() }
    }

    /// Waits for room for one attempt of `kind`. First the kind's, so that a kind at its limit holds no slot from others.
    pub async fn take(&self, kind: &str) -> Seat {
        let (cost, of_kind) = match self.kinds.get(kind) {
            Some(kind) => (kind.cost, Some(acquire(&kind.attempts, 1).await)),
            None => (1, None),
        };
        Seat::new(of_kind, acquire(&self.all, cost).await, cost == self.total)
    }

    /// Waits until nothing else runs, and lets nothing else start.
    pub async fn take_all(&self) -> Seat {
        Seat::new(None, acquire(&self.all, self.total).await, true)
    }

    /// Slots in use.
    pub fn busy(&self) -> u32 {
        self.total - u32::try_from(self.all.available_permits()).unwrap_or(0).min(self.total)
    }

    /// All slots.
    pub fn total(&self) -> u32 {
        self.total
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_many_owned(permits).await.expect("these semaphores are never closed")
}

/// The slots one attempt takes: its policy's cost, but never more than there are, or it could never run. None if it only waits.
pub fn cost(total: u32, policy: &Policy) -> u32 {
    policy.cost.min(total)
}

/// How many attempts of a kind can run at once in `total` slots.
pub fn attempts_at_once(total: u32, policy: &Policy) -> u32 {
    let Some(room) = total.checked_div(cost(total, policy)) else {
        return policy.concurrency.unwrap_or(total).max(1);
    };
    let room = room.max(1);
    policy.concurrency.map_or(room, |limit| limit.clamp(1, room))
}

/// How many deliveries of a kind to hold: what can run, and `extra` so that the next one needs no round trip. More would hide
/// work from idle workers; RabbitMQ takes 65,535 at most.
pub fn prefetch(total: u32, policy: &Policy, extra: u32) -> u16 {
    u16::try_from(attempts_at_once(total, policy).saturating_add(extra)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn policy(cost: u32, concurrency: Option<u32>) -> Policy {
        Policy { cost, concurrency, ..Policy::default() }
    }

    #[test]
    fn an_attempt_that_costs_more_than_there_is_takes_everything() {
        assert_eq!(cost(4, &policy(9, None)), 4);
        assert_eq!(attempts_at_once(4, &policy(9, None)), 1);
    }

    #[test]
    fn a_kinds_limit_never_exceeds_its_room() {
        assert_eq!(attempts_at_once(8, &policy(2, None)), 4);
        assert_eq!(attempts_at_once(8, &policy(2, Some(3))), 3);
        assert_eq!(attempts_at_once(8, &policy(2, Some(99))), 4);
        assert_eq!(attempts_at_once(8, &policy(1, Some(0))), 1);
    }

    #[test]
    fn what_costs_nothing_is_limited_by_its_kind_alone() {
        assert_eq!(cost(4, &policy(0, None)), 0);
        assert_eq!([None, Some(0), Some(99)].map(|limit| attempts_at_once(4, &policy(0, limit))), [4, 1, 99]);
        let slots = Slots::new(1, &Registry::default());
        let (one, other) = (acquire(&slots.all, 1).now_or_never(), acquire(&slots.all, 0).now_or_never());
        assert!(one.is_some() && other.is_some(), "a full worker still waits for others");
    }

    #[test]
    fn prefetch_is_what_can_run_and_a_little() {
        assert_eq!(prefetch(8, &policy(2, None), 2), 6);
        assert_eq!(prefetch(100_000, &policy(1, None), 2), u16::MAX);
    }

    #[tokio::test]
    async fn a_job_that_runs_alone_waits_for_all_and_lets_none_start() {
        let slots = Slots::new(3, &Registry::default());
        let seat = slots.take("a").await;
        let alone = slots.take_all();
        tokio::pin!(alone);
        assert!(alone.as_mut().now_or_never().is_none(), "another attempt still runs");
        assert!(slots.take("a").now_or_never().is_none(), "nothing starts before the lone one");
        drop(seat);
        assert!(alone.await.alone);
        assert_eq!(slots.busy(), 0);
    }
}
