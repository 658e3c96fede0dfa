//! Looking, waiting, cancelling, replaying, listing.

use futures_util::poll;
use longshore_sdk::api::problem as types;
use longshore_sdk::api::{AttemptOutcome, JobList, JobState};
use tokio::time::Instant;

use super::*;
use crate::broker::{Announcement, Broker, Control, Heard};

fn path(job: JobId) -> String {
    format!("/v1/jobs/{job}")
}

#[tokio::test]
async fn a_job_is_shown_with_its_attempts_until_it_is_settled() {
    let world = World::new().await;
    let job = world.accepted().await;
    let pending = world.get(&path(job)).await;
    assert_eq!((pending.view().state, pending.header("retry-after")), (JobState::Pending, "1"));
    world.complete(job, vec![]).await;
    let done = world.get(&path(job)).await;
    let view = done.view();
    assert_eq!((done.status, done.header("retry-after")), (200, ""));
    assert_eq!((view.state, view.result.unwrap().get()), (JobState::Completed, "42"));
    let outcomes: Vec<_> = view.attempts.iter().map(|attempt| (attempt.attempt, attempt.outcome)).collect();
    assert_eq!(outcomes, [(1, Some(AttemptOutcome::Done))]);
}

#[tokio::test]
async fn a_caller_who_knows_the_version_is_told_that_nothing_changed() {
    let world = World::new().await;
    let job = world.accepted().await;
    let tag = world.get(&path(job)).await.header("etag").to_owned();
    let same = world.get_with(&path(job), ("if-none-match", &tag)).await;
    assert_eq!((same.status, same.header("etag"), same.body.len()), (304, tag.as_str(), 0));
    world.start(job).await;
    let started = world.get_with(&path(job), ("if-none-match", &tag)).await;
    assert_eq!(started.status, 200);
    // A wish is no transition, but it is seen.
    let tag = started.header("etag").to_owned();
    world.post(&format!("{}/cancel", path(job)), "").await;
    assert_eq!(world.get_with(&path(job), ("if-none-match", &tag)).await.status, 200);
}

#[tokio::test]
async fn an_id_that_is_none_or_nobodys_is_not_found() {
    let world = World::new().await;
    for id in [JobId::fresh().to_string(), "x".into(), "..".into(), "%00".into(), "%ff".into()] {
        let problem = world.get(&format!("/v1/jobs/{id}")).await.problem();
        assert_eq!((problem.status, problem.problem_type.as_str()), (404, types::NOT_FOUND), "{id}");
    }
    for call in ["cancel", "replay"] {
        assert_eq!(world.post(&format!("{}/{call}", path(JobId::fresh())), "").await.problem().status, 404);
    }
}

#[tokio::test]
async fn who_waits_is_woken_by_the_announcement_and_not_by_the_recheck() {
    let world = World::with(|settings| settings.recheck = Duration::from_secs(3600)).await;
    let job = world.accepted().await;
    let address = format!("{}?wait=30", path(job));
    let mut waiting = std::pin::pin!(world.get(&address));
    assert!(poll!(&mut waiting).is_pending());
    world.complete(job, vec![]).await;
    // Nobody announces in this world but the test, again and again until the waiter hears it.
    let announcement = Announcement {
        id: format!("{job}.3"),
        tenant: crate::tenant::Tenant::default(),
        topic: "job.demo.completed".into(),
        body: bytes::Bytes::from_static(b"{}"),
    };
    let announcing = async {
        loop {
            world.broker.announce(&announcement).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reply = tokio::select! { reply = waiting => reply, () = announcing => unreachable!("it announces for ever") };
    assert_eq!(reply.view().state, JobState::Completed);
}

#[tokio::test]
async fn who_waits_finds_a_settled_job_without_any_announcement() {
    let world = World::with(|settings| settings.recheck = Duration::from_millis(20)).await;
    let job = world.accepted().await;
    let address = format!("{}?wait=30", path(job));
    let (reply, ()) = tokio::join!(world.get(&address), world.complete(job, vec![]));
    assert_eq!(reply.view().state, JobState::Completed);
}

#[tokio::test]
async fn a_wait_ends_at_its_limit_and_a_wait_that_is_none_is_refused() {
    let world = World::with(|settings| settings.max_wait = Duration::from_millis(50)).await;
    let job = world.accepted().await;
    let asked = Instant::now();
    let late = world.get(&format!("{}?wait=1000000000", path(job))).await;
    assert_eq!(late.view().state, JobState::Pending);
    assert!((Duration::from_millis(50)..Duration::from_secs(20)).contains(&asked.elapsed()));
    for odd in ["-1", "x", "1.5", ""] {
        let problem = world.get(&format!("{}?wait={odd}", path(job))).await.problem();
        assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (400, "wait"), "{odd}");
    }
}

#[tokio::test]
async fn a_full_waiting_room_and_a_server_that_stops_answer_at_once() {
    let full = World::with(|settings| settings.max_waiters = 0).await;
    let job = full.accepted().await;
    assert_eq!(full.get(&format!("{}?wait=30", path(job))).await.view().state, JobState::Pending);
    let stopping = World::new().await;
    let job = stopping.accepted().await;
    stopping.stop.ask();
    assert_eq!(stopping.get(&format!("{}?wait=30", path(job))).await.view().state, JobState::Pending);
}

#[tokio::test]
async fn a_pending_job_is_canceled_at_once_and_again_without_harm() {
    let world = World::new().await;
    let job = world.accepted().await;
    for _ in 0..2 {
        let reply = world.post(&format!("{}/cancel", path(job)), "").await;
        assert_eq!((reply.status, reply.view().state), (200, JobState::Canceled));
    }
}

#[tokio::test]
async fn a_running_jobs_cancel_is_passed_on_to_its_worker() {
    let world = World::new().await;
    let job = world.accepted().await;
    world.start(job).await;
    let mut told = world.broker.told().await.unwrap();
    let reply = world.post(&format!("{}/cancel", path(job)), "").await;
    assert_eq!((reply.status, reply.view().canceling), (202, true));
    assert_eq!(told.recv().await, Some(Heard::Message(Control::Cancel(job))));
}

#[tokio::test]
async fn what_ended_another_way_cannot_be_canceled() {
    let world = World::new().await;
    let job = world.accepted().await;
    world.complete(job, vec![]).await;
    let problem = world.post(&format!("{}/cancel", path(job)), "").await.problem();
    assert_eq!((problem.status, problem.problem_type.as_str()), (409, types::ALREADY_FINISHED));
    assert!(problem.detail.contains("completed"), "{}", problem.detail);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_and_nothing_else_is() {
    let world = World::new().await;
    let job = world.accepted().await;
    let replay = format!("{}/replay", path(job));
    let problem = world.post(&replay, "").await.problem();
    assert_eq!((problem.status, problem.problem_type.as_str()), (409, types::NOT_A_DEAD_LETTER));
    world.fail(job).await;
    let dead = world.get(&path(job)).await.view();
    assert!(dead.dead_letter && dead.error.unwrap().code == "broken");
    assert_eq!(dead.urls.replay.as_deref(), Some(replay.as_str()));
    let reply = world.post(&replay, "").await;
    assert_eq!((reply.status, reply.view().state), (202, JobState::Pending));
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.insert(0, world.accepted().await);
    }
    let page = async |address: String| {
        let list: JobList = world.get(&address).await.json();
        (list.jobs.into_iter().map(|job| job.id).collect::<Vec<_>>(), list.next)
    };
    assert_eq!(page("/v1/jobs?limit=2".into()).await, (made[..2].to_vec(), Some(made[1])));
    assert_eq!(page(format!("/v1/jobs?limit=2&before={}", made[1])).await, (made[2..].to_vec(), None));
    assert_eq!(page("/v1/jobs?state=completed".into()).await, (vec![], None));
    assert_eq!(world.get("/v1/jobs?limit=0").await.problem().errors[0].pointer, "limit");
}
