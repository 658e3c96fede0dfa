//! `doctor`: what is wrong with this machine, broker and database, and what to change. Exit code 1 when something must not stay
//! so. It takes the flags of the servers and changes nothing. Read `preflight.rs` for what is looked at.

use clap::Args;
use serde::Serialize;

use super::serve::{self, ServerFlags};
use super::{Done, Ending, jobs, tell};
use crate::app::{self, Executors};
use crate::config::Config;
use crate::preflight::{Finding, Level};

/// `longshore doctor`
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    flags: ServerFlags,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    /// The worst of all.
    level: Level,
    findings: &'a [Finding],
}

impl Doctor {
    pub(super) fn run(self, executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> Done {
        let config = self.flags.load()?;
        serve::run_to_end(async |_| {
            let executors = executors(&config).await?;
            serve::refuse_unknown(&config.worker.kinds, &executors)?;
            let findings = app::doctor(&config, executors).await?;
            let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
            tell(&if self.json { jobs::json(&Told { level, findings: &findings })? } else { text(&findings) })?;
            if level == Level::Fail { Err(Ending::Bad) } else { Ok(()) }
        })
    }
}

fn text(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let lines = findings.iter().map(Finding::told);
    let [ok, unknown, warn, fail] = [Level::Ok, Level::Unknown, Level::Warn, Level::Fail].map(count);
    let sum = format!("{ok} ok, {unknown} unknown, {warn} to look at, {fail} to change");
    lines.chain([sum]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_a_line_each_with_what_to_change_below() {
        let findings = [
            Finding::ok("database.version", "PostgreSQL 15.8"),
            Finding::unknown("broker.policies", "they cannot be seen", "jobs are dropped", "run this"),
            Finding::fail("database.fsync", "fsync is off", "jobs are lost", "set fsync = on"),
        ];
        let expected = "\
ok    database.version             PostgreSQL 15.8
?     broker.policies              they cannot be seen
      why: jobs are dropped
      learn: run this
FAIL  database.fsync               fsync is off
      why: jobs are lost
      change: set fsync = on
1 ok, 1 unknown, 0 to look at, 1 to change";
        assert_eq!(text(&findings), expected);
    }
}
