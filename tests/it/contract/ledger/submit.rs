//! Jobs come in and are looked at.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{
    Canceling, Claimed, Ended, Fence, Filter, Job, Ledger, NewJob, Priority, Recorded, Replaying, RunAt, Settle,
    Submitted,
};
use longshore_sdk::JobId;

use super::steps::*;

pub(super) async fn a_job_that_is_due_is_on_the_road_at_once(ledger: Arc<dyn Ledger>) {
    let new = NewJob {
        priority: Priority::High,
        max_attempts: 7,
        timeout: Duration::from_millis(1_500),
        metadata: Some(json(r#"{"team":"north"}"#)),
        ..new_job()
    };
    let before = ledger.now().await.unwrap();
    let submitted = ledger.submit(std::slice::from_ref(&new)).await.unwrap().remove(0);
    assert!(submitted.is_created());
    for job in [made(&submitted).clone(), look(&*ledger, new.id).await] {
        assert_eq!((job.id, job.kind.as_str(), job.state, job.version), (new.id, "demo.greet", State::Pending, 1));
        assert_eq!((job.priority, job.max_attempts, job.timeout), (Priority::High, 7, new.timeout));
        assert_eq!((job.attempt, job.charged, job.crashes, job.cancel_requested), (0, 0, 0, false));
        assert_eq!((job.worker, job.started_at, job.finished_at, job.due_at), (None, None, None, None));
        assert!(job.result.is_none() && job.error.is_none() && job.progress.is_none() && job.artifacts.is_empty());
        assert_eq!(job.correlation_id.as_deref(), Some("c-1"));
        assert_eq!(job.trace, Some(trace()));
        assert_eq!(job.queued_at, Some(job.created_at));
        assert!(job.created_at >= before && job.created_at <= ledger.now().await.unwrap());
    }
    assert!(to_publish(&*ledger).await.is_empty() && to_announce(&*ledger).await.is_empty());
}

pub(super) async fn a_scheduled_job_waits_for_the_relay(ledger: Arc<dyn Ledger>) {
    let at = async |run_at| look(&*ledger, submit(&*ledger, NewJob { run_at: Some(run_at), ..new_job() }).await).await;
    let waits = |job: &Job| job.queued_at.is_none().then_some(job.due_at).flatten();
    let later = at(RunAt::After(LONG)).await;
    assert_eq!(waits(&later), Some(later.created_at + LONG));
    let moment = ledger.now().await.unwrap() + LONG;
    assert_eq!(waits(&at(RunAt::At(moment)).await), Some(moment));
    for now in [RunAt::After(Duration::ZERO), RunAt::At(later.created_at - LONG), RunAt::At(later.created_at)] {
        let job = at(now).await;
        assert_eq!((job.due_at, job.queued_at), (None, Some(job.created_at)), "{now:?}");
    }
}

pub(super) async fn a_repeated_submit_finds_the_row_of_the_first(ledger: Arc<dyn Ledger>) {
    let new = new_job();
    let other = new_job();
    let changed = NewJob { payload: json("2"), kind: "other".into(), ..new.clone() };
    let answers = ledger.submit(&[new.clone(), changed.clone(), other.clone()]).await.unwrap();
    let created: Vec<_> = answers.iter().map(|answer| (made(answer).id, answer.is_created())).collect();
    assert_eq!(created, [(new.id, true), (new.id, false), (other.id, true)]);
    let fence = granted(claim(&*ledger, worker(&*ledger, LONG).await, new.id).await).fence;
    let again = ledger.submit(&[changed]).await.unwrap().remove(0);
    let Submitted::Repeated(again) = again else { panic!("not recognised: {again:?}") };
    assert_eq!((again.state, again.version, again.attempt), (State::Running, 2, fence.attempt));
    assert_eq!((again.kind.as_str(), again.payload.get()), ("demo.greet", new.payload.get()));
    assert!(ledger.submit(&[]).await.unwrap().is_empty());
}

pub(super) async fn json_comes_back_byte_for_byte(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for text in [
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{"n":123456789012345678901234567890.1000,"e":1E400,"z":-0}"#,
        r#"{"nul":"\u0000","pair":"\ud83d\ude00","raw":"😀","slash":"\/"}"#,
        "{ \"spaced\" :\n[ 1 ,2 ] }",
        "null",
    ] {
        let new = NewJob { payload: json(text), metadata: Some(json(text)), ..new_job() };
        let job = submit(&*ledger, new).await;
        let first = granted(claim(&*ledger, worker, job).await);
        assert_eq!(first.payload.get(), text);
        assert!(ledger.save_checkpoint(first.fence, &json(text)).await.unwrap());
        done(&*ledger, first.fence, yielded()).await;
        let second = granted(claim(&*ledger, worker, job).await);
        assert_eq!(second.checkpoint.map(|saved| saved.get().to_owned()).as_deref(), Some(text));
        let settle = Settle::Complete { result: json(text), artifacts: vec![] };
        done(&*ledger, second.fence, (Ended::Done, settle)).await;
        let row = look(&*ledger, job).await;
        assert_eq!(row.payload.get(), text);
        assert_eq!(row.metadata.expect("kept").get(), text);
        assert_eq!(row.result.expect("kept").get(), text);
    }
}

pub(super) async fn a_failed_publish_goes_to_the_relay_if_the_version_is_unchanged(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    ledger.unqueue(job, 2).await.unwrap();
    assert!(look(&*ledger, job).await.queued_at.is_some(), "another version");
    for _ in 0..2 {
        ledger.unqueue(job, 1).await.unwrap();
        let row = look(&*ledger, job).await;
        assert!(row.queued_at.is_none() && row.due_at.is_some());
        assert_eq!((row.version, to_publish(&*ledger).await), (1, vec![job]));
    }
    let later = scheduled(&*ledger, LONG).await;
    let due_at = look(&*ledger, later).await.due_at;
    ledger.unqueue(later, 1).await.unwrap();
    assert_eq!(look(&*ledger, later).await.due_at, due_at, "it was never on the road");
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    ledger.unqueue(fence.job, 2).await.unwrap();
    assert_eq!(look(&*ledger, fence.job).await.due_at, None, "it runs");
}

pub(super) async fn jobs_are_listed_newest_first_by_state_kind_and_page(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let (failed, completed) = (dead(&*ledger, worker).await, running(&*ledger, worker).await);
    done(&*ledger, completed, complete()).await;
    let runs = running(&*ledger, worker).await.job;
    let canceled = queued(&*ledger).await;
    ledger.cancel(canceled).await.unwrap();
    let pending = submit(&*ledger, NewJob { kind: "other".into(), ..new_job() }).await;
    let list = async |filter: Filter| -> Vec<JobId> {
        ledger.list(&filter).await.unwrap().into_iter().map(|job| job.id).collect()
    };
    let all = Filter { limit: 10, ..Filter::default() };
    assert_eq!(list(all.clone()).await, [pending, canceled, runs, completed.job, failed]);
    assert_eq!(list(Filter { limit: 2, ..all.clone() }).await, [pending, canceled]);
    assert_eq!(list(Filter { limit: 2, before: Some(canceled), ..all.clone() }).await, [runs, completed.job]);
    assert_eq!(list(Filter { kind: Some("other".into()), ..all.clone() }).await, [pending]);
    let states = [pending, runs, completed.job, failed, canceled];
    for (state, job) in State::ALL.into_iter().zip(states) {
        assert_eq!(list(Filter { state: Some(state), ..all.clone() }).await, [job], "{state:?}");
    }
    let no_match = Filter { state: Some(State::Failed), kind: Some("other".into()), ..all };
    assert!(list(no_match).await.is_empty());
}

pub(super) async fn of_an_unknown_job_nothing_is_known(ledger: Arc<dyn Ledger>) {
    let (job, worker) = (JobId::fresh(), worker(&*ledger, LONG).await);
    assert!(ledger.job(job).await.unwrap().is_none() && ledger.attempts(job).await.unwrap().is_empty());
    assert!(matches!(ledger.cancel(job).await.unwrap(), Canceling::Unknown));
    assert!(matches!(ledger.replay(job).await.unwrap(), Replaying::Unknown));
    assert!(matches!(claim(&*ledger, worker, job).await, Claimed::Unknown));
    let fence = Fence { job, attempt: 1, worker };
    assert!(matches!(record(&*ledger, fence, complete()).await, Recorded::Fenced));
    assert!(!ledger.save_checkpoint(fence, &json("1")).await.unwrap());
    ledger.hand_back(&[fence]).await.unwrap();
    assert!(ledger.job(job).await.unwrap().is_none());
}
