//! Which road a promise takes to its end: a stream, long-polls or polls; what a handle's drop does; and the stream of all jobs.

use futures_util::StreamExt;

use super::*;
use crate::api::{EventWord, GapReason};
use crate::client::{EventFilter, Told};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nretry: 2000\n\n";

fn event(id: &str, word: &str, state: &str, rest: &str) -> String {
    let data = format!(
        r#"{{"specversion":"1.0","id":"{ID}.{id}","source":"/longshore","type":"longshore.job.{word}","subject":"{ID}",
        "time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","data":{{"job":"{ID}","kind":"demo.greet",
        "event":"{word}","state":"{state}","sequence":1,"attempt":1{rest}}}}}"#
    );
    format!("id: {ID}.{id}\nevent: {word}\ndata: {}\n\n", data.replace('\n', ""))
}

fn progress(id: &str, fraction: &str) -> String {
    event(id, "progressed", "running", &format!(r#","progress":{{"fraction":{fraction}}}"#))
}

/// A stream of these, which then ends.
fn stream(frames: &[String]) -> Step {
    Step::Raw((HEAD.to_owned() + &frames.concat()).leak())
}

fn stalled(frames: &[String]) -> Step {
    Step::Stall((HEAD.to_owned() + &frames.concat()).leak())
}

#[tokio::test]
async fn a_promise_follows_the_stream_and_asks_once_for_the_end() {
    let told = [
        event("1", "accepted", "pending", ""),
        event("2", "started", "running", ""),
        event("3", "completed", "completed", ""),
    ];
    let server = Server::with(vec![stream(&told), view("completed", HI)]).await;
    assert_eq!(client(&server).handle::<Greet>(id()).await.unwrap(), greeting("hi"));
    assert_eq!(server.lines(), [format!("GET /v1/jobs/{ID}/events"), format!("GET /v1/jobs/{ID}?wait=30")]);
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_after_the_event_told_last() {
    let script = vec![
        stream(&[event("1", "accepted", "pending", ""), event("2", "started", "running", "")]),
        stream(&[event("3", "completed", "completed", "")]),
        view("completed", HI),
    ];
    let server = Server::with(script).await;
    assert_eq!(client(&server).handle::<Greet>(id()).await.unwrap(), greeting("hi"));
    assert!(server.seen()[1].head.contains(&format!("last-event-id: {ID}.2")), "{:?}", server.seen()[1]);
}

#[tokio::test]
async fn where_no_stream_tells_anything_long_polls_do_and_where_they_come_at_once_polls_are_spaced_out() {
    let roads: [fn() -> Step; 4] = [no_stream, || view("running", ""), || Step::HangUp, || stream(&[])];
    for first in roads {
        let server = Server::with(vec![first(), view("running", ""), view("completed", HI)]).await;
        assert_eq!(client(&server).handle::<Greet>(id()).await.unwrap(), greeting("hi"));
        assert!(server.lines()[1..].iter().all(|line| line.ends_with("?wait=30")), "{:?}", server.lines());
    }
    // One that knows no long-polls either.
    let script = std::iter::once(no_stream()).chain((0..3).map(|_| view("running", ""))).chain([view("completed", HI)]);
    let server = Server::with(script.collect()).await;
    let asked = std::time::Instant::now();
    assert_eq!(client(&server).handle::<Greet>(id()).await.unwrap(), greeting("hi"));
    assert!(asked.elapsed() >= Duration::from_millis(100 + 200 + 400), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn progress_is_a_stream_of_its_own_that_ends_with_the_job_on_either_road() {
    let told = [progress("2.1", "0.25"), progress("2.2", "0.5"), event("3", "completed", "completed", "")];
    let server = Server::with(vec![stream(&told), view("completed", HI)]).await;
    let handle = client(&server).handle::<Greet>(id());
    let by_stream: Vec<_> = handle.progress().map(|progress| progress.fraction).collect().await;
    let at = |fraction: &str| view("running", &format!(r#","progress":{{"fraction":{fraction}}}"#));
    let server = Server::with(vec![no_stream(), at("0.25"), at("0.25"), at("0.5"), view("completed", HI)]).await;
    let by_poll: Vec<_> =
        client(&server).handle::<Greet>(id()).progress().map(|progress| progress.fraction).collect().await;
    assert_eq!(by_stream, [Some(0.25), Some(0.5)]);
    assert_eq!(by_poll, by_stream);
}

async fn lines_when(server: &Server, count: usize) -> Vec<String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while server.seen().len() < count {
        assert!(std::time::Instant::now() < deadline, "{:?}", server.lines());
        tokio::task::yield_now().await;
    }
    server.lines()
}

#[tokio::test]
async fn a_dropped_promise_cancels_its_job_if_asked_to_and_else_does_not() {
    let cancel = format!("POST /v1/jobs/{ID}/cancel");
    // Dropped before it is awaited, and while it is.
    let server = Server::with(vec![view("canceled", "")]).await;
    drop(client(&server).handle::<Greet>(id()).cancel_on_drop());
    assert_eq!(lines_when(&server, 1).await, std::slice::from_ref(&cancel));
    let server = Server::with(vec![stalled(&[event("1", "accepted", "pending", "")]), view("canceled", "")]).await;
    let waiting = client(&server).handle::<Greet>(id()).cancel_on_drop().into_future();
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    assert_eq!(lines_when(&server, 2).await[1], cancel);
    // A clone's drop, one that was not asked, and one that is fulfilled cancel nothing.
    let mut server = Server::with(vec![no_stream(), view("completed", HI)]).await;
    let handle = client(&server).handle::<Greet>(id()).cancel_on_drop();
    drop(handle.clone());
    drop(client(&server).handle::<Greet>(id()));
    assert_eq!(handle.await.unwrap(), greeting("hi"));
    server.closed().await;
    assert!(!server.lines().contains(&cancel), "{:?}", server.lines());
}

#[tokio::test]
async fn all_events_are_followed_through_a_broken_line_and_a_gap_is_told() {
    let place = |place: &str, frame: String| frame.replacen(&format!("id: {ID}"), &format!("id: {place}-{ID}"), 1);
    let lagged = r#"{"reason":"lagged","since":"2026-01-02T03:04:05Z","detail":"too slow"}"#;
    let gap = format!("id: 9\nevent: gap\ndata: {lagged}\n\n");
    let script = vec![
        stream(&[place("7", event("1", "accepted", "pending", "")), ": heartbeat\nid: 8\n\n".into()]),
        Step::HangUp,
        stream(&[gap, place("10", event("3", "completed", "completed", ""))]),
    ];
    let server = Server::with(script).await;
    let filter = EventFilter { kinds: vec!["a.b".into(), "c".into()], states: vec![JobState::Failed], after: None };
    let mut events = client(&server).with_patience(Duration::from_secs(5)).events(filter);
    let word = |told: Told| match told {
        Told::Event(event) => Some(event.data.event),
        Told::Gap(gap) => {
            assert_eq!(gap.reason, GapReason::Lagged);
            None
        }
    };
    assert_eq!(word(events.next().await.unwrap()), Some(EventWord::Accepted));
    assert_eq!(word(events.next().await.unwrap()), None);
    assert_eq!(events.place(), Some("9"));
    assert_eq!(word(events.next().await.unwrap()), Some(EventWord::Completed));
    assert_eq!(server.lines()[0], "GET /v1/events?kind=a.b%2Cc&state=failed");
    assert!(server.seen()[2].head.contains("last-event-id: 8"), "{:?}", server.seen()[2]);
}

#[tokio::test]
async fn a_server_without_such_a_stream_or_without_life_is_an_error_at_once() {
    let server = Server::with(vec![view("running", "")]).await;
    let error = client(&server).events(EventFilter::default()).next().await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    let error = client(&server).events(EventFilter::default()).next().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error:?}");
}
