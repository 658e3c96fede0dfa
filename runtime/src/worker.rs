//! A worker: hosts executors and carries deliveries through them. A process may live through several identities, each with its
//! own lease; when one is lost the next begins. Start with [`delivery`], the loop; [`shift`] is one identity's life.

mod delivery;
mod heartbeat;
mod host;
mod message;
pub mod registry;
mod running;
mod shift;
pub mod slots;
#[cfg(test)]
mod tests;
mod watermark;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::guard::Guard;
use crate::ledger::Ledger;
use crate::stop::Stop;
use crate::storage::Storage;
pub use heartbeat::Heart;
use registry::Registry;

/// A worker's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// How many attempts at once (an attempt may cost several). Default: one per core.
    pub slots: u32,
    /// Deliveries of a kind held beyond what can run. Default 2.
    pub prefetch_extra: u32,
    /// How long a lease lasts without renewal. Default 15 s: a killed worker's jobs run again after that.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub lease: Duration,
    /// How long running attempts may go on after SIGTERM before they are handed back. Default 30 s.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub drain_grace: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            slots: u32::try_from(cores).unwrap_or(2).max(2),
            prefetch_extra: 2,
            lease: Duration::from_secs(15),
            drain_grace: Duration::from_secs(30),
        }
    }
}

/// What a worker is made of.
pub struct Setup {
    /// Its limits.
    pub settings: WorkerSettings,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The same ledger over a connection of the heartbeat's own.
    pub heart_ledger: Arc<dyn Ledger>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Inputs and artifacts.
    pub storage: Arc<Storage>,
    /// What it runs.
    pub registry: Arc<Registry>,
    /// This machine, for people.
    pub host: String,
    /// Where scratch directories are made.
    pub scratch: PathBuf,
    /// Tells the relay of this process that something may be due.
    pub hints: Arc<Notify>,
    /// What jitter is made of.
    pub luck: Luck,
    /// Where its heart beats.
    pub heart: Heart,
    /// Who looks after its process.
    pub guard: Guard,
}

/// A random number from 0 to 1 at every call.
pub type Luck = Arc<dyn Fn() -> f64 + Send + Sync>;

/// The luck of a process that is not simulated.
pub fn luck() -> Luck {
    Arc::new(|| f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX))
}

/// Between two identities when the ledger does not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Works until `stop` is asked, under one identity after another, and drains.
pub async fn run(setup: Setup, stop: Stop) {
    while !stop.is_asked() {
        if let Err(error) = shift::work(&setup, &stop).await {
            tracing::warn!(%error, "cannot work; trying again");
            stop.sleep(RETRY_PAUSE).await;
        }
    }
}
