//! What callers and operators ask of a job: to stop, or to be raised from the dead.

use std::sync::Arc;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Canceling, Ended, Ledger, Replaying};

use super::steps::*;

pub(super) async fn a_pending_job_is_canceled_at_once(ledger: Arc<dyn Ledger>) {
    for job in [queued(&*ledger).await, scheduled(&*ledger, LONG).await] {
        let answer = ledger.cancel(job).await.unwrap();
        let Canceling::Canceled(row) = answer else { panic!("{answer:?}") };
        assert_eq!((row.id, row.state, row.version), (job, State::Canceled, 2));
        assert_eq!((row.due_at, row.queued_at, row.worker), (None, None, None));
        assert!(row.finished_at.is_some() && !row.cancel_requested);
        let event = owed(&*ledger).await;
        assert_eq!((event.job, event.state, event.version), (job, State::Canceled, 2));
        assert_eq!(Some(event.at), row.finished_at);
        announce_all(&*ledger).await;
        let again = ledger.cancel(job).await.unwrap();
        assert!(matches!(&again, Canceling::Settled(row) if row.version == 2), "{again:?}");
        assert!(history(&*ledger, job).await.is_empty(), "nothing ran");
    }
    assert!(ledger.next_due().await.unwrap().is_none() && to_announce(&*ledger).await.is_empty());
}

pub(super) async fn a_running_job_is_asked_to_stop(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    for _ in 0..2 {
        let answer = ledger.cancel(fence.job).await.unwrap();
        let Canceling::Requested(row) = answer else { panic!("{answer:?}") };
        assert_eq!((row.state, row.cancel_requested, row.worker), (State::Running, true, Some(fence.worker)));
        assert_eq!((row.version, row.finished_at), (2, None), "a wish is no transition");
    }
}

pub(super) async fn a_settled_job_stays_as_it_is(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for (end, state) in [(complete(), State::Completed), (dead_letter(), State::Failed)] {
        let fence = running(&*ledger, worker).await;
        done(&*ledger, fence, end).await;
        let answer = ledger.cancel(fence.job).await.unwrap();
        let Canceling::Settled(row) = answer else { panic!("{answer:?}") };
        assert_eq!((row.state, row.version, row.cancel_requested), (state, 3, false));
    }
    assert!(to_announce(&*ledger).await.is_empty());
}

pub(super) async fn a_dead_letter_is_replayed_with_a_fresh_account(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    for _ in 0..2 {
        crash(&*ledger, job, true).await;
    }
    let worker = worker(&*ledger, LONG).await;
    let fence = granted(claim_as(&*ledger, worker, job, true).await).fence;
    done(&*ledger, fence, dead_letter()).await;
    announce_all(&*ledger).await;
    let version = look(&*ledger, job).await.version;
    let answer = ledger.replay(job).await.unwrap();
    let Replaying::Ready(row) = answer else { panic!("{answer:?}") };
    assert_eq!((row.state, row.version, row.attempt), (State::Pending, version + 1, 3));
    assert_eq!((row.charged, row.crashes, row.finished_at), (0, 0, None));
    assert!(row.due_at.is_some() && row.queued_at.is_none() && row.worker.is_none());
    assert_eq!(row.error, Some(report("sunk")), "kept until it ends the next time");
    assert_eq!(to_publish(&*ledger).await, [job]);
    let event = owed(&*ledger).await;
    assert_eq!((event.job, event.state, event.version), (job, State::Pending, version + 1));
    // Its attempt number goes on rising, its failures count from nothing, and it needs not run alone.
    let run = granted(claim(&*ledger, worker, job).await);
    assert_eq!((run.fence.attempt, run.charged), (4, 0));
    done(&*ledger, run.fence, complete()).await;
    assert_eq!(look(&*ledger, job).await.error, None);
    let endings = [(1, Ended::Lost), (2, Ended::Lost), (3, Ended::Fatal), (4, Ended::Done)];
    assert_eq!(history(&*ledger, job).await, endings);
}

pub(super) async fn only_a_dead_letter_is_replayed(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let (pending, runs) = (queued(&*ledger).await, running(&*ledger, worker).await.job);
    let (completed, canceled) = (running(&*ledger, worker).await, queued(&*ledger).await);
    done(&*ledger, completed, complete()).await;
    ledger.cancel(canceled).await.unwrap();
    for job in [pending, runs, completed.job, canceled] {
        let before = look(&*ledger, job).await;
        let answer = ledger.replay(job).await.unwrap();
        let Replaying::NotDead(row) = answer else { panic!("{answer:?}") };
        assert_eq!((row.id, row.state, row.version), (job, before.state, before.version));
    }
    // A repeat after a lost reply finds it pending already.
    let job = dead(&*ledger, worker).await;
    assert!(matches!(ledger.replay(job).await.unwrap(), Replaying::Ready(_)));
    assert!(matches!(ledger.replay(job).await.unwrap(), Replaying::NotDead(_)));
}
