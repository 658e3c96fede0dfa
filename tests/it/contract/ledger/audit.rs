//! What an audit finds, and that it finds nothing in a ledger that nobody else has written to. What only a hand in the database
//! can break is broken in `cli/verify.rs`.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::ledger::{AuditPage, AuditPatience, Check, Ledger, Whose};
use longshore_sdk::JobId;

use super::steps::*;

/// Nothing is late yet.
const PATIENT: AuditPatience = AuditPatience { rescue: LONG, announce: LONG };
/// Everything is late at once.
const IMPATIENT: AuditPatience = AuditPatience { rescue: Duration::ZERO, announce: Duration::ZERO };

async fn audit(ledger: &dyn Ledger, patience: AuditPatience) -> AuditPage {
    ledger.audit(None, 1000, patience).await.unwrap()
}

fn found(page: &AuditPage) -> Vec<(Check, JobId)> {
    page.violations.iter().map(|violation| (violation.check, violation.job)).collect()
}

pub(super) async fn jobs_that_went_every_way_break_no_rule(ledger: Arc<dyn Ledger>) {
    let me = worker(&*ledger, LONG).await;
    queued(&*ledger).await;
    scheduled(&*ledger, LONG).await;
    for end in [complete(), retry(LONG), dead_letter(), obeyed(), yielded()] {
        let fence = running(&*ledger, me).await;
        done(&*ledger, fence, end).await;
    }
    let canceled = queued(&*ledger).await;
    ledger.cancel(canceled).await.unwrap();
    let handed_back = running(&*ledger, me).await;
    ledger.hand_back(&[handed_back]).await.unwrap();
    let replayed = dead(&*ledger, me).await;
    ledger.replay(replayed).await.unwrap();
    let poison = queued(&*ledger).await;
    while crash(&*ledger, poison, true).await == longshore_runtime::job::state::State::Pending {}
    let last = worker(&*ledger, LONG).await;
    running(&*ledger, last).await;
    let page = audit(&*ledger, PATIENT).await;
    assert_eq!((page.jobs, page.last, found(&page)), (12, None, vec![]));
}

pub(super) async fn a_running_job_whose_lease_ran_out_is_found_until_it_is_rescued(ledger: Arc<dyn Ledger>) {
    let (doomed, well) = (worker(&*ledger, LONG).await, worker(&*ledger, LONG).await);
    let (lost, _) = (running(&*ledger, doomed).await, running(&*ledger, well).await);
    beat(&*ledger, doomed, SHORT).await;
    lease_over(&*ledger, doomed).await;
    assert_eq!(found(&audit(&*ledger, PATIENT).await), []);
    assert_eq!(found(&audit(&*ledger, IMPATIENT).await), [(Check::Lease, lost.job)]);
    ledger.rescue(CRASH_LIMIT, Whose::Expired).await.unwrap();
    announce_all(&*ledger).await;
    assert_eq!(found(&audit(&*ledger, IMPATIENT).await), []);
}

pub(super) async fn an_announcement_owed_for_too_long_is_found(ledger: Arc<dyn Ledger>) {
    let job = queued(&*ledger).await;
    ledger.mark_unannounced(&[(job, 1)]).await.unwrap();
    assert_eq!(found(&audit(&*ledger, PATIENT).await), []);
    // Its transition is a moment old when another call has been answered since.
    ledger.now().await.unwrap();
    assert_eq!(found(&audit(&*ledger, IMPATIENT).await), [(Check::Announcement, job)]);
}

pub(super) async fn pages_lead_through_all_jobs_once(ledger: Arc<dyn Ledger>) {
    let mut jobs = vec![];
    for _ in 0..5 {
        jobs.push(queued(&*ledger).await);
    }
    let (mut after, mut looked, mut pages) = (None, 0, 0);
    loop {
        let page = ledger.audit(after, 2, PATIENT).await.unwrap();
        (looked, pages, after) = (looked + page.jobs, pages + 1, page.last);
        if after.is_none() {
            break;
        }
    }
    assert_eq!((looked, pages), (5, 3));
}
