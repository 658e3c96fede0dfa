//! Submitting.

use longshore_sdk::api::problem as types;
use longshore_sdk::api::{JobState, Waiting};

use super::*;
use crate::broker::{Broker, Delivery};

async fn delivered(world: &World) -> Delivery {
    let mut consumer = world.broker.consume("demo", 1).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), consumer.next()).await.unwrap().unwrap()
}

async fn is_on_the_road(world: &World) -> bool {
    world.broker.depth("demo").await.unwrap().is_some_and(|depth| depth.ready > 0)
}

#[tokio::test]
async fn a_submitted_job_is_written_down_and_on_the_road() {
    let world = World::new().await;
    let reply = world.submit(json!({ "metadata": { "who": "me" }, "correlation_id": "c-1" })).await;
    let view = reply.view();
    assert_eq!((reply.status, reply.header("location")), (202, view.urls.this.as_str()));
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!((view.state, view.waiting), (JobState::Pending, Some(Waiting::Queued)));
    assert_eq!(view.metadata["who"], "me");
    let delivery = delivered(&world).await;
    assert_eq!((delivery.kind.as_str(), delivery.correlation_id.as_deref()), ("demo", Some("c-1")));
    assert_eq!(longshore_sdk::wire::decode(&delivery.body).unwrap().job, view.id);
}

#[tokio::test]
async fn a_scheduled_job_waits_in_the_ledger_and_not_on_the_road() {
    let world = World::new().await;
    let view = world.submit(json!({ "delay_seconds": 3600 })).await.view();
    assert_eq!((view.state, view.waiting), (JobState::Pending, Some(Waiting::Scheduled)));
    assert!(!is_on_the_road(&world).await);
    let moment = world.submit(json!({ "run_at": "2999-01-01T00:00:00Z" })).await;
    assert_eq!((moment.view().waiting, moment.header("retry-after")), (Some(Waiting::Scheduled), "60"));
}

#[tokio::test]
async fn without_a_broker_a_job_is_accepted_and_left_to_the_relay() {
    let world = World::new().await;
    world.broker.close().await;
    let reply = world.submit(json!({})).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let due: Vec<_> = world.ledger.due(10).await.unwrap().into_iter().map(|ready| ready.job).collect();
    assert_eq!(due, [reply.view().id]);
}

#[tokio::test]
async fn a_kind_whose_queue_is_missing_gets_one() {
    let world = World::new().await;
    world.ledger.register_kinds(&[Kind { kind: "new".into(), ..kind() }]).await.unwrap();
    assert_eq!(world.submit(json!({ "kind": "new" })).await.status, 202);
    assert_eq!(world.broker.depth("new").await.unwrap().map(|depth| depth.ready), Some(1));
}

#[tokio::test]
async fn while_the_ledger_takes_nothing_a_submit_is_503_and_says_when_to_come_back() {
    let world = World::with(|settings| settings.ledger_timeout = Duration::from_millis(300)).await;
    assert_eq!(world.submit(json!({})).await.status, 202);
    let other = rusqlite::Connection::open(ledger_path(world.directory.path())).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let reply = world.submit(json!({})).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "2"));
    assert_eq!(reply.problem().problem_type, types::UNAVAILABLE);
    other.execute_batch("rollback").unwrap();
}

#[tokio::test]
async fn an_unknown_kind_is_answered_with_the_known_ones_and_a_new_one_is_seen_at_once() {
    let world = World::new().await;
    let problem = world.submit(json!({ "kind": "late" })).await.problem();
    assert_eq!((problem.status, problem.problem_type.as_str()), (422, types::UNKNOWN_KIND));
    assert_eq!(problem.kinds, Some(vec!["demo".to_owned()]));
    world.ledger.register_kinds(&[Kind { kind: "late".into(), ..kind() }]).await.unwrap();
    assert_eq!(world.submit(json!({ "kind": "late" })).await.status, 202);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_every_place_and_nothing_is_written() {
    let world = World::new().await;
    let problem = world.submit(json!({ "payload": { "n": -1 }, "max_attempts": 0 })).await.problem();
    assert_eq!((problem.status, problem.problem_type.as_str()), (422, types::INVALID_PAYLOAD));
    let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers, ["/payload/n", "/max_attempts"]);
    assert_eq!(world.submit(json!({ "prority": "high" })).await.problem().errors[0].pointer, "/prority");
    assert!(world.get("/v1/jobs").await.json::<longshore_sdk::api::JobList>().jobs.is_empty());
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let world = World::with(|settings| settings.max_body_bytes = 100).await;
    let broken = world.post("/v1/jobs", "{\"kind\":").await.problem();
    assert_eq!((broken.status, broken.problem_type.as_str()), (400, types::MALFORMED_REQUEST));
    assert!(broken.detail.contains("line 1 column 8"), "{}", broken.detail);
    let body = |bytes: usize| format!("{:<bytes$}", r#"{"kind": "demo", "payload": {"n": 1}}"#);
    assert_eq!(world.post("/v1/jobs", body(100)).await.status, 202);
    assert_eq!(world.post("/v1/jobs", body(101)).await.problem().problem_type, types::TOO_LARGE);
}

#[tokio::test]
async fn the_callers_request_id_follows_the_job() {
    let world = World::new().await;
    let request = |id: &str| {
        let body = json!({ "kind": "demo", "payload": { "n": 1 } }).to_string();
        Request::post("/v1/jobs").header("x-request-id", id).body(Body::from(body)).unwrap()
    };
    assert_eq!(world.send(request("r-7")).await.view().correlation_id.as_deref(), Some("r-7"));
    assert!(world.submit(json!({})).await.view().correlation_id.is_some());
    assert_eq!(world.send(request("a b")).await.problem().errors[0].pointer, "X-Request-Id");
}
