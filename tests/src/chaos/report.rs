//! The table of a storm: the seed, the commit, the day and the machine, each fault with its count and recoveries, and what was lost or doubled. It prints what
//! was counted and leaves nothing out; the verdict is `truth.rs`'s.

use std::fmt::{self, Write as _};
use std::process::Command;
use std::time::Duration;

use longshore_runtime::clock;

use super::crew::{CRASH_LIMIT, DRAIN_GRACE};
use super::deed::Sin;
use super::fault::Fault;
use super::load;
use super::plan::Plan;
use super::sins::Account;
use super::tally::{Entry, p50_and_max};
use super::truth::Truth;
use super::world::World;
use crate::house;

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
        let count = match fault.unit() {
            None => entry.count.to_string(),
            Some(unit) => format!("{} ({} {unit})", entry.count, entry.amount),
        };
        let (alone, all) = (entry.took(true), entry.took(false));
        let target = fault.target(self.plan.lease).map_or("-".to_owned(), |target| {
            let within = alone.iter().filter(|took| **took <= target).count();
            format!("{within} of {} within {}", alone.len(), s(target))
        });
        writeln!(out, "| {} | {count} | {} | {target} | {} |", fault.word(), times(alone), times(all))
    }

    fn sins(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\n| sin of an executor | jobs | ended as it should |\n| --- | --- | --- |")?;
        for Account { sin, committed, ended_well, by_the_kernel, .. } in &self.truth.sins {
            let whose = match sin {
                Sin::OutOfMemory => {
                    format!(", {by_the_kernel} by the kernel's OOM killer in a cgroup, the others by themselves")
                }
                _ => String::new(),
            };
            writeln!(out, "| {} | {committed} | {ended_well}{whose} |", sin.word())?;
        }
        Ok(())
    }

    /// By this machine's clock.
    fn begun(&self) -> String {
        let begun = clock::now() - jiff::SignedDuration::try_from(self.took).unwrap_or_default();
        begun.strftime("%F %H:%M UTC").to_string()
    }

    fn table(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        let plan = &self.plan;
        writeln!(out, "storm `{}`, seed {}; {}", plan.name, plan.seed, machine())?;
        writeln!(out, "{}; begun {}, took {:.0} s", commit(), self.begun(), self.took.as_secs_f64())?;
        writeln!(
            out,
            "{} workers of {} slots without guards, {} APIs, {} broker nodes; leases of {}, drain grace of {}, crash limit {CRASH_LIMIT}; \
             {} clients, {} jobs or more over {:.0} s; up to {} between two faults of a lane",
            plan.workers,
            plan.slots,
            plan.apis,
            plan.nodes,
            s(plan.lease),
            s(DRAIN_GRACE),
            load::CLIENTS,
            plan.jobs,
            plan.span.as_secs_f64(),
            s(plan.gap)
        )?;
        writeln!(
            out,
            "\n| fault | count | recovery p50 / max by itself | target | with other faults about |\n| --- | --- | --- | --- | --- |"
        )?;
        for (fault, entry) in &self.rows {
            self.row(&mut out, *fault, entry)?;
        }
        self.sins(&mut out)?;
        let truth = &self.truth;
        writeln!(
            out,
            "\njobs {}, lost {}, doubled effects {}; effects {}, stale attempts refused {}, attempts lost with their worker {}, submits repeated {}, events heard {} ({} of them again), ends wiped with the broker before they were heard {}",
            self.jobs,
            truth.lost,
            truth.doubled,
            truth.effects,
            truth.stale,
            truth.lost_attempts,
            self.repeats,
            truth.heard,
            truth.repeated,
            truth.wiped
        )?;
        let seen = &truth.seen;
        writeln!(
            out,
            "running jobs without a lease: asked {} times, some in {} of the answers, for {} at most",
            seen.asked,
            seen.bare,
            s(seen.longest)
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

/// Of which sources this is a build, as far as the house it runs in can tell: `git` at run time.
fn commit() -> String {
    let git = |args: &[&str]| {
        let said = Command::new("git").current_dir(house::root().ok()?).args(args).output().ok()?;
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "of an unknown commit".to_owned() };
    let changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    format!("commit {commit}{}", if changed { " with changes" } else { "" })
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("{cores} cores of {}; {profile} build", model.trim_start_matches(['\t', ' ', ':']))
}
