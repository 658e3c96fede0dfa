//! Each span's words as a collector gets them, by the names of the semantic conventions; and what none may say.

use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

use super::*;
use crate::traces::place::{Sampling, attempt_id, fresh_id, fresh_trace};

fn job() -> JobId {
    "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
}

fn of(job: JobId) -> Of<'static> {
    Of { job, kind: "image.resize", correlation_id: Some("order-9") }
}

fn told(said: Said, end: End) -> SpanData {
    let stand = Sampling { parent_based: true, ratio: 1.0 }.stand(fresh_trace(), None, fresh_id());
    let began = Timestamp::UNIX_EPOCH;
    Span { stand, began, said: Some(said) }.ended(began, end).unwrap()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string())
}

/// Fails with all that differ.
fn says(span: &SpanData, expected: &[(&str, &str)]) {
    let differ = expected.iter().filter(|(key, value)| attribute(span, key).as_deref() != Some(*value));
    assert_eq!(differ.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new(), "{span:#?}");
}

#[test]
fn a_call_is_a_server_span_under_its_routes_template() {
    let said = call("GET", Some("/v1/jobs/{id}"), "/v1/jobs/7", "order-9");
    let span = told(said, End::answered(404));
    assert_eq!((&*span.name, &span.span_kind, &span.status), ("GET /v1/jobs/{id}", &SpanKind::Server, &Status::Unset));
    let expected = [
        ("http.request.method", "GET"),
        ("http.route", "/v1/jobs/{id}"),
        ("url.path", "/v1/jobs/7"),
        ("http.response.status_code", "404"),
        ("longshore.correlation_id", "order-9"),
    ];
    says(&span, &expected);
    let broken = told(call("GET", None, "/nowhere", "order-9"), End::answered(503));
    assert_eq!((&*broken.name, &broken.status), ("GET", &Status::error("503")));
    says(&broken, &[("error.type", "503")]);
    let long = told(call("GET", None, &"ä".repeat(500), "order-9"), End::answered(404));
    assert_eq!(attribute(&long, "url.path").map(|path| path.len()), Some(PATH_BYTES));
}

#[test]
fn publish_and_attempt_name_the_same_destination_and_the_job() {
    let road = Road::rabbitmq(Topology::default());
    let sent = told(publish(of(job()), Lane::High, &road), End::default());
    let run = told(attempt(of(job()), 2, None, &road), End::settled("completed", None));
    let id = job().to_string();
    let id = id.as_str();
    for (span, operation, sort) in [(&sent, "publish", "send"), (&run, "process", "process")] {
        assert_eq!(span.name, format!("{operation} longshore.jobs.image.resize"));
        let expected = [
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.name", operation),
            ("messaging.operation.type", sort),
            ("messaging.destination.name", "longshore.jobs.image.resize"),
            ("messaging.message.id", id),
            ("messaging.message.conversation_id", "order-9"),
            ("longshore.job.id", id),
            ("longshore.job.kind", "image.resize"),
            ("longshore.correlation_id", "order-9"),
        ];
        says(span, &expected);
    }
    assert_eq!((sent.span_kind.clone(), run.span_kind.clone()), (SpanKind::Producer, SpanKind::Consumer));
    says(&sent, &[("messaging.rabbitmq.destination.routing_key", "image.resize:high")]);
    says(&run, &[("longshore.attempt", "2"), ("longshore.job.state", "completed")]);
    let embedded = told(publish(of(job()), Lane::Normal, &Road::embedded()), End::default());
    says(&embedded, &[("messaging.system", "longshore")]);
    assert_eq!(attribute(&embedded, "messaging.rabbitmq.destination.routing_key"), None);
}

#[test]
fn an_attempt_is_linked_to_the_one_before_it() {
    let here = Sampling { parent_based: true, ratio: 1.0 }.stand(fresh_trace(), None, attempt_id(job(), 2)).here;
    let before = here.at(attempt_id(job(), 1));
    let span = told(attempt(of(job()), 2, Some(before), &Road::embedded()), End::settled("pending", Some("timeout")));
    let link = SpanContext::new(here.trace, attempt_id(job(), 1), TraceFlags::SAMPLED, false, TraceState::default());
    assert_eq!(span.links.iter().map(|link| &link.span_context).collect::<Vec<_>>(), [&link]);
    assert_eq!(span.status, Status::error("timeout"));
    says(&span, &[("error.type", "timeout"), ("longshore.job.state", "pending")]);
}

#[test]
fn a_post_names_its_receivers_host_and_never_the_path_which_may_be_a_password() {
    let url = "https://user:hush@hooks.example.org/services/T0/SECRET?token=hush";
    let span = told(post(of(job()), 3, url, None), End::posted(Some(503), Some("receiver_refused")));
    assert_eq!((&*span.name, &span.span_kind, &span.status), ("POST", &SpanKind::Client, &Status::error("503")));
    let expected = [
        ("http.request.method", "POST"),
        ("server.address", "hooks.example.org"),
        ("server.port", "443"),
        ("url.scheme", "https"),
        ("http.request.resend_count", "2"),
        ("http.response.status_code", "503"),
        ("error.type", "503"),
        ("longshore.attempt", "3"),
    ];
    says(&span, &expected);
    let all = format!("{span:?}");
    assert!(!["hush", "SECRET", "services"].iter().any(|secret| all.contains(secret)), "{all}");
    let late = told(post(of(job()), 1, url, None), End::posted(None, Some("receiver_late")));
    says(&late, &[("error.type", "receiver_late")]);
    assert_eq!(attribute(&late, "http.request.resend_count"), None);
}

#[test]
fn what_is_not_sampled_is_not_exported() {
    let stand = Sampling { parent_based: true, ratio: 0.0 }.stand(fresh_trace(), None, fresh_id());
    assert!(!stand.here.is_sampled());
    let span = Span { stand, began: Timestamp::UNIX_EPOCH, said: None };
    assert_eq!(span.ended(Timestamp::UNIX_EPOCH, End::default()), None);
}

#[test]
fn a_clock_that_steps_back_makes_no_span_that_ends_before_it_begins() {
    let stand = Sampling { parent_based: true, ratio: 1.0 }.stand(fresh_trace(), None, fresh_id());
    let said = Some(call("GET", None, "/", "order-9"));
    let began = Timestamp::from_second(1_000).unwrap();
    let span = Span { stand, began, said }.ended(Timestamp::UNIX_EPOCH, End::default()).unwrap();
    assert_eq!(span.start_time, span.end_time);
}

#[test]
fn probes_are_no_calls_that_anybody_traces() {
    assert!(["/healthz", "/readyz", "/metrics"].into_iter().all(is_probe));
    assert!(!is_probe("/v1/jobs"));
}
