//! `unique_key`: one unfinished job per kind and key, as callers see it.

use longshore_sdk::api::problem as types;

use super::*;
use crate::api::view;

#[tokio::test]
async fn a_submit_whose_unique_key_is_held_is_shown_the_job_that_holds_it() {
    let world = World::new().await;
    let first = world.submit(json!({ "unique_key": "nightly" })).await;
    assert_eq!((first.status, first.header("unique-key-held")), (202, ""));
    assert_eq!(first.view().unique_key.as_deref(), Some("nightly"));
    let second = world.submit(json!({ "unique_key": "nightly", "priority": "high" })).await;
    assert_eq!((second.status, second.header("unique-key-held")), (202, "true"));
    assert_eq!((second.view().id, second.header("location")), (first.view().id, first.header("location")));
    assert_eq!(world.broker.depth("demo").await.unwrap().map(|depth| depth.ready), Some(1), "published once");
    world.complete(first.view().id, vec![]).await;
    let third = world.submit(json!({ "unique_key": "nightly" })).await;
    assert_ne!(third.view().id, first.view().id);
    assert_eq!(third.header("unique-key-held"), "");
}

#[tokio::test]
async fn a_batch_says_of_each_job_whether_its_key_is_held() {
    let world = World::new().await;
    let job = json!({ "kind": "demo", "payload": { "n": 1 }, "unique_key": "k" });
    let body = json!({ "jobs": [job.clone(), job] }).to_string();
    let answer: longshore_sdk::api::BatchAnswer =
        serde_json::from_str(&world.post("/v1/jobs/batch", body).await.text()).unwrap();
    let told: Vec<_> = answer.items.iter().map(|item| (item.status, item.held, item.replayed)).collect();
    let mut sorted = told.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [(202, false, false), (202, true, false)], "{told:?}");
    assert_eq!(answer.items[0].job.as_ref().unwrap().id, answer.items[1].job.as_ref().unwrap().id);
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused_by_name() {
    let world = World::new().await;
    for odd in ["", "a b", "caf\u{e9}", &"k".repeat(256)] {
        let problem = world.submit(json!({ "unique_key": odd })).await.problem();
        assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (422, "/unique_key"), "{odd:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_whose_key_another_job_has_is_not_replayed_and_says_which() {
    let world = World::new().await;
    let dead = world.submit(json!({ "unique_key": "k" })).await.view().id;
    world.fail(dead).await;
    let other = world.submit(json!({ "unique_key": "k" })).await.view().id;
    let problem = world.post(&format!("{}/replay", view::address(dead)), "").await.problem();
    assert_eq!((problem.status, problem.problem_type.as_str()), (409, types::UNIQUE_KEY_HELD));
    assert!(problem.detail.contains(&other.to_string()), "{}", problem.detail);
}
