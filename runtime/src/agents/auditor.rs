//! The auditor: now and then looks at some jobs for what must never be, and goes on where it left off, so that a look costs the
//! same however large the ledger is. It repairs nothing: a violation is a bug or a hand in the database, and people must know.
//! Read `ledger/audit.rs` for what it asks.

use std::time::Duration;

use longshore_sdk::JobId;

use super::{Agents, Leading, rescuer};
use crate::ledger::{Answer, AuditPatience, Check, Violation};
use crate::metrics;
use crate::stop::Stop;

/// Jobs in one statement.
pub const PAGE: usize = 1_000;
/// An announcement that is owed for longer is owed by nobody.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(60);

/// How often it looks, and at how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPace {
    /// From look to look.
    pub interval: Duration,
    /// Jobs of one look.
    pub jobs: usize,
}

/// A walk over all jobs, in several looks.
#[derive(Debug, Default)]
struct Walk {
    after: Option<JobId>,
    found: Vec<Violation>,
    /// What the last whole walk found, for each check.
    before: [usize; Check::ALL.len()],
}

/// How long things may take where leases last so long: a job without any lease row is found by the slowest of the scans.
pub fn patience(lease: Duration) -> AuditPatience {
    AuditPatience { rescue: lease + rescuer::SLOWEST, announce: ANNOUNCE_WITHIN }
}

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let mut walk = Walk::default();
    while leading.lead(&stop).await {
        match agents.look(&mut walk).await {
            Ok(()) => metrics::ours().audited(&walk.shown()),
            Err(error) => tracing::warn!(%error, "the auditor waits for the ledger"),
        }
        stop.sleep(agents.audit.interval).await;
        if !leading.leads() {
            // Another process looks now, and says what is so.
            walk = Walk::default();
            metrics::ours().audited(&walk.shown());
        }
    }
}

impl Agents {
    async fn look(&self, walk: &mut Walk) -> Answer<()> {
        let mut left = self.audit.jobs;
        while left > 0 {
            let limit = left.min(PAGE);
            let page = self.ledger.audit(walk.after, limit, patience(self.lease)).await?;
            for violation in &page.violations {
                self.accuse(*violation).await?;
            }
            walk.found.extend(page.violations);
            walk.after = page.last;
            left -= limit;
            if page.last.is_none() {
                *walk = Walk { before: walk.counts(), ..Walk::default() };
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Agents {
    /// Looks the job up, for this is rare and every line about a job says which attempt and whose request; one that is not there has
    /// neither.
    async fn accuse(&self, Violation { check, job: id }: Violation) -> Answer<()> {
        let job = self.ledger.job(id).await?;
        let job = job.as_ref();
        let (kind, attempt) = (job.map(|job| job.kind.as_str()), job.map(|job| job.attempt));
        let correlation_id = job.and_then(|job| job.correlation_id.as_deref());
        tracing::error!(job.id = %id, job.kind = kind, attempt, correlation_id, check = check.word(), "violation: {}", check.told());
        Ok(())
    }
}

impl Walk {
    fn counts(&self) -> [usize; Check::ALL.len()] {
        Check::ALL.map(|check| self.found.iter().filter(|violation| violation.check == check).count())
    }

    /// What was found before stands until a whole walk has not found it again.
    fn shown(&self) -> [usize; Check::ALL.len()] {
        let now = self.counts();
        std::array::from_fn(|check| now[check].max(self.before[check]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_shown_until_a_whole_walk_has_not_found_it() {
        let mut walk = Walk::default();
        assert_eq!(walk.shown().iter().sum::<usize>(), 0);
        walk.found.push(Violation { check: Check::Road, job: JobId::fresh() });
        walk = Walk { before: walk.counts(), ..Walk::default() };
        assert_eq!(walk.shown()[Check::Road as usize], 1);
        walk = Walk { before: walk.counts(), ..Walk::default() };
        assert_eq!(walk.shown().iter().sum::<usize>(), 0);
    }
}
