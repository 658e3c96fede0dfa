//! Dead letters, many at once.

use longshore_sdk::api::{JobList, JobState, PurgedMany, ReplayedMany};

use super::*;
use crate::broker::{Broker, Control, Heard};

async fn dead(world: &World) -> JobId {
    let job = world.accepted().await;
    world.fail(job).await;
    job
}

async fn listed(world: &World, query: &str) -> (Vec<JobId>, Option<JobId>) {
    let list: JobList = world.get(&format!("/v1/dead-letters{query}")).await.json();
    (list.jobs.into_iter().map(|job| job.id).collect(), list.next)
}

async fn act(world: &World, call: &str, body: Value) -> Reply {
    world.post(&format!("/v1/dead-letters/{call}"), body.to_string()).await
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_and_nothing_else_is() {
    let world = World::new().await;
    let (first, _pending, second) = (dead(&world).await, world.accepted().await, dead(&world).await);
    assert_eq!(listed(&world, "").await, (vec![second, first], None));
    assert_eq!(listed(&world, "?limit=1").await, (vec![second], Some(second)));
    assert_eq!(listed(&world, &format!("?limit=1&before={second}")).await.0, [first]);
    assert_eq!(listed(&world, "?kind=other").await, (vec![], None));
    assert_eq!(world.get("/v1/dead-letters?state=failed").await.problem().errors[0].pointer, "state");
}

#[tokio::test]
async fn many_are_replayed_by_id_or_by_kind_and_the_relays_are_woken() {
    let world = World::new().await;
    let jobs = [dead(&world).await, dead(&world).await, dead(&world).await];
    let mut told = world.broker.told().await.unwrap();
    let some = act(&world, "replay", json!({ "ids": [jobs[0], JobId::fresh()] })).await;
    assert_eq!(some.json::<ReplayedMany>(), ReplayedMany { replayed: 1, skipped: 1, more: false });
    assert_eq!(told.recv().await, Some(Heard::Message(Control::Wake)));
    let kind = act(&world, "replay", json!({ "kind": "demo", "limit": 1 })).await;
    assert_eq!(kind.json::<ReplayedMany>(), ReplayedMany { replayed: 1, skipped: 0, more: true });
    assert_eq!(listed(&world, "").await.0, [jobs[2]]);
    assert_eq!(world.get(&format!("/v1/jobs/{}", jobs[0])).await.view().state, JobState::Pending);
}

#[tokio::test]
async fn many_are_purged_and_what_is_no_dead_letter_is_left_alone() {
    let world = World::new().await;
    let (gone, pending) = (dead(&world).await, world.accepted().await);
    let purged = act(&world, "purge", json!({ "ids": [gone, pending] })).await;
    assert_eq!(purged.json::<PurgedMany>(), PurgedMany { purged: 1, skipped: 1, more: false });
    assert_eq!(world.get(&format!("/v1/jobs/{gone}")).await.status, 404);
    assert_eq!(world.get(&format!("/v1/jobs/{pending}")).await.status, 200);
}

#[tokio::test]
async fn a_choice_past_the_limit_or_without_a_meaning_is_refused() {
    let world = World::with(|settings| settings.max_bulk = 1).await;
    for (body, pointer) in [
        (json!({}), "/ids"),
        (json!({ "kind": "demo", "limit": 2 }), "/limit"),
        (json!({ "ids": [JobId::fresh(), JobId::fresh()] }), "/ids"),
        (json!({ "id": "x" }), "/id"),
    ] {
        for call in ["replay", "purge"] {
            let problem = act(&world, call, body.clone()).await.problem();
            assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (422, pointer), "{body}");
        }
    }
}
