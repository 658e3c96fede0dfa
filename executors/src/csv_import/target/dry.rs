//! A dry run's target: rows go nowhere, rejects to a scratch file, and there is no checkpoint to resume from.
//! It opens no database; the table is checked before, by `postgres::inspect` and `sqlite::inspect`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use longshore_sdk::{JobId, Result};

use super::{Answer, Checkpoint, Claim, Session};
use crate::csv_import::chunk::{Chunk, Rows};
use crate::csv_import::plan::Plan;
use crate::csv_import::reject_file::RejectFile;

/// Counts, and keeps the rejects in a file.
pub(crate) struct DrySession(Option<RejectFile>);

impl DrySession {
    /// Collects the rejects in `file`.
    pub(crate) fn new(file: &Path) -> Result<Self> {
        Ok(Self(Some(RejectFile::create(file)?)))
    }
}

impl Session for DrySession {
    fn form(&self, _columns: usize) -> Rows {
        Rows::Dropped
    }

    async fn begin(&mut self, _plan: &Arc<Plan>, claim: Claim) -> Answer<Checkpoint> {
        Ok(Checkpoint::start(claim.start))
    }

    async fn commit(&mut self, _: &Arc<Plan>, _: Claim, chunk: Chunk, _: Checkpoint) -> Answer<()> {
        let file = self.0.as_mut().expect("rejects are asked for last");
        for reject in &chunk.rejects {
            file.write(reject.line, &reject.column, reject.reason, &reject.original)?;
        }
        Ok(())
    }

    async fn rejects(&mut self, _job: JobId, _file: &Path) -> Answer<BTreeMap<String, u64>> {
        Ok(self.0.take().expect("rejects are asked for once").finish()?)
    }
}
