//! Steps that many stories take. Each expects that it succeeds; a story that wants a refusal asks the ledger itself.

use std::time::Duration;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{
    Beat, Claim, Claimed, Ended, Event, Fence, Granted, Job, Ledger, NewJob, Priority, Record, Recorded, Report, RunAt,
    Settle, Submitted, Whose, WorkerCard,
};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::{ErrorReport, JobId, Progress, Trace};
use longshore_tests::until::until;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A lease that outlasts every story.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// A lease that a story outlives.
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// Far more than any wait here takes.
pub(super) const SOON: Duration = Duration::from_secs(20);
/// The crash limit of the stories.
pub(super) const CRASH_LIMIT: u32 = 3;

pub(super) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(super) fn trace() -> Trace {
    Trace::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("vendor=1")).expect("a trace")
}

pub(super) fn new_job() -> NewJob {
    NewJob {
        id: JobId::fresh(),
        tenant: Tenant::default(),
        kind: "demo.greet".into(),
        payload: json(r#"{"name":"Ada"}"#),
        priority: Priority::Normal,
        max_attempts: 5,
        timeout: Duration::from_secs(60),
        run_at: None,
        metadata: None,
        correlation_id: Some("c-1".into()),
        trace: Some(trace()),
        unique_key: None,
        webhook: None,
        idempotency: None,
    }
}

/// The row of a submit that found or made one.
pub(super) fn made(submitted: &Submitted) -> &Job {
    submitted.job().expect("no conflict")
}

pub(super) async fn submit(ledger: &dyn Ledger, job: NewJob) -> JobId {
    let submitted = ledger.submit(std::slice::from_ref(&job)).await.unwrap();
    assert!(submitted.len() == 1 && submitted[0].is_created(), "{submitted:?}");
    job.id
}

/// A job that is due and on the road.
pub(super) async fn queued(ledger: &dyn Ledger) -> JobId {
    submit(ledger, new_job()).await
}

/// A job that is due so much later.
pub(super) async fn scheduled(ledger: &dyn Ledger, wait: Duration) -> JobId {
    submit(ledger, NewJob { run_at: Some(RunAt::After(wait)), ..new_job() }).await
}

pub(super) async fn look(ledger: &dyn Ledger, job: JobId) -> Job {
    ledger.job(job).await.unwrap().expect("the job exists")
}

pub(super) fn card() -> WorkerCard {
    WorkerCard { id: Uuid::now_v7(), host: "quay-1".into(), kinds: vec!["demo.greet".into()], slots: 8 }
}

/// A new worker with a lease so long.
pub(super) async fn worker(ledger: &dyn Ledger, lease: Duration) -> Uuid {
    let card = card();
    ledger.enlist(&card, lease).await.unwrap();
    card.id
}

/// Waits until the lease of a worker that doesn't beat is over.
pub(super) async fn lease_over(ledger: &dyn Ledger, worker: Uuid) {
    until("the lease to run out", SOON, || async {
        let live = ledger.workers().await.unwrap();
        (!live.iter().any(|row| row.card.id == worker)).then_some(())
    })
    .await;
}

pub(super) async fn claim(ledger: &dyn Ledger, worker: Uuid, job: JobId) -> Claimed {
    claim_as(ledger, worker, job, false).await
}

pub(super) async fn claim_as(ledger: &dyn Ledger, worker: Uuid, job: JobId, alone: bool) -> Claimed {
    let round = ledger.round(worker, &[Claim { job, alone }], &[]).await.unwrap();
    let [claimed] = <[Claimed; 1]>::try_from(round.claims).expect("one answer for one claim");
    claimed
}

pub(super) fn granted(claimed: Claimed) -> Granted {
    let Claimed::Run(granted) = claimed else { panic!("not granted: {claimed:?}") };
    *granted
}

/// Runs a queued job of its own under this worker.
pub(super) async fn running(ledger: &dyn Ledger, worker: Uuid) -> Fence {
    let job = queued(ledger).await;
    granted(claim(ledger, worker, job).await).fence
}

pub(super) fn report(code: &str) -> ErrorReport {
    ErrorReport::new(code, "the sea was rough")
}

pub(super) fn complete() -> (Ended, Settle) {
    (Ended::Done, Settle::Complete { result: json(r#"{"text":"Hello"}"#), artifacts: vec![] })
}

pub(super) fn retry(wait: Duration) -> (Ended, Settle) {
    (Ended::Error, Settle::Retry { wait, error: report("rough_sea") })
}

pub(super) fn dead_letter() -> (Ended, Settle) {
    (Ended::Fatal, Settle::DeadLetter { error: report("sunk") })
}

pub(super) fn obeyed() -> (Ended, Settle) {
    (Ended::Canceled, Settle::Cancel)
}

pub(super) fn yielded() -> (Ended, Settle) {
    (Ended::Yielded, Settle::HandBack { wait: Duration::ZERO })
}

pub(super) fn put_off(wait: Duration) -> (Ended, Settle) {
    (Ended::Yielded, Settle::HandBack { wait })
}

pub(super) async fn record(ledger: &dyn Ledger, fence: Fence, (ended, settle): (Ended, Settle)) -> Recorded {
    let round = ledger.round(fence.worker, &[], &[Record { fence, ended, settle }]).await.unwrap();
    let [recorded] = <[Recorded; 1]>::try_from(round.records).expect("one answer for one record");
    recorded
}

/// Records, and expects that it was the first to do so.
pub(super) async fn done(ledger: &dyn Ledger, fence: Fence, end: (Ended, Settle)) -> Event {
    let recorded = record(ledger, fence, end).await;
    let Recorded::Done(event) = recorded else { panic!("not recorded: {recorded:?}") };
    event
}

/// A job that is a dead letter.
pub(super) async fn dead(ledger: &dyn Ledger, worker: Uuid) -> JobId {
    let fence = running(ledger, worker).await;
    done(ledger, fence, dead_letter()).await;
    fence.job
}

/// A fresh worker takes the job and dies with it.
pub(super) async fn crash(ledger: &dyn Ledger, job: JobId, alone: bool) -> State {
    let doomed = worker(ledger, LONG).await;
    granted(claim_as(ledger, doomed, job, alone).await);
    let rescued = ledger.rescue(CRASH_LIMIT, Whose::Everyones).await.unwrap();
    rescued.iter().find(|rescued| rescued.fence.job == job).expect("it was running").state
}

pub(super) async fn beat(ledger: &dyn Ledger, worker: Uuid, lease: Duration) -> Option<Vec<JobId>> {
    let announced_to = ledger.now().await.unwrap();
    let beat = Beat { worker, busy: 0, announced_to, draining: false, peak_memory: None };
    ledger.beat(&beat, lease).await.unwrap().map(|answer| answer.cancels)
}

/// The last event of the first job that the relay is to announce.
pub(super) async fn owed(ledger: &dyn Ledger) -> Event {
    let owed = ledger.unannounced(10).await.unwrap().remove(0);
    owed.events.last().expect("a job has a history").clone()
}

/// Progress as a worker takes it down.
pub(super) fn report_of(progress: impl Into<Progress>) -> Report {
    Report { n: 1, at: jiff::Timestamp::UNIX_EPOCH, progress: progress.into() }
}

/// The jobs the relay is to announce.
pub(super) async fn to_announce(ledger: &dyn Ledger) -> Vec<JobId> {
    ledger.unannounced(1000).await.unwrap().into_iter().map(|event| event.job).collect()
}

/// Clears what there is to announce, so that a story sees only what comes after.
pub(super) async fn announce_all(ledger: &dyn Ledger) {
    let events = ledger.unannounced(1000).await.unwrap();
    let marks: Vec<_> = events.iter().map(|event| (event.job, event.version)).collect();
    ledger.mark_announced(&marks).await.unwrap();
    assert!(to_announce(ledger).await.is_empty());
}

/// The jobs the relay is to publish.
pub(super) async fn to_publish(ledger: &dyn Ledger) -> Vec<JobId> {
    ledger.due(1000).await.unwrap().into_iter().map(|ready| ready.job).collect()
}

pub(super) async fn history(ledger: &dyn Ledger, job: JobId) -> Vec<(u32, Ended)> {
    let attempts = ledger.attempts(job).await.unwrap();
    attempts.into_iter().map(|attempt| (attempt.attempt, attempt.ended)).collect()
}
