//! API keys: kept by their hash, found by their id, ended by whoever governs them.

use std::sync::Arc;
use std::time::Duration;

use longshore_runtime::keys::{Minted, Scopes};
use longshore_runtime::ledger::{Ledger, NewKey};
use longshore_runtime::tenant::Tenant;
use longshore_tests::until::until;

use super::steps::{LONG, SHORT, SOON};

fn key(tenant: &str, lives: Option<Duration>) -> NewKey {
    let minted = Minted::fresh().unwrap();
    let scopes: Scopes = "submit read".parse().unwrap();
    NewKey { id: minted.id, tenant: tenant.parse().unwrap(), name: "ci".into(), scopes, hash: minted.hash, lives }
}

pub(super) async fn a_key_is_found_as_it_was_made(ledger: Arc<dyn Ledger>) {
    let (north, house) = (key("north", Some(LONG)), key("default", None));
    for new in [&north, &house, &north] {
        ledger.add_key(new).await.unwrap();
    }
    let found = ledger.key(&north.id).await.unwrap().expect("it was made");
    assert_eq!(
        (&found.tenant, &found.name, found.scopes, found.hash),
        (&north.tenant, &north.name, north.scopes, north.hash)
    );
    assert!(found.is_good() && found.last_used_at.is_none() && found.expires_at == Some(found.created_at + LONG));
    let of = async |tenant: Option<&Tenant>| {
        ledger.keys(tenant).await.unwrap().into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(of(Some(&north.tenant)).await, [north.id.as_str()]);
    assert_eq!(of(None).await, [north.id, house.id]);
    assert!(ledger.key("nobody's").await.unwrap().is_none());
}

pub(super) async fn a_key_is_ended_by_its_tenant_or_by_the_house_and_stays_ended(ledger: Arc<dyn Ledger>) {
    let (one, other) = (key("north", None), key("north", Some(LONG)));
    ledger.add_key(&one).await.unwrap();
    ledger.add_key(&other).await.unwrap();
    let south: Tenant = "south".parse().unwrap();
    assert!(!ledger.end_key(Some(&south), &one.id, None).await.unwrap());
    assert!(ledger.key(&one.id).await.unwrap().unwrap().is_good());
    assert!(ledger.end_key(Some(&one.tenant), &one.id, None).await.unwrap());
    let revoked = ledger.key(&one.id).await.unwrap().unwrap();
    assert!(!revoked.is_good() && revoked.revoked_at.is_some());
    assert!(ledger.end_key(None, &one.id, None).await.unwrap());
    assert_eq!(ledger.key(&one.id).await.unwrap().unwrap().revoked_at, revoked.revoked_at);
    // What ends sooner is not made to live longer.
    assert!(ledger.end_key(None, &other.id, Some(LONG * 2)).await.unwrap());
    let kept = ledger.key(&other.id).await.unwrap().unwrap();
    assert_eq!(kept.expires_at, Some(kept.created_at + LONG));
    assert!(ledger.end_key(None, &other.id, Some(SHORT)).await.unwrap());
    until("the key to expire", SOON, || async {
        (!ledger.key(&other.id).await.unwrap().unwrap().is_good()).then_some(())
    })
    .await;
    assert!(!ledger.end_key(None, "nobody's", None).await.unwrap());
}

pub(super) async fn a_keys_use_is_noted_to_the_minute(ledger: Arc<dyn Ledger>) {
    let new = key("north", None);
    ledger.add_key(&new).await.unwrap();
    ledger.use_key(&new.id).await.unwrap();
    let used = ledger.key(&new.id).await.unwrap().unwrap().last_used_at;
    assert!(used.is_some());
    ledger.use_key(&new.id).await.unwrap();
    assert_eq!(ledger.key(&new.id).await.unwrap().unwrap().last_used_at, used);
}
