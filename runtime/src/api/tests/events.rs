//! A job's events as they are streamed: from the start, after an event that is known, while they happen, and to the end.

use std::collections::VecDeque;
use std::pin::Pin;

use axum::body::BodyDataStream;
use futures_util::StreamExt;
use longshore_sdk::api::{Event, EventWord, problem as types};

use super::*;

/// Far more than any step here takes.
const SOON: Duration = Duration::from_secs(20);

/// A stream that is read frame by frame.
pub(super) struct Read {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Pin<Box<BodyDataStream>>,
    frames: VecDeque<String>,
}

impl Read {
    async fn open(world: &World, job: JobId, after: Option<&str>) -> Self {
        Self::at(&world.router, &format!("/v1/jobs/{job}/events"), after).await
    }

    pub(super) async fn at(router: &Router, path: &str, after: Option<&str>) -> Self {
        let mut request = Request::get(path);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = Box::pin(body.into_data_stream());
        Self { status: parts.status.as_u16(), headers: parts.headers, body, frames: VecDeque::new() }
    }

    /// The next frame; `None` at the end.
    pub(super) async fn frame(&mut self) -> Option<String> {
        while self.frames.is_empty() {
            let chunk = tokio::time::timeout(SOON, self.body.next()).await.expect("the stream stays silent")?;
            let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
            self.frames.extend(text.split_terminator("\n\n").map(str::to_owned));
        }
        self.frames.pop_front()
    }

    /// The next event, with its comments and the reader's wait passed over.
    async fn event(&mut self) -> Option<Event> {
        loop {
            let frame = self.frame().await?;
            if let Some((head, data)) = frame.split_once("\ndata: ") {
                let event: Event = serde_json::from_str(data).unwrap();
                assert_eq!(head, format!("id: {}\nevent: {}", event.id, event.data.event.word()));
                return Some(event);
            }
        }
    }

    /// All that come until the stream ends.
    async fn rest(&mut self) -> Vec<Event> {
        let mut events = vec![];
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }
}

fn words(events: &[Event]) -> Vec<EventWord> {
    events.iter().map(|event| event.data.event).collect()
}

#[tokio::test]
async fn a_settled_jobs_stream_tells_everything_and_ends() {
    let world = World::new().await;
    let job = world.accepted().await;
    world.complete(job, vec![]).await;
    let mut stream = Read::open(&world, job, None).await;
    assert_eq!((stream.status, &stream.headers["content-type"]), (200, &"text/event-stream".parse().unwrap()));
    assert_eq!(stream.frame().await.unwrap(), "retry: 2000");
    let events = stream.rest().await;
    assert_eq!(words(&events), [EventWord::Accepted, EventWord::Started, EventWord::Completed]);
    let ids: Vec<String> = (1..=3).map(|n| format!("{job}.{n}")).collect();
    assert_eq!(events.iter().map(|event| event.id.clone()).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn a_stream_goes_on_after_the_event_that_is_known_and_has_none_after_the_last() {
    let world = World::new().await;
    let job = world.accepted().await;
    world.fail(job).await;
    let all = Read::open(&world, job, None).await.rest().await;
    for (index, event) in all.iter().enumerate() {
        let mut stream = Read::open(&world, job, Some(&event.id)).await;
        assert_eq!(stream.status, if index + 1 == all.len() { 204 } else { 200 });
        assert_eq!(stream.rest().await, all[index + 1..]);
    }
    // A dead letter's end is no end once it is replayed.
    world.post(&format!("/v1/jobs/{job}/replay"), "").await;
    world.complete(job, vec![]).await;
    let rest = Read::open(&world, job, Some(&all[2].id)).await.rest().await;
    assert_eq!(words(&rest), [EventWord::Requeued, EventWord::Started, EventWord::Completed]);
}

#[tokio::test]
async fn what_happens_while_it_is_read_is_told_at_once() {
    let world = World::with(|settings| settings.stream_heartbeat = Duration::from_secs(3600)).await;
    let job = world.accepted().await;
    let mut stream = Read::open(&world, job, None).await;
    assert_eq!(stream.event().await.unwrap().data.event, EventWord::Accepted);
    let fence = world.start(job).await;
    world.announce(job).await;
    assert_eq!(stream.event().await.unwrap().data.event, EventWord::Started);
    // It may be announced many times: it is told once.
    world.announce(job).await;
    let result = RawValue::from_string("42".into()).unwrap();
    world.record(fence, Ended::Done, Settle::Complete { result, artifacts: vec![] }).await;
    world.announce(job).await;
    assert_eq!(words(&stream.rest().await), [EventWord::Completed]);
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives_and_finds_by_itself_what_nobody_announced() {
    let world = World::with(|settings| settings.stream_heartbeat = Duration::from_millis(50)).await;
    let job = world.accepted().await;
    let mut stream = Read::open(&world, job, None).await;
    while stream.frame().await.unwrap() != ": heartbeat" {}
    world.complete(job, vec![]).await;
    assert_eq!(words(&stream.rest().await), [EventWord::Started, EventWord::Completed]);
}

#[tokio::test]
async fn one_stream_too_many_is_told_when_to_come_again_and_has_a_place_when_one_has_left() {
    let world = World::with(|settings| settings.max_streams = 1).await;
    let job = world.accepted().await;
    let first = Read::open(&world, job, None).await;
    let refused = world.get(&format!("/v1/jobs/{job}/events")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"));
    assert_eq!(refused.problem().problem_type, types::UNAVAILABLE);
    drop(first);
    assert_eq!(Read::open(&world, job, None).await.status, 200);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let world = World::new().await;
    let job = world.accepted().await;
    let mut stream = Read::open(&world, job, None).await;
    assert_eq!(stream.event().await.unwrap().data.event, EventWord::Accepted);
    world.stop.ask();
    assert_eq!(stream.rest().await, []);
}

#[tokio::test]
async fn a_stream_of_nothing_or_after_what_is_no_event_of_the_job_is_refused() {
    let world = World::new().await;
    let job = world.accepted().await;
    assert_eq!(world.get(&format!("/v1/jobs/{}/events", JobId::fresh())).await.problem().status, 404);
    for wrong in ["17".to_owned(), format!("{}.1", JobId::fresh()), format!("{job}.x")] {
        let problem = world.get_with(&format!("/v1/jobs/{job}/events"), ("last-event-id", &wrong)).await.problem();
        assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (400, "last-event-id"), "{wrong}");
    }
}
