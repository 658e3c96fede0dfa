//! Callers who ask twice with one key, one after the other or all at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use longshore_runtime::ledger::{Filter, Idempotency, Ledger, NewJob, Submitted};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;
use longshore_tests::until::until;

use super::steps::*;

const CALLERS: usize = 64;
const ROUNDS: usize = 10;

fn keyed(key: &str, fingerprint: u8) -> NewJob {
    lives(key, fingerprint, LONG)
}

fn lives(key: &str, fingerprint: u8, lives: Duration) -> NewJob {
    NewJob { idempotency: Some(Idempotency { key: key.into(), fingerprint: [fingerprint; 32], lives }), ..new_job() }
}

async fn ask(ledger: &dyn Ledger, job: &NewJob) -> Submitted {
    ledger.submit(std::slice::from_ref(job)).await.unwrap().remove(0)
}

async fn count(ledger: &dyn Ledger) -> usize {
    ledger.list(&Filter { limit: 10_000, ..Filter::default() }).await.unwrap().len()
}

pub(super) async fn a_key_that_comes_again_finds_the_job_of_the_first(ledger: Arc<dyn Ledger>) {
    let first = keyed("k", 1);
    assert!(ask(&*ledger, &first).await.is_created());
    // Another request, and the first one whose reply was lost.
    for again in [keyed("k", 1), first.clone()] {
        let Submitted::Repeated(job) = ask(&*ledger, &again).await else { panic!("not recognised") };
        assert_eq!((job.id, job.version), (first.id, 1));
    }
    assert!(ask(&*ledger, &keyed("other", 1)).await.is_created());
    assert!(ask(&*ledger, &new_job()).await.is_created());
    assert_eq!(count(&*ledger).await, 3);
}

pub(super) async fn a_key_with_another_fingerprint_is_a_conflict_and_writes_nothing(ledger: Arc<dyn Ledger>) {
    let first = keyed("k", 1);
    ask(&*ledger, &first).await;
    let other = keyed("k", 2);
    let answers = ledger.submit(&[other.clone(), keyed("free", 2)]).await.unwrap();
    assert!(matches!(answers[0], Submitted::Conflict(job) if job == first.id), "{answers:?}");
    assert!(answers[1].is_created(), "its neighbour is none of its business");
    assert!(ledger.job(other.id).await.unwrap().is_none());
}

pub(super) async fn a_key_twice_in_one_batch_makes_one_job(ledger: Arc<dyn Ledger>) {
    let (first, second, third) = (keyed("k", 1), keyed("k", 1), keyed("k", 2));
    let answers = ledger.submit(&[first.clone(), second, new_job(), third]).await.unwrap();
    assert!(answers[0].is_created() && answers[2].is_created(), "{answers:?}");
    assert!(matches!(&answers[1], Submitted::Repeated(job) if job.id == first.id), "{answers:?}");
    assert!(matches!(answers[3], Submitted::Conflict(job) if job == first.id), "{answers:?}");
    assert_eq!(count(&*ledger).await, 2);
}

pub(super) async fn of_64_callers_with_one_key_one_makes_the_job_and_all_get_it(ledger: Arc<dyn Ledger>) {
    for round in 0..ROUNDS {
        let key = format!("round {round}");
        let jobs: Vec<NewJob> = (0..CALLERS).map(|_| keyed(&key, 1)).collect();
        let answers = join_all(jobs.iter().map(|job| ask(&*ledger, job))).await;
        let created: Vec<JobId> = answers.iter().filter(|a| a.is_created()).map(|a| made(a).id).collect();
        assert_eq!(created.len(), 1, "{key}");
        assert!(answers.iter().all(|answer| made(answer).id == created[0]), "{key}");
        assert_eq!(count(&*ledger).await, round + 1);
    }
}

pub(super) async fn batches_that_share_keys_in_any_order_do_not_lock_each_other_out(ledger: Arc<dyn Ledger>) {
    let batch = |turn: usize| -> Vec<NewJob> {
        let mut jobs: Vec<NewJob> = (0..20).map(|n| keyed(&format!("key {n}"), 1)).collect();
        jobs.rotate_left(turn % 20);
        jobs
    };
    let batches: Vec<_> = (0..24).map(batch).collect();
    let answers = join_all(batches.iter().map(|jobs| ledger.submit(jobs))).await;
    let created = answers.iter().flat_map(|answers| answers.as_ref().unwrap()).filter(|a| a.is_created()).count();
    assert_eq!((created, count(&*ledger).await), (20, 20));
}

pub(super) async fn a_key_whose_time_is_over_makes_a_new_job(ledger: Arc<dyn Ledger>) {
    let first = lives("k", 1, SHORT);
    ask(&*ledger, &first).await;
    let made_again = until("the key to expire", SOON, || async {
        let next = lives("k", 2, LONG);
        ask(&*ledger, &next).await.is_created().then_some(next.id)
    })
    .await;
    assert_ne!(made_again, first.id);
    let Submitted::Repeated(job) = ask(&*ledger, &keyed("k", 2)).await else { panic!("it lives again") };
    assert_eq!(job.id, made_again);
    assert_eq!(count(&*ledger).await, 2);
}

pub(super) async fn only_dead_letters_whose_end_is_announced_are_purged_with_all_that_is_theirs(
    ledger: Arc<dyn Ledger>,
) {
    let worker = worker(&*ledger, LONG).await;
    let buried = keyed("k", 1);
    submit(&*ledger, buried.clone()).await;
    let fence = granted(claim(&*ledger, worker, buried.id).await).fence;
    done(&*ledger, fence, dead_letter()).await;
    let (other, pending) = (dead(&*ledger, worker).await, queued(&*ledger).await);
    assert_eq!(ledger.dead_letters(&Tenant::default(), "demo.greet", 10).await.unwrap(), [buried.id, other]);
    assert_eq!(ledger.dead_letters(&Tenant::default(), "demo.greet", 1).await.unwrap(), [buried.id]);
    assert!(ledger.dead_letters(&Tenant::default(), "other", 10).await.unwrap().is_empty());
    ledger.mark_unannounced(&[(other, 3)]).await.unwrap();
    let all = [buried.id, other, pending, JobId::fresh()];
    assert_eq!(ledger.purge(&all).await.unwrap(), 1);
    assert!(ledger.job(buried.id).await.unwrap().is_none() && history(&*ledger, buried.id).await.is_empty());
    assert!(ledger.job(other).await.unwrap().is_some() && ledger.job(pending).await.unwrap().is_some());
    announce_all(&*ledger).await;
    assert_eq!(ledger.purge(&all).await.unwrap(), 1);
    assert!(ask(&*ledger, &keyed("k", 2)).await.is_created(), "its key is free");
}
