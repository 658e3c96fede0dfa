//! A job's row as the API shows it. Pure: the moment it is shown at is handed in, and decides only words for people.
//! It shows a result, artifacts or an error only in the states that have them. The shapes are the SDK's.

use jiff::Timestamp;
use longshore_sdk::api::{
    ArtifactView, AttemptOutcome, AttemptView, FileView, JobState, JobView, JobWebhook, KindView, Urls, Waiting,
    WorkerView,
};
use serde_json::Map;

use crate::job::state::State;
use crate::ledger::webhooks::Hook;
use crate::ledger::{Attempt, Ended, File, Job, Kind, WorkerRow};
use crate::notify::topic::state;

/// How long a caller may wait before it asks again, in seconds.
const ASK_AGAIN: std::ops::RangeInclusive<i64> = 1..=60;

/// The view of a job with its ended attempts, as of `now`.
pub(super) fn job(job: &Job, attempts: &[Attempt], now: Timestamp) -> JobView {
    let state = state(job.state);
    let completed = state == JobState::Completed;
    let settled_or_waiting = matches!(state, JobState::Failed | JobState::Pending);
    JobView {
        id: job.id,
        kind: job.kind.clone(),
        state,
        waiting: waiting(job, now),
        canceling: state == JobState::Running && job.cancel_requested,
        dead_letter: state == JobState::Failed,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        charged: job.charged,
        progress: job.progress.clone().filter(|_| state == JobState::Running),
        result: job.result.clone().filter(|_| completed),
        error: job.error.clone().filter(|_| settled_or_waiting),
        artifacts: if completed { artifacts(job) } else { Vec::new() },
        attempts: attempts.iter().filter(|attempt| is_history(job, attempt)).map(ended).chain(running(job)).collect(),
        metadata: job
            .metadata
            .as_ref()
            .map_or_else(Map::new, |raw| serde_json::from_str(raw.get()).unwrap_or_default()),
        correlation_id: job.correlation_id.clone(),
        unique_key: job.unique_key.clone(),
        webhook: job.webhook.as_ref().map(webhook),
        created_at: job.created_at,
        due_at: job.due_at.filter(|_| state == JobState::Pending),
        started_at: job.started_at,
        finished_at: job.finished_at,
        urls: urls(job),
        version: u64::try_from(job.version).unwrap_or_default(),
    }
}

/// Without its secret.
fn webhook(hook: &Hook) -> JobWebhook {
    JobWebhook { url: hook.url.clone(), secret: None, events: Some(hook.events.clone()) }
}

/// The relative address of a job.
pub(super) fn address(job: longshore_sdk::JobId) -> String {
    format!("/v1/jobs/{job}")
}

/// How many seconds a caller may wait before it asks again; `None` for a settled job.
pub(super) fn ask_again(job: &Job, now: Timestamp) -> Option<u64> {
    if job.state.is_terminal() {
        return None;
    }
    let wait = job.due_at.filter(|_| job.state == State::Pending).map_or(1, |due| due.as_second() - now.as_second());
    Some(wait.clamp(*ASK_AGAIN.start(), *ASK_AGAIN.end()).unsigned_abs())
}

/// A kind, with how many of `workers` run it.
pub(super) fn kind(kind: Kind, workers: &[WorkerRow]) -> KindView {
    let running = workers.iter().filter(|worker| worker.card.kinds.contains(&kind.kind)).count();
    KindView {
        kind: kind.kind,
        payload_schema: kind.payload_schema,
        output_schema: kind.output_schema,
        policy: kind.policy,
        workers: u32::try_from(running).unwrap_or(u32::MAX),
    }
}

/// A worker with its lease, as of `now` by the ledger's clock.
pub(super) fn worker(row: WorkerRow, now: Timestamp) -> WorkerView {
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64().max(0.0);
    WorkerView {
        id: row.card.id.to_string(),
        host: row.card.host,
        kinds: row.card.kinds,
        slots: row.card.slots,
        busy: row.busy,
        draining: row.draining,
        started_at: row.started_at,
        lease_age_seconds: seconds(row.started_at, now),
        lease_left_seconds: seconds(now, row.lease_until),
    }
}

/// An uploaded file.
pub(super) fn file(file: File) -> FileView {
    let File { id, name, content_type, bytes, sha256, tenant: _ } = file;
    FileView { id: id.to_string(), name, bytes, sha256, content_type }
}

/// A job that is due and not yet published again is as good as queued.
fn waiting(job: &Job, now: Timestamp) -> Option<Waiting> {
    let later = job.due_at.is_some_and(|due| due > now);
    match job.state {
        State::Pending if later && job.attempt == 0 => Some(Waiting::Scheduled),
        State::Pending if later => Some(Waiting::BackingOff),
        State::Pending => Some(Waiting::Queued),
        _ => None,
    }
}

fn artifacts(job: &Job) -> Vec<ArtifactView> {
    let view = |artifact: &longshore_sdk::Artifact| ArtifactView {
        name: artifact.name.clone(),
        content_type: artifact.content_type.clone(),
        bytes: artifact.bytes,
        sha256: artifact.sha256.clone(),
        url: format!("{}/artifacts/{}", address(job.id), artifact.name),
    };
    job.artifacts.iter().map(view).collect()
}

fn ended(attempt: &Attempt) -> AttemptView {
    AttemptView {
        attempt: attempt.attempt,
        worker: attempt.worker.map(|worker| worker.to_string()).unwrap_or_default(),
        outcome: Some(outcome(attempt.ended)),
        error: attempt.error.clone(),
        started_at: attempt.started_at,
        finished_at: Some(attempt.finished_at),
    }
}

/// The row and the history are two reads: an attempt that ended in between would be shown as running and as ended.
fn is_history(job: &Job, attempt: &Attempt) -> bool {
    attempt.attempt < job.attempt || (attempt.attempt == job.attempt && job.state != State::Running)
}

/// The attempt that runs now is in the job's own row; the history has only ended ones.
fn running(job: &Job) -> Option<AttemptView> {
    let started_at = job.started_at.filter(|_| job.state == State::Running)?;
    let worker = job.worker.map(|worker| worker.to_string()).unwrap_or_default();
    Some(AttemptView { attempt: job.attempt, worker, outcome: None, error: None, started_at, finished_at: None })
}

fn outcome(ended: Ended) -> AttemptOutcome {
    match ended {
        Ended::Done => AttemptOutcome::Done,
        Ended::Error => AttemptOutcome::Error,
        Ended::Timeout => AttemptOutcome::Timeout,
        Ended::Panic => AttemptOutcome::Panic,
        Ended::Fatal => AttemptOutcome::Fatal,
        Ended::Canceled => AttemptOutcome::Canceled,
        Ended::Yielded => AttemptOutcome::Yielded,
        Ended::Lost => AttemptOutcome::Lost,
        Ended::Crashed => AttemptOutcome::Crashed,
        Ended::HandedBack => AttemptOutcome::HandedBack,
        Ended::Drained => AttemptOutcome::Drained,
    }
}

fn urls(job: &Job) -> Urls {
    let this = address(job.id);
    let replay = (job.state == State::Failed).then(|| format!("{this}/replay"));
    Urls { cancel: format!("{this}/cancel"), events: None, replay, this }
}

#[cfg(test)]
pub(super) mod tests;
