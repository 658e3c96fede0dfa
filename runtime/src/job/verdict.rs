//! What follows from the end of an attempt. One pure function decides; the worker carries it out and the ledger records it.
//! It blames nobody for a lost worker: that is the rescuer's, by [`is_poison`].

use std::time::Duration;

use super::retry::{Backoff, wait_before_next};

/// How an attempt ended, without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The executor answered.
    Done,
    /// It failed, timed out or panicked; `after` is the wait it asked for.
    Failed {
        /// A wait that wins over the backoff.
        after: Option<Duration>,
    },
    /// It gave the job up.
    Fatal,
    /// It obeyed a cancellation.
    Canceled,
    /// It handed the job back because its worker drains.
    Yielded,
    /// It asked to be called again after this wait.
    Postponed(Duration),
}

/// What is to be done about the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Record the output.
    Complete,
    /// Pending again, due after this wait; the failure is charged.
    RetryIn(Duration),
    /// Failed for good.
    DeadLetter,
    /// Canceled.
    Cancel,
    /// Pending again, due after this wait; nothing is charged.
    HandBack(Duration),
}

/// The job's account, as its claim returned it.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Failures charged before this attempt.
    pub charged: u32,
    /// Failures it may have.
    pub max_attempts: u32,
}

/// Decides. `luck` is a random number from 0 to 1.
pub fn decide(ending: Ending, account: Account, backoff: &Backoff, luck: f64) -> Verdict {
    let failed = account.charged.saturating_add(1);
    match ending {
        Ending::Done => Verdict::Complete,
        Ending::Fatal => Verdict::DeadLetter,
        Ending::Canceled => Verdict::Cancel,
        Ending::Yielded => Verdict::HandBack(Duration::ZERO),
        Ending::Postponed(wait) => Verdict::HandBack(wait),
        Ending::Failed { .. } if failed >= account.max_attempts => Verdict::DeadLetter,
        Ending::Failed { after: Some(wait) } => Verdict::RetryIn(wait),
        Ending::Failed { after: None } => Verdict::RetryIn(wait_before_next(backoff, failed, luck)),
    }
}

/// Whether a job that has been lost with its worker must run alone in its next worker: from the second crash on.
/// One crash says little (its neighbours crashed too); an innocent job completes alone.
pub fn runs_alone(crashes: u32) -> bool {
    crashes >= ALONE_AFTER
}

/// Crashes after which a job runs alone.
pub const ALONE_AFTER: u32 = 2;

/// Whether a job that has crashed its worker `crashed_alone` times while nothing else ran there is poison.
pub fn is_poison(crashed_alone: u32, crash_limit: u32) -> bool {
    crashed_alone >= crash_limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(60) };

    fn after(ending: Ending, charged: u32) -> Verdict {
        decide(ending, Account { charged, max_attempts: 3 }, &BACKOFF, 1.0)
    }

    #[test]
    fn a_failure_backs_off_until_its_attempts_are_spent() {
        let failed = Ending::Failed { after: None };
        assert_eq!(after(failed, 0), Verdict::RetryIn(Duration::from_secs(1)));
        assert_eq!(after(failed, 1), Verdict::RetryIn(Duration::from_secs(2)));
        assert_eq!(after(failed, 2), Verdict::DeadLetter);
    }

    #[test]
    fn the_wait_an_executor_asks_for_wins_over_the_backoff_but_not_over_the_limit() {
        let asked = Ending::Failed { after: Some(Duration::from_secs(42)) };
        assert_eq!(after(asked, 0), Verdict::RetryIn(Duration::from_secs(42)));
        assert_eq!(after(asked, 2), Verdict::DeadLetter);
    }

    #[test]
    fn a_fatal_failure_spends_no_further_attempt() {
        assert_eq!(after(Ending::Fatal, 0), Verdict::DeadLetter);
    }

    #[test]
    fn a_drained_attempt_costs_nothing_however_often() {
        assert_eq!(after(Ending::Yielded, 2), Verdict::HandBack(Duration::ZERO));
    }

    #[test]
    fn a_postponed_attempt_waits_and_costs_nothing_however_often() {
        let wait = Duration::from_secs(7);
        assert_eq!(after(Ending::Postponed(wait), 2), Verdict::HandBack(wait));
    }

    #[test]
    fn a_job_that_allows_no_attempt_is_dead_at_its_first_failure() {
        let none = Account { charged: 0, max_attempts: 0 };
        assert_eq!(decide(Ending::Failed { after: None }, none, &BACKOFF, 0.0), Verdict::DeadLetter);
    }

    #[test]
    fn an_innocent_neighbour_of_a_crash_is_neither_alone_nor_poison() {
        assert!(!runs_alone(1) && runs_alone(2));
        assert!(!is_poison(2, 3) && is_poison(3, 3));
    }
}
