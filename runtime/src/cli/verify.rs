//! `verify`: whether the ledger holds anything that must never be, asked of the ledger itself while everything runs. Exit code 1
//! when it does. It changes nothing. Read `ledger/audit.rs` for the checks.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use longshore_sdk::JobId;
use serde::Serialize;

use super::serve::{self, LedgerFlags};
use super::{Done, Ending, jobs, tell};
use crate::agents::auditor::{self, PAGE};
use crate::app;
use crate::config::Config;
use crate::ledger::sqlite::Sqlite;
use crate::ledger::{Check, Ledger, Violation};

/// So many jobs of each check are named; the rest is counted.
const NAMED: usize = 10;

/// `longshore verify`
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    flags: LedgerFlags,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Told {
    jobs: usize,
    violations: usize,
    checks: Vec<Found>,
}

#[derive(Debug, Serialize)]
struct Found {
    check: Check,
    violations: usize,
    /// Some of the jobs.
    jobs: Vec<JobId>,
}

impl Verify {
    pub(super) fn run(self) -> Done {
        let config = self.flags.load()?;
        serve::run_to_end(async |_| {
            let told = walk(&*ledger(&config)?, &config).await?;
            tell(&if self.json { jobs::json(&told)? } else { text(&told) })?;
            if told.violations > 0 { Err(Ending::Bad) } else { Ok(()) }
        })
    }
}

/// The one that the settings name: PostgreSQL, or else what `dev` keeps in the data directory.
pub(super) fn ledger(config: &Config) -> anyhow::Result<Arc<dyn Ledger>> {
    if config.database.url.is_some() {
        return Ok(Arc::new(app::postgres(config, 1)?));
    }
    let file = config.data_dir.join("ledger.db");
    // Opening would make one, and an empty ledger is always in order.
    ensure!(file.is_file(), "there is no ledger: {} does not exist; give --database-url or --data-dir", file.display());
    Ok(Arc::new(Sqlite::open(&file).with_context(|| format!("cannot open {}", file.display()))?))
}

async fn walk(ledger: &dyn Ledger, config: &Config) -> anyhow::Result<Told> {
    let patience = auditor::patience(config.worker.limits.lease);
    let (mut looked, mut found, mut after) = (0, vec![], None);
    loop {
        let page = ledger
            .audit(after, PAGE, patience)
            .await
            .context("the ledger cannot be looked at; is database.url right?")?;
        looked += page.jobs;
        found.extend(page.violations);
        after = page.last;
        if after.is_none() {
            return Ok(sum(looked, &found));
        }
    }
}

fn sum(jobs: usize, found: &[Violation]) -> Told {
    let checks = Check::ALL.into_iter().map(|check| {
        let of: Vec<JobId> = found.iter().filter(|one| one.check == check).map(|one| one.job).collect();
        Found { check, violations: of.len(), jobs: of.into_iter().take(NAMED).collect() }
    });
    Told { jobs, violations: found.len(), checks: checks.collect() }
}

fn text(told: &Told) -> String {
    let lines = told.checks.iter().map(|found| match found.violations {
        0 => format!("ok    {}", found.check.word()),
        count => {
            let named: Vec<String> = found.jobs.iter().map(|job| format!("\n      {job}")).collect();
            let more = count - named.len();
            let rest = if more > 0 { format!("\n      and {more} more") } else { String::new() };
            format!("FAIL  {:<14}{count}: {}{}{rest}", found.check.word(), found.check.told(), named.concat())
        }
    });
    let sum = format!("{} jobs, {} violations", told.jobs, told.violations);
    lines.chain([sum]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_told_with_their_jobs_and_the_rest_is_counted() {
        let job = JobId::fresh();
        let found = vec![Violation { check: Check::Road, job }; NAMED + 2];
        let told = text(&sum(100, &found));
        assert!(told.starts_with("ok    state\n") && told.ends_with("\n100 jobs, 12 violations"), "{told}");
        assert!(told.contains("FAIL  road          12: it is pending") && told.contains("and 2 more"), "{told}");
        assert_eq!(told.matches(&job.to_string()).count(), NAMED);
    }
}
