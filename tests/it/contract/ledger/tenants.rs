//! Jobs and keys of several tenants in one ledger.

use std::sync::Arc;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::{Filter, Idempotency, Ledger, NewJob, Replaying, Submitted};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;

use super::steps::*;

fn tenant(name: &str) -> Tenant {
    name.parse().unwrap()
}

fn of(name: &str) -> NewJob {
    NewJob { tenant: tenant(name), ..new_job() }
}

pub(super) async fn a_jobs_tenant_is_in_its_row_its_claim_and_all_its_events(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let job = submit(&*ledger, NewJob { max_attempts: 1, ..of("north") }).await;
    let granted = granted(claim(&*ledger, worker, job).await);
    assert_eq!((&granted.tenant, &granted.started().tenant), (&tenant("north"), &tenant("north")));
    let told = done(&*ledger, granted.fence, dead_letter()).await;
    assert_eq!(told.tenant, tenant("north"));
    let Replaying::Ready(raised) = ledger.replay(job).await.unwrap() else { panic!("a dead letter") };
    assert_eq!(raised.tenant, tenant("north"));
    assert_eq!(ledger.due(10).await.unwrap()[0].tenant, tenant("north"));
    let owed = ledger.unannounced(10).await.unwrap();
    assert!(owed[0].events.len() == 4 && owed[0].events.iter().all(|event| event.tenant == tenant("north")));
    assert_eq!(look(&*ledger, queued(&*ledger).await).await.tenant, Tenant::default());
}

pub(super) async fn a_tenants_jobs_and_dead_letters_are_found_under_its_name_alone(ledger: Arc<dyn Ledger>) {
    let worker = worker(&*ledger, LONG).await;
    let names = ["north", "south", "default"];
    let mut dead = vec![];
    for name in names {
        let job = submit(&*ledger, NewJob { max_attempts: 1, ..of(name) }).await;
        let fence = granted(claim(&*ledger, worker, job).await).fence;
        done(&*ledger, fence, dead_letter()).await;
        dead.push(job);
    }
    for (name, job) in names.into_iter().zip(&dead) {
        let whose = tenant(name);
        let asked: Vec<JobId> = dead.iter().copied().chain([JobId::fresh()]).collect();
        assert_eq!(ledger.owned(&whose, &asked).await.unwrap(), [*job], "{name}");
        assert_eq!(ledger.dead_letters(&whose, "demo.greet", 10).await.unwrap(), [*job], "{name}");
        for state in [None, Some(State::Failed)] {
            let filter = Filter { tenant: Some(whose.clone()), state, limit: 10, ..Filter::default() };
            let found: Vec<JobId> = ledger.list(&filter).await.unwrap().iter().map(|job| job.id).collect();
            assert_eq!(found, [*job], "{name}");
        }
    }
    submit(&*ledger, of("north")).await;
    let later = submit(&*ledger, of("north")).await;
    for (name, most, count) in [("north", 10, 2), ("north", 1, 1), ("south", 10, 0)] {
        assert_eq!(ledger.count_pending(&tenant(name), most).await.unwrap(), count, "{name}");
    }
    ledger.cancel(later).await.unwrap();
    assert_eq!(ledger.count_pending(&tenant("north"), 10).await.unwrap(), 1);
    let nobody = tenant("nobody");
    assert!(
        ledger.owned(&nobody, &dead).await.unwrap().is_empty() && ledger.owned(&nobody, &[]).await.unwrap().is_empty()
    );
    let everyones = Filter { limit: 10, ..Filter::default() };
    assert_eq!(ledger.list(&everyones).await.unwrap().len(), 5);
}

pub(super) async fn two_tenants_may_choose_the_same_keys_and_never_meet(ledger: Arc<dyn Ledger>) {
    let keyed = |name: &str, fingerprint: u8| NewJob {
        idempotency: Some(Idempotency { key: "k".into(), fingerprint: [fingerprint; 32], lives: LONG }),
        unique_key: Some("u".into()),
        ..of(name)
    };
    let jobs = [keyed("north", 1), keyed("south", 2), keyed("default", 3)];
    // In one batch and in three.
    let mut answers = ledger.submit(&jobs[..2]).await.unwrap();
    answers.extend(ledger.submit(&jobs[2..]).await.unwrap());
    assert!(answers.iter().all(Submitted::is_created), "{answers:?}");
    for (job, name) in jobs.iter().zip(["north", "south", "default"]) {
        let fingerprint = job.idempotency.as_ref().unwrap().fingerprint[0];
        let again = ledger.submit(&[keyed(name, fingerprint)]).await.unwrap().remove(0);
        assert!(matches!(&again, Submitted::Repeated(first) if first.id == job.id), "{name}: {again:?}");
        let unique = NewJob { unique_key: Some("u".into()), ..of(name) };
        let held = ledger.submit(&[unique]).await.unwrap().remove(0);
        assert!(matches!(&held, Submitted::Held(first) if first.id == job.id), "{name}: {held:?}");
    }
    ledger.cancel(jobs[0].id).await.unwrap();
    assert_eq!(ledger.remove_idle_keys(10).await.unwrap(), 1, "of the tenant whose job is finished");
}
