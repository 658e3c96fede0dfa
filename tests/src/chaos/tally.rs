//! What was really done and how long it took to recover, counted while it happens: a fault counts once its effect was seen, not when it
//! was tried. It judges nothing. Faults come at once, and a recovery that had to wait for another one's server says little of itself, so
//! it is kept which ones were alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fault::Fault;

/// Counts and times, by fault.
#[derive(Debug, Default)]
pub struct Tally {
    kept: Mutex<BTreeMap<Fault, Entry>>,
    /// What was away, from when to when; `None`: it still is.
    away: Mutex<Vec<(Fault, Instant, Option<Instant>)>>,
}

/// What is known of one fault.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// How often it was injected and showed.
    pub count: usize,
    /// How often it was injected and nothing was seen of it.
    pub vain: usize,
    /// How much was seen of it, in its own unit.
    pub amount: usize,
    /// How often some of that was seen, where it is seen only afterwards.
    pub struck: usize,
    /// From the fault (or the server's answer) to the recovery.
    pub recoveries: Vec<Recovery>,
}

/// One way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// How long it took.
    pub took: Duration,
    /// Nothing else was away meanwhile.
    pub alone: bool,
}

impl Tally {
    /// It was injected once more; whether its effect was seen.
    pub fn count(&self, fault: Fault, seen: bool) {
        self.with(fault, |entry| if seen { entry.count += 1 } else { entry.vain += 1 });
    }

    /// So much was seen of it, this time.
    pub fn struck(&self, fault: Fault, amount: usize) {
        self.with(fault, |entry| {
            entry.amount += amount;
            entry.struck += usize::from(amount > 0);
        });
    }

    /// A server or the way to it is away from now on. One fault at a time takes one away.
    pub fn gone(&self, fault: Fault) {
        lock(&self.away).push((fault, Instant::now(), None));
    }

    /// It is there again, and has got over it.
    pub fn back(&self, fault: Fault) {
        for (_, _, until) in lock(&self.away).iter_mut().filter(|(gone, _, until)| *gone == fault && until.is_none()) {
            *until = Some(Instant::now());
        }
    }

    /// The system has recovered now from what began then.
    pub fn recovered(&self, fault: Fault, since: Instant) {
        let others = |(gone, _, until): &(Fault, Instant, Option<Instant>)| {
            *gone != fault && until.is_none_or(|until| until > since)
        };
        let alone = !lock(&self.away).iter().any(others);
        self.with(fault, |entry| entry.recoveries.push(Recovery { took: since.elapsed(), alone }));
    }

    /// What is known of a fault.
    pub fn of(&self, fault: Fault) -> Entry {
        lock(&self.kept).get(&fault).cloned().unwrap_or_default()
    }

    fn with(&self, fault: Fault, change: impl FnOnce(&mut Entry)) {
        change(lock(&self.kept).entry(fault).or_default());
    }
}

impl Entry {
    /// Recoveries that nothing else was in the way of, or all of them.
    pub fn took(&self, alone: bool) -> Vec<Duration> {
        self.recoveries.iter().filter(|one| one.alone || !alone).map(|one| one.took).collect()
    }
}

/// The median and the longest.
pub fn p50_and_max(mut times: Vec<Duration>) -> Option<(Duration, Duration)> {
    times.sort_unstable();
    Some((*times.get(times.len() / 2)?, *times.last()?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_longest_of_no_times_are_none() {
        let second = Duration::from_secs(1);
        assert_eq!(p50_and_max([3, 1, 2].map(|seconds| second * seconds).to_vec()), Some((second * 2, second * 3)));
        assert_eq!(p50_and_max(vec![]), None);
    }

    #[test]
    fn a_fault_without_an_effect_does_not_count() {
        let tally = Tally::default();
        tally.count(Fault::Cut, false);
        tally.struck(Fault::Cut, 0);
        tally.count(Fault::Cut, true);
        tally.struck(Fault::Cut, 7);
        let cut = tally.of(Fault::Cut);
        assert_eq!((cut.count, cut.vain, cut.amount, cut.struck), (1, 1, 7, 1));
    }

    #[test]
    fn a_recovery_beside_another_outage_is_not_alone() {
        let (tally, since) = (Tally::default(), Instant::now());
        tally.gone(Fault::BrokerKill);
        tally.recovered(Fault::BrokerKill, since);
        tally.recovered(Fault::WorkerKill, since);
        tally.back(Fault::BrokerKill);
        tally.recovered(Fault::WorkerKill, since);
        tally.recovered(Fault::WorkerKill, Instant::now());
        let alone = |fault| tally.of(fault).recoveries.iter().map(|one| one.alone).collect::<Vec<_>>();
        assert_eq!((alone(Fault::BrokerKill), alone(Fault::WorkerKill)), (vec![true], vec![false, false, true]));
    }
}
