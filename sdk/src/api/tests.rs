//! What strangers see of the API's JSON, word for word. It tests shapes, no server; read [`super`] for the shapes.

use super::*;
use std::collections::HashSet;

const JOB: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn view(rest: &str) -> String {
    format!(
        r#"{{"id":"{JOB}","kind":"demo.greet","state":"completed","attempt":1,"max_attempts":5,"charged":0,
        "created_at":"2026-01-02T03:04:05Z","urls":{{"self":"/v1/jobs/{JOB}","cancel":"/v1/jobs/{JOB}/cancel"}},
        "version":3{rest}}}"#
    )
}

#[test]
fn a_submit_with_a_misspelt_option_is_refused_by_name() {
    let error = serde_json::from_str::<SubmitRequest>(r#"{"kind":"a","payload":{},"dealy_seconds":1}"#).unwrap_err();
    assert!(error.to_string().contains("`dealy_seconds`"), "{error}");
}

#[test]
fn a_payload_travels_byte_for_byte() {
    let text = r#"{"kind":"a","payload":{"n": 1.10, "big":123456789012345678901234567890}}"#;
    let request: SubmitRequest = serde_json::from_str(text).unwrap();
    assert_eq!(request.payload.get(), r#"{"n": 1.10, "big":123456789012345678901234567890}"#);
    assert_eq!(serde_json::to_string(&request).unwrap(), text);
}

#[test]
fn the_five_states_and_four_waits_are_snake_case() {
    use JobState::{Canceled, Completed, Failed, Pending, Running};
    let states = serde_json::to_string(&[Pending, Running, Completed, Failed, Canceled]).unwrap();
    assert_eq!(states, r#"["pending","running","completed","failed","canceled"]"#);
    let waits = [Waiting::Queued, Waiting::Scheduled, Waiting::BackingOff, Waiting::Blocked];
    assert_eq!(serde_json::to_string(&waits).unwrap(), r#"["queued","scheduled","backing_off","blocked"]"#);
    assert_eq!(
        [Pending, Running, Completed, Failed, Canceled].map(JobState::is_terminal),
        [false, false, true, true, true]
    );
}

#[test]
fn an_answer_with_fields_of_a_newer_server_is_read() {
    let job: JobView = serde_json::from_str(&view(r#","result":{"text": "hi"},"invented_later":1"#)).unwrap();
    assert_eq!(job.result.unwrap().get(), r#"{"text": "hi"}"#);
    assert_eq!((job.canceling, job.waiting, job.attempts.len()), (false, None, 0));
}

#[test]
fn a_view_that_is_written_is_read_again() {
    let job: JobView = serde_json::from_str(&view(r#","state_detail":null,"metadata":{"order":7}"#)).unwrap();
    let text = serde_json::to_string(&job).unwrap();
    let again: JobView = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert!(text.contains(&format!(r#""self":"/v1/jobs/{JOB}""#)) && text.contains(r#""order":7"#), "{text}");
}

#[test]
fn schemas_show_any_json_as_payload_and_refuse_unknown_options() {
    let schema = schemars::schema_for!(SubmitRequest).to_value();
    assert_eq!(schema["additionalProperties"], false);
    assert!(
        schema["properties"]["payload"].get("type").is_none_or(Value::is_null),
        "{}",
        schema["properties"]["payload"]
    );
    assert_eq!(schema["required"], serde_json::json!(["kind", "payload"]));
    let job = schemars::schema_for!(JobView).to_value();
    assert_eq!(job["properties"]["created_at"]["format"], "date-time");
}

#[test]
fn problem_types_are_distinct_and_keep_their_prefix() {
    assert_eq!(problem::ALL.iter().collect::<HashSet<_>>().len(), problem::ALL.len());
    assert!(problem::ALL.iter().all(|name| name.starts_with("urn:longshore:problem:")));
}

#[test]
fn a_problem_names_its_fields() {
    let text = r#"{"type":"urn:longshore:problem:invalid_payload","title":"t","status":422,"detail":"does not fit",
        "errors":[{"pointer":"/payload/name","message":"is missing"}]}"#;
    let problem: Problem = serde_json::from_str(text).unwrap();
    assert_eq!(problem.problem_type, problem::INVALID_PAYLOAD);
    assert!(problem.to_string().contains("/payload/name: is missing"), "{problem}");
}
