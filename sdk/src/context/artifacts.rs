//! Output files. An attempt stages them under its own number; the commit that completes the job publishes them, so a
//! dead attempt's files are never seen.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::outcome::{Failure, Fatal, Result};

/// A staged, later published, output file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Its name within the job, e.g. `thumb.jpg`.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

impl Context {
    /// Stages `file` as an output called `name`. The file moves: it may be gone from its old place.
    ///
    /// # Errors
    /// Fatal for a name that is no plain file name or is taken; a retry when the store does not take the file.
    pub async fn publish(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact> {
        if !artifact_name_is_valid(name) {
            return Err(Fatal::new("artifact_name", format!("{name:?} is no plain file name of 1 to 128 bytes")).into());
        }
        let reserved = Reserved::new(self, name)?;
        self.host.step().await;
        let artifact = self.host.stage(name, content_type, file).await?;
        self.host.step().await;
        self.artifacts.lock().expect("no panic while held").push(artifact.clone());
        reserved.keep();
        Ok(artifact)
    }

    /// Stages `content` as an output called `name`.
    ///
    /// # Errors
    /// As [`Context::publish`].
    pub async fn publish_bytes(&self, name: &str, content_type: &str, content: &[u8]) -> Result<Artifact> {
        let file = tempfile::NamedTempFile::new_in(self.scratch()?)?.into_temp_path();
        tokio::fs::write(&file, content).await.map_err(|error| Failure::retry("scratch_unavailable", error))?;
        self.publish(name, content_type, &file).await
    }

    /// What this attempt has staged so far.
    pub fn artifacts(&self) -> Vec<Artifact> {
        self.artifacts.lock().expect("no panic while held").clone()
    }
}

/// A name that is taken while its file is being staged, so that of two publications side by side one is refused. Given
/// back when the staging fails or its future is dropped: the executor may then try once more.
struct Reserved<'a> {
    context: &'a Context,
    name: &'a str,
    kept: bool,
}

impl<'a> Reserved<'a> {
    fn new(context: &'a Context, name: &'a str) -> std::result::Result<Self, Fatal> {
        let fresh = context.artifact_names.lock().expect("no panic while held").insert(name.to_owned());
        let taken = || Fatal::new("artifact_name", format!("this attempt has already staged {name:?}"));
        fresh.then_some(Self { context, name, kept: false }).ok_or_else(taken)
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.context.artifact_names.lock().expect("no panic while held").remove(self.name);
        }
    }
}

/// A plain file name: 1 to 128 bytes of letters, digits, `.`, `_`, `-`, not starting with a dot.
pub fn artifact_name_is_valid(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::artifact_name_is_valid;

    #[test]
    fn an_artifacts_name_cannot_leave_its_directory() {
        for good in ["a", "thumb.jpg", "photo-1024_2.webp"] {
            assert!(artifact_name_is_valid(good), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0", "ä", &"a".repeat(129)] {
            assert!(!artifact_name_is_valid(bad), "{bad}");
        }
    }
}
