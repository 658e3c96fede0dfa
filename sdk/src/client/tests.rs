//! The promise against a server that answers from a script, over real sockets.
//! It shows what a caller sees, not how the server decides. Read [`server`] for the script, [`calls`] for the other calls.

mod calls;
mod roads;
mod server;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::api::{JobState, problem};
use server::{Server, Step};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Greet {
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Greeting {
    text: String,
}

impl Payload for Greet {
    const KIND: &'static str = "demo.greet";
    type Output = Greeting;
}

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const HI: &str = r#","result":{"text":"hi"}"#;

fn id() -> JobId {
    ID.parse().unwrap()
}

fn view(state: &str, rest: &str) -> Step {
    let text = format!(
        r#"{{"id":"{ID}","kind":"demo.greet","state":"{state}","attempt":1,"max_attempts":5,"charged":0,
        "created_at":"2026-01-02T03:04:05Z","urls":{{"self":"/","cancel":"/"}},"version":3{rest}}}"#
    );
    Step::Answer(200, JSON, text)
}

fn accepted() -> Step {
    Step::Answer(202, JSON, format!(r#"{{"id":"{ID}","state":"pending"}}"#))
}

fn refusal(status: u16, problem_type: &str, rest: &str) -> Step {
    let text = format!(r#"{{"type":"{problem_type}","title":"t","status":{status},"detail":"no"{rest}}}"#);
    Step::Answer(status, PROBLEM, text)
}

fn client(server: &Server) -> Client {
    Client::new(&server.url()).unwrap()
}

/// What a server answers that has no stream of a job's events.
fn no_stream() -> Step {
    Step::Answer(404, "text/html", "<h1>Not Found</h1>".into())
}

async fn awaited(mut script: Vec<Step>) -> (Result<Greeting, JobError>, Server) {
    script.insert(0, no_stream());
    let server = Server::with(script).await;
    (client(&server).handle::<Greet>(id()).await, server)
}

fn greeting(text: &str) -> Greeting {
    Greeting { text: text.into() }
}

fn ada() -> Greet {
    Greet { name: "Ada".into() }
}

#[tokio::test]
async fn a_submitted_job_is_awaited_over_several_long_polls() {
    let script = vec![
        accepted(),
        no_stream(),
        view("pending", r#","waiting":"queued""#),
        view("running", ""),
        view("completed", HI),
    ];
    let server = Server::with(script).await;
    let handle = client(&server).submit(&ada()).await.unwrap();
    assert_eq!(handle.id(), id());
    assert_eq!(handle.await.unwrap(), greeting("hi"));
    let poll = format!("GET /v1/jobs/{ID}?wait=30");
    let stream = format!("GET /v1/jobs/{ID}/events");
    assert_eq!(server.lines(), ["POST /v1/jobs", &stream, &poll, &poll, &poll]);
    assert_eq!(server.seen()[0].body, r#"{"kind":"demo.greet","payload":{"name":"Ada"}}"#);
}

#[tokio::test]
async fn an_awaited_job_survives_broken_connections_and_a_server_that_is_starting() {
    let proxy = Step::Answer(502, "text/html", "<h1>Bad Gateway</h1>".into());
    let script = vec![Step::HangUp, refusal(503, problem::UNAVAILABLE, ""), proxy, view("completed", HI)];
    let (output, server) = awaited(script).await;
    assert_eq!(output.unwrap(), greeting("hi"));
    assert_eq!(server.seen().len(), 5);
}

#[tokio::test]
async fn an_awaited_job_survives_a_server_that_is_gone_for_a_while() {
    let mut before = Server::with(vec![no_stream(), view("running", "")]).await;
    let mut waiting = client(&before).handle::<Greet>(id()).into_future();
    // Nobody listens while these two turns of the wait pass: the first ends with the server, the second with the limit.
    tokio::select! { () = before.closed() => {}, _ = &mut waiting => panic!("ended while running") }
    let refused = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(refused.is_err(), "gave up: {refused:?}");
    let _after = Server::at(before.address, vec![view("completed", HI)]).await;
    assert_eq!(waiting.await.unwrap(), greeting("hi"));
}

#[tokio::test]
async fn patience_with_a_server_that_stays_away_has_a_limit() {
    let mut gone = Server::with(vec![]).await;
    gone.closed().await;
    let impatient = client(&gone).with_patience(Duration::from_millis(200));
    let waiting = impatient.handle::<Greet>(id()).into_future();
    let error = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it gives up").unwrap_err();
    assert!(matches!(error, JobError::Client(ClientError::Unreachable(_))), "{error:?}");
}

#[tokio::test]
async fn a_failed_job_is_an_error_with_its_report() {
    let report = r#","dead_letter":true,"error":{"code":"empty_name","message":"needs a name","field":"/name"}"#;
    let (output, _server) = awaited(vec![view("failed", report)]).await;
    let Err(JobError::Failed(report)) = output else { panic!("{output:?}") };
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("empty_name", Some("/name")));
}

#[tokio::test]
async fn a_canceled_job_is_an_error_of_its_own() {
    let (output, _server) = awaited(vec![view("canceled", "")]).await;
    assert!(matches!(output, Err(JobError::Canceled)), "{output:?}");
}

#[tokio::test]
async fn a_result_of_another_type_says_so() {
    let (output, _server) = awaited(vec![view("completed", r#","result":{"texts":[]}"#)]).await;
    let text = output.unwrap_err().to_string();
    assert!(text.contains("completed") && text.contains("missing field `text`"), "{text}");
}

#[tokio::test]
async fn an_unknown_job_is_not_asked_for_twice() {
    let (output, server) = awaited(vec![refusal(404, problem::NOT_FOUND, ""), view("completed", HI)]).await;
    let Err(JobError::Client(ClientError::Problem(problem))) = output else { panic!("{output:?}") };
    assert_eq!((problem.problem_type.as_str(), server.seen().len()), (problem::NOT_FOUND, 2));
}

#[tokio::test]
async fn a_refused_submit_names_the_field() {
    let errors = r#","errors":[{"pointer":"/payload/name","message":"is empty"}]"#;
    let server = Server::with(vec![refusal(422, problem::INVALID_PAYLOAD, errors)]).await;
    let error = client(&server).submit(&ada()).await.unwrap_err();
    let ClientError::Problem(problem) = &error else { panic!("{error:?}") };
    assert_eq!(problem.errors[0].pointer, "/payload/name");
    assert!(error.to_string().contains("/payload/name: is empty"), "{error}");
}

#[tokio::test]
async fn a_submit_whose_answer_is_lost_is_not_repeated() {
    let server = Server::with(vec![Step::HangUp, accepted()]).await;
    let error = client(&server).submit(&ada()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn every_option_of_a_submit_travels() {
    let server = Server::with(vec![accepted()]).await;
    let options = SubmitOptions {
        delay: Some(Duration::from_millis(1500)),
        run_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        priority: Some(Priority::Low),
        timeout: Some(Duration::from_secs(9)),
        max_attempts: Some(2),
        metadata: Some(Map::from_iter([("order".into(), Value::from(7))])),
        correlation_id: Some("c-1".into()),
        unique_key: Some("u-1".into()),
        webhook: Some(JobWebhook { url: "https://a.example".into(), secret: None, events: None }),
        idempotency_key: Some("k-1".into()),
        trace: Trace::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("vendor=1")),
    };
    let client = client(&server).with_api_key("secret").unwrap();
    assert!(!format!("{client:?}").contains("secret"));
    let payload = RawValue::from_string("[1, 2]".into()).unwrap();
    client.submit_json("other.kind", payload, options).await.unwrap();
    let request = server.seen().remove(0);
    assert!(request.head.contains("idempotency-key: k-1") && request.head.contains("authorization: bearer secret"));
    assert!(request.head.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert!(request.head.contains("tracestate: vendor=1"));
    let sent = concat!(
        r#"{"kind":"other.kind","payload":[1, 2],"run_at":"2026-01-02T03:04:05Z","delay_seconds":1.5,"#,
        r#""priority":"low","timeout_seconds":9.0,"max_attempts":2,"metadata":{"order":7},"correlation_id":"c-1","unique_key":"u-1","#,
        r#""webhook":{"url":"https://a.example"}}"#
    );
    assert_eq!(request.body, sent);
    // What the API takes and this cannot say would be missing in `sent`.
    let sent: Map<String, Value> = serde_json::from_str(sent).unwrap();
    let shape = schemars::schema_for!(SubmitRequest);
    let fields = shape.get("properties").and_then(Value::as_object).unwrap();
    assert_eq!(fields.keys().collect::<BTreeSet<_>>(), sent.keys().collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn on_complete_is_called_once() {
    let server = Server::with(vec![no_stream(), Step::HangUp, view("running", ""), view("completed", HI)]).await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&calls);
    let callback = move |output| told.lock().unwrap().push(output);
    client(&server).handle::<Greet>(id()).on_complete(callback).await.unwrap();
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    assert!(matches!(&calls[..], [Ok(output)] if *output == greeting("hi")), "{calls:?}");
}

#[tokio::test]
async fn progress_is_told_when_it_changes() {
    let at = |fraction: &str| view("running", &format!(r#","progress":{{"fraction":{fraction}}}"#));
    let server = Server::with(vec![no_stream(), at("0.25"), at("0.25"), at("0.5"), view("completed", HI)]).await;
    let mut told = Vec::new();
    let handle = client(&server).handle::<Greet>(id());
    let output = handle.with_progress(|progress| told.extend(progress.fraction)).await.unwrap();
    assert_eq!((output, told), (greeting("hi"), vec![0.25, 0.5]));
    assert!(server.lines()[1].ends_with("?wait=1"));
}

#[tokio::test]
async fn a_watched_job_is_shown_on_its_way_and_at_its_end_whatever_that_is() {
    let server = Server::with(vec![view("pending", ""), Step::HangUp, view("running", ""), view("failed", "")]).await;
    let mut seen = Vec::new();
    let last = client(&server).watch(id(), |view| seen.push(view.state)).await.unwrap();
    assert_eq!(last.state, JobState::Failed);
    assert_eq!(seen, [JobState::Pending, JobState::Running, JobState::Failed]);
}

#[tokio::test]
async fn a_job_is_canceled_and_its_state_asked_for() {
    let conflict = refusal(409, problem::ALREADY_FINISHED, "");
    let server = Server::with(vec![view("running", r#","canceling":true"#), view("canceled", ""), conflict]).await;
    let handle = client(&server).handle::<Greet>(id());
    assert!(handle.cancel().await.unwrap().canceling);
    assert_eq!(handle.status().await.unwrap().state, JobState::Canceled);
    assert!(matches!(handle.cancel().await, Err(ClientError::Problem(problem)) if problem.status == 409));
    let cancel = format!("POST /v1/jobs/{ID}/cancel");
    assert_eq!(server.lines(), [cancel.clone(), format!("GET /v1/jobs/{ID}"), cancel]);
}
