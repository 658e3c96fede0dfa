//! How bytes go that the ledger has doomed: first they, then their row, so that what could not be removed is found again. It stands above
//! ledger and storage, which don't know each other, for whoever removes at once and for the janitor, who does it again.

use uuid::Uuid;

use crate::ledger::uploads::Upload;
use crate::ledger::{Ledger, LedgerError};
use crate::storage::draft::{Draft, Which};
use crate::storage::{Storage, StorageError};
use crate::tenant::Tenant;

/// Why bytes are still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Removes the bytes of a doomed file and then its row.
pub(crate) async fn file(ledger: &dyn Ledger, storage: &Storage, tenant: &Tenant, id: Uuid) -> Result<(), SweepError> {
    match storage.delete_file(tenant, id).await {
        Ok(()) | Err(StorageError::Missing) => Ok(ledger.forget_file(id).await?),
        Err(error) => Err(error.into()),
    }
}

/// Forgets an upload that is a file. By a link that was good for a while, something may have been put beside the file once more.
pub(crate) async fn finished(ledger: &dyn Ledger, storage: &Storage, upload: &Upload) -> Result<(), SweepError> {
    let Upload { id, tenant, bytes, stand, .. } = upload;
    if stand.place == Draft::direct() {
        storage.drop_draft(Which { tenant, id: *id, bytes: *bytes }, &stand.place).await?;
    }
    Ok(ledger.forget_upload(*id).await?)
}

/// Removes the bytes of a doomed upload, whether it is a file by now or not, and then its rows. A repeat is one.
pub(crate) async fn upload(ledger: &dyn Ledger, storage: &Storage, upload: &Upload) -> Result<(), SweepError> {
    let Upload { id, tenant, bytes, stand, .. } = upload;
    storage.drop_draft(Which { tenant, id: *id, bytes: *bytes }, &stand.place).await?;
    // Also where the ledger has not heard that it became a file.
    file(ledger, storage, tenant, *id).await?;
    Ok(ledger.forget_upload(*id).await?)
}
