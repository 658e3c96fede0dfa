//! A position that an executor saves and a later attempt resumes from. Stored in the ledger with the job, fenced by the
//! attempt: one that lost its lease saves nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;
use crate::outcome::{Fatal, Result};

/// A checkpoint says where to go on, it does not carry the work: 64 KiB of JSON at most.
pub const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;

impl Context {
    /// What the last attempt saved. `None` at a first start, and when the saved form is no longer this type's
    /// (after an upgrade, say): then the work starts over.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        let saved = self.info.checkpoint.as_ref()?;
        serde_json::from_str(saved.get())
            .inspect_err(|error| tracing::warn!(%error, "the checkpoint has another form; starting over"))
            .ok()
    }

    /// Saves `position`; returns once the ledger has it.
    ///
    /// # Errors
    /// Fatal past [`MAX_CHECKPOINT_BYTES`]; [`crate::Failure::Canceled`] once the attempt is fenced off; a retry when
    /// the ledger does not answer.
    pub async fn save_checkpoint<T: Serialize>(&self, position: &T) -> Result<()> {
        let saved = serde_json::value::to_raw_value(position)?;
        if saved.get().len() > MAX_CHECKPOINT_BYTES {
            let message = format!("{} bytes of checkpoint, more than {MAX_CHECKPOINT_BYTES}", saved.get().len());
            return Err(Fatal::new("checkpoint_too_large", message).into());
        }
        self.host.step().await;
        let stored = self.host.save_checkpoint(saved).await;
        self.host.step().await;
        stored
    }
}
