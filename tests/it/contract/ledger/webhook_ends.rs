//! When telling ends: a job's own webhook that is gone is told nothing more of the job, and since when a subscription fails is known. Who
//! is told at all is in [`super::webhooks`].

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::ledger::webhooks::{ENDS, Hook, Try};
use longshore_runtime::ledger::{Ledger, NewJob};
use longshore_sdk::JobId;
use longshore_sdk::api::EventWord;

use super::steps::*;
use super::webhooks::{a_try, subscribed, test_of, told, webhook};

pub(super) async fn a_jobs_own_webhook_that_is_gone_is_told_nothing_more_and_its_deliveries_are_listed(
    ledger: Arc<dyn Ledger>,
) {
    let all = subscribed(&*ledger, webhook(&EventWord::ALL)).await;
    let us = worker(&*ledger, LONG).await;
    let url = "https://example.com/own".to_owned();
    let hook = Hook { url, secret: None, events: EventWord::ALL.to_vec(), gone: None };
    let new = || NewJob { webhook: Some(hook.clone()), ..new_job() };
    let (job, other) = (submit(&*ledger, new()).await, submit(&*ledger, new()).await);
    let fence = granted(claim(&*ledger, us, job).await).fence;
    done(&*ledger, fence, retry(Duration::ZERO)).await;
    ledger.end_hook(job, "410").await.unwrap();
    // A job without one has none afterwards.
    let bare = queued(&*ledger).await;
    ledger.end_hook(bare, "410").await.unwrap();
    assert_eq!(look(&*ledger, bare).await.webhook, None);
    let gone = look(&*ledger, job).await.webhook.expect("its address is still shown");
    assert_eq!((gone.url, gone.events, gone.gone.as_deref()), (hook.url.clone(), vec![], Some("410")));
    assert_eq!(look(&*ledger, other).await.webhook, Some(hook));
    let fence = granted(claim(&*ledger, us, job).await).fence;
    ledger.save_progress(us, &[(fence, report_of(0.5))]).await.unwrap();
    done(&*ledger, fence, complete()).await;
    ledger.cancel(other).await.unwrap();
    let own = ledger.own_deliveries(job, None, 10).await.unwrap();
    let events: Vec<_> = own.iter().map(|delivery| (delivery.event.as_str(), delivery.sequence)).collect();
    assert_eq!(events, [("attempt_failed", 3), ("started", 2), ("accepted", 1)], "the newest first");
    assert!(own.iter().all(|delivery| delivery.webhook.is_none() && delivery.job == Some(job)));
    assert_eq!(told(&*ledger, all, job).await.len(), 6, "whoever subscribed is told all the same");
    let page = ledger.own_deliveries(job, Some(own[0].id), 1).await.unwrap();
    assert_eq!(page.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [own[1].id]);
    assert_eq!(ledger.own_deliveries(other, None, 10).await.unwrap().len(), 2);
    ledger.note_tries(&[(own[1].id, a_try(1, Some("it is gone")))]).await.unwrap();
    assert_eq!(ledger.own_deliveries(job, None, 10).await.unwrap()[1].tries, [a_try(1, Some("it is gone"))]);
}

pub(super) async fn since_when_a_subscription_fails_is_known_until_it_succeeds_or_is_enabled(ledger: Arc<dyn Ledger>) {
    let (id, beside) = (subscribed(&*ledger, webhook(&ENDS)).await, subscribed(&*ledger, webhook(&ENDS)).await);
    let deliveries = [test_of(&*ledger, id).await, test_of(&*ledger, id).await];
    let quiet = test_of(&*ledger, beside).await;
    let at = |second: i64| jiff::Timestamp::from_second(second).unwrap();
    let failed = |attempt, second| Try { at: at(second), ..a_try(attempt, Some("no")) };
    let good = |attempt, second| Try { at: at(second), ..a_try(attempt, None) };
    let since = async || {
        let one = async |id| ledger.webhook(id).await.unwrap().expect("it is there").failing_since;
        assert_eq!(one(beside).await, None, "another's failures are none of its own");
        one(id).await
    };
    ledger.note_tries(&[(quiet, good(1, 1))]).await.unwrap();
    assert_eq!(since().await, None);
    ledger.note_tries(&[(deliveries[0], failed(1, 20)), (deliveries[1], failed(1, 21))]).await.unwrap();
    assert_eq!(since().await, Some(at(20)));
    ledger.note_tries(&[(deliveries[0], failed(2, 30))]).await.unwrap();
    assert_eq!(since().await, Some(at(20)), "the first of them counts");
    // A repeat of what is known changes nothing.
    ledger.note_tries(&[(deliveries[0], good(1, 20))]).await.unwrap();
    assert_eq!(since().await, Some(at(20)));
    ledger.switch(id, Some("tired")).await.unwrap();
    assert_eq!(since().await, Some(at(20)), "why it was disabled is still to be seen");
    ledger.switch(id, None).await.unwrap();
    assert_eq!(since().await, None);
    ledger.note_tries(&[(deliveries[0], failed(3, 40))]).await.unwrap();
    assert_eq!(since().await, Some(at(40)));
    ledger.note_tries(&[(deliveries[1], good(2, 41))]).await.unwrap();
    assert_eq!(since().await, None);
    // The job's own and what was deleted have no subscription to be counted at.
    assert!(ledger.unsubscribe(id).await.unwrap());
    ledger.note_tries(&[(deliveries[0], failed(4, 50)), (JobId::fresh(), failed(1, 50))]).await.unwrap();
}
