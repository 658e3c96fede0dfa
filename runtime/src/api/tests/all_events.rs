//! What happens to all jobs as one stream: who hears what, who goes on where, and who is told that something is missing.

use longshore_sdk::api::{Event, EventWord, GapReason, StreamGap, problem as types};

use super::events::Read;
use super::*;

/// A frame that tells something, with its place.
#[derive(Debug)]
struct Frame {
    id: String,
    word: String,
    data: String,
}

impl Frame {
    fn event(&self) -> Event {
        let event: Event = serde_json::from_str(&self.data).unwrap();
        assert_eq!(self.word, event.data.event.word());
        event
    }

    fn gap(&self) -> StreamGap {
        assert_eq!(self.word, "gap", "{self:?}");
        serde_json::from_str(&self.data).unwrap()
    }
}

/// The next frame that tells something.
async fn next(stream: &mut Read) -> Frame {
    loop {
        let frame = stream.frame().await.expect("it goes on");
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        if let Some(data) = field("data: ") {
            return Frame { id: field("id: ").unwrap(), word: field("event: ").unwrap(), data };
        }
    }
}

async fn told(stream: &mut Read, count: usize) -> Vec<(JobId, EventWord)> {
    let mut told = vec![];
    while told.len() < count {
        let event = next(stream).await.event();
        told.push((event.data.job, event.data.event));
    }
    told
}

async fn follow(router: &Router, query: &str, after: Option<&str>) -> Read {
    let stream = Read::at(router, &format!("/v1/events{query}"), after).await;
    assert_eq!(stream.status, 200);
    stream
}

/// A whole life, told by a worker.
async fn lived(world: &World) -> JobId {
    let job = world.accepted().await;
    world.complete(job, vec![]).await;
    world.announce(job).await;
    job
}

/// Waits until the process tells what the broker announces.
async fn told_at_once(router: &Router, broker: &Embedded, job: JobId) {
    let mut stream = follow(router, "", None).await;
    let event =
        crate::ledger::Event::accepted(job, &crate::tenant::Tenant::default(), "demo", None, crate::clock::now());
    let told = async |stream: &mut Read| {
        broker.announce(&topic::announcement(&event)).await.unwrap();
        let next = tokio::time::timeout(Duration::from_millis(100), next(stream)).await;
        next.is_ok_and(|frame| frame.word != "gap")
    };
    while !told(&mut stream).await {}
}

const LIFE: [EventWord; 3] = [EventWord::Accepted, EventWord::Started, EventWord::Completed];

fn life(job: JobId) -> Vec<(JobId, EventWord)> {
    LIFE.map(|word| (job, word)).to_vec()
}

#[tokio::test]
async fn who_follows_all_jobs_hears_each_event_once_though_it_is_announced_again() {
    let world = World::new().await;
    let mut stream = follow(&world.router, "", None).await;
    assert_eq!(stream.frame().await.unwrap(), "retry: 2000");
    assert!(stream.frame().await.unwrap().contains("\nid: "), "a place to come back to before anything happened");
    let (one, two) = (lived(&world).await, lived(&world).await);
    world.announce(one).await;
    let three = lived(&world).await;
    assert_eq!(told(&mut stream, 9).await, [life(one), life(two), life(three)].concat());
}

#[tokio::test]
async fn kinds_and_states_narrow_what_is_told() {
    let world = World::new().await;
    let mut ends = follow(&world.router, "?kind=other,demo&state=completed,failed", None).await;
    let mut others = follow(&world.router, "?kind=other", None).await;
    let one = lived(&world).await;
    let dead = world.accepted().await;
    world.fail(dead).await;
    world.announce(dead).await;
    assert_eq!(told(&mut ends, 2).await, [(one, EventWord::Completed), (dead, EventWord::Failed)]);
    world.stop.ask();
    while let Some(frame) = others.frame().await {
        assert!(!frame.contains("data: "), "{frame}");
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_after_the_frame_it_had_last() {
    let world = World::new().await;
    let mut stream = follow(&world.router, "", None).await;
    let one = lived(&world).await;
    let first = next(&mut stream).await;
    drop(stream);
    let two = lived(&world).await;
    let mut stream = follow(&world.router, "", Some(&first.id)).await;
    assert_eq!(told(&mut stream, 5).await, [life(one)[1..].to_vec(), life(two)].concat());
}

#[tokio::test]
async fn another_process_tells_what_happened_meanwhile_though_nobody_announced_it() {
    let world = World::new().await;
    let mut stream = follow(&world.router, "", None).await;
    let one = lived(&world).await;
    let first = next(&mut stream).await;
    // A second API process over the same ledger, with a broker that has lost everything.
    let two = world.accepted().await;
    world.complete(two, vec![]).await;
    let other = world.another(Embedded::new(Limits::default()), ApiSettings::default());
    let mut stream = follow(&other, "?state=completed", Some(&first.id)).await;
    assert_eq!(told(&mut stream, 2).await, [(one, EventWord::Completed), (two, EventWord::Completed)]);
}

#[tokio::test]
async fn a_reader_that_was_away_too_long_is_told_so_and_what_follows_is_whole() {
    let world = World::new().await;
    let mut stream = follow(&world.router, "", None).await;
    lived(&world).await;
    let first = next(&mut stream).await;
    lived(&world).await;
    let (broker, settings) =
        (Embedded::new(Limits::default()), ApiSettings { event_fill_jobs: 1, ..ApiSettings::default() });
    let other = world.another(broker.clone(), settings);
    let before = lived(&world).await;
    told_at_once(&other, &broker, before).await;
    let mut stream = follow(&other, "", Some(&first.id)).await;
    let gap = next(&mut stream).await.gap();
    assert_eq!(gap.reason, GapReason::Forgotten);
    assert!(gap.since <= first.event().time && gap.detail.contains("GET /v1/jobs"), "{gap:?}");
    let job = lived(&world).await;
    for event in world.ledger.history(job).await.unwrap().unwrap() {
        broker.announce(&topic::announcement(&event)).await.unwrap();
    }
    let all = [vec![(before, EventWord::Accepted)], life(job)].concat();
    assert_eq!(told(&mut stream, 4).await, all, "all that this process heard, and nothing else");
}

#[tokio::test]
async fn a_reader_slower_than_the_ring_is_long_is_told_that_it_lagged() {
    let world = World::with(|settings| settings.event_ring_bytes = 2_400).await;
    let mut slow = follow(&world.router, "", None).await;
    let mut quick = follow(&world.router, "?state=completed", None).await;
    let mut jobs = vec![];
    for _ in 0..4 {
        jobs.push(lived(&world).await);
        assert_eq!(told(&mut quick, 1).await, [(jobs[jobs.len() - 1], EventWord::Completed)]);
    }
    let gap = next(&mut slow).await.gap();
    assert_eq!(gap.reason, GapReason::Lagged);
    let last = next(&mut slow).await.event();
    assert_eq!(last.data.job, jobs[3], "it goes on with what is left");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives_and_takes_the_place_along() {
    let world = World::with(|settings| settings.stream_heartbeat = Duration::from_millis(20)).await;
    let mut stream = follow(&world.router, "?kind=other", None).await;
    let _ = (stream.frame().await, stream.frame().await);
    let before = stream.frame().await.unwrap();
    assert!(before.starts_with(": heartbeat\nid: "), "{before}");
    lived(&world).await;
    while stream.frame().await.unwrap() == before {}
}

#[tokio::test]
async fn a_server_that_stops_ends_the_stream_and_a_full_one_refuses_it() {
    let world = World::with(|settings| settings.max_streams = 1).await;
    let mut stream = follow(&world.router, "", None).await;
    let refused = world.get("/v1/events").await;
    assert_eq!((refused.status, refused.problem().problem_type.as_str()), (503, types::UNAVAILABLE));
    world.stop.ask();
    while stream.frame().await.is_some() {}
}

#[tokio::test]
async fn what_is_no_place_kind_or_state_is_named() {
    let world = World::new().await;
    let pointed = async |path: &str, after: &str| {
        let problem = world.get_with(path, ("last-event-id", after)).await.problem();
        (problem.status, problem.errors[0].pointer.clone())
    };
    let job = JobId::fresh();
    assert_eq!(pointed("/v1/events", &format!("{job}.1")).await, (400, "last-event-id".to_owned()));
    for (query, name) in [("state=done", "state"), ("state=", "state"), ("kind=a,,b", "kind"), ("since=1", "since")] {
        assert_eq!(pointed(&format!("/v1/events?{query}"), "").await, (400, name.to_owned()), "{query}");
    }
}
