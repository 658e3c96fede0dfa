//! The table of a storm: the seed, the machine, each fault with its count and recoveries, and what was lost or doubled. It prints what
//! was counted and leaves nothing out; the verdict is `truth.rs`'s.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::crew::CRASH_LIMIT;
use super::fault::Fault;
use super::plan::Plan;
use super::tally::{Entry, p50_and_max};
use super::truth::Truth;
use super::world::World;

/// One storm, told.
#[derive(Debug)]
pub struct Report {
    /// What was found.
    pub truth: Truth,
    plan: Plan,
    rows: Vec<(Fault, Entry)>,
    jobs: usize,
    repeats: usize,
    took: Duration,
}

impl Report {
    /// Of a world after its storm.
    pub fn of(world: &World, truth: Truth, took: Duration) -> Report {
        let rows = Fault::ALL.into_iter().map(|fault| (fault, world.tally.of(fault)));
        let rows = rows.filter(|(fault, _)| world.plan.planned(*fault) > 0).collect();
        let (jobs, repeats) = (world.history.jobs(), world.history.repeats());
        Report { truth, plan: world.plan.clone(), rows, jobs, repeats, took }
    }

    fn row(&self, out: &mut String, fault: Fault, entry: &Entry) -> fmt::Result {
        let count = match entry.connections {
            0 => entry.count.to_string(),
            connections => format!("{} ({connections} connections)", entry.count),
        };
        let (alone, all) = (entry.took(true), entry.took(false));
        let target = fault.target(self.plan.lease).map_or("-".to_owned(), |target| {
            let within = alone.iter().filter(|took| **took <= target).count();
            format!("{within} of {} within {}", alone.len(), s(target))
        });
        writeln!(out, "| {} | {count} | {} | {target} | {} |", fault.word(), times(alone), times(all))
    }

    fn table(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        let plan = &self.plan;
        writeln!(out, "storm `{}`, seed {}; {}", plan.name, plan.seed, machine())?;
        writeln!(
            out,
            "{} workers of {} slots, {} APIs, leases of {}, crash limit {CRASH_LIMIT}; {:.0} s",
            plan.workers,
            plan.slots,
            plan.apis,
            s(plan.lease),
            self.took.as_secs_f64()
        )?;
        writeln!(
            out,
            "\n| fault | count | recovery p50 / max by itself | target | with other faults about |\n| --- | --- | --- | --- | --- |"
        )?;
        for (fault, entry) in &self.rows {
            self.row(&mut out, *fault, entry)?;
        }
        let truth = &self.truth;
        writeln!(
            out,
            "\njobs {}, lost {}, doubled effects {}; effects {}, stale attempts refused {}, attempts lost with their worker {}, submits repeated {}, events heard {} ({} of them again)",
            self.jobs,
            truth.lost,
            truth.doubled,
            truth.effects,
            truth.stale,
            truth.lost_attempts,
            self.repeats,
            truth.heard,
            truth.repeated
        )?;
        for violation in &truth.violations {
            writeln!(out, "VIOLATION: {violation}")?;
        }
        Ok(out)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table()?)
    }
}

fn times(times: Vec<Duration>) -> String {
    p50_and_max(times).map_or("-".to_owned(), |(p50, max)| format!("{} / {}", s(p50), s(max)))
}

fn s(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{cores} cores of {}; {profile} build", model.trim_start_matches(['\t', ' ', ':']))
}
