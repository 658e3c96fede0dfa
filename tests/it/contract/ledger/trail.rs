//! The audit log: a line for every change, in the change's own transaction, and none without one.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::keys::{Minted, Scopes};
use longshore_runtime::ledger::trail::{Actor, Deed, Line, NewLine, REFUSED};
use longshore_runtime::ledger::webhooks::{ENDS, HeldSecret, NewDelivery, TEST, Webhook};
use longshore_runtime::ledger::{Ledger, NewKey};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;
use longshore_sdk::webhook::Secret;
use uuid::Uuid;

use super::steps::*;

fn ann() -> Actor {
    Actor { name: "key:ann".into(), address: Some("192.0.2.7".into()), request_id: Some("r-1".into()) }
}

fn key(tenant: &Tenant) -> NewKey {
    let (minted, scopes) = (Minted::fresh().unwrap(), Scopes::all());
    NewKey { id: minted.id, tenant: tenant.clone(), name: "ci".into(), scopes, hash: minted.hash, lives: None }
}

fn webhook() -> Webhook {
    Webhook {
        id: Uuid::now_v7(),
        tenant: Tenant::default(),
        url: "https://example.com/hook".into(),
        kinds: vec![],
        events: ENDS.to_vec(),
        secrets: vec![HeldSecret { secret: Secret::fresh(), until: None }],
        disabled: None,
        failing_since: None,
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

async fn lines(ledger: &dyn Ledger) -> Vec<Line> {
    let mut lines = ledger.trail(None, None, 100).await.unwrap();
    lines.reverse();
    lines
}

fn deeds(lines: &[Line]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line.deed.as_str(), line.object.as_str())).collect()
}

pub(super) async fn every_change_of_keys_webhooks_and_jobs_is_noted_once_with_who_did_it(ledger: Arc<dyn Ledger>) {
    let (hers, house) = (ledger.by(ann()), Tenant::default());
    let (one, hook) = (key(&house), webhook());
    hers.add_key(&one).await.unwrap();
    hers.end_key(None, &one.id, Some(LONG)).await.unwrap();
    hers.end_key(Some(&house), &one.id, None).await.unwrap();
    assert!(hers.subscribe(&hook, 9).await.unwrap());
    hers.rotate(hook.id, &Secret::fresh(), LONG).await.unwrap();
    hers.switch(hook.id, Some("tired")).await.unwrap();
    hers.switch(hook.id, None).await.unwrap();
    assert!(hers.unsubscribe(hook.id).await.unwrap());
    let us = worker(&*ledger, LONG).await;
    let (waiting, runs) = (queued(&*ledger).await, running(&*ledger, us).await.job);
    let (raised, buried) = (dead(&*ledger, us).await, dead(&*ledger, us).await);
    announce_all(&*ledger).await;
    hers.cancel(waiting).await.unwrap();
    hers.cancel(runs).await.unwrap();
    hers.replay(raised).await.unwrap();
    assert_eq!(hers.purge(&[buried]).await.unwrap(), 1);
    let (id, hook) = (one.id.as_str(), hook.id.to_string());
    let [waiting, runs, raised, buried] = [waiting, runs, raised, buried].map(|job| job.to_string());
    let noted = lines(&*ledger).await;
    let expected = [
        ("key.created", id),
        ("key.rotated", id),
        ("key.revoked", id),
        ("webhook.created", hook.as_str()),
        ("webhook.rotated", hook.as_str()),
        ("webhook.disabled", hook.as_str()),
        ("webhook.enabled", hook.as_str()),
        ("webhook.removed", hook.as_str()),
        ("job.canceled", waiting.as_str()),
        ("job.canceled", runs.as_str()),
        ("job.replayed", raised.as_str()),
        ("job.purged", buried.as_str()),
    ];
    assert_eq!(deeds(&noted), expected);
    let now = ledger.now().await.unwrap();
    for line in noted {
        let Actor { name, address, request_id } = ann();
        assert_eq!((line.actor, line.address, line.request_id), (name, address, request_id));
        assert_eq!((line.outcome.as_str(), line.tenant), ("done", house.clone()));
        assert!(line.at <= now && line.at + LONG > now);
    }
}

pub(super) async fn a_test_and_a_repeat_of_a_delivery_are_noted_once_with_who_sent_them(ledger: Arc<dyn Ledger>) {
    let (hers, hook) = (ledger.by(ann()), webhook());
    ledger.subscribe(&hook, 9).await.unwrap();
    let test = NewDelivery {
        id: JobId::fresh(),
        tenant: "north".parse().unwrap(),
        webhook: Some(hook.id),
        job: None,
        sequence: 0,
        progress: None,
        event: TEST.into(),
        again: None,
    };
    let again = NewDelivery { id: JobId::fresh(), again: Some(test.id), ..test.clone() };
    for sent in [&test, &test, &again, &again] {
        hers.send(sent).await.unwrap();
    }
    // Nobody's, and there already.
    ledger.send(&NewDelivery { id: JobId::fresh(), ..test.clone() }).await.unwrap();
    let (noted, hook, first) = (lines(&*ledger).await, hook.id.to_string(), test.id.to_string());
    assert_eq!(deeds(&noted), [("webhook.tested", hook.as_str()), ("delivery.replayed", first.as_str())]);
    for line in noted {
        let Actor { name, address, request_id } = ann();
        assert_eq!((line.actor, line.address, line.request_id), (name, address, request_id));
        assert_eq!((line.outcome.as_str(), line.tenant), ("done", test.tenant.clone()));
    }
}

pub(super) async fn what_changes_nothing_or_is_nobodys_is_not_noted(ledger: Arc<dyn Ledger>) {
    let (hers, house) = (ledger.by(ann()), Tenant::default());
    let (one, hook, secret) = (key(&house), webhook(), Secret::fresh());
    ledger.add_key(&one).await.unwrap();
    hers.add_key(&one).await.unwrap();
    assert!(!hers.end_key(Some(&"south".parse().unwrap()), &one.id, None).await.unwrap());
    assert!(!hers.end_key(None, "nobody's", None).await.unwrap());
    ledger.subscribe(&hook, 9).await.unwrap();
    hers.subscribe(&hook, 9).await.unwrap();
    ledger.rotate(hook.id, &secret, LONG).await.unwrap();
    hers.rotate(hook.id, &secret, LONG).await.unwrap();
    assert!(hers.switch(Uuid::nil(), None).await.unwrap().is_none() && !hers.unsubscribe(Uuid::nil()).await.unwrap());
    let us = worker(&*ledger, LONG).await;
    let (canceled, asked, pending) = (queued(&*ledger).await, running(&*ledger, us).await.job, queued(&*ledger).await);
    ledger.cancel(canceled).await.unwrap();
    hers.cancel(canceled).await.unwrap();
    ledger.cancel(asked).await.unwrap();
    hers.cancel(asked).await.unwrap();
    hers.replay(pending).await.unwrap();
    assert_eq!(hers.purge(&[pending]).await.unwrap(), 0);
    let noted = lines(&*ledger).await;
    assert!(noted.is_empty(), "{noted:?}");
}

pub(super) async fn lines_are_a_tenants_own_come_in_pages_and_go_with_their_age(ledger: Arc<dyn Ledger>) {
    let (north, south): (Tenant, Tenant) = ("north".parse().unwrap(), "south".parse().unwrap());
    for number in 0..5 {
        for tenant in [&north, &south] {
            let (by, object) = (ann(), format!("GET /{number}"));
            let line = NewLine { by, tenant: tenant.clone(), deed: Deed::AccessRefused, object, outcome: REFUSED };
            ledger.note(&line).await.unwrap();
        }
    }
    let page = async |before| ledger.trail(Some(&north), before, 2).await.unwrap();
    let first = page(None).await;
    assert_eq!(deeds(&first), [("access.refused", "GET /4"), ("access.refused", "GET /3")]);
    assert!(first.iter().all(|line| line.tenant == north && line.outcome == "refused"));
    let second = page(Some(first[1].id)).await;
    assert_eq!(deeds(&second), [("access.refused", "GET /2"), ("access.refused", "GET /1")]);
    assert_eq!(page(Some(second[1].id)).await.len(), 1);
    assert_eq!(ledger.remove_old_lines(LONG, 100).await.unwrap(), 0);
    assert_eq!(ledger.remove_old_lines(Duration::ZERO, 4).await.unwrap(), 4);
    let left = lines(&*ledger).await;
    assert_eq!((left.len(), left[0].object.as_str()), (6, "GET /2"));
}
