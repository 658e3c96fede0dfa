//! The janitor: removes what nobody needs any more and no other call removes on its way: unique keys whose jobs are finished, old
//! deliveries of webhooks, old lines of the audit log, uploads that nobody finishes and files that no job names, with their bytes.
//! Expired idempotency keys go with the submits that bring new ones. What it removes is doomed in the ledger first, so that whoever
//! asks meanwhile is told so.

use std::time::Duration;

use super::{Agents, Leading};
use crate::ledger::Answer;
use crate::stop::Stop;
use crate::storage::Storage;
use crate::sweep;

/// A finished job's key waits so long; it costs a row meanwhile and hinders nobody.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// No faster than this, however short things are kept.
const LEAST: Duration = Duration::from_secs(1);
/// Deliveries are kept for weeks: an hour more is nothing.
const DELIVERIES_EVERY: Duration = Duration::from_secs(3600);
/// Removed in one transaction, so that none is long.
const BATCH: usize = 1000;

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let pause = agents.pause();
    let mut since = Duration::ZERO;
    while leading.lead(&stop).await {
        sweep("unique keys of finished jobs", || agents.ledger.remove_idle_keys(BATCH)).await;
        agents.sweep_bytes().await;
        since += pause;
        if since >= DELIVERIES_EVERY {
            since = Duration::ZERO;
            let (deliveries, lines) = (agents.keep_deliveries, agents.keep_audit_log);
            sweep("old deliveries of webhooks", || agents.ledger.remove_old_deliveries(deliveries, BATCH)).await;
            sweep("old lines of the audit log", || agents.ledger.remove_old_lines(lines, BATCH)).await;
        }
        stop.sleep(pause).await;
    }
}

/// Removes batch after batch, until there is nothing more or the ledger does not answer.
async fn sweep<F: Future<Output = Answer<usize>>>(what: &str, batch: impl Fn() -> F) {
    let mut swept = 0;
    loop {
        match batch().await {
            Ok(BATCH) => swept += BATCH,
            Ok(last) if swept + last == 0 => return,
            Ok(last) => return tracing::debug!(removed = swept + last, "{what} are removed"),
            Err(error) => return tracing::warn!(%error, "the janitor waits for the ledger"),
        }
    }
}

impl Agents {
    /// Twice within the time that anything is kept.
    fn pause(&self) -> Duration {
        let Some(storage) = &self.storage else { return LOOK_EVERY };
        let (unfinished, unused) = storage.patience();
        let kept = unused.map_or(unfinished, |unused| unused.min(unfinished));
        (kept / 2).clamp(LEAST, LOOK_EVERY)
    }

    /// A batch at each look; what could not be removed is tried again at the next, and keeps nothing else back.
    async fn sweep_bytes(&self) {
        let Some(storage) = &self.storage else { return };
        let (uploads, files) = (self.sweep_uploads(storage).await, self.sweep_files(storage).await);
        for error in [uploads.err(), files.err()].into_iter().flatten() {
            tracing::warn!(%error, "the janitor waits for the ledger");
        }
    }

    async fn sweep_uploads(&self, storage: &Storage) -> Answer<()> {
        for upload in self.ledger.expired_uploads(BATCH).await? {
            let (id, tenant, received) = (upload.id, &upload.tenant, upload.stand.received);
            match sweep::upload(self.ledger.as_ref(), storage, &upload).await {
                Ok(()) => tracing::info!(upload.id = %id, %tenant, received, "an unfinished upload has expired"),
                Err(error) => tracing::warn!(upload.id = %id, %error, "an expired upload is still there"),
            }
        }
        for upload in self.ledger.finished_uploads(BATCH).await? {
            if let Err(error) = sweep::finished(self.ledger.as_ref(), storage, &upload).await {
                tracing::warn!(upload.id = %upload.id, %error, "what was sent for a file may still lie beside it");
            }
        }
        Ok(())
    }

    async fn sweep_files(&self, storage: &Storage) -> Answer<()> {
        for (tenant, id) in self.ledger.expired_files(storage.patience().1, BATCH).await? {
            match sweep::file(self.ledger.as_ref(), storage, &tenant, id).await {
                Ok(()) => tracing::info!(file.id = %id, %tenant, "a file that no job has named has expired"),
                Err(error) => tracing::warn!(file.id = %id, %error, "an expired file is still there"),
            }
        }
        Ok(())
    }
}
