//! What was really done and how long it took to recover, counted while it happens. It judges nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::plan::Fault;

/// Counts and times, by fault.
#[derive(Debug, Default)]
pub struct Tally {
    kept: Mutex<BTreeMap<Fault, Entry>>,
}

/// What is known of one fault.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// How often it was injected.
    pub count: usize,
    /// How many connections it hit, where it hits connections.
    pub connections: usize,
    /// From the fault (or the server's answer) to the recovery.
    pub recoveries: Vec<Duration>,
}

impl Tally {
    /// It was injected once more.
    pub fn count(&self, fault: Fault) {
        self.with(fault, |entry| entry.count += 1);
    }

    /// It hit so many connections.
    pub fn hit(&self, fault: Fault, connections: usize) {
        self.with(fault, |entry| entry.connections += connections);
    }

    /// The system had recovered after so long.
    pub fn recovered(&self, fault: Fault, took: Duration) {
        self.with(fault, |entry| entry.recoveries.push(took));
    }

    /// What is known of a fault.
    pub fn of(&self, fault: Fault) -> Entry {
        let mut copy = Entry::default();
        self.with(fault, |entry| copy = entry.clone());
        copy
    }

    fn with(&self, fault: Fault, change: impl FnOnce(&mut Entry)) {
        change(self.kept.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default());
    }
}

impl Entry {
    /// The median and the longest.
    pub fn p50_and_max(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
    }

    /// How many recoveries took at most so long.
    pub fn within(&self, target: Duration) -> usize {
        self.recoveries.iter().filter(|took| **took <= target).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_times_are_kept_by_fault() {
        let (tally, second) = (Tally::default(), Duration::from_secs(1));
        for seconds in [3, 1, 2] {
            tally.count(Fault::WorkerKill);
            tally.recovered(Fault::WorkerKill, second * seconds);
        }
        let entry = tally.of(Fault::WorkerKill);
        assert_eq!(
            (entry.count, entry.p50_and_max(), entry.within(second * 2)),
            (3, Some((second * 2, second * 3)), 2)
        );
        assert_eq!((tally.of(Fault::Cut).count, tally.of(Fault::Cut).p50_and_max()), (0, None));
    }
}
