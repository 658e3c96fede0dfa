//! Who is told of a move is written down with the move: each delivery is there when the move is, and none without one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::job::state::State;
use longshore_runtime::ledger::webhooks::{
    Delivery, ENDS, Errand, HeldSecret, Hook, KIND, NewDelivery, TEST, Try, Webhook,
};
use longshore_runtime::ledger::{Claimed, Event, Kind, Ledger, NewJob, Recorded, Report, Whose};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::api::EventWord;
use longshore_sdk::webhook::Secret;
use longshore_sdk::{JobId, Policy};
use serde_json::json as value;
use uuid::Uuid;

use super::steps::*;

pub(super) fn webhook(events: &[EventWord]) -> Webhook {
    Webhook {
        id: Uuid::now_v7(),
        tenant: Tenant::default(),
        url: "https://example.com/hook".into(),
        kinds: vec![],
        events: events.to_vec(),
        secrets: vec![HeldSecret { secret: Secret::fresh(), until: None }],
        disabled: None,
        failing_since: None,
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

pub(super) async fn subscribed(ledger: &dyn Ledger, webhook: Webhook) -> Uuid {
    assert!(ledger.subscribe(&webhook, 100).await.unwrap());
    webhook.id
}

/// What was made for a subscription of one job's events, in their order.
async fn made_for(ledger: &dyn Ledger, webhook: Uuid, job: JobId) -> Vec<Delivery> {
    let mut all = ledger.deliveries(webhook, None, 100).await.unwrap();
    all.retain(|delivery| delivery.job == Some(job));
    all.sort_by_key(|delivery| (delivery.sequence, delivery.progress.as_ref().map(|report| report.n)));
    all
}

/// The same as event and sequence.
pub(super) async fn told(ledger: &dyn Ledger, webhook: Uuid, job: JobId) -> Vec<(String, i64)> {
    let made = made_for(ledger, webhook, job).await;
    made.into_iter().map(|delivery| (delivery.event, delivery.sequence)).collect()
}

/// What a job's history says.
async fn happened(ledger: &dyn Ledger, job: JobId) -> Vec<(String, i64)> {
    let history = ledger.history(job).await.unwrap().expect("the job exists");
    history.iter().map(|event| (event.word().word().to_owned(), event.version)).collect()
}

pub(super) async fn every_move_makes_a_delivery_for_whoever_asked_for_it(ledger: Arc<dyn Ledger>) {
    let all = subscribed(&*ledger, webhook(&EventWord::ALL)).await;
    let starts = subscribed(&*ledger, webhook(&[EventWord::Started])).await;
    let ends = subscribed(&*ledger, webhook(&ENDS)).await;
    let us = worker(&*ledger, LONG).await;
    let mut jobs = vec![];
    for end in [complete(), retry(LONG), dead_letter(), yielded(), obeyed()] {
        let fence = running(&*ledger, us).await;
        done(&*ledger, fence, end).await;
        jobs.push(fence.job);
    }
    let waiting = queued(&*ledger).await;
    ledger.cancel(waiting).await.unwrap();
    let raised = dead(&*ledger, us).await;
    ledger.replay(raised).await.unwrap();
    let handed_back = running(&*ledger, us).await;
    ledger.hand_back(&[handed_back]).await.unwrap();
    let lost = running(&*ledger, us).await;
    let stopped = running(&*ledger, us).await;
    ledger.cancel(stopped.job).await.unwrap();
    ledger.rescue(CRASH_LIMIT, Whose::Everyones).await.unwrap();
    jobs.extend([waiting, raised, handed_back.job, lost.job, stopped.job]);
    let mut words = BTreeSet::new();
    for job in jobs {
        let expected = happened(&*ledger, job).await;
        assert!(!expected.is_empty());
        assert_eq!(told(&*ledger, all, job).await, expected);
        words.extend(expected.iter().map(|(word, _)| word.clone()));
        let began: Vec<_> = expected.iter().filter(|(word, _)| word == "started").cloned().collect();
        assert_eq!(told(&*ledger, starts, job).await, began);
        let is_end = |(word, _): &(String, i64)| ENDS.iter().any(|end| end.word() == word);
        let expected: Vec<_> = expected.into_iter().filter(is_end).collect();
        assert_eq!(told(&*ledger, ends, job).await, expected);
    }
    // All but progress, which is no move.
    assert_eq!(words.len(), EventWord::ALL.len() - 1, "{words:?}");
}

/// What a try would be told of each delivery.
async fn errands(ledger: &dyn Ledger, deliveries: &[Delivery]) -> Vec<Errand> {
    let ids: Vec<JobId> = deliveries.iter().map(|delivery| delivery.id).collect();
    let found = ledger.errands(&ids).await.unwrap();
    found.into_iter().map(|errand| errand.expect("it is there")).collect()
}

pub(super) async fn every_progress_is_told_as_it_was_though_the_row_keeps_the_newest(ledger: Arc<dyn Ledger>) {
    let all = subscribed(&*ledger, webhook(&EventWord::ALL)).await;
    let ends = subscribed(&*ledger, webhook(&ENDS)).await;
    let us = worker(&*ledger, LONG).await;
    let own =
        Hook { url: "https://example.com/own".into(), secret: None, events: vec![EventWord::Progressed], gone: None };
    let job = submit(&*ledger, NewJob { webhook: Some(own), ..new_job() }).await;
    let granted = granted(claim(&*ledger, us, job).await);
    let at = |n: u32| jiff::Timestamp::UNIX_EPOCH + Duration::from_nanos(1_234_567_890 * u64::from(n));
    let reports: Vec<Report> = (1..=3).map(|n| Report { n, at: at(n), ..report_of(f64::from(n) / 7.0) }).collect();
    for report in &reports[..2] {
        ledger.save_progress(us, &[(granted.fence, report.clone())]).await.unwrap();
    }
    done(&*ledger, granted.fence, retry(LONG)).await;
    // Who has lost the job tells nothing of it.
    ledger.save_progress(us, &[(granted.fence, reports[2].clone())]).await.unwrap();
    let mut made = made_for(&*ledger, all, job).await;
    made.retain(|delivery| delivery.event == "progressed");
    let events: Vec<_> = errands(&*ledger, &made).await.into_iter().filter_map(|errand| errand.event).collect();
    // As the worker announces it.
    let started = granted.started();
    let announced =
        reports[..2].iter().cloned().map(|report| Event { at: report.at, progress: Some(report), ..started.clone() });
    assert_eq!(events, announced.collect::<Vec<_>>());
    assert!(told(&*ledger, ends, job).await.is_empty());
    let due = to_publish(&*ledger).await;
    let mut to_own = vec![];
    for id in due {
        to_own.extend(ledger.delivery(id).await.unwrap().filter(|delivery| delivery.webhook.is_none()));
    }
    let mut said: Vec<_> = to_own.into_iter().map(|delivery| (delivery.event, delivery.progress)).collect();
    said.sort_by_key(|(_, progress)| progress.as_ref().map(|report| report.n));
    let expected = reports[..2].iter().map(|report| ("progressed".to_owned(), Some(report.clone())));
    assert_eq!(said, expected.collect::<Vec<_>>());
}

pub(super) async fn what_a_try_needs_is_found_for_many_at_once(ledger: Arc<dyn Ledger>) {
    let first = webhook(&EventWord::ALL);
    let id = subscribed(&*ledger, first.clone()).await;
    let us = worker(&*ledger, LONG).await;
    let url = "https://example.com/own".into();
    let own = Hook { url, secret: Some(Secret::fresh()), events: ENDS.to_vec(), gone: None };
    let job = submit(&*ledger, NewJob { webhook: Some(own.clone()), ..new_job() }).await;
    let fence = granted(claim(&*ledger, us, job).await).fence;
    done(&*ledger, fence, complete()).await;
    let made = made_for(&*ledger, id, job).await;
    assert_eq!(
        (made.len(), ledger.count_pending(&Tenant::default(), 10).await.unwrap()),
        (3, 0),
        "they are not its jobs"
    );
    let found = errands(&*ledger, &made).await;
    let history = ledger.history(job).await.unwrap().expect("the job exists");
    let events: Vec<_> = found.iter().filter_map(|errand| errand.event.clone()).collect();
    assert_eq!(events, history);
    for errand in &found {
        assert_eq!(errand.webhook.as_ref().map(|webhook| &webhook.secrets), Some(&first.secrets));
        assert_eq!(errand.own.as_ref(), Some(&own));
        assert_eq!(errand.result.as_ref().map(|result| result.get()), Some(r#"{"text":"Hello"}"#));
    }
    // In the order of the question, with a hole where nothing is.
    let test = test_of(&*ledger, id).await;
    let mixed = ledger.errands(&[test, JobId::fresh(), made[2].id, made[0].id]).await.unwrap();
    let shape = mixed.iter().map(|errand| errand.as_ref().map(|errand| (errand.delivery.id, errand.event.is_some())));
    let expected = [Some((test, false)), None, Some((made[2].id, true)), Some((made[0].id, true))];
    assert_eq!(shape.collect::<Vec<_>>(), expected);
    assert!(ledger.unsubscribe(id).await.unwrap());
    assert!(errands(&*ledger, &made).await.iter().all(|errand| errand.webhook.is_none() && errand.event.is_some()));
    assert!(ledger.errands(&[]).await.unwrap().is_empty());
}

pub(super) async fn a_delivery_is_a_job_that_is_due_with_its_kinds_policy(ledger: Arc<dyn Ledger>) {
    let id = subscribed(&*ledger, webhook(&ENDS)).await;
    let us = worker(&*ledger, LONG).await;
    done(&*ledger, running(&*ledger, us).await, complete()).await;
    let policy = Policy { max_attempts: 3, timeout: Duration::from_millis(7_500), ..Policy::default() };
    let (payload_schema, output_schema) = (value!({}), value!({}));
    ledger.register_kinds(&[Kind { kind: KIND.into(), payload_schema, output_schema, policy }]).await.unwrap();
    let fence = running(&*ledger, us).await;
    done(&*ledger, fence, complete()).await;
    let [second, first] = &ledger.deliveries(id, None, 10).await.unwrap()[..] else { panic!("two were made") };
    let (before, job) = (look(&*ledger, first.id).await, look(&*ledger, second.id).await);
    assert_eq!((before.max_attempts, before.timeout), (10, Duration::from_secs(30)));
    assert_eq!((job.max_attempts, job.timeout), (3, Duration::from_millis(7_500)));
    assert_eq!((job.kind.as_str(), job.state, job.version), (KIND, State::Pending, 1));
    assert_eq!(job.correlation_id.as_deref(), Some("c-1"));
    assert!(job.due_at.is_some() && job.queued_at.is_none());
    let payload: serde_json::Value = serde_json::from_str(job.payload.get()).unwrap();
    assert_eq!(payload, value!({"job": fence.job, "event": "completed"}));
    assert_eq!(to_publish(&*ledger).await.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([first.id, second.id]));
    assert_eq!((second.state, second.due_at, second.webhook), (Some(State::Pending), job.due_at, Some(id)));
    // It is claimed and recorded as any job, and nobody is told of that.
    ledger.mark_queued(&[(job.id, job.version)]).await.unwrap();
    let fence = granted(claim(&*ledger, us, job.id).await).fence;
    done(&*ledger, fence, complete()).await;
    assert_eq!(ledger.deliveries(id, None, 10).await.unwrap().len(), 2);
}

pub(super) async fn who_did_not_ask_is_not_told(ledger: Arc<dyn Ledger>) {
    let every = || webhook(&EventWord::ALL);
    let other = subscribed(&*ledger, Webhook { kinds: vec!["demo.other".into()], ..every() }).await;
    let this = subscribed(&*ledger, Webhook { kinds: vec!["a".into(), "demo.greet".into()], ..every() }).await;
    let off = subscribed(&*ledger, every()).await;
    ledger.switch(off, Some("tired")).await.unwrap();
    let theirs = subscribed(&*ledger, Webhook { tenant: "acme".parse().unwrap(), ..every() }).await;
    let gone = subscribed(&*ledger, every()).await;
    assert!(ledger.unsubscribe(gone).await.unwrap());
    let us = worker(&*ledger, LONG).await;
    let fence = running(&*ledger, us).await;
    ledger.save_progress(us, &[(fence, report_of(0.5))]).await.unwrap();
    done(&*ledger, fence, complete()).await;
    let expected = [("accepted", 1), ("started", 2), ("progressed", 2), ("completed", 3)];
    assert_eq!(told(&*ledger, this, fence.job).await, expected.map(|(word, place)| (word.to_owned(), place)));
    for nobody in [other, off, theirs, gone] {
        assert!(told(&*ledger, nobody, fence.job).await.is_empty());
    }
}

pub(super) async fn a_jobs_own_webhook_is_told_of_what_it_asked_for(ledger: Arc<dyn Ledger>) {
    let us = worker(&*ledger, LONG).await;
    let hook = Hook {
        url: "https://example.com/own".into(),
        secret: Some(Secret::fresh()),
        events: vec![EventWord::AttemptFailed, EventWord::Failed],
        gone: None,
    };
    let job = submit(&*ledger, NewJob { webhook: Some(hook.clone()), ..new_job() }).await;
    assert_eq!(look(&*ledger, job).await.webhook, Some(hook));
    let fence = granted(claim(&*ledger, us, job).await).fence;
    done(&*ledger, fence, retry(Duration::ZERO)).await;
    let made = to_publish(&*ledger).await.into_iter().filter(|due| *due != job).collect::<Vec<_>>();
    let [id] = made[..] else { panic!("one delivery: {made:?}") };
    let delivery = ledger.delivery(id).await.unwrap().expect("it is there");
    assert_eq!((delivery.webhook, delivery.job, delivery.sequence), (None, Some(job), 3));
    assert_eq!(delivery.event, "attempt_failed");
    let fence = granted(claim(&*ledger, us, job).await).fence;
    done(&*ledger, fence, complete()).await;
    assert_eq!(to_publish(&*ledger).await, [id], "it did not ask for the end");
}

pub(super) async fn what_changes_nothing_tells_nobody(ledger: Arc<dyn Ledger>) {
    let id = subscribed(&*ledger, webhook(&EventWord::ALL)).await;
    let us = worker(&*ledger, LONG).await;
    let new = new_job();
    let job = submit(&*ledger, new.clone()).await;
    assert!(!ledger.submit(&[new]).await.unwrap()[0].is_created(), "a repeat");
    let fence = granted(claim(&*ledger, us, job).await).fence;
    assert!(matches!(claim(&*ledger, us, job).await, Claimed::Busy));
    done(&*ledger, fence, complete()).await;
    assert!(matches!(claim(&*ledger, us, job).await, Claimed::Settled(_)));
    assert!(matches!(record(&*ledger, fence, complete()).await, Recorded::Before(_)));
    assert!(matches!(record(&*ledger, fence, dead_letter()).await, Recorded::Before(_)));
    ledger.cancel(fence.job).await.unwrap();
    ledger.replay(fence.job).await.unwrap();
    let asked = running(&*ledger, worker(&*ledger, LONG).await).await;
    ledger.cancel(asked.job).await.unwrap();
    let words = [("accepted", 1), ("started", 2), ("completed", 3)].map(|(word, place)| (word.to_owned(), place));
    assert_eq!(told(&*ledger, id, job).await, words);
    assert_eq!(told(&*ledger, id, asked.job).await, words[..2]);
}

pub(super) async fn a_subscription_is_kept_changed_and_removed(ledger: Arc<dyn Ledger>) {
    let (first, second) = (webhook(&ENDS), Webhook { kinds: vec!["a.b".into()], ..webhook(&EventWord::ALL) });
    for _ in 0..2 {
        assert!(ledger.subscribe(&first, 2).await.unwrap(), "a repeat is the same");
    }
    assert!(ledger.subscribe(&second, 2).await.unwrap());
    assert!(!ledger.subscribe(&webhook(&ENDS), 2).await.unwrap(), "two are enough");
    let ids: Vec<Uuid> = ledger.webhooks(&Tenant::default()).await.unwrap().iter().map(|webhook| webhook.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    let kept = ledger.webhook(second.id).await.unwrap().expect("it is there");
    assert_eq!(Webhook { created_at: second.created_at, ..kept }, second);
    let off = ledger.switch(first.id, Some("410")).await.unwrap().expect("it is there");
    assert_eq!(off.disabled.as_deref(), Some("410"));
    assert_eq!(ledger.switch(first.id, None).await.unwrap().expect("it is there").disabled, None);
    assert!(ledger.unsubscribe(first.id).await.unwrap() && !ledger.unsubscribe(first.id).await.unwrap());
    assert!(ledger.webhook(first.id).await.unwrap().is_none());
    assert!(ledger.switch(first.id, None).await.unwrap().is_none());
    assert!(ledger.rotate(first.id, &Secret::fresh(), LONG).await.unwrap().is_none());
}

pub(super) async fn a_changed_secret_signs_beside_the_one_before_it(ledger: Arc<dyn Ledger>) {
    let first = webhook(&ENDS);
    let (id, fresh, old) =
        (subscribed(&*ledger, first.clone()).await, Secret::fresh(), first.secrets[0].secret.clone());
    for _ in 0..2 {
        let changed = ledger.rotate(id, &fresh, LONG).await.unwrap().expect("it is there");
        let now = ledger.now().await.unwrap();
        assert_eq!(changed.secrets_at(now), [fresh.clone(), old.clone()], "a repeat changes nothing");
        assert!(changed.old_secret_until(now).is_some_and(|until| until > now));
        assert_eq!(changed.secrets_at(now + LONG), vec![fresh.clone()]);
        assert_eq!(ledger.webhook(id).await.unwrap(), Some(changed));
    }
    let last = Secret::fresh();
    let alone = ledger.rotate(id, &last, Duration::ZERO).await.unwrap().expect("it is there");
    assert_eq!(alone.secrets_at(ledger.now().await.unwrap()), [last]);
}

pub(super) fn a_try(attempt: u32, error: Option<&str>) -> Try {
    Try {
        attempt,
        at: jiff::Timestamp::UNIX_EPOCH,
        duration: Duration::from_millis(12),
        status: error.map(|_| 503),
        error: error.map(str::to_owned),
        answer: Some("later".into()),
    }
}

pub(super) async fn test_of(ledger: &dyn Ledger, webhook: Uuid) -> JobId {
    let id = JobId::fresh();
    let tenant = Tenant::default();
    let webhook = Some(webhook);
    let (job, event) = (None, TEST.into());
    let delivery = NewDelivery { id, tenant, webhook, job, sequence: 0, progress: None, event, again: None };
    for _ in 0..2 {
        ledger.send(&delivery).await.unwrap();
    }
    id
}

pub(super) async fn a_delivery_made_by_hand_is_there_once_with_its_tries(ledger: Arc<dyn Ledger>) {
    let id = subscribed(&*ledger, webhook(&ENDS)).await;
    let (older, newer) = (test_of(&*ledger, id).await, test_of(&*ledger, id).await);
    assert_eq!(to_publish(&*ledger).await.len(), 2);
    let (failed, delivered) = (a_try(1, Some("the receiver answered 503")), a_try(2, None));
    ledger.note_tries(&[(older, failed.clone()), (newer, delivered.clone())]).await.unwrap();
    for tried in [&delivered, &Try { status: Some(200), ..failed.clone() }] {
        ledger.note_tries(&[(older, tried.clone())]).await.unwrap();
    }
    assert_eq!(ledger.delivery(newer).await.unwrap().expect("it is there").tries, std::slice::from_ref(&delivered));
    let found = ledger.delivery(older).await.unwrap().expect("it is there");
    assert_eq!((found.event.as_str(), found.job, found.sequence), (TEST, None, 0));
    assert_eq!(found.tries, [failed, delivered], "the first word about an attempt counts");
    let ids = |page: Vec<Delivery>| page.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>();
    assert_eq!(ids(ledger.deliveries(id, None, 1).await.unwrap()), [newer]);
    assert_eq!(ids(ledger.deliveries(id, Some(newer), 10).await.unwrap()), [older]);
    assert!(ledger.deliveries(Uuid::now_v7(), None, 10).await.unwrap().is_empty());
    assert!(ledger.delivery(JobId::fresh()).await.unwrap().is_none());
}

pub(super) async fn deliveries_that_ended_long_ago_are_removed_and_dead_letters_with_their_purge(
    ledger: Arc<dyn Ledger>,
) {
    let id = subscribed(&*ledger, webhook(&ENDS)).await;
    let us = worker(&*ledger, LONG).await;
    let mut made = vec![];
    for end in [Some(complete()), Some(dead_letter()), None] {
        let delivery = test_of(&*ledger, id).await;
        ledger.note_tries(&[(delivery, a_try(1, None))]).await.unwrap();
        let fence = granted(claim(&*ledger, us, delivery).await).fence;
        if let Some(end) = end {
            done(&*ledger, fence, end).await;
        }
        made.push(delivery);
    }
    assert_eq!(ledger.remove_old_deliveries(LONG, 10).await.unwrap(), 0, "none is so old");
    assert_eq!(ledger.remove_old_deliveries(Duration::ZERO, 10).await.unwrap(), 1);
    assert!(ledger.delivery(made[0]).await.unwrap().is_none());
    assert!(ledger.job(made[0]).await.unwrap().is_none(), "its job goes with it");
    assert!(ledger.attempts(made[0]).await.unwrap().is_empty());
    assert!(ledger.job(made[1]).await.unwrap().is_some() && ledger.job(made[2]).await.unwrap().is_some());
    assert_eq!(ledger.delivery(made[1]).await.unwrap().expect("it may be replayed").tries.len(), 1);
    assert_eq!(ledger.delivery(made[2]).await.unwrap().expect("it runs").state, Some(State::Running));
    announce_all(&*ledger).await;
    assert_eq!(ledger.purge(&[made[1]]).await.unwrap(), 1);
    assert!(ledger.delivery(made[1]).await.unwrap().is_none());
}
