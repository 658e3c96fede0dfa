//! The janitor: removes what nobody needs any more and no other call removes on its way: finished jobs and then their outputs, unique
//! keys whose jobs are finished, old deliveries of webhooks, old lines of the audit log, uploads that nobody finishes and files that no
//! job names, with their bytes. Expired idempotency keys go with the submits that bring new ones. What it removes is gone or doomed in
//! the ledger first, so that nobody is shown half of it, and who dies in between leaves nothing that the next one does not find.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use longshore_sdk::JobId;

use super::{Agents, Leading};
use crate::ledger::Answer;
use crate::ledger::retention::Keep;
use crate::stop::Stop;
use crate::storage::Storage;
use crate::sweep;

/// A finished job's key waits so long; it costs a row meanwhile and hinders nobody.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// No faster than this, however short things are kept.
const LEAST: Duration = Duration::from_secs(1);
/// What is kept for weeks may stay an hour more.
const SLOWLY: Duration = Duration::from_secs(3600);
/// Removed in one transaction, so that none is long.
const BATCH: usize = 1000;
/// Removed from the storage at once: a bucket takes its time for each.
const TOGETHER: usize = 8;

/// How long things are kept; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Finished jobs.
    pub jobs: Keep,
    /// Ids of removed jobs whose producers published by themselves.
    pub foreign_ids: Option<Duration>,
    /// Deliveries of webhooks.
    pub deliveries: Duration,
    /// Lines of the audit log.
    pub audit_log: Duration,
}

#[cfg(test)]
impl Kept {
    pub(crate) fn for_ever() -> Self {
        Self { jobs: Keep::default(), foreign_ids: None, deliveries: Duration::MAX, audit_log: Duration::MAX }
    }
}

pub(super) async fn run(agents: Agents, leading: Leading, stop: Stop) {
    let mut slow = Pace { every: slowly(agents.keep.jobs), since: Duration::ZERO };
    let pause = agents.pause().min(slow.every);
    while leading.lead(&stop).await {
        sweep("unique keys of finished jobs", || agents.ledger.remove_idle_keys(BATCH)).await;
        agents.sweep_bytes().await;
        if slow.is_due(pause) {
            agents.sweep_slowly(&stop).await;
        }
        stop.sleep(pause).await;
    }
}

/// Now and then among more frequent looks.
struct Pace {
    every: Duration,
    since: Duration,
}

impl Pace {
    fn is_due(&mut self, passed: Duration) -> bool {
        self.since += passed;
        let is_due = self.since >= self.every;
        if is_due {
            self.since = Duration::ZERO;
        }
        is_due
    }
}

/// Twice within the time that jobs are kept, and at least every hour.
fn slowly(keep: Keep) -> Duration {
    keep.least().map_or(SLOWLY, |least| (least / 2).clamp(LEAST, SLOWLY))
}

/// Removes batch after batch, until there is nothing more or the ledger does not answer.
async fn sweep<F: Future<Output = Answer<usize>>>(what: &str, batch: impl Fn() -> F) {
    let mut swept = 0;
    loop {
        match batch().await {
            Ok(BATCH) => swept += BATCH,
            Ok(last) if swept + last == 0 => return,
            Ok(last) => return tracing::debug!(removed = swept + last, "{what} are removed"),
            Err(error) => return wait(&error),
        }
    }
}

fn wait(error: &impl std::fmt::Display) {
    tracing::warn!(%error, "the janitor waits for the ledger");
}

impl Agents {
    /// Twice within the time that files and uploads are kept.
    fn pause(&self) -> Duration {
        let Some(storage) = &self.storage else { return LOOK_EVERY };
        let (unfinished, unused) = storage.patience();
        let kept = unused.map_or(unfinished, |unused| unused.min(unfinished));
        (kept / 2).clamp(LEAST, LOOK_EVERY)
    }

    async fn sweep_slowly(&self, stop: &Stop) {
        match self.sweep_jobs(stop).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "finished jobs are removed: they were kept for long enough"),
            Err(error) => wait(&error),
        }
        if let Some(age) = self.keep.foreign_ids {
            sweep("ids of removed jobs", || self.ledger.forget_foreign(age, BATCH)).await;
        }
        let (deliveries, lines) = (self.keep.deliveries, self.keep.audit_log);
        sweep("old deliveries of webhooks", || self.ledger.remove_old_deliveries(deliveries, BATCH)).await;
        sweep("old lines of the audit log", || self.ledger.remove_old_lines(lines, BATCH)).await;
    }

    /// Page by page through all that is old, for what stays may stand before what goes.
    async fn sweep_jobs(&self, stop: &Stop) -> Answer<usize> {
        let (mut removed, mut after) = (0, None);
        if self.keep.jobs.least().is_none() {
            return Ok(0);
        }
        while !stop.is_asked() {
            let page = self.ledger.remove_outlived(self.keep.jobs, after, BATCH).await?;
            removed += page.jobs;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(removed)
    }

    /// A batch at each look; what could not be removed is tried again at the next, and keeps nothing else back.
    async fn sweep_bytes(&self) {
        let Some(storage) = &self.storage else { return };
        let (uploads, files) = (self.sweep_uploads(storage).await, self.sweep_files(storage).await);
        let outputs = self.sweep_outputs(storage).await;
        for error in [uploads.err(), files.err(), outputs.err()].into_iter().flatten() {
            wait(&error);
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
                Ok(()) => tracing::info!(file.id = %id, %tenant, "a file that no job names has expired"),
                Err(error) => tracing::warn!(file.id = %id, %error, "an expired file is still there"),
            }
        }
        Ok(())
    }

    /// What removed jobs have left in the storage.
    async fn sweep_outputs(&self, storage: &Storage) -> Answer<()> {
        loop {
            let jobs = self.ledger.leftovers(BATCH).await?;
            let removals = stream::iter(jobs).map(|job| remove_outputs(storage, job)).buffer_unordered(TOGETHER);
            let gone: Vec<JobId> = removals.filter_map(std::future::ready).collect().await;
            self.ledger.forget_leftovers(&gone).await?;
            if gone.len() < BATCH {
                return Ok(());
            }
        }
    }
}

/// Says which job has nothing left.
async fn remove_outputs(storage: &Storage, job: JobId) -> Option<JobId> {
    match storage.delete_job(job).await {
        Ok(()) => Some(job),
        Err(error) => {
            tracing::warn!(removed_job = %job, %error, "outputs of a removed job are still there");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_looked_at_twice_within_the_time_they_are_kept_but_not_all_the_time() {
        let every = |finished, failed| slowly(Keep { finished, failed });
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(every(seconds(2_592_000), None), SLOWLY);
        assert_eq!(every(seconds(600), seconds(60)), Duration::from_secs(30));
        assert_eq!((every(seconds(1), None), every(None, None)), (LEAST, SLOWLY));
    }

    #[test]
    fn a_slower_pace_is_due_once_in_its_time() {
        let mut pace = Pace { every: Duration::from_secs(5), since: Duration::ZERO };
        let due: Vec<bool> = (0..6).map(|_| pace.is_due(Duration::from_secs(2))).collect();
        assert_eq!(due, [false, false, true, false, false, true]);
    }
}
