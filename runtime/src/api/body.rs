//! Reading a request's body: at most so many bytes, and never waiting long for the next one. Bodies are not decompressed.
//! An upload is handed on as a stream and never held; JSON is read whole and an error in it is told with its place.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::problem::{Answer, Fault, Refusal};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("nothing came for {0:?}")]
    TooSlow(Duration),
    #[error("{0}")]
    Broken(axum::Error),
}

/// The body as a stream that fails when nothing comes for `idle`.
pub(super) fn stream(body: Body, idle: Duration) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    futures_util::stream::unfold(Some(body.into_data_stream()), move |open| async move {
        let mut open = open?;
        match tokio::time::timeout(idle, open.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(open))),
            Ok(Some(Err(error))) => Some((Err(BodyError::Broken(error)), None)),
            Err(_) => Some((Err(BodyError::TooSlow(idle)), None)),
        }
    })
}

/// Reads a JSON body.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limit: u64,
    idle: Duration,
) -> Answer<T> {
    check_type(headers)?;
    check_length(headers, limit)?;
    parse(&collect(stream(body, idle), limit).await?)
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
            BodyError::TooSlow(_) => Self::new(Fault::TooSlow, format!("{error}; the body must keep coming")),
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

    const IDLE: Duration = Duration::from_secs(10);

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
        let exact = collect(stream(Body::from("12345"), IDLE), 5).await.unwrap();
        assert_eq!(&exact[..], b"12345");
        assert_eq!(collect(stream(Body::from("123456"), IDLE), 5).await.unwrap_err().fault(), Fault::TooLarge);
        let told = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(6))]);
        assert_eq!(check_length(&told, 5).unwrap_err().fault(), Fault::TooLarge);
        assert!(check_length(&told, 6).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up() {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("12")]);
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        assert_eq!(collect(stream(body, IDLE), 5).await.unwrap_err().fault(), Fault::TooSlow);
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
