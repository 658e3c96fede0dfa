//! Server-Sent Events on the wire: an event's id, its word and its JSON; comments that keep a quiet line open; and the id that a
//! reader comes back with. It holds no state. Read [`crate::notify::topic`] for the JSON, which is the topic exchange's.

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use longshore_sdk::api::EventId;

use crate::api::problem::{Answer, Fault, Refusal};
use crate::ledger::Event;
use crate::notify::topic;

/// What a reader that comes back brings.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";
/// Keeps proxies and readers from taking a quiet line for a dead one.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");
/// How long a reader that lost its line waits before it comes back.
const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");

/// An event.
pub(super) fn frame(event: &Event) -> Bytes {
    frame_of(&event.id(), event.word().word(), &topic::body(event)).into()
}

/// A frame with this id, about this word, with this JSON.
pub(super) fn frame_of(id: &impl Display, word: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = format!("id: {id}\nevent: {word}\ndata: ").into_bytes();
    // JSON in one line: serde_json writes no line break outside of a string, and none inside of one.
    frame.extend_from_slice(body);
    frame.extend_from_slice(b"\n\n");
    frame
}

/// A heartbeat that takes the reader's place along, past what was not for it.
pub(super) fn place(id: &impl Display) -> Bytes {
    format!(": heartbeat\nid: {id}\n\n").into()
}

/// The answer that tells these.
pub(super) fn stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // A proxy that gathers would hold the news back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let frames = stream::iter([RETRY]).chain(frames).map(Ok::<_, Infallible>);
    (headers, Body::from_stream(frames)).into_response()
}

/// The last event that the reader has.
pub(super) fn last_event_id(headers: &HeaderMap) -> Answer<Option<EventId>> {
    last_id(headers, "must be the id of an event of this API")
}

/// The id that the reader comes back with; `rule` says what would be right.
pub(super) fn last_id<T: FromStr>(headers: &HeaderMap, rule: &str) -> Answer<Option<T>> {
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| Refusal::of_field(Fault::Malformed, LAST_EVENT_ID, rule))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use longshore_sdk::JobId;

    use super::*;

    #[test]
    fn a_frame_is_one_event_whatever_its_text_holds() {
        let event = Event::accepted(
            JobId::fresh(),
            &Default::default(),
            "demo",
            Some("two\nlines\r\n\nid: 1"),
            Timestamp::UNIX_EPOCH,
        );
        let frame = String::from_utf8(frame(&event).to_vec()).unwrap();
        let lines: Vec<&str> = frame.split('\n').collect();
        let [id, word, data, "", ""] = lines[..] else { panic!("{frame}") };
        assert_eq!((id, word), (&*format!("id: {}.1", event.job), "event: accepted"));
        let read: longshore_sdk::api::Event = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(read, topic::cloud_event(&event));
    }

    #[test]
    fn a_reader_comes_back_with_the_id_of_an_event_or_with_none() {
        let with =
            |value: &str| HeaderMap::from_iter([(HeaderName::from_static(LAST_EVENT_ID), value.parse().unwrap())]);
        let id = EventId { job: JobId::fresh(), sequence: 3, progress: 1 };
        assert_eq!(last_event_id(&with(&id.to_string())).unwrap(), Some(id));
        assert_eq!(last_event_id(&with("")).unwrap(), None);
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), None);
        assert_eq!(last_event_id(&with("17")).unwrap_err().problem().errors[0].pointer, LAST_EVENT_ID);
    }
}
