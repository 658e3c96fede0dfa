//! Submits that are repeated, and submits that wait.

use futures_util::future::join_all;
use longshore_sdk::api::JobState;
use longshore_sdk::api::problem as types;

use super::*;
use crate::broker::Broker;

fn keyed(key: &str, body: &str) -> Request<Body> {
    Request::post("/v1/jobs").header("idempotency-key", key).body(Body::from(body.to_owned())).unwrap()
}

const BODY: &str = r#"{"kind": "demo", "payload": {"n": 1}}"#;

async fn on_the_road(world: &World) -> u64 {
    world.broker.depth("demo").await.unwrap().map_or(0, |depth| depth.ready)
}

#[tokio::test]
async fn a_repeated_submit_is_told_the_first_ones_job_and_that_it_is_a_repeat() {
    let world = World::new().await;
    let first = world.send(keyed("k-1", BODY)).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, ""));
    let again = world.send(keyed("k-1", r#"{"payload":{"n":1},"kind":"demo"}"#)).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, "true"));
    assert_eq!((again.view().id, again.header("location")), (first.view().id, first.header("location")));
    assert_ne!(world.send(keyed("k-2", BODY)).await.view().id, first.view().id);
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_and_points_at_the_first_job() {
    let world = World::new().await;
    let first = world.send(keyed("k", BODY)).await.view();
    let problem = world.send(keyed("k", r#"{"kind": "demo", "payload": {"n": 2}}"#)).await.problem();
    assert_eq!((problem.status, problem.problem_type.as_str()), (422, types::IDEMPOTENCY_KEY_REUSED));
    assert_eq!((problem.errors[0].pointer.as_str(), problem.instance), ("Idempotency-Key", Some(first.urls.this)));
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let world = World::new().await;
    assert_eq!(world.send(keyed("k", r#"{"kind": "demo", "payload": {"n": -1}}"#)).await.status, 422);
    assert_eq!(world.send(keyed("k", BODY)).await.status, 202);
    let problem = world.send(keyed("a b", BODY)).await.problem();
    assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (400, "Idempotency-Key"));
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time() {
    let world = World::with(|settings| settings.idempotency_ttl = Duration::from_millis(1)).await;
    let first = world.send(keyed("k", BODY)).await.view().id;
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while world.send(keyed("k", BODY)).await.view().id == first {
        assert!(tokio::time::Instant::now() < end, "the key is remembered for ever");
    }
}

#[tokio::test]
async fn of_64_at_once_one_makes_the_job() {
    let world = World::new().await;
    let replies = join_all((0..64).map(|_| world.send(keyed("k", BODY)))).await;
    let first = replies.iter().filter(|reply| reply.header("idempotent-replayed").is_empty()).count();
    assert_eq!(first, 1);
    assert!(replies.iter().all(|reply| reply.status == 202 && reply.view().id == replies[0].view().id));
}

#[tokio::test]
async fn a_repeat_publishes_again_what_nobody_has_started_and_nothing_else() {
    let world = World::new().await;
    let job = world.send(keyed("k", BODY)).await.view().id;
    world.send(keyed("k", BODY)).await;
    assert_eq!(on_the_road(&world).await, 2);
    world.start(job).await;
    let reply = world.send(keyed("k", BODY)).await;
    assert_eq!((reply.view().state, on_the_road(&world).await), (JobState::Running, 2));
}

#[tokio::test]
async fn who_prefers_to_wait_sees_the_end_or_what_there_is_when_the_wait_is_over() {
    let world = World::with(|settings| {
        settings.recheck = Duration::from_millis(20);
        settings.max_wait = Duration::from_secs(1);
    })
    .await;
    let request = |wait: &str| {
        let request = Request::post("/v1/jobs").header("prefer", wait).header("idempotency-key", "k");
        request.body(Body::from(BODY)).unwrap()
    };
    let late = world.send(request("wait=7")).await;
    assert_eq!((late.status, late.header("preference-applied")), (202, "wait=1"));
    world.complete(late.view().id, vec![]).await;
    let done = world.send(request("respond-async, wait=1")).await;
    assert_eq!((done.status, done.header("preference-applied")), (200, "wait=1"));
    assert_eq!((done.view().state, done.view().result.unwrap().get()), (JobState::Completed, "42"));
    let silent = world.send(request("handling=lenient")).await;
    assert_eq!((silent.status, silent.header("preference-applied")), (202, ""));
}
