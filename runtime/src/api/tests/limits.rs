//! A tenant's share: of calls, and of pending jobs.

use super::*;
use crate::ledger::NewJob;

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_again_and_how_much_is_left() {
    let limits = LimitSettings { requests_per_second: 0.01, burst: 2, ..LimitSettings::default() };
    let world = World::limited(|_| (), limits).await;
    let first = world.get("/v1/kinds").await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, "\"tenant\";q=2;w=200"));
    assert_eq!(first.header("ratelimit"), "\"tenant\";r=1;t=100");
    assert_eq!(world.get("/v1/kinds").await.status, 200);
    let refused = world.get("/v1/kinds").await;
    assert_eq!(
        (refused.status, refused.problem().problem_type.as_str()),
        (429, longshore_sdk::api::problem::RATE_LIMITED)
    );
    assert_eq!((refused.header("ratelimit"), refused.header("retry-after")), ("\"tenant\";r=0;t=100", "100"));
    assert_eq!(world.get("/healthz").await.status, 200, "a probe is nobody's call");
}

#[tokio::test]
async fn a_repeat_finds_its_job_though_its_tenant_may_have_no_more() {
    let limits = LimitSettings { max_pending_jobs: 1, ..LimitSettings::default() };
    let world = World::limited(|_| (), limits).await;
    let first = world.submit_with("once", json!({})).await;
    let again = world.submit_with("once", json!({})).await;
    assert_eq!((first.status, again.status, first.view().id), (202, 202, again.view().id));
    assert_eq!(world.submit_with("twice", json!({})).await.status, 429);
}

#[tokio::test]
async fn of_many_jobs_at_once_no_more_are_taken_than_their_tenant_may_have() {
    let limits = LimitSettings { max_pending_jobs: 3, ..LimitSettings::default() };
    let world = World::limited(|_| (), limits).await;
    let jobs = vec![json!({"kind": "demo", "payload": {"n": 1}}); 50];
    let batch = world.post("/v1/jobs/batch", json!({"jobs": jobs}).to_string()).await.json::<Value>();
    let taken = batch["items"].as_array().unwrap().iter().filter(|item| item["status"] == 202).count();
    assert_eq!(taken, 3, "{batch}");
}

#[tokio::test]
async fn who_has_all_its_streams_is_told_so_and_may_open_one_when_another_ends() {
    let limits = LimitSettings { max_streams: 1, ..LimitSettings::default() };
    let world = World::limited(|_| (), limits).await;
    let open = super::events::Read::at(&world.router, "/v1/events", None).await;
    assert_eq!(open.status, 200);
    let refused = world.get("/v1/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"));
    let problem = refused.problem();
    assert!(problem.detail.contains("limits.max_streams"), "the way out");
    drop(open);
    let next = super::events::Read::at(&world.router, "/v1/events", None).await;
    assert_eq!(next.status, 200);
}

#[tokio::test]
async fn a_tenant_with_all_its_pending_jobs_is_told_to_wait_and_no_other_is() {
    let limits = LimitSettings { max_pending_jobs: 2, ..LimitSettings::default() };
    let world = World::limited(|_| (), limits).await;
    for _ in 0..2 {
        assert_eq!(world.submit(json!({})).await.status, 202);
    }
    let refused = world.submit(json!({})).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"));
    assert_eq!(refused.problem().problem_type, longshore_sdk::api::problem::QUOTA_EXCEEDED);
    assert_eq!(world.submit_with("again", json!({})).await.status, 429, "a key that made no job makes none now");
    let batch = world.post("/v1/jobs/batch", r#"{"jobs": [{"kind": "demo", "payload": {"n": 1}}]}"#).await;
    assert_eq!(batch.json::<Value>()["items"][0]["status"], 429);
    let south = NewJob { tenant: "south".parse().unwrap(), ..NewJob::plain("demo") };
    assert!(world.ledger.submit(std::slice::from_ref(&south)).await.unwrap()[0].is_created());
    assert_eq!(world.ledger.count_pending(&south.tenant, 2).await.unwrap(), 1, "it has a count of its own");
}
