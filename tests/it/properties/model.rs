//! The ledger as it should be, in a hundred lines without SQL or time: what each command answers, and what each job's row holds then.
//!
//! Time has two moments, now and much later, and a lease is live or lapsed by command. Read `ledger.rs` for who is compared with it.

use longshore_runtime::job::state::State::{self, Canceled, Completed, Failed, Pending, Running};
use longshore_runtime::ledger::Ended;

/// What may happen. Jobs, posts and fences are picked among those there are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Submit { later: bool },
    Live { post: usize },
    Lapse { post: usize },
    Retire { post: usize },
    Claim { post: usize, job: usize, alone: bool },
    Record { fence: usize, end: End },
    HandBack { fence: usize },
    Cancel { job: usize },
    Replay { job: usize },
    Purge { job: usize },
    Rescue,
    Orphans,
    Publish,
    Announce,
}

/// How an attempt ends in its worker's hands.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Complete,
    RetryNow,
    RetryLater,
    DeadLetter,
    Cancel,
    HandBack,
}

/// Where a pending job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    Off,
    Published,
    Due,
    Scheduled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) attempt: u32,
    pub(super) charged: u32,
    pub(super) crashes: u32,
    pub(super) version: i64,
    pub(super) road: Road,
    /// The worker that runs it or settled it, by its number.
    pub(super) holder: Option<usize>,
    pub(super) cancel_requested: bool,
    crashed_alone: u32,
    alone: bool,
    unannounced: bool,
    pub(super) history: Vec<(u32, Ended)>,
    /// The workers that ended an attempt of it, themselves or by their loss.
    enders: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    Live,
    Lapsed,
    Gone,
}

/// A granted attempt: job, number, worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) job: usize,
    pub(super) attempt: u32,
    pub(super) worker: usize,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// `None` once it is purged.
    pub(super) jobs: Vec<Option<Row>>,
    pub(super) workers: Vec<Lease>,
    pub(super) fences: Vec<Held>,
}

/// Poison after so many crashes alone; alone from so many crashes on.
pub(super) const CRASH_LIMIT: u32 = 3;
const ALONE_AFTER: u32 = 2;

impl Row {
    /// It leaves `running`.
    fn leave(&mut self, to: State, road: Road, ended: Ended) {
        // A cancel that was accepted is final.
        let canceled = to == Pending && self.cancel_requested;
        (self.state, self.road) = if canceled { (Canceled, Road::Off) } else { (to, road) };
        self.history.push((self.attempt, ended));
        self.enders.extend(self.holder);
        self.version += 1;
        (self.alone, self.cancel_requested) = (false, false);
    }

    fn lose(&mut self) {
        self.crashes += 1;
        self.crashed_alone += u32::from(self.alone);
        let poison = self.crashed_alone >= CRASH_LIMIT && !self.cancel_requested;
        let (to, road) = if poison { (Failed, Road::Off) } else { (Pending, Road::Due) };
        self.leave(to, road, Ended::Lost);
        (self.holder, self.unannounced) = (None, true);
    }

    fn record(&mut self, end: End) {
        let (to, road, ended, charge) = match end {
            End::Complete => (Completed, Road::Off, Ended::Done, 0),
            End::RetryNow => (Pending, Road::Due, Ended::Error, 1),
            End::RetryLater => (Pending, Road::Scheduled, Ended::Error, 1),
            End::DeadLetter => (Failed, Road::Off, Ended::Fatal, 1),
            End::Cancel => (Canceled, Road::Off, Ended::Canceled, 0),
            End::HandBack => (Pending, Road::Due, Ended::Yielded, 0),
        };
        self.leave(to, road, ended);
        self.charged += charge;
        (self.crashes, self.crashed_alone) = (0, 0);
        self.holder = self.holder.filter(|_| self.state.is_terminal());
    }
}

impl Model {
    pub(super) fn submit(&mut self, later: bool) {
        self.jobs.push(Some(Row {
            state: Pending,
            attempt: 0,
            charged: 0,
            crashes: 0,
            version: 1,
            road: if later { Road::Scheduled } else { Road::Published },
            holder: None,
            cancel_requested: false,
            crashed_alone: 0,
            alone: false,
            unannounced: false,
            history: vec![],
            enders: vec![],
        }));
    }

    pub(super) fn claim(&mut self, worker: usize, job: usize, alone: bool) -> &'static str {
        let live = self.workers[worker] == Lease::Live;
        let Some(row) = &mut self.jobs[job] else { return "unknown" };
        match row.state {
            Completed | Failed | Canceled => return "settled",
            Running => return "busy",
            Pending if row.road == Road::Scheduled => return "not due",
            Pending if !live => return "no lease",
            Pending if row.crashes >= ALONE_AFTER && !alone => return "suspect",
            Pending => {}
        }
        (row.state, row.road, row.holder, row.alone) = (Running, Road::Off, Some(worker), alone);
        row.attempt += 1;
        row.version += 1;
        self.fences.push(Held { job, attempt: row.attempt, worker });
        "run"
    }

    pub(super) fn record(&mut self, held: Held, end: End) -> &'static str {
        let Some(row) = &mut self.jobs[held.job] else { return "fenced" };
        if row.state == Running && row.attempt == held.attempt && row.holder == Some(held.worker) {
            row.record(end);
            return "done";
        }
        // Its own line says whether it recorded before.
        let mut lines = row.history.iter().zip(&row.enders);
        let recorded = |(number, ended): &(u32, Ended)| {
            *number == held.attempt && !matches!(ended, Ended::Lost | Ended::Crashed | Ended::HandedBack)
        };
        let before = lines.any(|(line, ender)| recorded(line) && *ender == held.worker);
        if before { "before" } else { "fenced" }
    }

    pub(super) fn hand_back(&mut self, held: Held) {
        let Some(row) = self.jobs[held.job].as_mut() else { return };
        if row.state == Running && row.attempt == held.attempt && row.holder == Some(held.worker) {
            row.leave(Pending, Road::Due, Ended::HandedBack);
            row.holder = None;
            row.unannounced = true;
        }
    }

    pub(super) fn cancel(&mut self, job: usize) -> &'static str {
        let Some(row) = &mut self.jobs[job] else { return "unknown" };
        match row.state {
            Pending => {
                (row.state, row.road, row.unannounced) = (Canceled, Road::Off, true);
                row.version += 1;
                "canceled"
            }
            Running => {
                row.cancel_requested = true;
                "requested"
            }
            Completed | Failed | Canceled => "settled",
        }
    }

    pub(super) fn replay(&mut self, job: usize) -> &'static str {
        let Some(row) = &mut self.jobs[job] else { return "unknown" };
        if row.state != Failed {
            return "not dead";
        }
        (row.state, row.road, row.unannounced, row.holder) = (Pending, Road::Due, true, None);
        (row.charged, row.crashes, row.crashed_alone) = (0, 0, 0);
        row.version += 1;
        "ready"
    }

    pub(super) fn purge(&mut self, job: usize) -> usize {
        let goes = self.jobs[job].as_ref().is_some_and(|row| row.state == Failed && !row.unannounced);
        self.jobs[job].take_if(|_| goes).iter().count()
    }

    /// Takes the leases that lapsed; the jobs that were lost.
    pub(super) fn rescue(&mut self) -> Vec<usize> {
        let dead: Vec<usize> = (0..self.workers.len()).filter(|at| self.workers[*at] == Lease::Lapsed).collect();
        let lost = self.lose(|worker| dead.contains(&worker));
        for row in self.jobs.iter_mut().flatten() {
            // Whoever has the job by now: it may not have announced how its attempt ended.
            row.unannounced |= row.enders.iter().any(|worker| dead.contains(worker));
        }
        dead.into_iter().for_each(|worker| self.workers[worker] = Lease::Gone);
        lost
    }

    /// Loses what runs under no lease at all.
    pub(super) fn orphans(&mut self) -> Vec<usize> {
        let workers = self.workers.clone();
        self.lose(|worker| workers[worker] == Lease::Gone)
    }

    fn lose(&mut self, gone: impl Fn(usize) -> bool) -> Vec<usize> {
        let runs = |row: &Row| row.state == Running && row.holder.is_some_and(&gone);
        let lost = self.picked(runs);
        lost.iter().for_each(|job| self.jobs[*job].as_mut().into_iter().for_each(Row::lose));
        lost
    }

    /// Publishes what is due.
    pub(super) fn publish(&mut self) -> Vec<usize> {
        let due = self.picked(|row| row.road == Road::Due);
        due.iter().for_each(|job| self.jobs[*job].iter_mut().for_each(|row| row.road = Road::Published));
        due
    }

    /// Announces what no delivery stands behind.
    pub(super) fn announce(&mut self) -> Vec<usize> {
        let owed = self.picked(|row| row.unannounced);
        owed.iter().for_each(|job| self.jobs[*job].iter_mut().for_each(|row| row.unannounced = false));
        owed
    }

    /// The running jobs that this worker is to cancel.
    pub(super) fn cancels(&self, worker: usize) -> Vec<usize> {
        self.picked(|row| row.state == Running && row.cancel_requested && row.holder == Some(worker))
    }

    fn picked(&self, which: impl Fn(&Row) -> bool) -> Vec<usize> {
        (0..self.jobs.len()).filter(|job| self.jobs[*job].as_ref().is_some_and(&which)).collect()
    }
}
