//! The janitor: removes what nobody needs any more and no other call removes on its way: unique keys whose jobs are finished, old
//! deliveries of webhooks, old lines of the audit log, uploads that nobody finishes and files that no job names, with their bytes.
//! Expired idempotency keys go with the submits that bring new ones. What it removes is doomed in the ledger first, so that whoever
//! asks meanwhile is told so.

use std::time::Duration;

use uuid::Uuid;

use super::{Agents, Leading};
use crate::ledger::uploads::Upload;
use crate::ledger::{Answer, Ledger, LedgerError};
use crate::stop::Stop;
use crate::storage::draft::Which;
use crate::storage::{Storage, StorageError};
use crate::tenant::Tenant;

/// A finished job's key waits so long; it costs a row meanwhile and hinders nobody.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// No faster than this, however short things are kept.
const LEAST: Duration = Duration::from_secs(1);
/// Deliveries are kept for weeks: an hour more is nothing.
const DELIVERIES_EVERY: Duration = Duration::from_secs(3600);
/// Removed in one transaction, so that none is long.
const BATCH: usize = 1000;

/// Why bytes are still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let pause = agents.pause();
    let mut since = Duration::ZERO;
    while leading.lead(&stop).await {
        match agents.sweep_keys().await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "unique keys of finished jobs are removed"),
            Err(error) => tracing::warn!(%error, "the janitor waits for the ledger"),
        }
        agents.sweep_bytes().await;
        since += pause;
        if since >= DELIVERIES_EVERY {
            since = Duration::ZERO;
            agents.forget_deliveries().await;
            agents.forget_deeds().await;
        }
        stop.sleep(pause).await;
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

    async fn forget_deeds(&self) {
        match self.sweep_audit_log().await {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "old lines of the audit log are removed"),
            Err(error) => tracing::warn!(%error, "the janitor waits for the ledger"),
        }
    }

    async fn sweep_audit_log(&self) -> Answer<usize> {
        let mut swept = 0;
        loop {
            let removed = self.ledger.remove_old_lines(self.keep_audit_log, BATCH).await?;
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
            match sweep_upload(self.ledger.as_ref(), storage, &upload).await {
                Ok(()) => tracing::info!(upload.id = %id, %tenant, received, "an unfinished upload has expired"),
                Err(error) => tracing::warn!(upload.id = %id, %error, "an expired upload is still there"),
            }
        }
        Ok(())
    }

    async fn sweep_files(&self, storage: &Storage) -> Answer<()> {
        for (tenant, id) in self.ledger.expired_files(storage.patience().1, BATCH).await? {
            match sweep_file(self.ledger.as_ref(), storage, (&tenant, id)).await {
                Ok(()) => tracing::info!(file.id = %id, %tenant, "a file that no job has named has expired"),
                Err(error) => tracing::warn!(file.id = %id, %error, "an expired file is still there"),
            }
        }
        Ok(())
    }
}

/// Removes the bytes of a doomed file and then its row.
async fn sweep_file(ledger: &dyn Ledger, storage: &Storage, (whose, id): (&Tenant, Uuid)) -> Result<(), SweepError> {
    match storage.delete_file(whose, id).await {
        Ok(()) | Err(StorageError::Missing) => Ok(ledger.forget_file(id).await?),
        Err(error) => Err(error.into()),
    }
}

/// Removes the bytes of a doomed upload, whether it is a file by now or not, and then its rows. A repeat is one.
pub(crate) async fn sweep_upload(ledger: &dyn Ledger, storage: &Storage, upload: &Upload) -> Result<(), SweepError> {
    let Upload { id, tenant, bytes, stand, .. } = upload;
    storage.drop_draft(Which { tenant, id: *id, bytes: *bytes }, &stand.place).await?;
    // Also where the ledger has not heard that it became a file.
    sweep_file(ledger, storage, (tenant, *id)).await?;
    Ok(ledger.forget_upload(*id).await?)
}
