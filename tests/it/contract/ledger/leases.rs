//! Workers, their heartbeats, and the attempts they are credited with.

use std::sync::Arc;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Beat, Ended, Fence, Ledger, Whose};
use longshore_tests::until::until;
use uuid::Uuid;

use super::steps::*;

pub(super) async fn a_worker_is_known_by_its_card_and_its_last_heartbeat(ledger: Arc<dyn Ledger>) {
    let card = card();
    let entered = ledger.enlist(&card, LONG).await.unwrap();
    let row = ledger.workers().await.unwrap().remove(0);
    assert_eq!((row.card.id, row.card.host.as_str(), row.card.slots), (card.id, "quay-1", 8));
    assert_eq!((row.card.kinds, row.busy, row.draining), (card.kinds.clone(), 0, false));
    assert_eq!((row.started_at, row.lease_until), (entered, entered + LONG));
    // A repeat after a lost reply is no second worker.
    ledger.enlist(&card, LONG).await.unwrap();
    let beat = Beat { worker: card.id, busy: 3, announced_to: entered, draining: true, peak_memory: None };
    let heard = ledger.beat(&beat, LONG * 2).await.unwrap().unwrap();
    assert!(heard.now >= entered && heard.cancels.is_empty());
    let rows = ledger.workers().await.unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.busy, row.draining, row.started_at), (3, true, entered));
    assert_eq!(row.lease_until, heard.now + LONG * 2);
    let other = worker(&*ledger, SHORT).await;
    lease_over(&*ledger, other).await;
    assert_eq!(ledger.workers().await.unwrap().len(), 1, "only the living are listed");
    ledger.retire(card.id).await.unwrap();
    ledger.retire(card.id).await.unwrap();
    assert!(ledger.workers().await.unwrap().is_empty());
}

pub(super) async fn a_worker_whose_row_is_gone_hears_so(ledger: Arc<dyn Ledger>) {
    let (retired, rescued, live) =
        (worker(&*ledger, LONG).await, worker(&*ledger, SHORT).await, worker(&*ledger, LONG).await);
    ledger.retire(retired).await.unwrap();
    lease_over(&*ledger, rescued).await;
    ledger.rescue(CRASH_LIMIT, Whose::Expired).await.unwrap();
    for gone in [retired, rescued, Uuid::now_v7()] {
        assert_eq!(beat(&*ledger, gone, LONG).await, None);
    }
    assert_eq!(beat(&*ledger, live, LONG).await, Some(vec![]));
    assert_eq!(ledger.workers().await.unwrap().len(), 1, "a heartbeat brings nobody back");
}

pub(super) async fn a_lease_that_ran_out_is_revived_if_nobody_took_it(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let fence = running(&*ledger, worker).await;
    beat(&*ledger, worker, SHORT).await;
    lease_over(&*ledger, worker).await;
    assert_eq!(beat(&*ledger, worker, LONG).await, Some(vec![]));
    assert!(ledger.rescue(CRASH_LIMIT, Whose::Expired).await.unwrap().is_empty());
    done(&*ledger, fence, complete()).await;
    running(&*ledger, worker).await;
}

pub(super) async fn a_heartbeat_hears_of_its_own_cancels_only(ledger: Arc<dyn Ledger>) {
    let (mine, other) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let (one, _two, foreign) =
        (running(&*ledger, mine).await, running(&*ledger, mine).await, running(&*ledger, other).await);
    let pending = queued(&*ledger).await;
    for job in [one.job, foreign.job, pending] {
        ledger.cancel(job).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(beat(&*ledger, mine, LONG).await, Some(vec![one.job]), "until it has obeyed");
    }
    assert_eq!(beat(&*ledger, other, LONG).await, Some(vec![foreign.job]));
    done(&*ledger, one, obeyed()).await;
    assert_eq!(beat(&*ledger, mine, LONG).await, Some(vec![]));
}

pub(super) async fn a_worker_sees_the_attempts_it_is_credited_with(ledger: Arc<dyn Ledger>) {
    let (mine, other) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let mut fences = vec![running(&*ledger, mine).await, running(&*ledger, mine).await];
    let (foreign, over) = (running(&*ledger, other).await, running(&*ledger, mine).await);
    done(&*ledger, over, complete()).await;
    queued(&*ledger).await;
    let credited = async |worker| {
        let mut fences = ledger.credited(worker).await.unwrap();
        fences.sort_by_key(|fence| fence.job);
        fences
    };
    assert_eq!(credited(mine).await, fences);
    assert_eq!(credited(other).await, [foreign]);
    assert_eq!(credited(Uuid::now_v7()).await, []);
    done(&*ledger, fences.remove(0), retry(LONG)).await;
    assert_eq!(credited(mine).await, fences);
}

pub(super) async fn an_attempt_that_never_ran_is_handed_back_by_its_holder_only(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let (one, two) = (running(&*ledger, worker).await, running(&*ledger, worker).await);
    let settled = running(&*ledger, worker).await;
    done(&*ledger, settled, complete()).await;
    let strangers = [Fence { attempt: 2, ..two }, Fence { worker: Uuid::now_v7(), ..two }, settled];
    ledger.hand_back(&strangers).await.unwrap();
    assert_eq!(look(&*ledger, two.job).await.state, State::Running);
    assert_eq!(look(&*ledger, settled.job).await.version, 3);
    for _ in 0..2 {
        ledger.hand_back(&[one]).await.unwrap();
        let row = look(&*ledger, one.job).await;
        assert_eq!((row.state, row.version, row.attempt, row.charged), (State::Pending, 3, 1, 0));
        assert!(row.due_at.is_some() && row.queued_at.is_none() && row.worker.is_none());
    }
    assert_eq!(to_publish(&*ledger).await, [one.job]);
    assert_eq!(history(&*ledger, one.job).await, [(1, Ended::HandedBack)]);
    assert_eq!(to_announce(&*ledger).await, [one.job], "no delivery stands behind it");
    assert_eq!(granted(claim(&*ledger, worker, one.job).await).fence.attempt, 2);
}

pub(super) async fn a_hand_back_of_a_canceled_job_cancels_it(ledger: Arc<dyn Ledger>) {
    let fence = running(&*ledger, worker(&*ledger, LONG).await).await;
    ledger.cancel(fence.job).await.unwrap();
    ledger.hand_back(&[fence]).await.unwrap();
    let row = look(&*ledger, fence.job).await;
    assert_eq!((row.state, row.version, row.cancel_requested), (State::Canceled, 3, false));
    assert!(row.finished_at.is_some() && row.due_at.is_none());
    assert_eq!(to_announce(&*ledger).await, [fence.job], "no delivery stands behind it");
    assert_eq!(history(&*ledger, fence.job).await, [(1, Ended::HandedBack)]);
}

pub(super) async fn one_holder_at_a_time_has_a_role(ledger: Arc<dyn Ledger>) {
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    assert!(ledger.lead("relay", one, LONG).await.unwrap());
    assert!(!ledger.lead("relay", two, LONG).await.unwrap());
    assert!(ledger.lead("relay", one, LONG).await.unwrap(), "who has it keeps it");
    assert!(ledger.lead("rescuer", two, LONG).await.unwrap(), "another role");
    assert!(ledger.lead("relay", one, SHORT).await.unwrap());
    until("the role to be free", SOON, || async { ledger.lead("relay", two, LONG).await.unwrap().then_some(()) }).await;
    assert!(!ledger.lead("relay", one, LONG).await.unwrap());
}
