//! The ledger as a whole: many jobs, many processes, one clock.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Claim, Claimed, Ended, Filter, Ledger, NewJob, Record, Recorded};
use longshore_sdk::JobId;
use longshore_tests::until::until;
use uuid::Uuid;

use super::steps::*;

const JOBS: usize = 10_000;
const ROUND: usize = 500;

pub(super) async fn ten_thousand_jobs_pass_in_rounds_of_500(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let jobs: Vec<NewJob> = (0..JOBS).map(|_| new_job()).collect();
    for chunk in jobs.chunks(ROUND) {
        let submitted = ledger.submit(chunk).await.unwrap();
        assert!(submitted.iter().zip(chunk).all(|(answer, new)| answer.is_created() && made(answer).id == new.id));
    }
    // Each round claims the next and records the last, as a busy worker does.
    let (mut open, mut settled) = (vec![], HashSet::new());
    for chunk in jobs.chunks(ROUND).map(Some).chain([None]) {
        let claims: Vec<_> = chunk.unwrap_or_default().iter().map(|job| Claim { job: job.id, alone: false }).collect();
        let (granted, done) = pass(&*ledger, worker, &claims, std::mem::take(&mut open)).await;
        open = granted;
        settled.extend(done);
    }
    assert_eq!(settled, jobs.iter().map(|job| job.id).collect::<HashSet<_>>());
    let completed = Filter { state: Some(State::Completed), limit: JOBS + 1, ..Filter::default() };
    assert_eq!(ledger.list(&completed).await.unwrap().len(), JOBS);
    assert!(ledger.credited(worker).await.unwrap().is_empty());
}

/// One round that must succeed throughout: what is to be recorded next, and the jobs that are done.
async fn pass(ledger: &dyn Ledger, worker: Uuid, claims: &[Claim], ended: Vec<Record>) -> (Vec<Record>, Vec<JobId>) {
    let round = ledger.round(worker, claims, &ended).await.unwrap();
    let granted = round.claims.into_iter().map(|claimed| match claimed {
        Claimed::Run(run) => Record { fence: run.fence, ended: Ended::Done, settle: complete().1 },
        other => panic!("{other:?}"),
    });
    let done = round.records.into_iter().map(|recorded| match recorded {
        Recorded::Done(event) => event.job,
        other => panic!("{other:?}"),
    });
    (granted.collect(), done.collect())
}

pub(super) async fn many_processes_may_migrate_at_once(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    for migrated in join_all((0..4).map(|_| ledger.migrate())).await {
        migrated.unwrap();
    }
    assert_eq!(look(&*ledger, job).await.version, 1, "what was there stays");
}

pub(super) async fn its_connections_are_counted_while_they_are_busy(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    let calls = join_all((0..64).map(|_| ledger.job(job)));
    let mut calls = std::pin::pin!(calls);
    assert!(futures_util::poll!(calls.as_mut()).is_pending(), "nothing was answered yet");
    let busy = ledger.pool();
    assert!(busy.size > 0 && busy.in_use <= busy.size && busy.in_use + busy.waiting > 0, "{busy:?}");
    for found in calls.await {
        assert!(found.unwrap().is_some());
    }
    until("the connections to be idle", SOON, || async {
        (ledger.pool().in_use + ledger.pool().waiting == 0).then_some(())
    })
    .await;
}

pub(super) async fn the_clock_answers_and_does_not_stand_still(ledger: Arc<dyn Ledger>) {
    let first = ledger.now().await.unwrap();
    let job = queued(&*ledger).await;
    let second = ledger.now().await.unwrap();
    let created = look(&*ledger, job).await.created_at;
    assert!(first < created && created < second, "{first} {created} {second}");
}
