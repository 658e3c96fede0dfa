//! What follows a request through everything it sets going: its id and its place in a trace, from the caller's headers to the
//! executor and back in every event. How spans are exported is told in `traces`.

use anyhow::{Result, ensure};
use longshore_tests::http::send;
use longshore_tests::stage::Stage;
use longshore_tests::stream::Stream;
use reqwest::Method;
use serde_json::json;

super::on_both_stages!(a_request_is_followed_into_its_job_and_its_events, every_answer_names_its_request);

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn a_request_is_followed_into_its_job_and_its_events(stage: Stage) -> Result<()> {
    let request = stage.http.request(Method::POST, "/v1/jobs").header("x-request-id", "order-9");
    let request = request.header("traceparent", PARENT).header("tracestate", "vendor=1");
    // The second attempt comes by another road than the first: the relay's.
    let job = json!({"kind": "trial.work", "payload": {"fail_attempts": 1}});
    let accepted = send(request.json(&job)).await?.expect(202)?;
    assert_eq!(accepted.header("x-request-id"), Some("order-9"));
    assert_eq!((accepted.header("traceparent"), accepted.header("tracestate")), (Some(PARENT), Some("vendor=1")));
    let id = accepted.json()?["id"].as_str().unwrap_or_default().to_owned();
    let job = stage.settled(&id).await?;
    assert_eq!(job["correlation_id"], "order-9");
    assert_eq!(job["result"], json!({"attempt": 2, "traceparent": PARENT}), "what the executor would send on");
    let events = Stream::open(&stage.http, &format!("/v1/jobs/{id}/events"), None).await?.rest().await?;
    ensure!(events.len() == 5, "{events:?}");
    for event in events {
        assert_eq!((&event["traceparent"], &event["tracestate"]), (&json!(PARENT), &json!("vendor=1")), "{event}");
        assert_eq!(event["data"]["correlation_id"], "order-9", "{event}");
    }
    Ok(())
}

async fn every_answer_names_its_request(stage: Stage) -> Result<()> {
    for (path, status) in [("/v1/jobs", 200), ("/v1/jobs/none", 404), ("/nowhere", 404), ("/healthz", 200)] {
        let made = stage.http.get(path).await?.expect(status)?;
        ensure!(made.header("x-request-id").is_some_and(|id| !id.is_empty()), "{made:?}");
        let given = send(stage.http.request(Method::GET, path).header("x-request-id", "mine")).await?;
        assert_eq!(given.header("x-request-id"), Some("mine"), "{given:?}");
        ensure!(given.header("traceparent").is_none(), "nobody traces this: {given:?}");
    }
    let broken = send(stage.http.request(Method::GET, "/v1/jobs").header("x-request-id", "a b")).await?.expect(400)?;
    ensure!(broken.header("x-request-id").is_some_and(|id| id != "a b"), "{broken:?}");
    assert_eq!(broken.json()?["errors"][0]["pointer"], "X-Request-Id");
    // A trace that cannot be read is no reason to refuse: the standard has it dropped.
    let request = stage.http.request(Method::POST, "/v1/jobs").header("traceparent", "00-nonsense");
    let accepted = send(request.json(&json!({"kind": "trial.work", "payload": {}}))).await?.expect(202)?;
    ensure!(accepted.header("traceparent").is_none(), "{accepted:?}");
    Ok(())
}
