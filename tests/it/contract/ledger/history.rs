//! A job's events are rebuilt from its row and its attempts, and are the ones that were told when they happened.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{
    Announced, Beat, Claimed, Ended, Event, Ledger, NewJob, Recorded, Replaying, Report, Settle, Whose,
};
use longshore_sdk::JobId;
use longshore_tests::until::until;
use uuid::Uuid;

use super::steps::*;

/// Claims the job, ends the attempt so, and tells both as a worker does.
async fn attempt(ledger: &dyn Ledger, worker: Uuid, job: JobId, end: (Ended, Settle)) -> [Event; 2] {
    let run = granted(claim(ledger, worker, job).await);
    [run.started(), done(ledger, run.fence, end).await]
}

async fn told(ledger: &dyn Ledger, job: JobId) -> Vec<Event> {
    let events = ledger.history(job).await.unwrap().expect("the job exists");
    let sequence: Vec<i64> =
        events.iter().filter(|event| event.progress.is_none()).map(|event| event.version).collect();
    assert_eq!(sequence, (1..=sequence.len() as i64).collect::<Vec<_>>(), "whoever counts sees no hole: {events:?}");
    events
}

fn ids(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.id().to_string()).collect()
}

pub(super) async fn a_history_is_what_was_told_at_every_step(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let submitted = ledger.submit(&[new_job()]).await.unwrap();
    let row = made(&submitted[0]);
    let job = row.id;
    let mut expected = vec![row.accepted()];
    assert_eq!(told(&*ledger, job).await, expected);
    expected.extend(attempt(&*ledger, worker, job, retry(SHORT)).await);
    // A delivery that comes too early is no event.
    assert!(matches!(claim(&*ledger, worker, job).await, Claimed::NotDue));
    assert_eq!(told(&*ledger, job).await, expected);
    until("the retry to be due", SOON, || async { (to_publish(&*ledger).await == [job]).then_some(()) }).await;
    // The error of the first attempt is not the second's.
    expected.extend(attempt(&*ledger, worker, job, yielded()).await);
    assert_eq!(expected.last().unwrap().error, None);
    expected.extend(attempt(&*ledger, worker, job, dead_letter()).await);
    assert_eq!(told(&*ledger, job).await, expected);
    let Replaying::Ready(replayed) = ledger.replay(job).await.unwrap() else { panic!("a dead letter") };
    let replay = told(&*ledger, job).await.pop().unwrap();
    assert_eq!((replay.version, replay.state, replay.attempt), (replayed.version, State::Pending, 3));
    assert!(replay.error.is_none() && Some(replay.at) == replayed.due_at);
    expected.push(replay);
    let run = granted(claim(&*ledger, worker, job).await);
    expected.push(run.started());
    ledger.cancel(job).await.unwrap();
    assert_eq!(told(&*ledger, job).await, expected, "a wish is no event");
    expected.push(done(&*ledger, run.fence, retry(LONG)).await);
    let last = expected.last().unwrap();
    assert_eq!((last.state, last.ended, &last.error), (State::Canceled, Some(Ended::Error), &None));
    assert_eq!(told(&*ledger, job).await, expected);
    let ids = ids(&expected);
    let mut unique = ids.clone();
    unique.dedup();
    assert_eq!(ids, unique);
}

pub(super) async fn the_histories_of_what_changed_since_a_moment_are_found_while_they_are_not_too_many(
    ledger: Arc<dyn Ledger>,
) {
    let worker = worker(&*ledger, LONG).await;
    let idle = made(&ledger.submit(&[new_job()]).await.unwrap()[0]).id;
    let old = made(&ledger.submit(&[new_job()]).await.unwrap()[0]).id;
    let mut expected = told(&*ledger, old).await;
    let ended = attempt(&*ledger, worker, old, dead_letter()).await.to_vec();
    let since = ended[0].at;
    expected.extend(ended);
    let new = made(&ledger.submit(&[new_job()]).await.unwrap()[0]).id;
    expected.extend(told(&*ledger, new).await);
    expected.extend(attempt(&*ledger, worker, new, yielded()).await);
    let mut found = ledger.events_since(since, 3).await.unwrap().expect("few enough");
    // Of one clock's tick, or not.
    found.retain(|event| event.job != idle);
    found.sort_by_key(Event::id);
    expected.sort_by_key(Event::id);
    assert_eq!(found, expected, "what happened to them before is told, too");
    assert_eq!(ledger.events_since(since, 1).await.unwrap(), None);
    let later = since + jiff::SignedDuration::from_hours(1);
    assert_eq!(ledger.events_since(later, 0).await.unwrap(), Some(vec![]));
}

pub(super) async fn what_somebody_owes_to_announce_holds_back_the_moment_up_to_which_everything_is(
    ledger: Arc<dyn Ledger>,
) {
    let Announced { now, to } = ledger.announced().await.unwrap();
    assert_eq!(now, to, "nobody owes anything");
    // A worker that says in its heartbeats how far it is.
    let id = worker(&*ledger, LONG).await;
    let far = ledger.now().await.unwrap();
    let beat = Beat { worker: id, busy: 0, announced_to: far, draining: false, peak_memory: None };
    ledger.beat(&beat, LONG).await.unwrap().unwrap();
    assert_eq!(ledger.announced().await.unwrap().to, far);
    let job = made(&ledger.submit(&[new_job()]).await.unwrap()[0]).id;
    let [_, ended] = attempt(&*ledger, id, job, dead_letter()).await;
    let now = ledger.now().await.unwrap();
    ledger.beat(&Beat { announced_to: now, ..beat.clone() }, LONG).await.unwrap();
    assert_eq!(ledger.announced().await.unwrap().to, now);
    // It dies before it announced that: its row goes, and the mark of its job is there.
    ledger.beat(&Beat { announced_to: far, ..beat }, LONG).await.unwrap();
    ledger.end_lease(id, "killed").await.unwrap();
    ledger.rescue(CRASH_LIMIT, Whose::Expired).await.unwrap();
    assert_eq!(ledger.announced().await.unwrap().to, ended.at);
    ledger.mark_announced(&[(job, ended.version)]).await.unwrap();
    let Announced { now, to } = ledger.announced().await.unwrap();
    assert_eq!(now, to);
}

pub(super) async fn a_history_has_the_latest_progress_while_its_attempt_runs(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let fence = running(&*ledger, worker).await;
    for n in [1, 2] {
        let report = Report { n, ..report_of("half") };
        ledger.save_progress(worker, &[(fence, report.clone())]).await.unwrap();
        let events = told(&*ledger, fence.job).await;
        let last = events.last().unwrap();
        assert_eq!((last.progress.as_ref(), last.at), (Some(&report), report.at));
        assert_eq!(
            ids(&events),
            [format!("{}.1", fence.job), format!("{}.2", fence.job), format!("{}.2.{n}", fence.job)]
        );
    }
    let end = done(&*ledger, fence, complete()).await;
    let events = told(&*ledger, fence.job).await;
    assert_eq!((events.len(), events.last()), (3, Some(&end)));
}

pub(super) async fn a_lost_attempt_and_one_handed_back_are_told(ledger: Arc<dyn Ledger>) {
    let dead = worker(&*ledger, LONG).await;
    let (lost, back) = (running(&*ledger, dead).await, running(&*ledger, dead).await);
    ledger.hand_back(&[back]).await.unwrap();
    rescue(&*ledger).await;
    let mut owed = ledger.unannounced(10).await.unwrap();
    owed.sort_unstable_by_key(|owed| owed.job);
    let [first, second] = &owed[..] else { panic!("{owed:?}") };
    assert_eq!((first.job, second.job), (lost.job, back.job), "no delivery stands behind either");
    let ends: Vec<_> =
        owed.iter().map(|owed| owed.events.last().unwrap()).map(|event| (event.ended, event.state)).collect();
    assert_eq!(ends, [(Some(Ended::Lost), State::Pending), (Some(Ended::HandedBack), State::Pending)]);
    assert_eq!(first.events.last().unwrap().error.as_ref().unwrap().code, "worker_lost");
    assert_eq!(first.events, told(&*ledger, lost.job).await);
}

pub(super) async fn a_poisoned_jobs_failure_says_so(ledger: Arc<dyn Ledger>) {
    let job = submit(&*ledger, NewJob { max_attempts: 1, ..new_job() }).await;
    let ends = [crash(&*ledger, job, true).await, crash(&*ledger, job, true).await, crash(&*ledger, job, true).await];
    assert_eq!(ends[2], State::Failed);
    let last = told(&*ledger, job).await.pop().unwrap();
    assert_eq!(
        (last.state, last.error, last.ended),
        (State::Failed, look(&*ledger, job).await.error, Some(Ended::Lost))
    );
}

pub(super) async fn every_attempt_that_a_dead_worker_ended_unannounced_is_told_again(ledger: Arc<dyn Ledger>) {
    let doomed = worker(&*ledger, LONG).await;
    let announced = running(&*ledger, doomed).await;
    done(&*ledger, announced, retry(LONG)).await;
    beat(&*ledger, doomed, LONG).await;
    let (backs_off, runs_again) = (running(&*ledger, doomed).await, running(&*ledger, doomed).await);
    done(&*ledger, backs_off, retry(LONG)).await;
    done(&*ledger, runs_again, retry(Duration::ZERO)).await;
    let heir = worker(&*ledger, LONG).await;
    let next = granted(claim(&*ledger, heir, runs_again.job).await);
    beat(&*ledger, heir, LONG).await;
    ledger.retire(heir).await.unwrap();
    ledger.rescue(CRASH_LIMIT, Whose::Everyones).await.unwrap();
    let mut owed = to_announce(&*ledger).await;
    owed.sort_unstable();
    assert_eq!(owed, [backs_off.job, runs_again.job]);
    done(&*ledger, next.fence, complete()).await;
    let told = ledger.unannounced(10).await.unwrap().into_iter().find(|owed| owed.job == runs_again.job).unwrap();
    assert_eq!(told.events.len(), 5, "also what came before the job ran on");
}

pub(super) async fn a_record_whose_reply_was_lost_is_told_as_it_was(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for end in [retry(LONG), complete(), dead_letter(), yielded()] {
        let fence = running(&*ledger, worker).await;
        let first = done(&*ledger, fence, end.clone()).await;
        let Recorded::Before(again) = record(&*ledger, fence, end).await else { panic!("it was recorded") };
        assert_eq!(again, first);
    }
}

async fn rescue(ledger: &dyn Ledger) {
    ledger.rescue(CRASH_LIMIT, Whose::Everyones).await.unwrap();
}
