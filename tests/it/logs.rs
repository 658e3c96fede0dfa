//! Logs as a machine reads them: each line one JSON object, and each line about a job naming it, its attempt and the id that
//! follows the request. What is logged at all is in no test: only that whatever is can be found.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::send;
use longshore_tests::stage::Stage;
use reqwest::Method;
use serde_json::{Value, json};

/// The line itself, then the spans around it, which `tracing` writes as objects of their own.
fn places(line: &Value) -> Vec<&Value> {
    let spans = line["spans"].as_array().into_iter().flatten();
    [line, &line["span"]].into_iter().chain(spans).collect()
}

/// What a line says under this name, itself or by a span around it.
pub(crate) fn says<'a>(line: &'a Value, field: &str) -> Option<&'a Value> {
    places(line).into_iter().find_map(|place| place.get(field))
}

/// What a line about this job leaves out.
fn faults(line: &Value, id: &str, correlation_id: &str) -> Vec<String> {
    let known = [
        ("job.id", says(line, "job.id").is_some_and(|said| said == id)),
        ("job.kind", says(line, "job.kind").is_some_and(|said| said == "trial.work")),
        ("attempt", says(line, "attempt").is_some_and(Value::is_u64)),
        ("correlation_id", says(line, "correlation_id").is_some_and(|said| said == correlation_id)),
    ];
    known.iter().filter(|(_, known)| !known).map(|(field, _)| format!("no {field} in {line}")).collect()
}

#[test]
fn a_line_that_leaves_something_out_is_found() {
    let whole =
        json!({"message": "x", "job.id": "j", "job.kind": "trial.work", "span": {"attempt": 1, "correlation_id": "c"}});
    assert_eq!(faults(&whole, "j", "c"), [""; 0]);
    let bare = json!({"message": "about j", "job.id": "j", "spans": [{"attempt": 2}]});
    assert_eq!(faults(&bare, "j", "c").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_a_job_names_its_attempt_and_the_request_it_came_from() -> Result<()> {
    let stage = Stage::embedded_with(&[
        ("LONGSHORE_LOG_FORMAT", "json"),
        ("LONGSHORE_LOG_LEVEL", "info,longshore_runtime::worker=debug,longshore_runtime::api=debug"),
    ])
    .await?;
    let payloads =
        [json!({"work_ms": 1}), json!({"fail_attempts": 1}), json!({"panic_attempts": 1}), json!({"fatal": true})];
    let mut jobs = vec![];
    for (at, payload) in payloads.iter().enumerate() {
        let correlation_id = format!("request-{at}");
        let request = json!({"kind": "trial.work", "payload": payload, "correlation_id": correlation_id});
        let id = stage.submit_with(request).await?;
        stage.settled(&id).await?;
        jobs.push((id, correlation_id));
    }
    let refused = stage.http.request(Method::GET, "/v1/jobs/none").header("x-request-id", "lost-1");
    send(refused).await?.expect(404)?;
    let log = std::fs::read_to_string(stage.worker().process().log())?;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect::<Result<_>>()?;
    for (id, correlation_id) in &jobs {
        let about: Vec<&Value> = lines.iter().filter(|line| line.to_string().contains(id.as_str())).collect();
        ensure!(!about.is_empty(), "nothing was said of {id}: {log}");
        let found: Vec<String> = about.iter().flat_map(|line| faults(line, id, correlation_id)).collect();
        ensure!(found.is_empty(), "{found:#?}");
    }
    let refused = lines.iter().filter(|line| line["message"] == "refused");
    let named = refused.filter(|line| says(line, "request_id").is_some_and(|id| id == "lost-1")).count();
    ensure!(named == 1, "the refused call names its request {named} times in {log}");
    let panics = lines.iter().filter(|line| line["message"] == "a panic").count();
    ensure!(panics == 1, "{panics} panics are told in {log}");
    let (panicked, _) = &jobs[2];
    let told = lines.iter().find(|line| line["message"] == "a panic").context("a panic is told")?;
    ensure!(says(told, "job.id").is_some_and(|id| id == panicked.as_str()), "{told}");
    Ok(())
}
