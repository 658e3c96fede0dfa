//! What must be true of every job, as questions to the ledger: each [`Check`] says what a row that breaks it would look like, once
//! for both databases. It repairs nothing and guesses nothing; the two ledgers only say how a page of jobs is read.
//! Read `cli/verify.rs` for who asks at once, and `agents/auditor.rs` for who asks now and then.

use std::time::Duration;

use longshore_sdk::JobId;
use serde::Serialize;

/// One thing that must be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The state is one of the five.
    State,
    /// The columns agree with the state.
    Columns,
    /// A settled job's last attempt is in its history.
    History,
    /// Attempts are numbered from 1 without holes, up to the job's own number.
    Attempts,
    /// A completed job was completed by one attempt, its last; no other job by any.
    Completion,
    /// A running job's worker has a lease, or had one a moment ago.
    Lease,
    /// A pending job is due some time, or on the road.
    Road,
    /// What is to be announced is announced soon.
    Announcement,
    /// Only completed jobs have artifacts.
    Artifacts,
    /// A living idempotency key leads to a job.
    Idempotency,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::State,
        Self::Columns,
        Self::History,
        Self::Attempts,
        Self::Completion,
        Self::Lease,
        Self::Road,
        Self::Announcement,
        Self::Artifacts,
        Self::Idempotency,
    ];

    /// Their words, in the same order: a closed set for metrics.
    pub const WORDS: [&'static str; 10] = [
        "state",
        "columns",
        "history",
        "attempts",
        "completion",
        "lease",
        "road",
        "announcement",
        "artifacts",
        "idempotency",
    ];

    /// Its word.
    pub const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The check with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.word() == word)
    }

    /// What is wrong with a job that it found.
    pub const fn told(self) -> &'static str {
        match self {
            Self::State => "its state is none of the five",
            Self::Columns => "its columns contradict its state",
            Self::History => "it is settled, and its last attempt is not in its history",
            Self::Attempts => "its attempts have holes, or go beyond its own number",
            Self::Completion => "it was not completed by exactly one attempt, its last",
            Self::Lease => "it is running, and its worker has had no lease for too long",
            Self::Road => "it is pending, neither due nor on the road: nobody will ever run it",
            Self::Announcement => "its last transition has not been announced for too long",
            Self::Artifacts => "it has artifacts, and no attempt has completed it",
            Self::Idempotency => "a living idempotency key leads to it, and it does not exist",
        }
    }

    /// What a row that breaks it looks like. The page's columns are the jobs' own, and beside them of the ended attempts `ended`
    /// (how many), `last` (the highest number), `done` and `done_at` (how many completed, and the last of them), and
    /// `forsaken` and `owing`: too long without a lease, or without an announcement.
    const fn broken(self) -> &'static str {
        match self {
            Self::State => "state not in (0, 1, 2, 3, 4)",
            Self::Columns => {
                "charged > attempt or version <= attempt \
                 or state = 0 and (worker is not null or finished_at is not null or cancel_requested) \
                 or state = 1 and (worker is null or started_at is null or finished_at is not null or due_at is not null \
                    or queued_at is not null or attempt = 0) \
                 or state > 1 and (finished_at is null or due_at is not null or queued_at is not null or cancel_requested) \
                 or state = 2 and (result is null or error is not null) or state = 3 and error is null"
            }
            Self::History => "state > 1 and last <> attempt or state in (2, 3) and attempt = 0",
            Self::Attempts => {
                "ended <> last or last > attempt or state = 1 and last >= attempt \
                 or state < 2 and last < attempt - case when state = 1 then 1 else 0 end"
            }
            Self::Completion => "state = 2 and (done <> 1 or done_at <> attempt) or state <> 2 and done > 0",
            Self::Lease => "forsaken",
            Self::Road => "state = 0 and due_at is null and queued_at is null",
            Self::Announcement => "owing",
            Self::Artifacts => "artifacts is not null and state <> 2",
            // Not of the page: see `questions`.
            Self::Idempotency => "false",
        }
    }
}

/// How long things may take that are not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPatience {
    /// From the end of a lease to the rescue of what ran under it.
    pub rescue: Duration,
    /// From a transition that no delivery stands behind to its announcement.
    pub announce: Duration,
}

/// A job that breaks a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which one.
    pub check: Check,
    /// The job.
    pub job: JobId,
}

/// What was found among some jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// How many were looked at.
    pub jobs: usize,
    /// The last of them, to go on after; `None`: there are no more.
    pub last: Option<JobId>,
    /// What is wrong with them.
    pub violations: Vec<Violation>,
}

impl AuditPage {
    /// Sorts what a ledger answers: a row for each job looked at, with an empty word, and one for each violation.
    pub(super) fn of(rows: impl IntoIterator<Item = (String, JobId)>, limit: usize) -> Self {
        let mut page = Self::default();
        for (word, job) in rows {
            match Check::from_word(&word) {
                Some(check) => page.violations.push(Violation { check, job }),
                None => {
                    page.jobs += 1;
                    page.last = page.last.max(Some(job));
                }
            }
        }
        page.last = page.last.filter(|_| page.jobs >= limit);
        page
    }
}

/// All the questions about a `page`, in one statement, so that all are answered of the same moment. `after` and `limit` are how the
/// dialect names these parameters, `now` its clock.
pub(super) fn questions(after: &str, limit: &str, now: &str) -> String {
    let of_page = Check::ALL.into_iter().map(|check| {
        let (word, broken) = (check.word(), check.broken());
        format!(" union all select '{word}', id from page where {broken}")
    });
    // Keys by the ids they lead to, so that a walk over all jobs is one over all keys; the last page takes what is beyond.
    let keys = format!(
        " union all select 'idempotency', i.job from idempotency i where i.job > {after} and i.expires_at > {now} \
         and (i.job <= (select id from page order by id desc limit 1) or (select count(*) from page) < {limit}) \
         and not exists (select 1 from jobs j where j.id = i.job)"
    );
    ["select '' as word, id from page".to_owned()].into_iter().chain(of_page).chain([keys]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_its_own_word() {
        for (check, word) in Check::ALL.into_iter().zip(Check::WORDS) {
            assert_eq!((check.word(), Check::from_word(word)), (word, Some(check)));
        }
    }

    #[test]
    fn a_page_that_is_not_full_is_the_last() {
        let (one, two) = (JobId::fresh(), JobId::fresh());
        let rows = || [(String::new(), one), (String::new(), two), ("road".to_owned(), one)];
        let page = AuditPage::of(rows(), 2);
        assert_eq!((page.jobs, page.last), (2, Some(one.max(two))));
        assert_eq!(page.violations, [Violation { check: Check::Road, job: one }]);
        assert_eq!(AuditPage::of(rows(), 3).last, None);
    }
}
