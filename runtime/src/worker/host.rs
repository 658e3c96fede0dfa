//! The worker's side of an executor's [`Context`](longshore_sdk::Context): progress into the table of running attempts,
//! checkpoints into the ledger, files into the storage. It forwards and fences; it decides nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use longshore_sdk::context::{Host, Input, Kept};
use longshore_sdk::{Artifact, Failure, Progress, Result, Source};
use serde_json::value::RawValue;

use super::running::Running;
use crate::ledger::{Fence, Ledger};
use crate::storage::Storage;
use crate::tenant::Tenant;

/// What all attempts of a worker share.
pub(super) struct Shared {
    /// For checkpoints.
    pub(super) ledger: Arc<dyn Ledger>,
    /// For inputs and artifacts.
    pub(super) storage: Arc<Storage>,
    /// For progress.
    pub(super) running: Running,
    /// Where scratch directories are made.
    pub(super) scratch: PathBuf,
}

/// One attempt's host.
pub(super) struct AttemptHost {
    shared: Arc<Shared>,
    fence: Fence,
    tenant: Tenant,
}

impl AttemptHost {
    /// The host of the attempt that holds `fence`, which may read the uploads of `tenant` alone.
    pub(super) fn new(shared: Arc<Shared>, fence: Fence, tenant: Tenant) -> Self {
        Self { shared, fence, tenant }
    }
}

#[async_trait]
impl Host for AttemptHost {
    fn scratch_root(&self) -> &Path {
        &self.shared.scratch
    }

    fn progress(&self, progress: Progress) {
        self.shared.running.report(&self.fence, progress);
    }

    async fn save_checkpoint(&self, checkpoint: Box<RawValue>) -> Result<()> {
        if self.shared.ledger.save_checkpoint(self.fence, &checkpoint).await? { Ok(()) } else { Err(Failure::Canceled) }
    }

    async fn fetch(&self, source: &Source, scratch: &Path) -> Result<Input> {
        // The API has marked what its callers name; this is for the jobs of producers that publish by themselves.
        if let Source::File(id) = source
            && let Ok(id) = id.parse()
            && let Err(error) = self.shared.ledger.use_files(&self.tenant, self.fence.job, &[id]).await
        {
            tracing::warn!(file.id = %id, %error, "a file is used, and the ledger was not told");
        }
        self.shared.storage.fetch_to(&self.tenant, source, scratch).await
    }

    async fn keep(&self, name: &str, file: &Path) -> Result<()> {
        self.shared.storage.keep(self.fence.job, self.fence.attempt, name, file).await
    }

    async fn recall(&self, kept: &Kept, scratch: &Path) -> Result<Option<Input>> {
        self.shared.storage.recall(self.fence.job, kept, scratch).await
    }

    async fn stage(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact> {
        let staged = self.shared.storage.stage_artifact(self.fence.job, self.fence.attempt, name, file).await?;
        let (name, content_type) = (name.to_owned(), content_type.to_owned());
        Ok(Artifact { name, content_type, bytes: staged.bytes, sha256: staged.sha256 })
    }
}
