//! What attempts put aside for later attempts of their job: `kept/<job>/<attempt>/<name>`. No caller sees it, and it goes when the job
//! is settled. Read [`super::stage`] for how a file gets its place.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use longshore_sdk::context::{Input, Kept, artifact_name_is_valid};
use longshore_sdk::{JobId, Result};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;

use super::source::save;
use super::{Storage, StorageError};

/// The jobs for which this process has kept something: the others need no look into the store when they are settled.
#[derive(Debug, Default)]
pub(super) struct Keeping(Mutex<HashSet<JobId>>);

impl Storage {
    /// Puts `file` aside.
    ///
    /// # Errors
    /// As [`Storage::stage_artifact`].
    pub async fn keep(&self, job: JobId, attempt: u32, name: &str, file: &Path) -> Result<()> {
        let key = kept_key(job, attempt, name).map_err(StorageError::into_failure)?;
        self.keeping.0.lock().expect("no panic while held").insert(job);
        self.stage_at(&key, file).await.map(drop)
    }

    /// Brings a kept file to a local path: the file itself in a directory, else a copy in `scratch`. `None` when it is gone.
    ///
    /// # Errors
    /// A retry when the store does not answer.
    pub async fn recall(&self, job: JobId, kept: &Kept, scratch: &Path) -> Result<Option<Input>> {
        let Ok(key) = kept_key(job, kept.attempt, &kept.name) else { return Ok(None) };
        if let Some(root) = &self.root {
            let path = root.join(key.as_ref());
            return match tokio::fs::metadata(&path).await {
                Ok(facts) => Ok(Some(Input { path, bytes: facts.len() })),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(StorageError::from(error).into_failure()),
            };
        }
        let found = match self.store.get(&key).await.map_err(StorageError::from) {
            Ok(found) => found,
            Err(StorageError::Missing) => return Ok(None),
            Err(error) => return Err(error.into_failure()),
        };
        let path = scratch.join(format!("kept-{}-{}", kept.attempt, kept.name));
        save(found.into_stream(), &path, u64::MAX).await.map(Some)
    }

    /// Whether this process has kept something for this job.
    pub fn keeps_for(&self, job: JobId) -> bool {
        self.keeping.0.lock().expect("no panic while held").contains(&job)
    }

    /// Removes all that was kept for this job. Nothing kept is no error.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn forget_kept(&self, job: JobId) -> std::result::Result<(), StorageError> {
        self.keeping.0.lock().expect("no panic while held").remove(&job);
        self.delete_all(&job_key(job)).await
    }
}

fn job_key(job: JobId) -> Key {
    Key::from_iter(["kept".to_owned(), job.to_string()])
}

fn kept_key(job: JobId, attempt: u32, name: &str) -> std::result::Result<Key, StorageError> {
    artifact_name_is_valid(name).then(|| job_key(job).join(attempt.to_string()).join(name)).ok_or(StorageError::Missing)
}
