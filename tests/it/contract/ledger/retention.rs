//! What is forgotten and when: finished jobs with all that is their own, and what outlives them on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_runtime::ledger::retention::{Keep, Removed};
use longshore_runtime::ledger::webhooks::ENDS;
use longshore_runtime::ledger::{File, Idempotency, Ledger, NewJob, Submitted};
use longshore_sdk::JobId;
use longshore_tests::until::until;
use uuid::Uuid;

use super::steps::*;
use super::webhooks::{subscribed, webhook};

/// Every job goes as soon as it has ended.
const NOTHING: Keep = Keep { finished: Some(Duration::ZERO), failed: Some(Duration::ZERO) };
const ENDLESS: usize = 1000;

/// Waits until so many jobs were removed, and looks once more for what should not have been.
async fn removed(ledger: &dyn Ledger, keep: Keep, jobs: usize) {
    let gone = AtomicUsize::new(0);
    let remove = || async {
        let removed = ledger.remove_outlived(keep, None, ENDLESS).await.unwrap().jobs;
        gone.fetch_add(removed, Ordering::Relaxed) + removed
    };
    until("old jobs to go", SOON, || async { (remove().await >= jobs).then_some(()) }).await;
    assert_eq!(remove().await, jobs);
}

/// Removes what it may, until a job that ended before is gone: whatever is there then was spared.
async fn all_but_those_that_stay(ledger: &dyn Ledger) {
    let us = worker(ledger, LONG).await;
    let last = ended(ledger, us).await;
    until("the last to go", SOON, || async {
        ledger.remove_outlived(NOTHING, None, ENDLESS).await.unwrap();
        ledger.job(last).await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn ended(ledger: &dyn Ledger, worker: Uuid) -> JobId {
    let fence = running(ledger, worker).await;
    done(ledger, fence, complete()).await;
    fence.job
}

/// As from a producer that publishes by itself, with an id of its own making.
fn foreign() -> NewJob {
    NewJob { id: JobId(Uuid::new_v5(&Uuid::NAMESPACE_URL, Uuid::now_v7().as_bytes())), ..new_job() }
}

pub(super) async fn a_finished_job_goes_after_its_time_with_all_that_is_its_own(ledger: Arc<dyn Ledger>) {
    let us = worker(&*ledger, LONG).await;
    let (over, dead, waits) = (ended(&*ledger, us).await, dead(&*ledger, us).await, queued(&*ledger).await);
    let runs = running(&*ledger, us).await.job;
    for keep in [Keep::default(), Keep { finished: Some(LONG), failed: Some(LONG) }] {
        assert_eq!(ledger.remove_outlived(keep, None, ENDLESS).await.unwrap(), Removed { jobs: 0, next: None });
    }
    removed(&*ledger, Keep { finished: Some(Duration::ZERO), failed: None }, 1).await;
    assert!(ledger.job(over).await.unwrap().is_none() && ledger.history(over).await.unwrap().is_none());
    assert!(history(&*ledger, over).await.is_empty());
    assert_eq!(ledger.leftovers(ENDLESS).await.unwrap(), [over]);
    removed(&*ledger, Keep { finished: None, failed: Some(Duration::ZERO) }, 1).await;
    assert!(ledger.job(dead).await.unwrap().is_none());
    for stays in [waits, runs] {
        assert!(ledger.job(stays).await.unwrap().is_some());
    }
    assert_eq!(ledger.leftovers(1).await.unwrap().len(), 1);
    ledger.forget_leftovers(&[over]).await.unwrap();
    assert_eq!(ledger.leftovers(ENDLESS).await.unwrap(), [dead]);
}

pub(super) async fn every_page_is_looked_at_once(ledger: Arc<dyn Ledger>) {
    let us = worker(&*ledger, LONG).await;
    let mut waiting = vec![];
    for _ in 0..3 {
        ended(&*ledger, us).await;
        waiting.push(queued(&*ledger).await);
    }
    // Made last, so that all six are old when this one is.
    let last = ended(&*ledger, us).await;
    let walk = async || {
        let (mut after, mut pages) = (None, vec![]);
        loop {
            let page = ledger.remove_outlived(NOTHING, after, 2).await.unwrap();
            pages.push(page.jobs);
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    };
    let old = || async { ledger.remove_outlived(Keep { finished: None, ..NOTHING }, Some(last), 1).await.unwrap() };
    // A dead letter that was made after them all is old: so are they.
    let marker = dead(&*ledger, us).await;
    until("all of them to be old", SOON, || async { (old().await.jobs == 1).then_some(()) }).await;
    assert!(ledger.job(marker).await.unwrap().is_none());
    assert_eq!(walk().await, [1, 1, 1, 1], "two looked at each time, and the last page is not full");
    for job in waiting {
        assert!(ledger.job(job).await.unwrap().is_some());
    }
}

pub(super) async fn a_job_that_is_still_to_be_told_of_or_remembered_stays(ledger: Arc<dyn Ledger>) {
    let (us, by) = (worker(&*ledger, LONG).await, Duration::from_secs(8));
    let canceled = queued(&*ledger).await;
    ledger.cancel(canceled).await.unwrap();
    let key = Idempotency { key: "k".into(), fingerprint: [1; 32], lives: by };
    let keyed = submit(&*ledger, NewJob { idempotency: Some(key), ..new_job() }).await;
    done(&*ledger, granted(claim(&*ledger, us, keyed).await).fence, complete()).await;
    let hook = subscribed(&*ledger, webhook(&ENDS)).await;
    let told = ended(&*ledger, us).await;
    let delivery = ledger.deliveries(hook, None, 10).await.unwrap().remove(0).id;
    ledger.switch(hook, Some("enough")).await.unwrap();
    all_but_those_that_stay(&*ledger).await;
    for stays in [canceled, keyed, told, delivery] {
        assert!(ledger.job(stays).await.unwrap().is_some());
    }
    announce_all(&*ledger).await;
    done(&*ledger, granted(claim(&*ledger, us, delivery).await).fence, complete()).await;
    all_but_those_that_stay(&*ledger).await;
    for goes in [canceled, told] {
        assert!(ledger.job(goes).await.unwrap().is_none());
    }
    assert!(ledger.job(delivery).await.unwrap().is_some(), "it goes with its delivery");
    removed(&*ledger, NOTHING, 1).await;
    assert!(ledger.job(keyed).await.unwrap().is_none());
}

pub(super) async fn the_id_of_a_foreign_job_outlives_it_so_that_a_late_repeat_is_no_second_one(
    ledger: Arc<dyn Ledger>,
) {
    let us = worker(&*ledger, LONG).await;
    let (finished, purged) = (foreign(), foreign());
    for job in [&finished, &purged] {
        assert!(ledger.adopt(job).await.unwrap().is_some_and(|made| made.is_created()));
        assert_eq!(to_announce(&*ledger).await, [job.id], "whoever took it in may die before it says so");
        announce_all(&*ledger).await;
        assert!(matches!(ledger.adopt(job).await.unwrap(), Some(Submitted::Repeated(row)) if row.id == job.id));
        assert!(to_announce(&*ledger).await.is_empty());
    }
    done(&*ledger, granted(claim(&*ledger, us, finished.id).await).fence, complete()).await;
    done(&*ledger, granted(claim(&*ledger, us, purged.id).await).fence, dead_letter()).await;
    removed(&*ledger, Keep { finished: Some(Duration::ZERO), failed: None }, 1).await;
    assert_eq!(ledger.purge(&[purged.id]).await.unwrap(), 1);
    for job in [&finished, &purged] {
        assert!(ledger.adopt(job).await.unwrap().is_none(), "it was here");
        assert!(ledger.job(job.id).await.unwrap().is_none());
    }
    let mut left = ledger.leftovers(ENDLESS).await.unwrap();
    left.sort_unstable();
    let mut both = vec![finished.id, purged.id];
    both.sort_unstable();
    assert_eq!(left, both);
    assert_eq!(ledger.forget_foreign(LONG, ENDLESS).await.unwrap(), 0);
    let forgotten = AtomicUsize::new(0);
    until("both to be old", SOON, || async {
        let more = ledger.forget_foreign(Duration::ZERO, 1).await.unwrap();
        (forgotten.fetch_add(more, Ordering::Relaxed) + more == 2).then_some(())
    })
    .await;
    assert!(ledger.adopt(&finished).await.unwrap().is_some_and(|made| made.is_created()));
}

pub(super) async fn a_file_stays_as_long_as_a_job_that_names_it(ledger: Arc<dyn Ledger>) {
    let us = worker(&*ledger, LONG).await;
    let file = |name: &str| File {
        id: Uuid::now_v7(),
        tenant: new_job().tenant,
        name: name.into(),
        content_type: "text/csv".into(),
        bytes: 1,
        sha256: "ab".repeat(32),
    };
    let (named, unnamed, lost) = (file("named"), file("unnamed"), file("lost"));
    for file in [&named, &unnamed, &lost] {
        ledger.add_file(file).await.unwrap();
    }
    let fence = running(&*ledger, us).await;
    ledger.use_files(&named.tenant, fence.job, &[named.id]).await.unwrap();
    ledger.use_files(&named.tenant, fence.job, &[named.id]).await.unwrap();
    // Its submit never came.
    ledger.use_files(&lost.tenant, JobId::fresh(), &[lost.id]).await.unwrap();
    let gone = async |id: Uuid| {
        until("a file to go", SOON, || async {
            let doomed = ledger.expired_files(Some(SHORT), 10).await.unwrap();
            doomed.iter().any(|(_, doomed)| *doomed == id).then_some(())
        })
        .await;
    };
    gone(unnamed.id).await;
    gone(lost.id).await;
    assert_eq!(ledger.file(named.id).await.unwrap().as_ref(), Some(&named));
    done(&*ledger, fence, complete()).await;
    assert_eq!(ledger.expired_files(Some(LONG), 10).await.unwrap().len(), 2);
    removed(&*ledger, NOTHING, 1).await;
    gone(named.id).await;
    assert_eq!(ledger.file(named.id).await.unwrap(), None);
}
