//! The attempts that run in this worker now: whom to tell of a cancel, and whose progress to store. It starts and ends none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use longshore_sdk::{CancelReason, Cancellation, JobId, Progress};

use crate::ledger::{Event, Fence, Report};

/// The table of running attempts.
#[derive(Debug, Default, Clone)]
pub(super) struct Running(Arc<Mutex<HashMap<Fence, Entry>>>);

#[derive(Debug)]
struct Entry {
    cancellation: Cancellation,
    /// Its progress is announced under it.
    started: Event,
    progress: Option<Progress>,
    reports: u32,
    /// It runs no more, and waits for its end to be recorded.
    over: bool,
}

/// An attempt's place in the table, left when dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Running,
    fence: Fence,
}

impl Running {
    /// Enters an attempt.
    #[must_use]
    pub(super) fn enter(&self, fence: Fence, started: Event, cancellation: Cancellation) -> Place {
        self.table().insert(fence, Entry { cancellation, started, progress: None, reports: 0, over: false });
        Place { table: self.clone(), fence }
    }

    /// Whether this very attempt runs here.
    pub(super) fn has(&self, fence: &Fence) -> bool {
        self.table().contains_key(fence)
    }

    /// How many run.
    pub(super) fn count(&self) -> usize {
        self.table().len()
    }

    /// Asks a job's attempt to stop, if it runs here.
    pub(super) fn cancel(&self, job: JobId, reason: CancelReason) {
        for (fence, entry) in self.table().iter() {
            if fence.job == job {
                entry.cancellation.cancel(reason);
            }
        }
    }

    /// Asks every attempt to stop.
    pub(super) fn cancel_all(&self, reason: CancelReason) {
        self.table().values().for_each(|entry| entry.cancellation.cancel(reason));
    }

    /// Notes how far an attempt is.
    pub(super) fn report(&self, fence: &Fence, progress: Progress) {
        if let Some(entry) = self.table().get_mut(fence) {
            entry.progress = Some(progress);
        }
    }

    /// The reports since the last call, the newest of each attempt, as events; `now` is when.
    pub(super) fn reports(&self, now: Timestamp) -> Vec<(Fence, Event)> {
        self.table().iter_mut().filter_map(|(fence, entry)| Some((*fence, entry.report(now)?))).collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Fence, Entry>> {
        self.0.lock().expect("no panic while held")
    }
}

impl Entry {
    fn report(&mut self, now: Timestamp) -> Option<Event> {
        let progress = self.progress.take().filter(|_| !self.over)?;
        self.reports += 1;
        let report = Report { n: self.reports, at: now, progress };
        Some(Event { at: now, progress: Some(report), ..self.started.clone() })
    }
}

impl Place {
    /// It runs no more: how far it was is not told any more, for that would be told after its end.
    pub(super) fn fall_silent(&self) {
        if let Some(entry) = self.table.table().get_mut(&self.fence) {
            entry.over = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.table().remove(&self.fence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(fence: Fence) -> Event {
        let accepted =
            Event::accepted(fence.job, &crate::tenant::Tenant::default(), "demo", None, Timestamp::UNIX_EPOCH);
        Event { version: 2, attempt: fence.attempt, ..accepted }
    }

    #[test]
    fn an_attempt_that_waits_for_its_record_is_there_and_tells_no_more_of_its_progress() {
        let running = Running::default();
        let fence = Fence { job: JobId::fresh(), attempt: 1, worker: uuid::Uuid::nil() };
        let place = running.enter(fence, started(fence), Cancellation::default());
        running.report(&fence, 0.9.into());
        place.fall_silent();
        assert!(running.reports(Timestamp::UNIX_EPOCH).is_empty() && running.has(&fence));
    }

    #[test]
    fn progress_is_taken_once_and_only_of_those_that_run() {
        let running = Running::default();
        let fence = Fence { job: JobId::fresh(), attempt: 1, worker: uuid::Uuid::nil() };
        running.report(&fence, 0.1.into());
        let place = running.enter(fence, started(fence), Cancellation::default());
        running.report(&fence, 0.2.into());
        running.report(&fence, 0.5.into());
        let [(_, event)] = &running.reports(Timestamp::UNIX_EPOCH)[..] else { panic!("one of the one that runs") };
        let Some(Report { n: 1, progress, .. }) = &event.progress else { panic!("{event:?}") };
        assert_eq!((progress, event.id().to_string()), (&0.5.into(), format!("{}.2.1", fence.job)));
        assert_eq!(running.reports(Timestamp::UNIX_EPOCH), []);
        drop(place);
        assert!(!running.has(&fence));
    }

    #[test]
    fn a_cancel_reaches_its_job_alone() {
        let running = Running::default();
        let fence = |job| Fence { job, attempt: 1, worker: uuid::Uuid::nil() };
        let (one, other) = (Cancellation::default(), Cancellation::default());
        let job = JobId::fresh();
        let places = [(job, &one), (JobId::fresh(), &other)]
            .map(|(job, cancellation)| running.enter(fence(job), started(fence(job)), cancellation.clone()));
        running.cancel(job, CancelReason::Requested);
        assert_eq!((one.reason(), other.reason()), (Some(CancelReason::Requested), None));
        drop(places);
    }
}
