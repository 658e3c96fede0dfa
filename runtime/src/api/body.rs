//! Reading a request's body: at most so many bytes, never waiting long for the next one, nor for all of them. Bodies are not decompressed.
//! An upload is handed on as a stream and never held; JSON is read whole and an error in it is told with its place.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::problem::{Answer, Fault, Refusal};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("nothing came for {0:?}")]
    TooSlow(Duration),
    #[error("it came slower than {0} bytes a second")]
    Trickles(u32),
    #[error("{0}")]
    Broken(axum::Error),
}

impl BodyError {
    /// The same, where its sender was too slow; else it broke.
    pub(super) fn slow(&self) -> Option<Self> {
        match self {
            Self::TooSlow(idle) => Some(Self::TooSlow(*idle)),
            Self::Trickles(rate) => Some(Self::Trickles(*rate)),
            Self::Broken(_) => None,
        }
    }
}

/// How a body has to come: never nothing for `idle`, and once it is older than that, so many bytes a second on the whole (0: any), so that
/// nobody keeps a place for days with a byte now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) idle: Duration,
    pub(super) rate: u32,
}

impl Flow {
    /// How long to wait for what comes next, after so much came in so much time spent waiting for it; and what it is that runs out.
    fn patience(self, bytes: u64, waited: Duration) -> (Duration, BodyError) {
        let idle = (self.idle, BodyError::TooSlow(self.idle));
        if self.rate == 0 {
            return idle;
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of a body")]
        let earned = Duration::try_from_secs_f64(bytes as f64 / f64::from(self.rate)).unwrap_or(Duration::MAX);
        let left = self.idle.saturating_add(earned).saturating_sub(waited);
        if left < self.idle { (left, BodyError::Trickles(self.rate)) } else { idle }
    }
}

/// A body on its way.
struct Coming {
    body: BodyDataStream,
    bytes: u64,
    /// For its sender alone: a slow disk of ours is not its fault.
    waited: Duration,
}

/// The body as a stream that fails when it does not come so.
pub(super) fn stream(body: Body, flow: Flow) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    let coming = Coming { body: body.into_data_stream(), bytes: 0, waited: Duration::ZERO };
    futures_util::stream::unfold(Some(coming), move |coming| async move {
        let mut coming = coming?;
        let (patience, fault) = flow.patience(coming.bytes, coming.waited);
        let asked = Instant::now();
        match tokio::time::timeout(patience, coming.body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => {
                coming.waited += asked.elapsed();
                coming.bytes += chunk.len() as u64;
                Some((Ok(chunk), Some(coming)))
            }
            Ok(Some(Err(error))) => Some((Err(BodyError::Broken(error)), None)),
            Err(_) => Some((Err(fault), None)),
        }
    })
}

/// Reads a JSON body.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limit: u64, flow: Flow) -> Answer<T> {
    check_type(headers)?;
    check_length(headers, limit)?;
    parse(&collect(stream(body, flow), limit).await?)
}

/// Refuses a body whose own length says that it is over the limit.
pub(super) fn check_length(headers: &HeaderMap, limit: u64) -> Answer<()> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) { Err(too_large(limit)) } else { Ok(()) }
}

/// Refuses a compressed body: its size would say nothing about what comes out of it.
pub(super) fn check_encoding(headers: &HeaderMap) -> Answer<()> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            Err(Refusal::new(Fault::UnsupportedMediaType, "send the body without Content-Encoding"))
        }
        _ => Ok(()),
    }
}

fn check_type(headers: &HeaderMap) -> Answer<()> {
    let is_json = |text: &str| {
        let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
    };
    match headers.get(CONTENT_TYPE) {
        Some(value) if !value.to_str().is_ok_and(is_json) => {
            Err(Refusal::new(Fault::UnsupportedMediaType, "send the body as Content-Type: application/json"))
        }
        _ => check_encoding(headers),
    }
}

async fn collect(body: impl Stream<Item = Result<Bytes, BodyError>>, limit: u64) -> Answer<Bytes> {
    let (mut body, mut whole) = (std::pin::pin!(body), BytesMut::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if (whole.len() + chunk.len()) as u64 > limit {
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

fn too_large(limit: u64) -> Refusal {
    Refusal::new(Fault::TooLarge, format!("at most {limit} bytes are taken; send large inputs with POST /v1/files"))
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooSlow(_) | BodyError::Trickles(_) => {
                Self::new(Fault::TooSlow, format!("{error}; the body must keep coming"))
            }
            BodyError::Broken(_) => Self::new(Fault::Malformed, "the body broke off before its end"),
        }
    }
}

/// JSON text into a value; an error tells its place.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path(), error.inner());
        refuse(error.inner(), pointer)
    })?;
    reader.end().map_err(|error| refuse(&error, None))?;
    // serde takes a list for an object whose fields stand in order.
    match body.trim_ascii_start().starts_with(b"[") {
        true => Err(Refusal::new(Fault::Invalid, "must be an object with named fields, and is a list")),
        false => Ok(read),
    }
}

/// What is no JSON has no readable form; what is JSON of another shape has a field at fault.
fn refuse(error: &serde_json::Error, pointer: Option<String>) -> Refusal {
    match (error.classify(), pointer) {
        (serde_json::error::Category::Data, Some(pointer)) => {
            Refusal::of_field(Fault::Invalid, pointer, format!("is wrong: {error}"))
        }
        (serde_json::error::Category::Data, None) => {
            Refusal::new(Fault::Invalid, format!("the body is wrong: {error}"))
        }
        _ => Refusal::new(Fault::Malformed, format!("the body is no JSON: {error}")),
    }
}

/// The field at fault: where the error arose, or the one that is missing or unknown, which serde names in its text only.
fn pointer(path: &serde_path_to_error::Path, error: &serde_json::Error) -> Option<String> {
    use serde_path_to_error::Segment;
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => index.to_string(),
        Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
        Segment::Enum { variant } => variant.clone(),
        Segment::Unknown => "?".into(),
    };
    let steps: Vec<String> = path.iter().map(step).collect();
    let text = error.to_string();
    let named = ["unknown field `", "missing field `"].iter().find_map(|start| text.strip_prefix(start));
    let last = named.and_then(|rest| rest.split_once('`')).map(|(name, _)| name.to_owned());
    let last = last.filter(|name| steps.last() != Some(name));
    let all: Vec<String> = steps.into_iter().chain(last).collect();
    (!all.is_empty()).then(|| format!("/{}", all.join("/")))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use longshore_sdk::api::SubmitRequest;

    use super::*;

    const FLOW: Flow = Flow { idle: Duration::from_secs(10), rate: 240 };

    fn refused(body: &str) -> Refusal {
        parse::<SubmitRequest>(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_no_json_is_told_with_its_line_and_column() {
        for (body, place) in
            [("{\n  \"kind\": }", "line 2 column 11"), ("", "line 1 column 0"), ("{", "line 1 column 1")]
        {
            let refusal = refused(body);
            assert_eq!(refusal.fault(), Fault::Malformed, "{body}");
            assert!(refusal.problem().detail.contains(place), "{}", refusal.problem().detail);
        }
        assert_eq!(refused(r#"{"kind": "a", "payload": 1} x"#).fault(), Fault::Malformed);
    }

    #[test]
    fn a_list_is_no_object_with_its_fields_in_order() {
        let refusal = refused(r#" ["a", {}]"#);
        assert_eq!(refusal.fault(), Fault::Invalid);
        assert!(refusal.problem().detail.contains("must be an object"), "{}", refusal.problem().detail);
    }

    #[test]
    fn a_field_that_is_unknown_missing_or_of_another_type_is_pointed_at() {
        let cases = [
            (r#"{"kind": "a", "payload": {}, "paylod": 1}"#, "/paylod"),
            (r#"{"payload": {}}"#, "/kind"),
            (r#"{"kind": 1, "payload": {}}"#, "/kind"),
            (r#"{"kind": "a", "payload": {}, "max_attempts": "x"}"#, "/max_attempts"),
            (r#"{"kind": "a", "payload": {}, "run_at": "soon"}"#, "/run_at"),
            (r#"{"kind": "a", "payload": {}, "priority": "urgent"}"#, "/priority"),
        ];
        for (body, pointer) in cases {
            let refusal = refused(body);
            assert_eq!((refusal.fault(), refusal.problem().errors[0].pointer.as_str()), (Fault::Invalid, pointer));
            assert!(refusal.problem().detail.contains("line 1 column"), "{}", refusal.problem().detail);
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_limit_whether_its_length_is_told_or_not() {
        let exact = collect(stream(Body::from("12345"), FLOW), 5).await.unwrap();
        assert_eq!(&exact[..], b"12345");
        assert_eq!(collect(stream(Body::from("123456"), FLOW), 5).await.unwrap_err().fault(), Fault::TooLarge);
        let told = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(6))]);
        assert_eq!(check_length(&told, 5).unwrap_err().fault(), Fault::TooLarge);
        assert!(check_length(&told, 6).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up() {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("12")]);
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        assert_eq!(collect(stream(body, FLOW), 5).await.unwrap_err().fault(), Fault::TooSlow);
    }

    /// So many bytes each time, after so many seconds each time.
    fn coming(bytes: usize, every: u64, times: usize) -> Body {
        let piece = move |_| async move {
            tokio::time::sleep(Duration::from_secs(every)).await;
            Ok::<_, std::io::Error>(vec![b'1'; bytes])
        };
        Body::from_stream(futures_util::stream::iter(0..times).then(piece))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_a_byte_now_and_then_is_given_up_and_a_slow_one_is_not() {
        let began = Instant::now();
        let error = collect(stream(coming(1, 9, 1000), FLOW), 1000).await.unwrap_err();
        assert_eq!(error.fault(), Fault::TooSlow);
        assert!(error.problem().detail.contains("slower than 240 bytes a second"), "{}", error.problem().detail);
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        // A line of 300 bytes a second, which takes an hour.
        let slow = collect(stream(coming(2700, 9, 400), FLOW), 2_000_000).await.unwrap();
        assert_eq!(slow.len(), 2700 * 400);
        let any = Flow { rate: 0, ..FLOW };
        assert_eq!(collect(stream(coming(1, 9, 1000), any), 1000).await.unwrap().len(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_we_take_ourselves_is_nobody_elses() {
        let mut body = std::pin::pin!(stream(coming(1, 0, 20), FLOW));
        let mut came = 0;
        while let Some(chunk) = body.next().await {
            came += chunk.unwrap().len();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        assert_eq!(came, 20);
    }

    #[test]
    fn only_plain_json_is_read() {
        let with = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
            assert!(check_type(&with(CONTENT_TYPE, good)).is_ok(), "{good}");
        }
        assert!(check_type(&HeaderMap::new()).is_ok());
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
            assert_eq!(check_type(&with(CONTENT_TYPE, bad)).unwrap_err().fault(), Fault::UnsupportedMediaType);
        }
        assert_eq!(check_type(&with(CONTENT_ENCODING, "gzip")).unwrap_err().fault(), Fault::UnsupportedMediaType);
    }
}
