//! One delivery asks to run a job: exactly one attempt does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Claim, Claimed, Fence, Ledger, Whose};
use longshore_sdk::JobId;
use longshore_tests::until::until;
use uuid::Uuid;

use super::steps::*;

pub(super) async fn a_claim_starts_the_next_attempt(ledger: Arc<dyn Ledger>) {
    let (worker, job) = (worker(&*ledger, LONG).await, queued(&*ledger).await);
    let run = granted(claim(&*ledger, worker, job).await);
    assert_eq!(run.fence, Fence { job, attempt: 1, worker });
    assert_eq!((run.kind.as_str(), run.payload.get()), ("demo.greet", r#"{"name":"Ada"}"#));
    assert_eq!((run.charged, run.max_attempts, run.timeout), (0, 5, Duration::from_secs(60)));
    assert!(run.checkpoint.is_none());
    assert_eq!(run.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(run.trace, Some(trace()));
    let row = look(&*ledger, job).await;
    assert_eq!((row.state, row.version, row.attempt, row.worker), (State::Running, 2, 1, Some(worker)));
    assert_eq!((row.due_at, row.queued_at, row.finished_at), (None, None, None));
    assert!(row.started_at.is_some_and(|started| started >= row.created_at));
    assert_eq!(run.created_at, row.created_at);
    ledger.save_progress(worker, &[(run.fence, report_of("half"))]).await.unwrap();
    done(&*ledger, run.fence, retry(Duration::ZERO)).await;
    let next = granted(claim(&*ledger, worker, job).await);
    assert_eq!((next.fence.attempt, next.charged), (2, 1));
    let row = look(&*ledger, job).await;
    assert_eq!((row.version, row.progress), (4, None), "the progress was the last attempt's");
    assert!(history(&*ledger, job).await.len() == 1, "a running attempt is not history");
}

pub(super) async fn of_workers_racing_for_a_job_exactly_one_runs_it(ledger: Arc<dyn Ledger>) {
    let workers = join_all((0..4).map(|_| worker(&*ledger, LONG))).await;
    for _ in 0..25 {
        let jobs = join_all((0..8).map(|_| queued(&*ledger))).await;
        // Each worker meets the jobs in another order, as deliveries come.
        let rounds = workers.iter().enumerate().map(|(shift, worker)| {
            let mut claims: Vec<_> = jobs.iter().map(|job| Claim { job: *job, alone: false }).collect();
            claims.rotate_left(shift * 2);
            let ledger = &ledger;
            async move { (claims.clone(), ledger.round(*worker, &claims, &[]).await.unwrap().claims) }
        });
        let answers: Vec<(JobId, Claimed)> = join_all(rounds)
            .await
            .into_iter()
            .flat_map(|(claims, answers)| claims.into_iter().map(|claim| claim.job).zip(answers))
            .collect();
        for job in jobs {
            let of_job: Vec<_> = answers.iter().filter(|(of, _)| *of == job).map(|(_, answer)| answer).collect();
            let runs = of_job.iter().filter(|answer| matches!(answer, Claimed::Run(_))).count();
            let busy = of_job.iter().filter(|answer| matches!(answer, Claimed::Busy)).count();
            assert_eq!((runs, busy), (1, 3), "{of_job:?}");
            assert_eq!(look(&*ledger, job).await.attempt, 1);
        }
    }
}

pub(super) async fn a_job_claimed_twice_in_one_round_runs_once(ledger: Arc<dyn Ledger>) {
    let (worker, job, other) = (worker(&*ledger, LONG).await, queued(&*ledger).await, queued(&*ledger).await);
    let claims = [job, other, job, job].map(|job| Claim { job, alone: false });
    let answers = ledger.round(worker, &claims, &[]).await.unwrap().claims;
    let [Claimed::Run(first), Claimed::Run(second), Claimed::Busy, Claimed::Busy] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((first.fence.job, second.fence.job), (job, other));
    assert_eq!((look(&*ledger, job).await.attempt, look(&*ledger, job).await.version), (1, 2));
}

pub(super) async fn a_running_job_is_busy_for_everyone_even_past_its_lease(ledger: Arc<dyn Ledger>) {
    let (holder, other) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let job = running(&*ledger, holder).await.job;
    assert!(matches!(claim(&*ledger, other, job).await, Claimed::Busy));
    assert!(matches!(claim(&*ledger, holder, job).await, Claimed::Busy), "a claim whose reply was lost");
    beat(&*ledger, holder, SHORT).await;
    lease_over(&*ledger, holder).await;
    assert!(matches!(claim(&*ledger, other, job).await, Claimed::Busy), "the rescuer will see to it");
    assert!(matches!(claim(&*ledger, holder, job).await, Claimed::Busy));
    assert_eq!((look(&*ledger, job).await.version, look(&*ledger, job).await.attempt), (2, 1));
}

pub(super) async fn a_settled_job_repeats_its_event(ledger: Arc<dyn Ledger>) {
    let (first, second) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    for (end, state) in [(complete(), State::Completed), (dead_letter(), State::Failed), (obeyed(), State::Canceled)] {
        let fence = running(&*ledger, first).await;
        let event = done(&*ledger, fence, end).await;
        assert_eq!(event.state, state);
        for worker in [first, second] {
            let claimed = claim(&*ledger, worker, fence.job).await;
            let Claimed::Settled(again) = claimed else { panic!("{claimed:?}") };
            assert_eq!(again.last(), Some(&event));
            assert_eq!(again.len(), 3, "accepted, started and its end: {again:?}");
        }
        assert_eq!(look(&*ledger, fence.job).await.version, event.version);
    }
}

pub(super) async fn a_claim_that_comes_too_early_changes_nothing(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let fence = running(&*ledger, worker).await;
    let event = done(&*ledger, fence, retry(LONG)).await;
    let before = look(&*ledger, fence.job).await;
    assert!(matches!(claim(&*ledger, worker, fence.job).await, Claimed::NotDue));
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.attempt, row.version), (State::Pending, 1, event.version));
    assert_eq!((row.due_at, row.queued_at), (before.due_at, None));
    // A relay for whom it was due, by a clock that was set back since, misses: its wait is kept.
    ledger.mark_queued(&[(fence.job, event.version)]).await.unwrap();
    assert_eq!(look(&*ledger, fence.job).await.due_at, before.due_at);
    // So says even a worker without a lease.
    assert!(matches!(claim(&*ledger, Uuid::now_v7(), fence.job).await, Claimed::NotDue));
}

pub(super) async fn without_a_live_lease_nothing_is_claimed(ledger: Arc<dyn Ledger>) {
    let (expired, retired, rescued) =
        (worker(&*ledger, SHORT).await, worker(&*ledger, LONG).await, worker(&*ledger, SHORT).await);
    ledger.retire(retired).await.unwrap();
    lease_over(&*ledger, rescued).await;
    ledger.rescue(CRASH_LIMIT, Whose::Expired).await.unwrap();
    let expired_again = worker(&*ledger, SHORT).await;
    lease_over(&*ledger, expired_again).await;
    let live = worker(&*ledger, LONG).await;
    let (job, busy, settled) = (queued(&*ledger).await, running(&*ledger, live).await.job, dead(&*ledger, live).await);
    for worker in [expired, retired, rescued, expired_again, Uuid::now_v7()] {
        assert!(matches!(claim_as(&*ledger, worker, job, true).await, Claimed::NoLease));
        assert!(matches!(claim(&*ledger, worker, busy).await, Claimed::Busy));
        assert!(matches!(claim(&*ledger, worker, settled).await, Claimed::Settled(_)));
    }
    let row = look(&*ledger, job).await;
    assert_eq!((row.state, row.version, row.attempt), (State::Pending, 1, 0));
    granted(claim(&*ledger, live, job).await);
}

pub(super) async fn a_job_that_crashed_twice_runs_only_alone(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    // Once is no suspicion: the second of these claims is granted in company.
    crash(&*ledger, job, false).await;
    crash(&*ledger, job, false).await;
    let worker = worker(&*ledger, LONG).await;
    let before = look(&*ledger, job).await;
    assert_eq!(before.crashes, 2);
    assert!(matches!(claim(&*ledger, worker, job).await, Claimed::Suspect));
    assert!(matches!(claim(&*ledger, Uuid::now_v7(), job).await, Claimed::NoLease), "no lease comes first");
    let row = look(&*ledger, job).await;
    assert_eq!((row.state, row.version, row.attempt), (State::Pending, before.version, 2));
    assert_eq!(granted(claim_as(&*ledger, worker, job, true).await).fence.attempt, 3);
}

pub(super) async fn a_job_whose_wait_is_over_can_be_claimed(ledger: Arc<dyn Ledger>) {
    let (worker, wait) = (worker(&*ledger, LONG).await, Duration::from_millis(60));
    let job = scheduled(&*ledger, wait).await;
    until("the job to be due", SOON, || async { to_publish(&*ledger).await.contains(&job).then_some(()) }).await;
    // Straight from `due_at`, as after a publish whose mark was lost.
    let run = granted(claim(&*ledger, worker, job).await);
    let row = look(&*ledger, job).await;
    assert!(row.started_at.unwrap() >= run.created_at + wait);
    assert_eq!((row.due_at, to_publish(&*ledger).await), (None, vec![]));
}
