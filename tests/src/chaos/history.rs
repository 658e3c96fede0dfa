//! What the clients were promised, kept apart from the system: each idempotency key and the job that its 202 named. It believes no
//! ledger. A key that was answered with two different jobs is a broken promise and is kept as such.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use longshore_sdk::JobId;

/// All promises of one storm.
#[derive(Debug, Default)]
pub struct History {
    accepted: Mutex<HashMap<String, JobId>>,
    broken: Mutex<Vec<String>>,
    /// Submits sent again, because the answer was lost or an error.
    repeats: AtomicUsize,
}

impl History {
    /// The key was answered with this job.
    pub fn accept(&self, key: &str, job: JobId) {
        let before = lock(&self.accepted).insert(key.to_owned(), job);
        if let Some(before) = before.filter(|before| *before != job) {
            lock(&self.broken).push(format!("the key {key} was answered with {before} and with {job}"));
        }
    }

    /// One more submit had to be sent again.
    pub fn repeat(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// How many submits were sent again.
    pub fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Relaxed)
    }

    /// How many jobs were promised.
    pub fn jobs(&self) -> usize {
        lock(&self.accepted).len()
    }

    /// All of them.
    pub fn ids(&self) -> Vec<JobId> {
        lock(&self.accepted).values().copied().collect()
    }

    /// Promises that contradict each other.
    pub fn broken(&self) -> Vec<String> {
        lock(&self.broken).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_with_two_jobs_is_a_broken_promise() {
        let (history, one) = (History::default(), JobId::fresh());
        history.accept("a", one);
        history.accept("a", one);
        assert!(history.broken().is_empty());
        history.accept("a", JobId::fresh());
        assert_eq!((history.broken().len(), history.jobs()), (1, 1));
    }
}
