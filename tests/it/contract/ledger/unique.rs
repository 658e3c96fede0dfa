//! At most one unfinished job per kind and unique key, however many ask for it at once and however the jobs before it ended.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Canceling, Filter, Idempotency, Ledger, NewJob, Replaying, Submitted};
use longshore_sdk::JobId;

use super::steps::*;

const CALLERS: usize = 64;
const ROUNDS: usize = 10;

fn unique(key: &str) -> NewJob {
    NewJob { unique_key: Some(key.into()), ..new_job() }
}

fn keyed(idempotency: &str, unique_key: &str) -> NewJob {
    let idempotency = Idempotency { key: idempotency.into(), fingerprint: [1; 32], lives: LONG };
    NewJob { idempotency: Some(idempotency), ..unique(unique_key) }
}

async fn ask(ledger: &dyn Ledger, job: &NewJob) -> Submitted {
    ledger.submit(std::slice::from_ref(job)).await.unwrap().remove(0)
}

async fn is_held(ledger: &dyn Ledger, key: &str, by: JobId) -> bool {
    matches!(ask(ledger, &unique(key)).await, Submitted::Held(job) if job.id == by)
}

async fn unfinished(ledger: &dyn Ledger) -> usize {
    let all = ledger.list(&Filter { limit: 10_000, ..Filter::default() }).await.unwrap();
    all.iter().filter(|job| !job.state.is_terminal()).count()
}

pub(super) async fn a_unique_key_is_held_while_its_job_waits_or_runs_and_free_afterwards(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for end in [complete(), dead_letter(), obeyed()] {
        let job = submit(&*ledger, unique("k")).await;
        assert_eq!(look(&*ledger, job).await.unique_key.as_deref(), Some("k"));
        assert!(is_held(&*ledger, "k", job).await, "it waits");
        let fence = granted(claim(&*ledger, worker, job).await).fence;
        assert!(is_held(&*ledger, "k", job).await, "it runs");
        done(&*ledger, fence, retry(LONG)).await;
        assert!(is_held(&*ledger, "k", job).await, "it waits for its next attempt");
        let Canceling::Canceled(_) = ledger.cancel(job).await.unwrap() else { panic!("it was pending") };
        let next = submit(&*ledger, unique("k")).await;
        let fence = granted(claim(&*ledger, worker, next).await).fence;
        done(&*ledger, fence, end).await;
    }
    assert_eq!(unfinished(&*ledger).await, 0);
}

pub(super) async fn another_kind_another_key_and_no_key_are_none_of_its_business(ledger: Arc<dyn Ledger>) {
    submit(&*ledger, unique("k")).await;
    submit(&*ledger, NewJob { kind: "other".into(), ..unique("k") }).await;
    submit(&*ledger, unique("K")).await;
    submit(&*ledger, new_job()).await;
    assert_eq!(unfinished(&*ledger).await, 4);
}

pub(super) async fn a_unique_key_twice_in_one_batch_makes_one_job(ledger: Arc<dyn Ledger>) {
    let (first, second) = (unique("k"), unique("k"));
    let answers = ledger.submit(&[first.clone(), second.clone(), new_job()]).await.unwrap();
    assert!(answers[0].is_created() && answers[2].is_created(), "{answers:?}");
    assert!(matches!(&answers[1], Submitted::Held(job) if job.id == first.id), "{answers:?}");
    assert!(ledger.job(second.id).await.unwrap().is_none());
}

pub(super) async fn a_submit_repeated_after_a_lost_reply_finds_its_own_job_whoever_has_the_key_now(
    ledger: Arc<dyn Ledger>,
) {
    let first = unique("k");
    submit(&*ledger, first.clone()).await;
    let is_own = |answer: Submitted| matches!(answer, Submitted::Repeated(job) if job.id == first.id);
    assert!(is_own(ask(&*ledger, &first).await));
    ledger.cancel(first.id).await.unwrap();
    let second = submit(&*ledger, unique("k")).await;
    assert!(is_own(ask(&*ledger, &first).await));
    assert!(is_held(&*ledger, "k", second).await, "and takes nothing from it");
}

pub(super) async fn an_idempotency_key_remembers_the_job_that_held_the_unique_key(ledger: Arc<dyn Ledger>) {
    let holder = submit(&*ledger, unique("k")).await;
    let (first, twin) = (keyed("i", "k"), keyed("i", "k"));
    let answers = ledger.submit(&[first, twin]).await.unwrap();
    assert!(matches!(&answers[0], Submitted::Held(job) if job.id == holder), "{answers:?}");
    assert!(matches!(&answers[1], Submitted::Repeated(job) if job.id == holder), "{answers:?}");
    ledger.cancel(holder).await.unwrap();
    let again = ask(&*ledger, &keyed("i", "k")).await;
    assert!(
        matches!(&again, Submitted::Repeated(job) if job.id == holder),
        "the same request, the same answer: {again:?}"
    );
    assert!(ask(&*ledger, &keyed("j", "k")).await.is_created());
}

pub(super) async fn of_64_callers_with_one_unique_key_one_makes_the_job_and_all_see_it(ledger: Arc<dyn Ledger>) {
    for round in 0..ROUNDS {
        let key = format!("round {round}");
        let jobs: Vec<NewJob> = (0..CALLERS).map(|_| unique(&key)).collect();
        let answers = join_all(jobs.iter().map(|job| ask(&*ledger, job))).await;
        let seen: HashSet<JobId> = answers.iter().map(|answer| made(answer).id).collect();
        assert_eq!((answers.iter().filter(|answer| answer.is_created()).count(), seen.len()), (1, 1), "{key}");
    }
    assert_eq!(unfinished(&*ledger).await, ROUNDS);
}

pub(super) async fn batches_that_share_unique_keys_in_any_order_do_not_lock_each_other_out(ledger: Arc<dyn Ledger>) {
    let batch = |turn: usize| -> Vec<NewJob> {
        let mut jobs: Vec<NewJob> = (0..20).map(|n| keyed(&format!("{turn} {n}"), &format!("key {n}"))).collect();
        jobs.rotate_left(turn % 20);
        jobs
    };
    let batches: Vec<_> = (0..24).map(batch).collect();
    let answers = join_all(batches.iter().map(|jobs| ledger.submit(jobs))).await;
    let created = answers.iter().flat_map(|answers| answers.as_ref().unwrap()).filter(|a| a.is_created()).count();
    assert_eq!((created, unfinished(&*ledger).await), (20, 20));
}

pub(super) async fn while_a_key_changes_hands_it_never_has_two_unfinished_jobs(ledger: Arc<dyn Ledger>) {
    let turns = (0..16).map(|_| async {
        for _ in 0..12 {
            if let Submitted::Created(job) = ask(&*ledger, &unique("k")).await {
                assert!(unfinished(&*ledger).await <= 1, "beside {}", job.id);
                ledger.cancel(job.id).await.unwrap();
            }
            ledger.remove_idle_keys(10).await.unwrap();
        }
    });
    join_all(turns).await;
    assert_eq!(unfinished(&*ledger).await, 0);
    submit(&*ledger, unique("k")).await;
}

pub(super) async fn a_dead_letter_is_replayed_only_while_no_other_job_has_its_unique_key(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let dead = submit(&*ledger, unique("k")).await;
    let fence = granted(claim(&*ledger, worker, dead).await).fence;
    done(&*ledger, fence, dead_letter()).await;
    let other = submit(&*ledger, unique("k")).await;
    let answer = ledger.replay(dead).await.unwrap();
    assert!(matches!(answer, Replaying::Held(by) if by == other), "{answer:?}");
    assert_eq!(look(&*ledger, dead).await.state, State::Failed);
    ledger.cancel(other).await.unwrap();
    let races = join_all((0..8).map(|_| ledger.replay(dead))).await;
    let raised = races.iter().filter(|answer| matches!(answer, Ok(Replaying::Ready(_)))).count();
    assert_eq!(raised, 1, "{races:?}");
    assert!(is_held(&*ledger, "k", dead).await, "it has its key again");
}

pub(super) async fn keys_of_finished_jobs_are_removed_and_no_others(ledger: Arc<dyn Ledger>) {
    let mut finished = vec![];
    for n in 0..5 {
        finished.push(submit(&*ledger, unique(&format!("done {n}"))).await);
    }
    let held = submit(&*ledger, unique("held")).await;
    for job in &finished {
        ledger.cancel(*job).await.unwrap();
    }
    assert_eq!(ledger.remove_idle_keys(3).await.unwrap(), 3);
    assert_eq!(ledger.remove_idle_keys(3).await.unwrap(), 2);
    assert_eq!(ledger.remove_idle_keys(3).await.unwrap(), 0);
    assert!(is_held(&*ledger, "held", held).await);
    assert!(ask(&*ledger, &unique("done 0")).await.is_created());
}
