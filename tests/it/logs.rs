//! Logs as a machine reads them: each line one JSON object, and each line about a job naming it, its attempt and the id that
//! follows the request. What is logged at all is in no test: only that whatever is can be found.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::send;
use longshore_tests::process::Process;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
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

/// A job, and the id that follows its request.
type Followed = (String, String);

async fn submitted(stage: &Stage, payload: Value, correlation_id: &str) -> Result<Followed> {
    let request = json!({"kind": "trial.work", "payload": payload, "correlation_id": correlation_id});
    Ok((stage.submit_with(request).await?, correlation_id.to_owned()))
}

/// Jobs that complete, fail once, panic once, and give up.
async fn four_endings(stage: &Stage) -> Result<Vec<Followed>> {
    let payloads =
        [json!({"work_ms": 1}), json!({"fail_attempts": 1}), json!({"panic_attempts": 1}), json!({"fatal": true})];
    let mut jobs = vec![];
    for (at, payload) in payloads.into_iter().enumerate() {
        let job = submitted(stage, payload, &format!("request-{at}")).await?;
        stage.settled(&job.0).await?;
        jobs.push(job);
    }
    Ok(jobs)
}

/// What this process, and those that were started in its place, wrote.
fn read(process: &Process) -> Result<Vec<Value>> {
    let log = std::fs::read_to_string(process.log())?;
    log.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

/// Whoever mentions a job, wherever in a line, says which attempt and whose request.
fn followed(lines: &[Value], jobs: &[Followed]) -> Result<()> {
    for (id, correlation_id) in jobs {
        let about: Vec<&Value> = lines.iter().filter(|line| line.to_string().contains(id.as_str())).collect();
        ensure!(!about.is_empty(), "nothing was said of {id}: {lines:#?}");
        let found: Vec<String> = about.iter().flat_map(|line| faults(line, id, correlation_id)).collect();
        ensure!(found.is_empty(), "{found:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_and_the_agents_name_them_too_when_a_worker_is_lost() -> Result<()> {
    let json = [("LONGSHORE_LOG_FORMAT", "json"), ("LONGSHORE_LOG_LEVEL", "info,longshore_runtime=debug")];
    let mut stage = Stage::servers_with(&json).await?;
    let mut jobs = four_endings(&stage).await?;
    jobs.push(submitted(&stage, json!({"abort_attempts": 1}), "request-of-the-lost").await?);
    let lost = || std::future::ready((!stage.worker_lives()).then_some(()));
    poll("the worker to be lost", PATIENCE, lost).await?;
    stage.start_worker().await?;
    let job = stage.settled(&jobs[4].0).await?;
    ensure!(job["state"] == "completed" && job["attempts"][0]["outcome"] == "lost", "{job}");
    let lines = [read(stage.api().process())?, read(stage.worker().process())?].concat();
    followed(&lines, &jobs)?;
    let rescued = lines.iter().find(|line| line["message"] == "rescued from a lost worker");
    let rescued = rescued.context("nobody tells of the rescue")?;
    ensure!(says(rescued, "attempt") == Some(&json!(1)), "{rescued}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_a_job_names_its_attempt_and_the_request_it_came_from() -> Result<()> {
    let stage = Stage::embedded_with(&[
        ("LONGSHORE_LOG_FORMAT", "json"),
        ("LONGSHORE_LOG_LEVEL", "info,longshore_runtime::worker=debug,longshore_runtime::api=debug"),
    ])
    .await?;
    let jobs = four_endings(&stage).await?;
    let refused = stage.http.request(Method::GET, "/v1/jobs/none").header("x-request-id", "lost-1");
    send(refused).await?.expect(404)?;
    let lines = read(stage.worker().process())?;
    followed(&lines, &jobs)?;
    let refused = lines.iter().filter(|line| line["message"] == "refused");
    let named = refused.filter(|line| says(line, "request_id").is_some_and(|id| id == "lost-1")).count();
    ensure!(named == 1, "the refused call names its request {named} times in {lines:#?}");
    let panics = lines.iter().filter(|line| line["message"] == "a panic").count();
    ensure!(panics == 1, "{panics} panics are told in {lines:#?}");
    let (panicked, _) = &jobs[2];
    let told = lines.iter().find(|line| line["message"] == "a panic").context("a panic is told")?;
    ensure!(says(told, "job.id").is_some_and(|id| id == panicked.as_str()), "{told}");
    Ok(())
}
