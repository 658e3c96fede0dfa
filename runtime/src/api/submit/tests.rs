//! What a request becomes, and what is refused before the ledger hears of it.

use longshore_sdk::Policy;
use serde_json::json;

use super::*;
use crate::api::schemas::tests::known;

fn request(fields: Value) -> SubmitRequest {
    let mut whole = json!({ "kind": "demo", "payload": { "n": 1 } });
    whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_str(&whole.to_string()).unwrap()
}

fn read(fields: Value) -> Answer<NewJob> {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    new_job(request(fields), &known(schema), &ApiSettings::default(), &WebhookSettings::default())
}

fn pointers(fields: Value) -> Vec<String> {
    let refusal = read(fields).unwrap_err();
    refusal.problem().errors.iter().map(|error| error.pointer.clone()).collect()
}

#[test]
fn what_is_not_asked_for_is_the_kinds_policy() {
    let (job, policy) = (read(json!({})).unwrap(), Policy::default());
    assert_eq!((job.max_attempts, job.timeout), (policy.max_attempts, policy.timeout));
    assert_eq!((job.priority, job.run_at), (Priority::Normal, None));
}

#[test]
fn what_is_asked_for_is_taken_up_to_its_limits() {
    let asked =
        json!({ "max_attempts": 100, "timeout_seconds": 86_400, "delay_seconds": 31_622_400, "priority": "high" });
    let job = read(asked).unwrap();
    assert_eq!((job.max_attempts, job.timeout), (100, Duration::from_secs(86_400)));
    assert_eq!((job.priority, job.run_at), (Priority::High, Some(RunAt::After(Duration::from_secs(31_622_400)))));
}

#[test]
fn every_option_past_its_limit_is_named() {
    let cases = [
        (json!({ "max_attempts": 0 }), "/max_attempts"),
        (json!({ "max_attempts": 101 }), "/max_attempts"),
        (json!({ "timeout_seconds": 0 }), "/timeout_seconds"),
        (json!({ "timeout_seconds": -1 }), "/timeout_seconds"),
        (json!({ "timeout_seconds": 86_401 }), "/timeout_seconds"),
        (json!({ "delay_seconds": -0.5 }), "/delay_seconds"),
        (json!({ "delay_seconds": 31_622_401 }), "/delay_seconds"),
        (json!({ "delay_seconds": 1, "run_at": "2030-01-01T00:00:00Z" }), "/delay_seconds"),
        (json!({ "correlation_id": "a b" }), "/correlation_id"),
        (json!({ "metadata": { "note": "x".repeat(16 * 1024) } }), "/metadata"),
        (json!({ "metadata": { "note": "a\0b" } }), "/metadata"),
    ];
    for (fields, pointer) in cases {
        assert_eq!(pointers(fields.clone()), [pointer], "{fields}");
        assert_eq!(read(fields).unwrap_err().fault(), Fault::Invalid);
    }
}

#[test]
fn metadata_is_taken_to_its_last_byte() {
    let frame = json!({ "note": "" }).to_string().len();
    let with = |bytes: usize| read(json!({ "metadata": { "note": "x".repeat(bytes - frame) } }));
    assert!(with(16 * 1024).is_ok());
    assert!(with(16 * 1024 + 1).is_err());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let fields = json!({ "payload": { "n": "x" }, "max_attempts": 0, "timeout_seconds": 0 });
    assert_eq!(read(fields.clone()).unwrap_err().fault(), Fault::InvalidPayload);
    assert_eq!(pointers(fields), ["/payload/n", "/timeout_seconds", "/max_attempts"]);
}

#[test]
fn a_payload_that_cannot_be_stored_or_read_is_refused() {
    assert_eq!(pointers(json!({ "payload": { "a": ["\0"] } })), ["/payload"]);
    let deep = format!(r#"{{"kind": "demo", "payload": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let request = serde_json::from_str(&deep).unwrap();
    let refusal =
        new_job(request, &known(json!({})), &ApiSettings::default(), &WebhookSettings::default()).unwrap_err();
    assert_eq!(refusal.problem().errors[0].pointer, "/payload");
}

#[test]
fn a_moment_long_past_is_one_that_every_ledger_can_hold() {
    let job = read(json!({ "run_at": "-009999-01-03T00:00:00Z" })).unwrap();
    assert_eq!(job.run_at, Some(RunAt::At(Timestamp::UNIX_EPOCH)));
}
