//! Workers die. What they ran is ready again, what they settled is announced, and poison convicts itself.

use std::sync::Arc;

use futures_util::future::join;
use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Beat, Claimed, Ended, Fence, Ledger, Recorded, Rescued, Whose};
use longshore_sdk::{JobId, Progress};
use uuid::Uuid;

use super::steps::*;

async fn rescue(ledger: &dyn Ledger, whose: Whose) -> Vec<Rescued> {
    ledger.rescue(CRASH_LIMIT, whose).await.unwrap()
}

fn fences(rescued: &[Rescued]) -> Vec<Fence> {
    let mut fences: Vec<_> = rescued.iter().map(|one| one.fence).collect();
    fences.sort_by_key(|fence| fence.job);
    fences
}

pub(super) async fn only_expired_leases_are_taken_unless_everyones_are(ledger: Arc<dyn Ledger>) {
    let (live, dying, idle) =
        (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await, worker(&*ledger, SHORT).await);
    let (kept, lost, also_lost) =
        (running(&*ledger, live).await, running(&*ledger, dying).await, running(&*ledger, dying).await);
    assert_eq!(beat(&*ledger, dying, SHORT).await, Some(vec![]));
    lease_over(&*ledger, dying).await;
    lease_over(&*ledger, idle).await;
    let rescued = rescue(&*ledger, Whose::Expired).await;
    assert_eq!(fences(&rescued), [lost, also_lost]);
    assert!(rescued.iter().all(|one| one.state == State::Pending));
    assert_eq!(look(&*ledger, kept.job).await.state, State::Running);
    assert!(rescue(&*ledger, Whose::Expired).await.is_empty(), "once");
    assert_eq!(beat(&*ledger, live, LONG).await, Some(vec![]));
    assert_eq!(fences(&rescue(&*ledger, Whose::Everyones).await), [kept]);
    assert_eq!(beat(&*ledger, live, LONG).await, None);
    assert!(rescue(&*ledger, Whose::Everyones).await.is_empty());
}

pub(super) async fn a_lost_job_is_ready_again_and_charged_nothing(ledger: Arc<dyn Ledger>) {
    let dead = worker(&*ledger, LONG).await;
    let fence = running(&*ledger, dead).await;
    let started = look(&*ledger, fence.job).await.started_at.unwrap();
    let rescued = rescue(&*ledger, Whose::Everyones).await;
    assert_eq!(rescued[0].correlation_id.as_deref(), Some("c-1"), "whoever reads of it can follow the request");
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.attempt), (State::Pending, 3, 1));
    assert_eq!((row.charged, row.crashes, row.worker, row.finished_at), (0, 1, None, None));
    assert!(row.due_at.is_some() && row.queued_at.is_none());
    assert_eq!(to_publish(&*ledger).await, [fence.job]);
    let event = owed(&*ledger).await;
    assert_eq!((event.job, event.state, event.version), (fence.job, State::Pending, 3));
    let attempt = ledger.attempts(fence.job).await.unwrap().remove(0);
    assert_eq!((attempt.attempt, attempt.worker, attempt.ended), (1, Some(dead), Ended::Lost));
    assert_eq!(attempt.error.expect("the history says why").code, "worker_lost");
    assert_eq!((attempt.started_at, attempt.finished_at), (started, event.at));
    let next = granted(claim(&*ledger, worker(&*ledger, LONG).await, fence.job).await);
    assert_eq!((next.fence.attempt, next.charged), (2, 0));
}

pub(super) async fn a_lost_job_whose_cancel_was_accepted_is_canceled(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    ledger.cancel(fence.job).await.unwrap();
    let rescued = rescue(&*ledger, Whose::Everyones).await;
    assert_eq!(rescued[0].state, State::Canceled);
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.cancel_requested), (State::Canceled, 3, false));
    assert!(row.finished_at.is_some() && row.due_at.is_none());
    assert_eq!(to_announce(&*ledger).await, [fence.job]);
    let late = claim(&*ledger, worker(&*ledger, LONG).await, fence.job).await;
    assert!(matches!(late, Claimed::Settled(_)), "{late:?}");
}

pub(super) async fn a_job_that_kills_three_workers_alone_is_poison(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    let mut states = vec![];
    for alone in [false, true, true, true] {
        states.push(crash(&*ledger, job, alone).await);
    }
    assert_eq!(states, [State::Pending, State::Pending, State::Pending, State::Failed]);
    let row = look(&*ledger, job).await;
    assert_eq!((row.state, row.attempt, row.crashes, row.charged), (State::Failed, 4, 4, 0));
    assert_eq!(row.error.as_ref().expect("it says why").code, "poison");
    assert!(row.finished_at.is_some() && row.due_at.is_none());
    assert!(to_announce(&*ledger).await.contains(&job));
    let endings: Vec<_> = (1..=4).map(|attempt| (attempt, Ended::Lost)).collect();
    assert_eq!(history(&*ledger, job).await, endings);
    // Cancelled in time, it is no dead letter.
    let job = queued(&*ledger).await;
    for _ in 0..2 {
        crash(&*ledger, job, true).await;
    }
    granted(claim_as(&*ledger, worker(&*ledger, LONG).await, job, true).await);
    ledger.cancel(job).await.unwrap();
    assert_eq!(rescue(&*ledger, Whose::Everyones).await[0].state, State::Canceled);
    // Replayed, it has all three lives again.
    let mut limit_of_one = vec![];
    let job = queued(&*ledger).await;
    for _ in 0..2 {
        granted(claim_as(&*ledger, worker(&*ledger, LONG).await, job, true).await);
        limit_of_one.extend(ledger.rescue(1, Whose::Everyones).await.unwrap());
        ledger.replay(job).await.unwrap();
    }
    assert!(limit_of_one.len() == 2 && limit_of_one.iter().all(|one| one.state == State::Failed));
    assert_eq!(crash(&*ledger, job, true).await, State::Pending);
}

pub(super) async fn a_loss_tells_what_its_worker_had_told(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    let why = async || ledger.attempts(job).await.unwrap().pop().unwrap().error.expect("the history says why");
    crash(&*ledger, job, true).await;
    assert!(why().await.message.ends_with("; it ran on quay-1"), "{:?}", why().await);
    for _ in 0..2 {
        let doomed = worker(&*ledger, LONG).await;
        let fence = granted(claim_as(&*ledger, doomed, job, true).await).fence;
        ledger.save_progress(doomed, &[(fence, report_of(Progress::of(429, 1000, "rows")))]).await.unwrap();
        let beat = Beat {
            worker: doomed,
            busy: 1,
            announced_to: ledger.now().await.unwrap(),
            draining: false,
            peak_memory: Some(600 << 20),
        };
        ledger.beat(&beat, LONG).await.unwrap();
        rescue(&*ledger, Whose::Everyones).await;
        let told = "; it ran on quay-1 and had used up to 600 MiB of memory; the attempt had shown 42 %";
        assert!(why().await.message.ends_with(told), "{:?}", why().await);
    }
    let row = look(&*ledger, job).await;
    assert_eq!(
        (row.state, row.error),
        (State::Failed, Some(why().await)),
        "the dead letter has the last one's evidence"
    );
}

pub(super) async fn a_worker_that_is_known_to_be_gone_is_rescued_at_once(ledger: Arc<dyn Ledger>) {
    let (gone, left) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let fence = running(&*ledger, gone).await;
    ledger.retire(left).await.unwrap();
    for worker in [gone, left] {
        ledger.end_lease(worker, "was killed by SIGSEGV").await.unwrap();
    }
    assert_eq!(beat(&*ledger, gone, LONG).await, None, "a heartbeat that was on its way renews nothing");
    assert_eq!(fences(&rescue(&*ledger, Whose::Expired).await), [fence]);
    let lost = ledger.attempts(fence.job).await.unwrap().remove(0);
    let told = "; it ran on quay-1; its process was killed by SIGSEGV";
    assert!(lost.error.as_ref().is_some_and(|error| error.message.ends_with(told)), "{lost:?}");
    assert_eq!((lost.ended, lost.error.map(|error| error.code)), (Ended::Crashed, Some("worker_crashed".into())));
    let late = record(&*ledger, fence, complete()).await;
    assert!(matches!(late, Recorded::Fenced), "others ended it: {late:?}");
}

pub(super) async fn what_the_dead_had_not_announced_is_owed_whoever_has_settled_it_since(ledger: Arc<dyn Ledger>) {
    let (dead, live) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let fence = running(&*ledger, dead).await;
    done(&*ledger, fence, yielded()).await;
    let next = granted(claim(&*ledger, live, fence.job).await).fence;
    done(&*ledger, next, complete()).await;
    assert!(to_announce(&*ledger).await.is_empty(), "their deliveries announce both");
    ledger.end_lease(dead, "was killed by SIGKILL").await.unwrap();
    rescue(&*ledger, Whose::Expired).await;
    assert_eq!(to_announce(&*ledger).await, [fence.job], "the end of the first attempt may not have been");
}

pub(super) async fn a_job_lost_in_company_is_never_poison(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    // It may crash in company twice; from then on the ledger lets it run only alone. Two of those are not three.
    for alone in [false, false, true, true] {
        assert_eq!(crash(&*ledger, job, alone).await, State::Pending);
    }
    assert_eq!(look(&*ledger, job).await.crashes, 4);
}

pub(super) async fn any_end_but_a_loss_clears_the_account_of_crashes(ledger: Arc<dyn Ledger>) {
    let no_wait = std::time::Duration::ZERO;
    for end in [complete(), retry(no_wait), dead_letter(), obeyed(), yielded()] {
        let job = queued(&*ledger).await;
        for _ in 0..2 {
            crash(&*ledger, job, true).await;
        }
        assert_eq!(look(&*ledger, job).await.crashes, 2);
        let fence = granted(claim_as(&*ledger, worker(&*ledger, LONG).await, job, true).await).fence;
        let event = done(&*ledger, fence, end).await;
        assert_eq!(look(&*ledger, job).await.crashes, 0);
        if event.state == State::Pending {
            // In company again, and what it did alone is forgotten too: a third such crash is only its first.
            granted(claim(&*ledger, worker(&*ledger, LONG).await, job).await);
            rescue(&*ledger, Whose::Everyones).await;
            assert_eq!(crash(&*ledger, job, true).await, State::Pending);
        }
    }
}

pub(super) async fn what_was_settled_after_the_watermark_is_announced_again(ledger: Arc<dyn Ledger>) {
    let (dead, live) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let ends = async |worker: Uuid| -> Vec<JobId> {
        let mut jobs = vec![];
        for end in [complete(), dead_letter(), obeyed()] {
            let fence = running(&*ledger, worker).await;
            done(&*ledger, fence, end).await;
            jobs.push(fence.job);
        }
        jobs
    };
    ends(dead).await;
    let announced_to = ledger.now().await.unwrap();
    let beat = Beat { worker: dead, busy: 0, announced_to, draining: false, peak_memory: None };
    assert!(ledger.beat(&beat, SHORT).await.unwrap().is_some());
    let (mut after, _foreign) = (ends(dead).await, ends(live).await);
    assert!(to_announce(&*ledger).await.is_empty(), "its deliveries announce them while it lives");
    lease_over(&*ledger, dead).await;
    assert!(rescue(&*ledger, Whose::Expired).await.is_empty());
    let mut announced = to_announce(&*ledger).await;
    announced.sort_unstable();
    after.sort_unstable();
    assert_eq!(announced, after);
    // Without any heartbeat the watermark is the worker's start.
    announce_all(&*ledger).await;
    let young = worker(&*ledger, LONG).await;
    let settled = self::dead(&*ledger, young).await;
    ledger.end_lease(young, "was killed by SIGKILL").await.unwrap();
    rescue(&*ledger, Whose::Expired).await;
    assert_eq!(to_announce(&*ledger).await, [settled]);
}

pub(super) async fn an_attempt_that_was_lost_records_nothing(ledger: Arc<dyn Ledger>) {
    let old = running(&*ledger, worker(&*ledger, LONG).await).await;
    rescue(&*ledger, Whose::Everyones).await;
    let late = record(&*ledger, old, complete()).await;
    assert!(!matches!(late, Recorded::Done(_)), "{late:?}");
    assert!(!ledger.save_checkpoint(old, &json("9")).await.unwrap());
    ledger.hand_back(&[old]).await.unwrap();
    let row = look(&*ledger, old.job).await;
    assert_eq!((row.state, row.version, row.result.is_some()), (State::Pending, 3, false));
    let new = granted(claim(&*ledger, worker(&*ledger, LONG).await, old.job).await).fence;
    for end in [complete(), retry(LONG), dead_letter(), obeyed(), yielded()] {
        let late = record(&*ledger, old, end).await;
        assert!(matches!(late, Recorded::Fenced), "{late:?}");
    }
    done(&*ledger, new, complete()).await;
    assert_eq!(history(&*ledger, old.job).await, [(1, Ended::Lost), (2, Ended::Done)]);
}

pub(super) async fn a_running_job_without_a_worker_is_found_by_the_long_scan_alone(ledger: Arc<dyn Ledger>) {
    let (gone, live) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let (orphan, kept) = (running(&*ledger, gone).await, running(&*ledger, live).await);
    let canceled = running(&*ledger, gone).await;
    ledger.cancel(canceled.job).await.unwrap();
    ledger.retire(gone).await.unwrap();
    beat(&*ledger, live, SHORT).await;
    lease_over(&*ledger, live).await;
    let rescued = ledger.rescue_orphans(CRASH_LIMIT).await.unwrap();
    assert_eq!(fences(&rescued), [orphan, canceled], "a lease that ran out is still a row");
    let row = look(&*ledger, orphan.job).await;
    assert_eq!((row.state, row.crashes), (State::Pending, 1));
    assert_eq!(look(&*ledger, canceled.job).await.state, State::Canceled);
    assert_eq!(history(&*ledger, orphan.job).await, [(1, Ended::Lost)]);
    assert!(ledger.rescue_orphans(CRASH_LIMIT).await.unwrap().is_empty());
    assert_eq!(fences(&rescue(&*ledger, Whose::Everyones).await), [kept]);
}

pub(super) async fn two_rescuers_lose_an_attempt_once(ledger: Arc<dyn Ledger>) {
    let mut lost = vec![];
    for _ in 0..10 {
        let worker = worker(&*ledger, LONG).await;
        lost.push(running(&*ledger, worker).await);
        lost.push(running(&*ledger, worker).await);
    }
    let (mut one, two) = join(rescue(&*ledger, Whose::Everyones), rescue(&*ledger, Whose::Everyones)).await;
    one.extend(two);
    assert_eq!(fences(&one), lost);
    for fence in lost {
        assert_eq!(history(&*ledger, fence.job).await, [(1, Ended::Lost)]);
        assert_eq!(look(&*ledger, fence.job).await.crashes, 1);
    }
}
