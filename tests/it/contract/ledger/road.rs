//! The way back into the broker: what the relay and the reconciler pick, and their marks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Ledger, NewJob, Patience, Priority, Ready, RunAt};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;
use longshore_tests::until::until;

use super::steps::*;

const KIND: &str = "demo.greet";

pub(super) async fn due_jobs_come_oldest_first_and_only_those(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    // Due in the order of their hand-backs, not of their ids.
    let mut fences = vec![running(&*ledger, worker).await, running(&*ledger, worker).await];
    let urgent = NewJob { priority: Priority::High, kind: "other".into(), correlation_id: None, ..new_job() };
    let urgent = submit(&*ledger, urgent).await;
    fences.push(granted(claim(&*ledger, worker, urgent).await).fence);
    fences.reverse();
    for fence in &fences {
        done(&*ledger, *fence, yielded()).await;
    }
    let (_on_the_road, _later, _runs) =
        (queued(&*ledger).await, scheduled(&*ledger, LONG).await, running(&*ledger, worker).await);
    let due = ledger.due(10).await.unwrap();
    let expected: Vec<JobId> = fences.iter().map(|fence| fence.job).collect();
    assert_eq!(due.iter().map(|ready| ready.job).collect::<Vec<_>>(), expected);
    let created_at = look(&*ledger, urgent).await.created_at;
    let first = Ready {
        tenant: Tenant::default(),
        job: urgent,
        kind: "other".into(),
        priority: Priority::High,
        version: 3,
        attempt: 1,
        created_at,
        correlation_id: None,
        trace: Some(trace()),
    };
    assert_eq!(due[0], first);
    assert_eq!(due[1].correlation_id.as_deref(), Some("c-1"));
    assert_eq!(due[1].trace, Some(trace()));
    assert_eq!(ledger.due(2).await.unwrap(), due[..2]);
    assert!(ledger.due(0).await.unwrap().is_empty());
}

pub(super) async fn the_next_due_time_is_known(ledger: Arc<dyn Ledger>) {
    queued(&*ledger).await;
    assert_eq!(ledger.next_due().await.unwrap(), None, "one on the road waits for nobody");
    scheduled(&*ledger, LONG * 2).await;
    let sooner = scheduled(&*ledger, LONG).await;
    let wait = ledger.next_due().await.unwrap().unwrap();
    assert!(wait <= LONG && wait > LONG - SOON, "{wait:?}");
    ledger.cancel(sooner).await.unwrap();
    assert!(ledger.next_due().await.unwrap().unwrap() > LONG);
    let job = queued(&*ledger).await;
    ledger.unqueue(job, 1).await.unwrap();
    assert_eq!(ledger.next_due().await.unwrap(), Some(Duration::ZERO));
    ledger.mark_queued(&[(job, 1)]).await.unwrap();
    assert!(ledger.next_due().await.unwrap().unwrap() > LONG);
}

pub(super) async fn a_published_job_is_marked_if_its_version_is_unchanged(ledger: Arc<dyn Ledger>) {
    let (one, two) = (queued(&*ledger).await, queued(&*ledger).await);
    for job in [one, two] {
        ledger.unqueue(job, 1).await.unwrap();
    }
    ledger.mark_queued(&[(two, 1), (one, 2), (JobId::fresh(), 1)]).await.unwrap();
    let (one_row, two_row) = (look(&*ledger, one).await, look(&*ledger, two).await);
    assert!(one_row.queued_at.is_none() && one_row.due_at.is_some(), "another version");
    assert!(two_row.queued_at.is_some() && two_row.due_at.is_none());
    assert_eq!((one_row.version, two_row.version), (1, 1));
    assert_eq!(to_publish(&*ledger).await, [one]);
    // The claim was faster than the mark, which names the version before it.
    let fence = granted(claim(&*ledger, worker(&*ledger, LONG).await, one).await).fence;
    ledger.mark_queued(&[(one, 1), (one, 2)]).await.unwrap();
    let row = look(&*ledger, one).await;
    assert_eq!((row.state, row.queued_at), (State::Running, None));
    done(&*ledger, fence, retry(LONG)).await;
    ledger.mark_queued(&[(one, 2)]).await.unwrap();
    let row = look(&*ledger, one).await;
    assert!(row.queued_at.is_none() && row.due_at.is_some(), "a late mark must not hide a retry");
    done_is_never_marked(&*ledger).await;
}

async fn done_is_never_marked(ledger: &dyn Ledger) {
    let fence = running(ledger, worker(ledger, LONG).await).await;
    let event = done(ledger, fence, complete()).await;
    ledger.mark_queued(&[(fence.job, event.version)]).await.unwrap();
    let row = look(ledger, fence.job).await;
    assert_eq!((row.state, row.queued_at, row.due_at), (State::Completed, None, None));
}

async fn overdue(ledger: &dyn Ledger, patience: Duration) -> Vec<JobId> {
    ledger.overdue(KIND, Patience::doubling(patience), 100).await.unwrap().into_iter().map(|ready| ready.job).collect()
}

pub(super) async fn a_job_lost_on_the_road_is_overdue_after_its_patience(ledger: Arc<dyn Ledger>) {
    let (first, second) = (queued(&*ledger).await, queued(&*ledger).await);
    let other = submit(&*ledger, NewJob { kind: "other".into(), ..new_job() }).await;
    let worker = worker(&*ledger, LONG).await;
    running(&*ledger, worker).await;
    dead(&*ledger, worker).await;
    let waits = queued(&*ledger).await;
    ledger.unqueue(waits, 1).await.unwrap();
    submit(&*ledger, NewJob { run_at: Some(RunAt::After(LONG)), ..new_job() }).await;
    assert!(overdue(&*ledger, LONG).await.is_empty());
    until("both to be overdue", SOON, || async {
        (overdue(&*ledger, Duration::from_millis(30)).await == [first, second]).then_some(())
    })
    .await;
    let ready = ledger.overdue(KIND, Patience::plain(Duration::ZERO), 1).await.unwrap().remove(0);
    assert_eq!((ready.job, ready.version, ready.priority), (first, 1, Priority::Normal));
    let of_other = ledger.overdue("other", Patience::plain(Duration::ZERO), 10).await.unwrap();
    assert_eq!(of_other.iter().map(|ready| ready.job).collect::<Vec<_>>(), [other]);
    // One that was published again starts a new wait.
    ledger.mark_queued(&[(first, 1)]).await.unwrap();
    assert_eq!(overdue(&*ledger, Duration::ZERO).await, [second, first]);
    assert_eq!(overdue(&*ledger, LONG).await, []);
}

pub(super) async fn patience_doubles_with_every_publish_and_starts_anew_after_a_claim(ledger: Arc<dyn Ledger>) {
    let patience = Duration::from_millis(40);
    let job = queued(&*ledger).await;
    for _ in 0..3 {
        ledger.mark_queued(&[(job, 1)]).await.unwrap();
    }
    let thrice = Instant::now();
    until("it to be overdue", SOON, || async { (overdue(&*ledger, patience).await == [job]).then_some(()) }).await;
    let waited = thrice.elapsed();
    // The mark was committed a moment before this clock started.
    assert!(waited + SHORT >= patience * 8, "published three times, it was overdue after {waited:?}");
    // However often it was published, it is looked for again after 2^10 times the patience.
    for _ in 0..12 {
        ledger.mark_queued(&[(job, 1)]).await.unwrap();
    }
    let often = Instant::now();
    let short = Duration::from_micros(1000);
    until("it to be overdue", SOON, || async { (overdue(&*ledger, short).await == [job]).then_some(()) }).await;
    assert!(often.elapsed() + SHORT >= short * 1024);
    // Known to be on no queue, it is found whatever the number of its publishes.
    let found = || async {
        let plain = ledger.overdue(KIND, Patience::plain(patience), 10).await.unwrap();
        (plain.len() == 1).then_some(())
    };
    until("it to be overdue without doubling", SOON, found).await;
    assert_eq!(overdue(&*ledger, patience).await, []);
    let worker = worker(&*ledger, LONG).await;
    let fence = granted(claim(&*ledger, worker, job).await).fence;
    let event = done(&*ledger, fence, yielded()).await;
    ledger.mark_queued(&[(job, event.version)]).await.unwrap();
    // With sixteen publishes to its name that would be 1024 times the patience, far past this wait.
    until("it to be overdue", SOON, || async { (overdue(&*ledger, SHORT).await == [job]).then_some(()) }).await;
}

pub(super) async fn an_announcement_is_cleared_only_for_the_version_announced(ledger: Arc<dyn Ledger>) {
    let (one, two) = (queued(&*ledger).await, queued(&*ledger).await);
    for job in [one, two] {
        ledger.cancel(job).await.unwrap();
    }
    let sorted = async || {
        let mut owed = ledger.unannounced(10).await.unwrap();
        owed.sort_unstable_by_key(|owed| owed.job);
        owed
    };
    let events = sorted().await;
    assert_eq!(events.len(), 2);
    assert_eq!(ledger.unannounced(1).await.unwrap().len(), 1);
    assert_eq!(sorted().await, events, "a repeat is equal");
    ledger.mark_announced(&[(one, 2), (two, 1), (JobId::fresh(), 2)]).await.unwrap();
    assert_eq!(to_announce(&*ledger).await, [two]);
    // Announced while the job moved on: what comes after must not be lost.
    let job = dead(&*ledger, worker(&*ledger, LONG).await).await;
    ledger.replay(job).await.unwrap();
    let replayed = look(&*ledger, job).await.version;
    ledger.cancel(job).await.unwrap();
    ledger.mark_announced(&[(job, replayed)]).await.unwrap();
    let owed = ledger.unannounced(10).await.unwrap().into_iter().find(|owed| owed.job == job).unwrap();
    let event = owed.events.last().unwrap();
    assert_eq!((event.state, event.version, owed.version), (State::Canceled, replayed + 1, replayed + 1));
    ledger.mark_announced(&[(job, replayed + 1), (two, 2)]).await.unwrap();
    assert!(to_announce(&*ledger).await.is_empty());
    assert_eq!(look(&*ledger, job).await.version, replayed + 1, "a mark is no transition");
}

pub(super) async fn a_failed_announcement_is_left_to_the_relay(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    let event = done(&*ledger, fence, complete()).await;
    ledger.mark_unannounced(&[(fence.job, event.version + 1), (JobId::fresh(), 1)]).await.unwrap();
    assert!(to_announce(&*ledger).await.is_empty(), "a version that there is not");
    // Its start was not announced, and it has ended since: that is no reason to forget it.
    for version in [event.version - 1, event.version, event.version] {
        ledger.mark_unannounced(&[(fence.job, version)]).await.unwrap();
        assert_eq!(owed(&*ledger).await, event);
    }
    ledger.mark_announced(&[(fence.job, event.version)]).await.unwrap();
    assert!(to_announce(&*ledger).await.is_empty());
}

pub(super) async fn a_census_counts_what_waits_and_runs_by_kind(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.census().await.unwrap(), []);
    let worker = worker(&*ledger, LONG).await;
    let (oldest, _later) = (queued(&*ledger).await, scheduled(&*ledger, LONG).await);
    let _runs = running(&*ledger, worker).await;
    let back = running(&*ledger, worker).await;
    done(&*ledger, back, yielded()).await;
    let ended = running(&*ledger, worker).await;
    done(&*ledger, ended, complete()).await;
    submit(&*ledger, NewJob { kind: "other".into(), run_at: Some(RunAt::After(LONG)), ..new_job() }).await;
    let census = ledger.census().await.unwrap();
    let counts: Vec<_> = census.iter().map(|row| (row.kind.as_str(), row.waiting, row.running)).collect();
    assert_eq!(counts, [(KIND, 2, 1), ("other", 0, 0)], "the queued one and the handed back one wait");
    let since: Vec<_> = census.iter().map(|row| row.oldest_waiting).collect();
    assert_eq!(since, [Some(look(&*ledger, oldest).await.created_at), None]);
}

pub(super) async fn dead_letters_are_counted_by_kind(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.count_dead_letters().await.unwrap(), []);
    let worker = worker(&*ledger, LONG).await;
    for _ in 0..2 {
        dead(&*ledger, worker).await;
    }
    let ended = running(&*ledger, worker).await;
    done(&*ledger, ended, complete()).await;
    assert_eq!(ledger.count_dead_letters().await.unwrap(), [(KIND.to_owned(), 2)]);
}

pub(super) async fn a_job_published_again_has_waited_since_it_was_due(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let job = scheduled(&*ledger, SHORT).await;
    let due_at = look(&*ledger, job).await.due_at.unwrap();
    until("the job to be due", SOON, || async { (!ledger.due(1).await.unwrap().is_empty()).then_some(()) }).await;
    for _ in 0..2 {
        ledger.mark_queued(&[(job, 1)]).await.unwrap();
    }
    assert_eq!(ledger.census().await.unwrap()[0].oldest_waiting, Some(due_at));
    let waited = granted(claim(&*ledger, worker, job).await).waited;
    let started_at = look(&*ledger, job).await.started_at.unwrap();
    assert_eq!(waited, Duration::try_from(started_at.duration_since(due_at)).unwrap());
    let failed = running(&*ledger, worker).await;
    done(&*ledger, failed, retry(Duration::ZERO)).await;
    let waited = granted(claim(&*ledger, worker, failed.job).await).waited;
    assert!(waited < SOON, "a retry waits from its own due time: {waited:?}");
}
