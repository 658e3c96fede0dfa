//! What became of the executors' own sins: each sort that the load contains must have been committed, and have ended as it should. A panic
//! and a loop that ignores its cancellation end the attempt and leave the worker alive; an abort and a lack of memory end the worker by
//! their signal. That the jobs were completed all the same, once, is asked of all jobs in `truth.rs`.

use std::collections::HashSet;

use anyhow::Result;
use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::crew::Deserter;
use super::deed::Sin;
use super::eye::Eye;
use super::hunger::Killer;
use super::load;
use crate::process::Ending;

/// Every sin with how its attempt ended, and whether its process began anything afterwards.
const SINS: &str = "\
with last as (select pid, max(at) as at from chaos.starts group by pid) \
select s.sin, s.job, s.pid, s.how, a.ended, coalesce(l.at > a.finished_at, false) as lived_on \
from chaos.sins s left join attempts a using (job, attempt) left join last l using (pid)";

/// One sort of sin in one storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Which.
    pub sin: Sin,
    /// Jobs of the load that were told to, at least.
    pub planned: usize,
    /// Jobs that did.
    pub committed: usize,
    /// Jobs of which an attempt ended as it should by it.
    pub ended_well: usize,
    /// Of these, by the kernel's hand.
    pub by_the_kernel: usize,
}

/// A sin as the tables tell it.
#[derive(Debug, Clone)]
struct Told {
    job: JobId,
    sin: String,
    pid: i32,
    how: Option<String>,
    ended: Option<String>,
    lived_on: bool,
}

/// The accounts of all sorts, of a load of so many jobs.
pub async fn accounts(eye: &Eye, jobs: usize, deserters: &[Deserter]) -> Result<Vec<Account>> {
    let told: Vec<Told> = eye.ask(SINS, &[]).await?.iter().map(told).collect();
    Ok(Sin::ALL.into_iter().map(|sin| account(sin, load::sinners(jobs, sin), &told, deserters)).collect())
}

fn told(row: &Row) -> Told {
    Told {
        job: JobId(row.get::<_, Uuid>("job")),
        sin: row.get("sin"),
        pid: row.get("pid"),
        how: row.get("how"),
        ended: row.get("ended"),
        lived_on: row.get("lived_on"),
    }
}

fn account(sin: Sin, planned: usize, told: &[Told], deserters: &[Deserter]) -> Account {
    let ours: Vec<&Told> = told.iter().filter(|told| told.sin == sin.word()).collect();
    let well: Vec<&&Told> = ours.iter().filter(|told| ended_well(sin, told, deserters)).collect();
    let kernels = well.iter().filter(|told| told.how.as_deref() == Some(Killer::Kernel.word()));
    Account {
        sin,
        planned,
        committed: ours.iter().map(|told| told.job).collect::<HashSet<_>>().len(),
        by_the_kernel: kernels.map(|told| told.job).collect::<HashSet<_>>().len(),
        ended_well: well.iter().map(|told| told.job).collect::<HashSet<_>>().len(),
    }
}

fn ended_well(sin: Sin, told: &Told, deserters: &[Deserter]) -> bool {
    let process = sin.signal().map_or(told.lived_on, |signal| {
        let of_it = |one: &&Deserter| i32::try_from(one.pid).is_ok_and(|pid| pid == told.pid);
        deserters.iter().filter(of_it).any(|one| one.ending == Ending::Signal(signal.as_raw()))
    });
    process && told.ended.as_deref() == Some(sin.ends())
}

impl Account {
    /// What is wrong with it. Other faults end an attempt before its sin does, or the process just after it, so half is enough.
    pub fn violation(&self) -> Option<String> {
        let Account { sin, planned, committed, ended_well, .. } = self;
        let wrong = committed < planned || ended_well * 2 < *planned;
        wrong.then(|| {
            format!("sin {}: {planned} planned, {committed} committed, {ended_well} ended as it should", sin.word())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sin: Sin, ended: &str, lived_on: bool) -> Told {
        Told { job: JobId::fresh(), sin: sin.word().into(), pid: 7, how: None, ended: Some(ended.into()), lived_on }
    }

    fn well(sin: Sin, told: Told, deserters: &[Deserter]) -> usize {
        account(sin, 1, &[told], deserters).ended_well
    }

    #[test]
    fn a_panic_must_leave_its_worker_alive_and_an_abort_must_end_it_by_its_signal() {
        assert_eq!(well(Sin::Panic, told(Sin::Panic, "panic", true), &[]), 1);
        assert_eq!(well(Sin::Panic, told(Sin::Panic, "panic", false), &[]), 0);
        assert_eq!(well(Sin::Panic, told(Sin::Panic, "lost", true), &[]), 0);
        let gone = |ending| [Deserter { pid: 7, ending, words: String::new() }];
        let signal = |signal: rustix::process::Signal| gone(Ending::Signal(signal.as_raw()));
        let aborted = || told(Sin::Abort, "lost", false);
        assert_eq!(well(Sin::Abort, aborted(), &signal(rustix::process::Signal::ABORT)), 1);
        assert_eq!(well(Sin::Abort, aborted(), &signal(rustix::process::Signal::KILL)), 0);
        assert_eq!(well(Sin::Abort, aborted(), &[]), 0);
    }

    #[test]
    fn a_sin_that_was_never_committed_or_never_ended_as_it_should_is_a_violation() {
        let account =
            |committed, ended_well| Account { sin: Sin::Loop, planned: 2, committed, ended_well, by_the_kernel: 0 };
        assert_eq!(account(2, 1).violation(), None);
        assert!(account(1, 1).violation().unwrap().contains("1 committed"));
        assert!(account(2, 0).violation().unwrap().contains("0 ended"));
    }
}
