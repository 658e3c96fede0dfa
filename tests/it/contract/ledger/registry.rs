//! Kinds and uploaded files.

use std::sync::Arc;

use longshore_runtime::ledger::{File, Kind, Ledger};
use longshore_sdk::Policy;
use serde_json::json;
use uuid::Uuid;

pub(super) async fn a_kind_registered_again_is_replaced(ledger: Arc<dyn Ledger>) {
    assert!(ledger.kinds().await.unwrap().is_empty());
    let kind = |name: &str, max_attempts| Kind {
        kind: name.into(),
        payload_schema: json!({"type": "object", "maxProperties": max_attempts}),
        output_schema: json!({"type": "string"}),
        policy: Policy { max_attempts, ..Policy::default() },
    };
    ledger.register_kinds(&[kind("demo.wave", 3), kind("demo.greet", 3)]).await.unwrap();
    ledger.register_kinds(&[kind("demo.greet", 9)]).await.unwrap();
    ledger.register_kinds(&[]).await.unwrap();
    let mut kinds = ledger.kinds().await.unwrap();
    kinds.sort_by(|one, other| one.kind.cmp(&other.kind));
    for (found, expected) in kinds.iter().zip([kind("demo.greet", 9), kind("demo.wave", 3)]) {
        assert_eq!((&found.kind, &found.policy), (&expected.kind, &expected.policy));
        assert_eq!((&found.payload_schema, &found.output_schema), (&expected.payload_schema, &expected.output_schema));
    }
    assert_eq!(kinds.len(), 2);
}

pub(super) async fn a_file_is_found_by_its_id(ledger: Arc<dyn Ledger>) {
    let file = File {
        id: Uuid::now_v7(),
        tenant: "north".parse().unwrap(),
        name: "../ship's log \"1\".csv".into(),
        content_type: "text/csv".into(),
        bytes: 5_000_000_000,
        sha256: "ab".repeat(32),
    };
    assert_eq!(ledger.file(file.id).await.unwrap(), None);
    ledger.add_file(&file).await.unwrap();
    ledger.add_file(&file).await.unwrap();
    assert_eq!(ledger.file(file.id).await.unwrap(), Some(file));
    assert_eq!(ledger.file(Uuid::now_v7()).await.unwrap(), None);
}
