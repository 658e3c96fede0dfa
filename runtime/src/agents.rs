//! The agents that keep jobs moving: relay, rescuer, reconciler, surveyor, auditor, janitor. One process at a time has the role; two at once do no harm, for
//! every mark is conditional. They run no job. Each is a loop of its own below.

pub mod auditor;
pub mod janitor;
pub mod reconciler;
pub mod relay;
pub mod rescuer;
pub mod surveyor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

pub use self::janitor::Kept;
use crate::broker::Broker;
use crate::ledger::Ledger;
use crate::stop::Stop;
use crate::storage::Storage;

/// What the agents work with.
#[derive(Clone)]
pub struct Agents {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Who asks for the role: one per process, or one for all when a lock says that there is one process.
    pub holder: Uuid,
    /// How long a worker's lease lasts; the rescuer waits so long after an outage of the ledger.
    pub lease: Duration,
    /// Crashes alone after which a job is poison.
    pub crash_limit: u32,
    /// How often the auditor looks, and at how much.
    pub audit: auditor::AuditPace,
    /// The broker keeps nothing across our restarts, and no other process has a lease: rescue and publish at once.
    pub alone: bool,
    /// Rung by this process when something may be due.
    pub hints: Arc<Notify>,
    /// Where the bytes lie of what the janitor removes; `None`: it removes none.
    pub storage: Option<Arc<Storage>>,
    /// How long things are kept.
    pub keep: Kept,
}

const ROLE: &str = "agents";
/// How long the role lasts without renewal, at most: the longest time without a relay after its process died.
const ROLE_LEASE: Duration = Duration::from_secs(5);

/// A process that had the role may also have been a worker: the role must be taken over before that worker's lease is over, or its
/// jobs wait for their rescuer.
fn role_lease(lease: Duration) -> Duration {
    ROLE_LEASE.min(lease / 2)
}

/// Renewed three times within it, as a worker's lease is; others ask for it at the same pace.
fn role_renewal(lease: Duration) -> Duration {
    role_lease(lease) * 3 / 10
}

impl Agents {
    /// Starts the loops; they work while this process has the role.
    pub fn start(self, stop: &Stop) {
        let leading = Leading::default();
        stop.spawn("role", self.clone().keep_role(leading.clone(), stop.clone()));
        stop.spawn("relay", relay::run(self.clone(), leading.clone(), stop.clone()));
        stop.spawn("rescuer", rescuer::run(self.clone(), leading.clone(), stop.clone()));
        stop.spawn("reconciler", reconciler::run(self.clone(), leading.clone(), stop.clone()));
        stop.spawn("surveyor", surveyor::run(self.clone(), leading.clone(), stop.clone()));
        stop.spawn("auditor", auditor::run(self.clone(), leading.clone(), stop.clone()));
        stop.spawn("janitor", janitor::run(self, leading, stop.clone()));
    }

    async fn keep_role(self, leading: Leading, stop: Stop) {
        loop {
            let has = match self.ledger.lead(ROLE, self.holder, role_lease(self.lease)).await {
                Ok(has) => has,
                Err(error) => {
                    tracing::warn!(%error, "the agents' role is not renewed");
                    false
                }
            };
            leading.set(has);
            if !stop.sleep(role_renewal(self.lease)).await {
                return self.give_up_role(&leading).await;
            }
        }
    }

    /// Whoever leaves in good order lets the next one have the role at once, for there is no relay meanwhile. A failure costs the
    /// rest of the role's lease.
    async fn give_up_role(&self, leading: &Leading) {
        if leading.leads()
            && let Err(error) = self.ledger.lead(ROLE, self.holder, Duration::ZERO).await
        {
            tracing::debug!(%error, "the agents' role is given up by its lease alone");
        }
    }
}

/// Whether this process has the role. Its waiters wake in the order they came, as a simulation that is to repeat itself needs.
#[derive(Debug, Clone, Default)]
struct Leading(Arc<Lead>);

#[derive(Debug, Default)]
struct Lead {
    leads: AtomicBool,
    news: Notify,
}

impl Leading {
    fn set(&self, leads: bool) {
        if self.0.leads.swap(leads, Ordering::AcqRel) != leads {
            self.0.news.notify_waiters();
        }
    }

    fn leads(&self) -> bool {
        self.0.leads.load(Ordering::Acquire)
    }

    /// Waits until this process has the role; says whether to go on.
    async fn lead(&self, stop: &Stop) -> bool {
        loop {
            // Made before the look: what is set after it wakes this one.
            let news = self.0.news.notified();
            if stop.is_asked() {
                return false;
            }
            if self.leads() {
                return true;
            }
            tokio::select! {
                biased;
                () = stop.asked() => return false,
                () = news => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::embedded::{Embedded, Limits};
    use crate::ledger::sqlite::Sqlite;

    /// Agents over an empty ledger, whose clock is tokio's, and an empty broker.
    pub(super) async fn agents() -> (Agents, Arc<Embedded>) {
        let began = tokio::time::Instant::now();
        let clock = move || jiff::Timestamp::UNIX_EPOCH + began.elapsed();
        let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::simulated(Arc::new(clock)).unwrap());
        ledger.migrate().await.unwrap();
        let broker = Embedded::new(Limits::default());
        let agents = Agents {
            ledger,
            broker: Arc::<Embedded>::clone(&broker),
            holder: Uuid::now_v7(),
            lease: Duration::from_secs(15),
            crash_limit: 3,
            audit: auditor::AuditPace { interval: Duration::from_secs(60), jobs: 100 },
            alone: false,
            hints: Arc::default(),
            storage: None,
            keep: Kept::for_ever(),
        };
        (agents, broker)
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_in_good_order_gives_the_role_up() {
        let ((agents, _), stop) = (agents().await, Stop::new());
        let ledger = Arc::clone(&agents.ledger);
        agents.start(&stop);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let other = Uuid::now_v7();
        assert!(!ledger.lead(ROLE, other, ROLE_LEASE).await.unwrap());
        stop.ask();
        assert!(stop.finished(Duration::from_secs(5)).await);
        assert!(ledger.lead(ROLE, other, ROLE_LEASE).await.unwrap());
    }

    #[test]
    fn the_role_is_taken_over_before_the_lease_of_its_dead_holder_is_over() {
        for seconds in [1, 3, 15, 600] {
            let lease = Duration::from_secs(seconds);
            assert!(role_lease(lease) + role_renewal(lease) < lease, "{lease:?}");
        }
        let ordinary = Duration::from_secs(15);
        assert_eq!((role_lease(ordinary), role_renewal(ordinary)), (ROLE_LEASE, Duration::from_millis(1500)));
    }
}
