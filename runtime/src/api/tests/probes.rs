//! Kinds, probes, and what is no call at all.

use longshore_sdk::api::problem as types;
use longshore_sdk::api::{KindList, Readiness};

use super::*;
use crate::broker::Broker;

#[tokio::test]
async fn kinds_are_shown_with_their_schemas_and_workers() {
    let world = World::new().await;
    let list: KindList = world.get("/v1/kinds").await.json();
    assert_eq!(list.kinds.len(), 1);
    assert_eq!((list.kinds[0].kind.as_str(), list.kinds[0].workers), ("demo", 1));
    assert_eq!(list.kinds[0].payload_schema, kind().payload_schema);
}

#[tokio::test]
async fn an_api_without_its_broker_is_ready_and_says_what_is_wrong() {
    let world = World::new().await;
    let well = world.get("/readyz").await;
    assert_eq!((well.status, well.json::<Readiness>().ready), (200, true));
    world.broker.close().await;
    let ill = world.get("/readyz").await;
    let readiness: Readiness = ill.json();
    assert_eq!((ill.status, readiness.ledger.ready, readiness.broker.ready), (200, true, false));
    assert!(readiness.ready, "jobs are accepted and left to the relay");
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_path_or_method_that_is_none_is_a_problem_that_says_so() {
    let world = World::new().await;
    for path in ["/", "/v1", "/v1/nothing", "/v2/jobs"] {
        assert_eq!(world.get(path).await.problem().problem_type, types::NOT_FOUND, "{path}");
    }
    let delete = Request::delete("/v1/jobs").body(Body::empty()).unwrap();
    let reply = world.send(delete).await;
    assert_eq!(reply.problem().problem_type, types::METHOD_NOT_ALLOWED);
    assert!(reply.header("allow").contains("POST"), "{:?}", reply.headers);
}

#[tokio::test]
async fn a_panic_in_a_call_is_a_problem_without_its_text() {
    let answer = panicked(Box::new("secret"));
    let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!((problem.status, problem.problem_type.as_str()), (500, types::INTERNAL));
    assert!(!format!("{problem:?}").contains("secret"));
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_stops() {
    let world = World::new().await;
    let settings = ApiSettings::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = serve(listener, world.router.clone(), &settings, None, world.stop.token());
    world.stop.ask();
    tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
}
