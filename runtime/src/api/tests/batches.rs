//! Many jobs in one request.

use longshore_sdk::api::problem as types;
use longshore_sdk::api::{BatchAnswer, JobList};

use super::*;

async fn batch(world: &World, jobs: Value) -> Reply {
    world.post("/v1/jobs/batch", json!({ "jobs": jobs }).to_string()).await
}

fn good(n: u32) -> Value {
    json!({ "kind": "demo", "payload": { "n": n } })
}

#[tokio::test]
async fn each_job_of_a_batch_has_its_own_answer_in_its_place() {
    let world = World::new().await;
    let wrong = json!({ "kind": "demo", "payload": { "n": -1 } });
    let reply = batch(&world, json!([good(1), wrong, { "kind": "none", "payload": {} }, 7, good(2)])).await;
    let items = reply.json::<BatchAnswer>().items;
    let statuses: Vec<_> = items.iter().map(|item| item.status).collect();
    assert_eq!((reply.status, statuses), (200, vec![202, 422, 422, 422, 202]));
    assert_eq!(items[1].problem.as_ref().unwrap().errors[0].pointer, "/payload/n");
    assert_eq!(items[2].problem.as_ref().unwrap().problem_type, types::UNKNOWN_KIND);
    assert!(items[3].job.is_none() && items[4].job.is_some() && items[4].problem.is_none());
    assert_eq!(world.get("/v1/jobs").await.json::<JobList>().jobs.len(), 2);
}

#[tokio::test]
async fn a_batch_has_at_least_one_job_and_at_most_its_limits() {
    let world = World::with(|settings| {
        (settings.max_batch, settings.max_batch_bytes, settings.max_body_bytes) = (3, 200, 60);
    })
    .await;
    assert_eq!(batch(&world, json!([good(1), good(2), good(3)])).await.status, 200);
    for jobs in [json!([]), json!([1, 2, 3, 4])] {
        let problem = batch(&world, jobs).await.problem();
        assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (422, "/jobs"));
    }
    assert_eq!(batch(&world, json!(["x".repeat(200)])).await.problem().problem_type, types::TOO_LARGE);
    let item = batch(&world, json!(["x".repeat(60)])).await.json::<BatchAnswer>().items.remove(0);
    assert_eq!((item.status, item.problem.unwrap().problem_type.as_str()), (413, types::TOO_LARGE));
}

#[tokio::test]
async fn a_thousand_jobs_go_in_one_batch_and_again_without_a_second_job() {
    let world = World::new().await;
    let jobs: Vec<Value> = (0..1000).map(good).collect();
    let send = async || {
        let body = Body::from(json!({ "jobs": jobs }).to_string());
        let request = Request::post("/v1/jobs/batch").header("idempotency-key", "night-1").body(body).unwrap();
        world.send(request).await.json::<BatchAnswer>().items
    };
    let ids = |items: &[longshore_sdk::api::BatchItem]| -> Vec<JobId> {
        items.iter().map(|item| item.job.as_ref().unwrap().id).collect()
    };
    let (first, again) = (send().await, send().await);
    assert!(first.iter().all(|item| !item.replayed) && again.iter().all(|item| item.replayed));
    let mut made = ids(&first);
    assert_eq!(made, ids(&again));
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), 1000);
}
