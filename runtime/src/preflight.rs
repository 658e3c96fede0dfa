//! What is wrong with *this* machine, broker and database, before a job meets it. `doctor` tells all of it; a worker refuses to
//! start over what would lose jobs or repeat them, unless an operator takes that upon himself. Each finding says what it is,
//! why it matters, and what to change. It changes nothing, but for a storage directory that is made where there is none, as a
//! server would. The judges are [`database`], [`broker`] and [`machine`], all pure.

pub mod broker;
pub mod database;
pub mod machine;

use std::fmt::Write as _;
use std::time::Duration;

use longshore_sdk::executor::seconds;
use serde::{Deserialize, Serialize};

/// Everything that is looked at: `preflight.override` names these.
pub const CHECKS: [&str; 22] = [
    "database.reachable",
    "database.version",
    "database.read_only",
    "database.fsync",
    "database.synchronous_commit",
    "database.full_page_writes",
    "database.schema",
    "database.permissions",
    "database.clock",
    "database.connections",
    "broker.reachable",
    "broker.version",
    "broker.confirms",
    "broker.alarm",
    "broker.queue",
    "broker.policies",
    "broker.ack_timeout",
    "machine.storage",
    "machine.data_dir",
    "machine.disk",
    "machine.ffmpeg",
    "settings.lease",
];

/// How strict the look is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreflightSettings {
    /// Checks by name whose failure does not keep a worker from starting.
    #[serde(rename = "override")]
    pub overridden: Vec<String>,
    /// Clocks further apart are told of. Default 5 s.
    #[serde(with = "seconds")]
    pub max_clock_skew: Duration,
    /// Less room in the data directory is told of. Default 1 GiB.
    pub min_free_bytes: u64,
    /// What rabbitmq.conf says of `consumer_timeout`; zero: nobody told us.
    #[serde(with = "seconds")]
    pub ack_timeout: Duration,
}

impl Default for PreflightSettings {
    fn default() -> Self {
        Self {
            overridden: Vec::new(),
            max_clock_skew: Duration::from_secs(5),
            min_free_bytes: 1024 * 1024 * 1024,
            ack_timeout: Duration::ZERO,
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It cannot be seen from here; somebody else can look.
    Unknown,
    /// It works, and may surprise.
    Warn,
    /// Jobs could be lost, repeated or never run.
    Fail,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// One of [`CHECKS`].
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub what: String,
    /// Why it matters; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'static str>,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// It may be over in a moment, as an election is: no reason not to start.
    #[serde(skip)]
    pub passing: bool,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, what: what.into(), why: None, change: None, passing: false }
    }

    /// It cannot be seen from here; `change` says how to learn it.
    pub fn unknown(check: &'static str, what: impl Into<String>, why: &'static str, change: impl Into<String>) -> Self {
        Self { level: Level::Unknown, ..Self::warn(check, what, why, change) }
    }

    /// It works, and may surprise.
    pub fn warn(check: &'static str, what: impl Into<String>, why: &'static str, change: impl Into<String>) -> Self {
        Self { level: Level::Warn, why: Some(why), change: Some(change.into()), ..Self::ok(check, what) }
    }

    /// It must not stay so.
    pub fn fail(check: &'static str, what: impl Into<String>, why: &'static str, change: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::warn(check, what, why, change) }
    }

    /// It may be over in a moment.
    #[must_use]
    pub fn that_may_pass(self) -> Self {
        Self { passing: true, ..self }
    }

    /// Whether a worker must not start over it.
    fn refuses(&self) -> bool {
        self.level == Level::Fail && !self.passing
    }

    /// What a person reads, in up to three lines.
    pub fn told(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Unknown => "?",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let mut text = format!("{level:<4}  {:<27}  {}", self.check, self.what);
        // Writing into a text cannot fail.
        let _ = self.why.map(|why| write!(text, "\n      why: {why}"));
        let way_out = if self.level == Level::Unknown { "learn" } else { "change" };
        let _ = self.change.as_ref().map(|change| write!(text, "\n      {way_out}: {change}"));
        text
    }
}

/// Failures that an operator has taken upon himself are warnings.
pub fn settle(findings: Vec<Finding>, settings: &PreflightSettings) -> Vec<Finding> {
    let overridden = |finding: &Finding| settings.overridden.iter().any(|name| name == finding.check);
    let settle = |finding: Finding| match finding.level {
        Level::Fail if overridden(&finding) => {
            Finding { level: Level::Warn, what: format!("{} (overridden)", finding.what), ..finding }
        }
        _ => finding,
    };
    findings.into_iter().map(settle).collect()
}

/// Why a worker does not start, if anything failed: all of it, with the way out.
pub fn refusal(findings: &[Finding]) -> Option<String> {
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.refuses()).collect();
    if failed.is_empty() {
        return None;
    }
    let mut checks: Vec<&str> = failed.iter().map(|finding| finding.check).collect();
    checks.dedup();
    let told: Vec<String> = failed.iter().map(|finding| finding.told()).collect();
    let way_out = format!("to start all the same: --set preflight.override={}", checks.join(","));
    Some(format!("this worker would not keep its promises:\n{}\n{way_out}", told.join("\n")))
}

/// A length of time for people.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{:.1} s", time.as_secs_f64()),
        120..7_200 => format!("{} min", time.as_secs() / 60),
        _ => format!("{:.1} h", time.as_secs_f64() / 3_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(check: &'static str) -> Finding {
        Finding::fail(check, "it is off", "it should be on", "turn it on")
    }

    #[test]
    fn a_failure_refuses_and_says_how_to_start_all_the_same() {
        let findings = [Finding::ok("database.version", "15"), failed("database.fsync"), failed("broker.queue")];
        let told = refusal(&findings).unwrap();
        assert!(told.contains("it should be on") && told.contains("change: turn it on"), "{told}");
        assert!(told.ends_with("--set preflight.override=database.fsync,broker.queue"), "{told}");
        assert_eq!(refusal(&findings[..1]), None);
    }

    #[test]
    fn what_was_overridden_is_told_and_refuses_nothing() {
        let settings = PreflightSettings { overridden: vec!["database.fsync".into()], ..PreflightSettings::default() };
        let settled = settle(vec![failed("database.fsync"), failed("broker.queue")], &settings);
        assert_eq!(settled.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Warn, Level::Fail]);
        assert!(settled[0].what.ends_with("(overridden)"), "{settled:?}");
        assert!(refusal(&settled[..1]).is_none() && refusal(&settled).is_some());
    }

    #[test]
    fn what_may_be_over_in_a_moment_refuses_nothing_and_is_a_failure_all_the_same() {
        let election = failed("broker.queue").that_may_pass();
        assert!(election.level == Level::Fail && refusal(&[election]).is_none());
    }

    #[test]
    fn a_warning_refuses_nothing() {
        assert_eq!(refusal(&[Finding::warn("machine.disk", "little room", "it fills", "make room")]), None);
    }

    /// Every name in the judges' sources, so that an override of it is known.
    #[test]
    fn every_check_that_is_made_has_a_name_that_can_be_overridden() {
        let sources = [
            include_str!("preflight/broker.rs"),
            include_str!("preflight/database.rs"),
            include_str!("preflight/machine.rs"),
        ];
        let sources = sources.concat();
        for check in CHECKS {
            assert!(sources.contains(&format!("{check:?}")), "nobody makes the check {check}");
        }
        let made = sources.split('"').filter(|word| {
            ["database.", "broker.", "machine."].iter().any(|room| word.starts_with(room)) && !word.contains(' ')
        });
        let settings = ["database.connections", "database.url", "broker.urls"];
        for name in made {
            assert!(CHECKS.contains(&name) || settings.contains(&name), "{name} is in no list");
        }
    }
}
