//! What operators see: counters, gauges and histograms of this process, for Prometheus. Every metric stands in [`table`], every
//! label has a closed set of values, and every series exists from the start, at 0. It measures; it decides nothing and keeps
//! no job's name. One function per event is in [`events`], the handles behind them in [`series`].

pub mod events;
pub mod labels;
pub mod series;
pub mod table;

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use crate::stop::Stop;
pub use events::BusySlots;
pub use labels::Role;
pub use series::Metrics;

static OURS: OnceLock<Metrics> = OnceLock::new();
/// Of a process that measures nothing: a test, or a command that ends at once.
static NOBODYS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new(&[], []));

/// Samples of histograms lie in buffers until they are counted: so often, whether or not anybody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Makes the series of this process: those of its roles, for its kinds. The first call in a process counts.
pub fn begin<'a>(roles: &[Role], kinds: impl IntoIterator<Item = &'a str>, stop: &Stop) {
    let metrics = OURS.get_or_init(|| Metrics::new(roles, kinds));
    let ended = stop.clone();
    stop.spawn("metrics", async move {
        while ended.sleep(UPKEEP_EVERY).await {
            metrics.upkeep();
        }
    });
}

/// The metrics of this process.
pub fn ours() -> &'static Metrics {
    OURS.get().unwrap_or(&NOBODYS)
}
