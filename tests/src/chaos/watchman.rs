//! Asks all through the storm whether a job is running without a live lease for too long: afterwards, when everything is settled, nobody
//! could say so any more. It goes by the ledger's clock and by its own looks, and changes nothing; `truth.rs` judges what it saw.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_runtime::agents::auditor;
use longshore_sdk::JobId;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use uuid::Uuid;

use super::eye::Eye;
use super::pass;

/// From look to look.
const LOOK: Duration = Duration::from_secs(1);
/// A lease that is over is noticed by the rescuer's next look, or one lease after the ledger is back. Another rescuer may have to take
/// over, and find its way through what else goes wrong; only looks that the ledger answered count towards it.
const RESCUED: Duration = Duration::from_secs(30);
/// Running jobs whose worker has no lease now, and how long ago it ended; none is told where the worker's row is gone.
const FORSAKEN: &str = "\
select j.id, j.attempt, extract(epoch from now() - w.lease_until)::float8 as over \
from jobs j left join workers w on w.id = j.worker where j.state = 1 and coalesce(w.lease_until, '-infinity') < now()";

/// Who asks.
#[derive(Debug)]
pub struct Watchman {
    seen: Arc<Mutex<Seen>>,
    began: Instant,
    watching: JoinHandle<()>,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How often the ledger answered.
    pub asked: usize,
    /// How many of the answers had a running job without a lease in them.
    pub bare: usize,
    /// The longest that one was seen so.
    pub longest: Duration,
    /// Those that were so for too long.
    pub violations: Vec<String>,
    /// In how many answers in a row each attempt was so.
    looks: HashMap<(JobId, i32), u32>,
}

impl Watchman {
    /// Watches this ledger, where leases last so long, until dropped.
    pub fn of(database_url: &str, lease: Duration) -> Watchman {
        let (seen, eye) = (Arc::new(Mutex::new(Seen::default())), Eye::on(database_url));
        let kept = Arc::clone(&seen);
        let watching = tokio::spawn(async move {
            loop {
                // While the ledger does not answer nobody can rescue.
                if let Ok(rows) = eye.ask(FORSAKEN, &[]).await {
                    lock(&kept).look(&rows.iter().map(bare).collect::<Vec<_>>(), lease);
                }
                pass(LOOK).await;
            }
        });
        Watchman { seen, began: Instant::now(), watching }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// How often it should have been answered at least: every other second.
    pub fn least(&self) -> usize {
        usize::try_from(self.began.elapsed().as_secs() / 2).unwrap_or(usize::MAX)
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A running attempt whose worker has no lease, and since when, if the worker's row is still there.
type Bare = (JobId, i32, Option<Duration>);

fn bare(row: &Row) -> Bare {
    let over: Option<f64> = row.get("over");
    let over = over.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
    (JobId(row.get::<_, Uuid>("id")), row.get("attempt"), over)
}

impl Seen {
    fn look(&mut self, found: &[Bare], lease: Duration) {
        self.asked += 1;
        self.bare += usize::from(!found.is_empty());
        let before = std::mem::take(&mut self.looks);
        for (job, attempt, over) in found {
            let looks = before.get(&(*job, *attempt)).map_or(1, |looks| looks + 1);
            self.looks.insert((*job, *attempt), looks);
            let seen = LOOK * (looks - 1);
            let over = over.unwrap_or(seen);
            self.longest = self.longest.max(over);
            if over > auditor::patience(lease).rescue || seen > lease + RESCUED {
                self.violations.push(format!("{job}, attempt {attempt}: {over:.1?}, {looks} looks"));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    #[test]
    fn a_job_without_a_lease_for_too_long_is_a_violation_and_a_rescued_one_is_none() {
        let (mut seen, job) = (Seen::default(), JobId::fresh());
        let late = LEASE + RESCUED;
        for second in 0..=late.as_secs() {
            seen.look(&[(job, 1, Some(Duration::from_secs(second)))], LEASE);
        }
        assert!(seen.violations.is_empty(), "{:?}", seen.violations);
        seen.look(&[(job, 1, None)], LEASE);
        assert_eq!(seen.violations.len(), 1);
        seen.look(&[(job, 2, Some(LEASE))], LEASE);
        seen.look(&[], LEASE);
        assert_eq!((seen.violations.len(), seen.asked - seen.bare, seen.longest), (1, 1, late + LOOK));
    }

    #[test]
    fn what_the_ledger_itself_knows_to_be_too_long_needs_no_second_look() {
        let mut seen = Seen::default();
        seen.look(&[(JobId::fresh(), 1, Some(LEASE + Duration::from_secs(66)))], LEASE);
        assert_eq!(seen.violations.len(), 1);
    }
}
