//! Work put aside: files that an attempt leaves for the attempts after it, such as the finished segments of a video. They are no
//! outputs and nobody is shown them; a checkpoint says which of them count, and they go when the job is settled.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Context, Input, artifact_name_is_valid};
use crate::outcome::{Fatal, Result};

/// The name of a kept file: what belongs into a checkpoint. It lies under its attempt's number, so an attempt that lost its lease
/// overwrites nothing of its successor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The attempt that kept it.
    pub attempt: u32,
    /// Its name, as it was given.
    pub name: String,
}

impl Context {
    /// Puts `file` aside for later attempts of this job. The file may be gone from its old place and must not be written to again.
    /// It counts only once a checkpoint names it: save one with the answer.
    ///
    /// # Errors
    /// Fatal for a name that is no plain file name; a retry when the store does not take the file.
    pub async fn keep(&self, name: &str, file: &Path) -> Result<Kept> {
        if !artifact_name_is_valid(name) {
            return Err(Fatal::new("kept_name", format!("{name:?} is no plain file name of 1 to 128 bytes")).into());
        }
        self.host.step().await;
        self.host.keep(name, file).await?;
        self.host.step().await;
        Ok(Kept { attempt: self.attempt(), name: name.to_owned() })
    }

    /// Brings a kept file to the local disk. `None` when it is gone, as after a replay: then the work starts over.
    ///
    /// # Errors
    /// A retry when the store does not answer.
    pub async fn recall(&self, kept: &Kept) -> Result<Option<Input>> {
        if !artifact_name_is_valid(&kept.name) {
            return Ok(None);
        }
        let scratch = self.scratch()?;
        self.host.recall(kept, scratch).await
    }
}
