//! An attempt has ended, and the ledger writes down what follows: once, by the attempt that holds the job.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Canceling, Claim, Claimed, Ended, Fence, Ledger, Record, Recorded, Settle, Whose};
use longshore_sdk::{Artifact, Progress};
use uuid::Uuid;

use super::steps::*;

pub(super) async fn a_completed_job_keeps_its_output(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    let started = look(&*ledger, fence.job).await.started_at;
    let file = Artifact { name: "a.txt".into(), content_type: "text/plain".into(), bytes: 3, sha256: "00".repeat(32) };
    let settle = Settle::Complete { result: json(r#"{"n":1}"#), artifacts: vec![file.clone()] };
    let event = done(&*ledger, fence, (Ended::Done, settle)).await;
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.attempt, row.charged), (State::Completed, 3, 1, 0));
    assert_eq!(row.result.map(|result| result.get().to_owned()).as_deref(), Some(r#"{"n":1}"#));
    assert_eq!((row.artifacts, row.error, row.worker), (vec![file], None, Some(fence.worker)));
    assert_eq!((row.due_at, row.queued_at, row.finished_at), (None, None, Some(event.at)));
    assert_eq!((event.job, event.kind.as_str(), event.state), (fence.job, "demo.greet", State::Completed));
    assert_eq!((event.version, event.attempt, event.error), (3, 1, None));
    assert_eq!(event.correlation_id.as_deref(), Some("c-1"));
    assert_eq!(event.trace, Some(trace()));
    let attempt = ledger.attempts(fence.job).await.unwrap().remove(0);
    assert_eq!((attempt.attempt, attempt.worker, attempt.ended), (1, Some(fence.worker), Ended::Done));
    assert_eq!((Some(attempt.started_at), attempt.finished_at, attempt.error), (started, event.at, None));
    assert!(to_announce(&*ledger).await.is_empty(), "its delivery announces it");
}

pub(super) async fn a_retry_waits_and_is_charged(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    let event = done(&*ledger, fence, retry(LONG)).await;
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.attempt, row.charged), (State::Pending, 3, 1, 1));
    assert_eq!((row.due_at, row.queued_at), (Some(event.at + LONG), None));
    assert_eq!((row.worker, row.finished_at, row.error), (None, None, Some(report("rough_sea"))));
    assert_eq!((event.state, event.version, event.error), (State::Pending, 3, Some(report("rough_sea"))));
    let attempt = ledger.attempts(fence.job).await.unwrap().remove(0);
    assert_eq!((attempt.ended, attempt.error), (Ended::Error, Some(report("rough_sea"))));
    // Once it has completed, the failures on the way are history.
    let job = scheduled(&*ledger, Duration::ZERO).await;
    for number in 1..=2 {
        let fence = granted(claim(&*ledger, fence.worker, job).await).fence;
        assert_eq!(fence.attempt, number);
        done(&*ledger, fence, if number == 1 { retry(Duration::ZERO) } else { complete() }).await;
    }
    let row = look(&*ledger, job).await;
    assert_eq!((row.state, row.error, row.charged), (State::Completed, None, 1));
    assert_eq!(history(&*ledger, job).await, [(1, Ended::Error), (2, Ended::Done)]);
}

pub(super) async fn a_dead_letter_keeps_its_evidence(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    let event = done(&*ledger, fence, dead_letter()).await;
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.charged), (State::Failed, 3, 1));
    assert_eq!((row.error, row.finished_at), (Some(report("sunk")), Some(event.at)));
    assert_eq!((row.due_at, row.queued_at, row.worker), (None, None, Some(fence.worker)));
    assert_eq!((event.state, event.error), (State::Failed, Some(report("sunk"))));
    assert_eq!(ledger.attempts(fence.job).await.unwrap()[0].error, Some(report("sunk")));
}

pub(super) async fn an_attempt_that_obeyed_a_cancel_ends_the_job(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    ledger.cancel(fence.job).await.unwrap();
    let event = done(&*ledger, fence, obeyed()).await;
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.charged, row.cancel_requested), (State::Canceled, 3, 0, false));
    assert_eq!((row.finished_at, row.worker, row.due_at), (Some(event.at), Some(fence.worker), None));
    assert_eq!((event.state, event.version), (State::Canceled, 3));
    assert_eq!(history(&*ledger, fence.job).await, [(1, Ended::Canceled)]);
}

pub(super) async fn a_hand_back_is_due_at_once_and_charged_nothing(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    let event = done(&*ledger, fence, yielded()).await;
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.charged, row.worker), (State::Pending, 3, 0, None));
    assert_eq!((row.due_at, row.queued_at, row.finished_at), (Some(event.at), None, None));
    assert_eq!(to_publish(&*ledger).await, [fence.job]);
    assert_eq!(history(&*ledger, fence.job).await, [(1, Ended::Yielded)]);
}

pub(super) async fn a_job_that_was_put_off_is_due_after_its_wait_and_charged_nothing(ledger: Arc<dyn Ledger>) {
    let us = worker(&*ledger, LONG).await;
    let fence = running(&*ledger, us).await;
    let event = done(&*ledger, fence, put_off(LONG)).await;
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.charged, row.due_at), (State::Pending, 0, Some(event.at + LONG)));
    assert!(to_publish(&*ledger).await.is_empty());
    assert!(matches!(claim(&*ledger, us, fence.job).await, Claimed::NotDue));
    assert_eq!(history(&*ledger, fence.job).await, [(1, Ended::Yielded)]);
}

pub(super) async fn a_retry_or_hand_back_after_a_cancel_becomes_the_cancel(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for (end, charged, ended) in [(retry(LONG), 1, Ended::Error), (yielded(), 0, Ended::Yielded)] {
        let fence = running(&*ledger, worker).await;
        ledger.cancel(fence.job).await.unwrap();
        let event = done(&*ledger, fence, end).await;
        let row = look(&*ledger, fence.job).await;
        assert_eq!((event.state, row.state, row.charged), (State::Canceled, State::Canceled, charged));
        assert_eq!((row.finished_at, row.due_at, row.worker), (Some(event.at), None, Some(worker)));
        assert!(!row.cancel_requested);
        assert_eq!(history(&*ledger, fence.job).await, [(1, ended)]);
        assert!(matches!(claim(&*ledger, worker, fence.job).await, Claimed::Settled(_)));
    }
    assert!(to_publish(&*ledger).await.is_empty());
}

pub(super) async fn an_output_that_is_ready_wins_over_a_cancel_that_came_late(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for (end, state) in [(complete(), State::Completed), (dead_letter(), State::Failed)] {
        let fence = running(&*ledger, worker).await;
        ledger.cancel(fence.job).await.unwrap();
        assert_eq!(done(&*ledger, fence, end).await.state, state);
        let row = look(&*ledger, fence.job).await;
        assert!(row.state == state && !row.cancel_requested);
        assert!(matches!(ledger.cancel(fence.job).await.unwrap(), Canceling::Settled(_)));
    }
}

pub(super) async fn a_record_repeated_after_a_lost_reply_is_recognised(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    for end in [complete(), retry(LONG), dead_letter(), obeyed(), yielded()] {
        let fence = running(&*ledger, worker).await;
        let event = done(&*ledger, fence, end.clone()).await;
        let row = look(&*ledger, fence.job).await;
        let repeated = record(&*ledger, fence, end.clone()).await;
        let Recorded::Before(again) = repeated else { panic!("{repeated:?}") };
        assert_eq!(again, event, "a repeat of the same transition is equal to it");
        let after = look(&*ledger, fence.job).await;
        assert_eq!((after.version, after.charged, after.due_at), (row.version, row.charged, row.due_at));
        assert_eq!(history(&*ledger, fence.job).await.len(), 1);
        // The same twice in one round, as after a redelivery to a worker that was slow.
        let fence = running(&*ledger, worker).await;
        let (ended, settle) = end;
        let records = [Record { fence, ended, settle: settle.clone() }, Record { fence, ended, settle }];
        let answers = ledger.round(worker, &[], &records).await.unwrap().records;
        let [Recorded::Done(first), Recorded::Before(second)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(first, second);
        assert_eq!(look(&*ledger, fence.job).await.version, 3);
    }
}

pub(super) async fn a_record_of_another_attempt_or_worker_is_fenced(ledger: Arc<dyn Ledger>) {
    let (first, second) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let old = running(&*ledger, first).await;
    done(&*ledger, old, yielded()).await;
    let new = granted(claim(&*ledger, second, old.job).await).fence;
    let strangers = [
        Fence { attempt: old.attempt, ..new },
        Fence { worker: first, ..new },
        Fence { worker: Uuid::now_v7(), ..new },
        Fence { attempt: 3, ..new },
        Fence { attempt: 0, ..new },
    ];
    for fence in strangers {
        assert!(matches!(record(&*ledger, fence, complete()).await, Recorded::Fenced), "running: {fence:?}");
    }
    let row = look(&*ledger, new.job).await;
    assert_eq!((row.state, row.version, row.attempt), (State::Running, 4, 2));
    // A round is one worker's: a fence in another's name is none of its own.
    let borrowed = Record { fence: new, ended: Ended::Done, settle: complete().1 };
    let answers = ledger.round(first, &[], &[borrowed]).await.unwrap().records;
    assert!(matches!(answers[..], [Recorded::Fenced]), "{answers:?}");
    done(&*ledger, new, complete()).await;
    for fence in strangers {
        assert!(matches!(record(&*ledger, fence, dead_letter()).await, Recorded::Fenced), "settled: {fence:?}");
    }
    assert_eq!(look(&*ledger, new.job).await.state, State::Completed);
    assert_eq!(history(&*ledger, new.job).await, [(1, Ended::Yielded), (2, Ended::Done)]);
    let untouched = Fence { job: queued(&*ledger).await, attempt: 0, worker: first };
    assert!(matches!(record(&*ledger, untouched, complete()).await, Recorded::Fenced), "it never ran");
}

pub(super) async fn a_record_whose_reply_was_lost_is_recognised_though_the_job_has_gone_on(ledger: Arc<dyn Ledger>) {
    let (worker, no_wait) = (worker(&*ledger, LONG).await, std::time::Duration::ZERO);
    let fence = running(&*ledger, worker).await;
    let event = done(&*ledger, fence, retry(no_wait)).await;
    // Whoever recorded it waits to hear so, and meanwhile its next attempt begins, in the same worker even.
    let next = granted(claim(&*ledger, worker, fence.job).await).fence;
    for state in [State::Running, State::Completed] {
        let again = record(&*ledger, fence, retry(no_wait)).await;
        assert!(matches!(&again, Recorded::Before(before) if *before == event), "{state:?}: {again:?}");
        if state == State::Running {
            done(&*ledger, next, complete()).await;
        }
    }
    assert_eq!(look(&*ledger, fence.job).await.state, State::Completed);
    assert_eq!(history(&*ledger, fence.job).await, [(1, Ended::Error), (2, Ended::Done)]);
}

pub(super) async fn a_mixed_round_is_answered_in_order(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let empty = ledger.round(worker, &[], &[]).await.unwrap();
    assert!(empty.claims.is_empty() && empty.records.is_empty());
    let (mut runs, mut waits) = (vec![], vec![]);
    for _ in 0..20 {
        runs.push(running(&*ledger, worker).await);
        waits.push(queued(&*ledger).await);
    }
    // Against the order of the ids, and with strangers between.
    runs.reverse();
    waits.reverse();
    let settled = dead(&*ledger, worker).await;
    waits.insert(7, settled);
    runs.insert(3, Fence { job: settled, attempt: 9, worker });
    let claims: Vec<_> = waits.iter().map(|job| Claim { job: *job, alone: false }).collect();
    let records: Vec<_> =
        runs.iter().map(|fence| Record { fence: *fence, ended: Ended::Done, settle: complete().1 }).collect();
    let round = ledger.round(worker, &claims, &records).await.unwrap();
    assert_eq!((round.claims.len(), round.records.len()), (21, 21));
    for (job, answer) in waits.iter().zip(&round.claims) {
        match answer {
            Claimed::Run(run) => assert_eq!(run.fence.job, *job),
            Claimed::Settled(events) => assert_eq!((events[0].job, *job), (settled, settled)),
            other => panic!("{other:?}"),
        }
    }
    for (fence, answer) in runs.iter().zip(&round.records) {
        match answer {
            Recorded::Done(event) => assert_eq!(event.job, fence.job),
            Recorded::Fenced => assert_eq!(fence.job, settled),
            Recorded::Before(event) => panic!("{event:?}"),
        }
    }
}

pub(super) async fn a_checkpoint_is_kept_for_the_next_attempt(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let first = running(&*ledger, worker).await;
    assert!(ledger.save_checkpoint(first, &json("1")).await.unwrap());
    assert!(ledger.save_checkpoint(first, &json("2")).await.unwrap(), "a newer one replaces it");
    assert_eq!(look(&*ledger, first.job).await.version, 2, "it is no transition");
    done(&*ledger, first, retry(Duration::ZERO)).await;
    let second = granted(claim(&*ledger, worker, first.job).await);
    assert_eq!(second.checkpoint.expect("saved").get(), "2");
    ledger.rescue(CRASH_LIMIT, Whose::Everyones).await.unwrap();
    let third = granted(claim(&*ledger, self::worker(&*ledger, LONG).await, first.job).await);
    assert_eq!(third.checkpoint.expect("a crash keeps it").get(), "2");
}

pub(super) async fn a_checkpoint_of_an_attempt_that_lost_its_job_is_refused(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let first = running(&*ledger, worker).await;
    for stranger in [Fence { attempt: 2, ..first }, Fence { worker: Uuid::now_v7(), ..first }] {
        assert!(!ledger.save_checkpoint(stranger, &json("9")).await.unwrap(), "{stranger:?}");
    }
    done(&*ledger, first, yielded()).await;
    assert!(!ledger.save_checkpoint(first, &json("9")).await.unwrap(), "it is pending");
    let second = granted(claim(&*ledger, worker, first.job).await);
    assert!(!ledger.save_checkpoint(first, &json("9")).await.unwrap(), "the next attempt holds it");
    assert!(second.checkpoint.is_none());
    done(&*ledger, second.fence, complete()).await;
    assert!(!ledger.save_checkpoint(second.fence, &json("9")).await.unwrap(), "it is settled");
}

pub(super) async fn progress_is_shown_while_its_attempt_runs_and_moves_no_version(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let (one, two) = (running(&*ledger, worker).await, running(&*ledger, worker).await);
    let half = Progress::of(1, 2, "half");
    let strange = [Fence { attempt: 2, ..two }, Fence { worker: Uuid::now_v7(), ..two }];
    let mut reports = vec![(one, report_of(half.clone()))];
    reports.extend(strange.map(|fence| (fence, report_of("strange"))));
    ledger.save_progress(worker, &reports).await.unwrap();
    let (one_row, two_row) = (look(&*ledger, one.job).await, look(&*ledger, two.job).await);
    assert_eq!((one_row.progress, two_row.progress), (Some(half), None));
    assert_eq!((one_row.version, two_row.version), (2, 2));
    done(&*ledger, one, complete()).await;
    ledger.save_progress(worker, &[(one, report_of("late"))]).await.unwrap();
    assert_ne!(look(&*ledger, one.job).await.progress, Some(Progress::from("late")));
}
