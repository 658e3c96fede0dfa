//! The ledger against the model: random commands, and after each one the same answer and the same rows, on both ledgers.
//!
//! One ledger serves all sequences; each has jobs and workers of its own and leaves nothing running. Read `model.rs` for what is right.

use std::time::Duration;

use jiff::Timestamp;
use longshore_runtime::job::state::State;
use longshore_runtime::ledger::postgres::Postgres as PostgresLedger;
use longshore_runtime::ledger::sqlite::Sqlite;
use longshore_runtime::ledger::{
    Beat, Canceling, Claim, Claimed, Ended, Fence, Ledger, NewJob, Priority, Record, Recorded, Replaying, RunAt,
    Settle, Whose, WorkerCard,
};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::{ErrorReport, JobId};
use longshore_tests::postgres::Postgres;
use longshore_tests::scratch;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::cases;
use super::model::{CRASH_LIMIT, Command, End, Held, Lease, Model, Road};

/// So many workers at a time, and so many jobs at the most.
const POSTS: usize = 3;
const JOBS: usize = 4;
const LONG: Duration = Duration::from_secs(3600);

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let (post, job, fence) = (|| 0..POSTS, || 0..JOBS, || any::<usize>());
    let end = prop_oneof![
        Just(End::Complete),
        Just(End::RetryNow),
        Just(End::RetryLater),
        Just(End::DeadLetter),
        Just(End::Cancel),
        Just(End::HandBack),
    ];
    let command = prop_oneof![
        2 => any::<bool>().prop_map(|later| Command::Submit { later }),
        3 => post().prop_map(|post| Command::Live { post }),
        2 => post().prop_map(|post| Command::Lapse { post }),
        1 => post().prop_map(|post| Command::Retire { post }),
        8 => (post(), job(), any::<bool>()).prop_map(|(post, job, alone)| Command::Claim { post, job, alone }),
        5 => (fence(), end).prop_map(|(fence, end)| Command::Record { fence, end }),
        1 => fence().prop_map(|fence| Command::HandBack { fence }),
        2 => job().prop_map(|job| Command::Cancel { job }),
        2 => job().prop_map(|job| Command::Replay { job }),
        2 => job().prop_map(|job| Command::Purge { job }),
        3 => Just(Command::Rescue),
        1 => Just(Command::Orphans),
        1 => Just(Command::Publish),
        1 => Just(Command::Announce),
    ];
    prop::collection::vec(command, 1..60)
}

/// A ledger and the model of what it should hold.
struct Pair<'a> {
    ledger: &'a dyn Ledger,
    model: Model,
    jobs: Vec<JobId>,
    workers: Vec<Uuid>,
    /// Who stands at each post, by number.
    posts: [usize; POSTS],
}

impl<'a> Pair<'a> {
    async fn open(ledger: &'a dyn Ledger) -> Self {
        let mut pair = Self { ledger, model: Model::default(), jobs: vec![], workers: vec![], posts: [0; POSTS] };
        for post in 0..POSTS {
            pair.enlist(post).await;
        }
        pair.submit(false).await;
        pair
    }

    async fn enlist(&mut self, post: usize) {
        let card = WorkerCard { id: Uuid::now_v7(), host: "quay".into(), kinds: vec!["demo.greet".into()], slots: 1 };
        self.ledger.enlist(&card, LONG).await.unwrap();
        self.posts[post] = self.workers.len();
        self.workers.push(card.id);
        self.model.workers.push(Lease::Live);
    }

    async fn submit(&mut self, later: bool) {
        let job = NewJob {
            tenant: Tenant::default(),
            id: JobId::fresh(),
            kind: "demo.greet".into(),
            payload: RawValue::NULL.to_owned(),
            priority: Priority::Normal,
            max_attempts: 5,
            timeout: Duration::from_secs(60),
            run_at: later.then_some(RunAt::After(LONG)),
            metadata: None,
            correlation_id: None,
            trace: None,
            unique_key: None,
            webhook: None,
            idempotency: None,
        };
        self.ledger.submit(std::slice::from_ref(&job)).await.unwrap();
        self.jobs.push(job.id);
        self.model.submit(later);
    }

    async fn step(&mut self, command: Command) -> Result<(), TestCaseError> {
        match command {
            Command::Submit { later } if self.jobs.len() < JOBS => self.submit(later).await,
            Command::Submit { .. } => {}
            Command::Live { post } if self.model.workers[self.posts[post]] == Lease::Gone => self.enlist(post).await,
            Command::Live { post } => self.beat(self.posts[post], Lease::Live).await?,
            Command::Lapse { post } => self.beat(self.posts[post], Lease::Lapsed).await?,
            Command::Retire { post } => {
                self.ledger.retire(self.workers[self.posts[post]]).await.unwrap();
                self.model.workers[self.posts[post]] = Lease::Gone;
            }
            Command::Claim { post, job, alone } => self.claim(self.posts[post], job % self.jobs.len(), alone).await?,
            Command::Record { fence, end } => {
                if let Some(held) = self.held(fence) {
                    let said = self.record(held, end).await;
                    prop_assert_eq!(said, self.model.record(held, end));
                }
            }
            Command::HandBack { fence } => {
                if let Some(held) = self.held(fence) {
                    self.ledger.hand_back(&[self.fence(held)]).await.unwrap();
                    self.model.hand_back(held);
                }
            }
            _ => self.outside(command).await?,
        }
        self.compare().await
    }

    /// What callers and agents ask.
    async fn outside(&mut self, command: Command) -> Result<(), TestCaseError> {
        match command {
            Command::Cancel { job } => {
                let job = job % self.jobs.len();
                let said = match self.ledger.cancel(self.jobs[job]).await.unwrap() {
                    Canceling::Canceled(_) => "canceled",
                    Canceling::Requested(_) => "requested",
                    Canceling::Settled(_) => "settled",
                    Canceling::Unknown => "unknown",
                };
                prop_assert_eq!(said, self.model.cancel(job));
            }
            Command::Replay { job } => {
                let job = job % self.jobs.len();
                let said = match self.ledger.replay(self.jobs[job]).await.unwrap() {
                    Replaying::Ready(_) => "ready",
                    Replaying::NotDead(_) => "not dead",
                    Replaying::Held(_) => "held",
                    Replaying::Unknown => "unknown",
                };
                prop_assert_eq!(said, self.model.replay(job));
            }
            Command::Purge { job } => {
                let job = job % self.jobs.len();
                prop_assert_eq!(self.ledger.purge(&[self.jobs[job]]).await.unwrap(), self.model.purge(job));
            }
            Command::Rescue => {
                let lost = self.ledger.rescue(CRASH_LIMIT, Whose::Expired).await.unwrap();
                prop_assert_eq!(self.numbers(lost.iter().map(|one| one.fence.job)), self.model.rescue());
            }
            Command::Orphans => {
                let lost = self.ledger.rescue_orphans(CRASH_LIMIT).await.unwrap();
                prop_assert_eq!(self.numbers(lost.iter().map(|one| one.fence.job)), self.model.orphans());
            }
            Command::Publish => {
                let due = self.ledger.due(1000).await.unwrap();
                let marks: Vec<_> = due.iter().map(|ready| (ready.job, ready.version)).collect();
                self.ledger.mark_queued(&marks).await.unwrap();
                prop_assert_eq!(self.numbers(due.iter().map(|ready| ready.job)), self.model.publish());
            }
            _ => {
                let owed = self.ledger.unannounced(1000).await.unwrap();
                let marks: Vec<_> = owed.iter().map(|owed| (owed.job, owed.version)).collect();
                self.ledger.mark_announced(&marks).await.unwrap();
                prop_assert_eq!(self.numbers(owed.iter().map(|owed| owed.job)), self.model.announce());
            }
        }
        Ok(())
    }

    async fn beat(&mut self, worker: usize, to: Lease) -> Result<(), TestCaseError> {
        let lease = if to == Lease::Live { LONG } else { Duration::ZERO };
        let beat = Beat {
            worker: self.workers[worker],
            busy: 0,
            announced_to: Timestamp::UNIX_EPOCH,
            draining: false,
            peak_memory: None,
        };
        let heard = self.ledger.beat(&beat, lease).await.unwrap();
        if self.model.workers[worker] == Lease::Gone {
            prop_assert!(heard.is_none());
            return Ok(());
        }
        self.model.workers[worker] = to;
        let cancels = heard.map(|heard| self.numbers(heard.cancels.into_iter()));
        prop_assert_eq!(cancels, Some(self.model.cancels(worker)));
        Ok(())
    }

    async fn claim(&mut self, worker: usize, job: usize, alone: bool) -> Result<(), TestCaseError> {
        let claim = Claim { job: self.jobs[job], alone };
        let round = self.ledger.round(self.workers[worker], &[claim], &[]).await.unwrap();
        let said = match &round.claims[0] {
            Claimed::Run(_) => "run",
            Claimed::Settled(_) => "settled",
            Claimed::Busy => "busy",
            Claimed::NotDue => "not due",
            Claimed::Suspect => "suspect",
            Claimed::Unknown => "unknown",
            Claimed::NoLease => "no lease",
        };
        prop_assert_eq!(said, self.model.claim(worker, job, alone));
        if let (Claimed::Run(granted), Some(held)) = (&round.claims[0], self.model.fences.last()) {
            prop_assert_eq!(granted.fence, self.fence(*held));
        }
        Ok(())
    }

    async fn record(&self, held: Held, end: End) -> &'static str {
        let error = ErrorReport::new("rough_sea", "again");
        let (ended, settle) = match end {
            End::Complete => (Ended::Done, Settle::Complete { result: RawValue::NULL.to_owned(), artifacts: vec![] }),
            End::RetryNow => (Ended::Error, Settle::Retry { wait: Duration::ZERO, error }),
            End::RetryLater => (Ended::Error, Settle::Retry { wait: LONG, error }),
            End::DeadLetter => (Ended::Fatal, Settle::DeadLetter { error }),
            End::Cancel => (Ended::Canceled, Settle::Cancel),
            End::HandBack => (Ended::Yielded, Settle::HandBack { wait: Duration::ZERO }),
        };
        let fence = self.fence(held);
        let round = self.ledger.round(fence.worker, &[], &[Record { fence, ended, settle }]).await.unwrap();
        match round.records[0] {
            Recorded::Done(_) => "done",
            Recorded::Before(_) => "before",
            Recorded::Fenced => "fenced",
        }
    }

    fn held(&self, fence: usize) -> Option<Held> {
        let fences = &self.model.fences;
        (!fences.is_empty()).then(|| fences[fence % fences.len()])
    }

    fn fence(&self, held: Held) -> Fence {
        Fence { job: self.jobs[held.job], attempt: held.attempt, worker: self.workers[held.worker] }
    }

    /// Those of these jobs that are ours, by number.
    fn numbers(&self, jobs: impl Iterator<Item = JobId>) -> Vec<usize> {
        let mut ours: Vec<usize> = jobs.filter_map(|job| self.jobs.iter().position(|ours| *ours == job)).collect();
        ours.sort_unstable();
        ours
    }

    async fn compare(&self) -> Result<(), TestCaseError> {
        for (row, job) in self.model.jobs.iter().zip(&self.jobs) {
            let found = self.ledger.job(*job).await.unwrap();
            let (Some(row), Some(found)) = (row, &found) else {
                prop_assert!(row.is_none() && found.is_none(), "{row:?} {found:?}");
                continue;
            };
            prop_assert_eq!((found.state, found.attempt, found.version), (row.state, row.attempt, row.version));
            prop_assert_eq!((found.charged, found.crashes), (row.charged, row.crashes));
            prop_assert_eq!(found.worker, row.holder.map(|holder| self.workers[holder]));
            prop_assert_eq!(found.cancel_requested, row.cancel_requested);
            prop_assert_eq!(found.finished_at.is_some(), row.state.is_terminal());
            let road = match (found.state, found.due_at.is_some(), found.queued_at.is_some()) {
                (State::Pending, false, true) => Road::Published,
                // The model says which of the two it is.
                (State::Pending, true, false) if row.road == Road::Due => Road::Due,
                (State::Pending, true, false) => Road::Scheduled,
                _ => Road::Off,
            };
            prop_assert_eq!(road, row.road);
        }
        Ok(())
    }

    /// The histories, and then nothing of this sequence is left to the next.
    async fn close(mut self) -> Result<(), TestCaseError> {
        for (row, job) in self.model.jobs.iter().zip(&self.jobs) {
            let history = self.ledger.attempts(*job).await.unwrap();
            let history: Vec<_> = history.iter().map(|attempt| (attempt.attempt, attempt.ended)).collect();
            prop_assert_eq!(history, row.as_ref().map(|row| row.history.clone()).unwrap_or_default());
        }
        for post in 0..POSTS {
            self.beat(self.posts[post], Lease::Lapsed).await?;
        }
        for command in [Command::Rescue, Command::Orphans, Command::Publish, Command::Announce] {
            self.step(command).await?;
        }
        Ok(())
    }
}

fn holds(share: u32, ledger: &dyn Ledger, runtime: &tokio::runtime::Runtime) {
    let tried = TestRunner::new(cases(share)).run(&commands(), |commands| {
        runtime.block_on(async {
            let mut pair = Pair::open(ledger).await;
            for command in commands {
                pair.step(command).await?;
            }
            pair.close().await
        })
    });
    assert!(tried.is_ok(), "{}", tried.unwrap_err());
}

#[test]
fn no_sequence_of_commands_tells_sqlite_from_the_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let home = scratch::dir("model").unwrap();
    let ledger = Sqlite::open(home.path().join("ledger.db")).unwrap();
    runtime.block_on(ledger.migrate()).unwrap();
    holds(SQLITE_SHARE, &ledger, &runtime);
}

#[test]
fn no_sequence_of_commands_tells_postgresql_from_the_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ledger = runtime.block_on(async {
        let url = Postgres::shared().await.unwrap().database().await.unwrap();
        let ledger = PostgresLedger::connect(&url, 2).unwrap();
        ledger.migrate().await.unwrap();
        ledger
    });
    holds(POSTGRES_SHARE, &ledger, &runtime);
}

/// A sequence costs tens of milliseconds; these many take some seconds.
const SQLITE_SHARE: u32 = 100;
/// A server is asked for each command and each comparison.
const POSTGRES_SHARE: u32 = 25;
