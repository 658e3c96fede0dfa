//! The janitor: removes what nobody needs any more and no other call removes on its way. Today that is unique keys whose jobs
//! are finished, and old deliveries of webhooks; expired idempotency keys go with the submits that bring new ones.

use std::time::Duration;

use super::{Agents, Leading};
use crate::ledger::Answer;
use crate::stop::Stop;

/// A finished job's key waits so long; it costs a row meanwhile and hinders nobody.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Deliveries are kept for weeks: an hour more is nothing.
const DELIVERIES_EVERY: u32 = 60;
/// Removed in one transaction, so that none is long.
const BATCH: usize = 1000;

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let mut looks = 0_u32;
    while leading.lead(&stop).await {
        match agents.sweep_keys().await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "unique keys of finished jobs are removed"),
            Err(error) => tracing::warn!(%error, "the janitor waits for the ledger"),
        }
        looks += 1;
        if looks.is_multiple_of(DELIVERIES_EVERY) {
            agents.forget_deliveries().await;
        }
        stop.sleep(LOOK_EVERY).await;
    }
}

impl Agents {
    async fn forget_deliveries(&self) {
        match self.sweep_deliveries().await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "old deliveries of webhooks are removed"),
            Err(error) => tracing::warn!(%error, "the janitor waits for the ledger"),
        }
    }

    async fn sweep_deliveries(&self) -> Answer<usize> {
        let mut swept = 0;
        loop {
            let removed = self.ledger.remove_old_deliveries(self.keep_deliveries, BATCH).await?;
            swept += removed;
            if removed < BATCH {
                return Ok(swept);
            }
        }
    }

    async fn sweep_keys(&self) -> Answer<usize> {
        let mut swept = 0;
        loop {
            let removed = self.ledger.remove_idle_keys(BATCH).await?;
            swept += removed;
            if removed < BATCH {
                return Ok(swept);
            }
        }
    }
}
