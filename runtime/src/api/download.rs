//! How a stored file is handed to a caller: its bytes through us, whole or in part, or a link to where they lie. A browser is told to save
//! what it gets and to believe its type, never to show it. Who may have it is the handlers' to say.
//! Read [`super::range`] for the parts, [`crate::storage::direct`] for links.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use longshore_sdk::api::LinkView;

use super::params::Params;
use super::problem::{Answer, Fault, Refusal};
use super::range::{Part, part};
use super::{Api, json};
use crate::clock;
use crate::storage::{Content, StorageError};

/// How a caller wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// The bytes, through us.
    Us,
    /// Sent on to where they lie.
    Redirect,
    /// Told where they lie.
    Link,
}

/// What a download's query says.
pub(super) fn via(uri: &Uri) -> Answer<Via> {
    match Params::read(uri, &["via"])?.get::<String>("via", "text")?.as_deref() {
        None => Ok(Via::Us),
        Some("redirect") => Ok(Via::Redirect),
        Some("link") => Ok(Via::Link),
        Some(_) => {
            Err(Refusal::of_field(Fault::Malformed, "via", "must be redirect or link, or left out for the bytes"))
        }
    }
}

/// A file as it is handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handed<'a> {
    pub(super) name: &'a str,
    pub(super) content_type: &'a str,
    pub(super) bytes: u64,
    pub(super) sha256: &'a str,
}

/// A link's answer, for who asked to be sent on or to be told.
pub(super) fn linked(api: &Api, via: Via, url: String) -> Answer<Response> {
    let mut answer = match via {
        Via::Link => {
            let lifetime = api.storage.link_lifetime();
            let expires_at = clock::now().checked_add(lifetime).map_err(Refusal::internal)?;
            json(StatusCode::OK, &LinkView { url, expires_at })?
        }
        Via::Us | Via::Redirect => {
            let location = HeaderValue::try_from(url).map_err(Refusal::internal)?;
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response()
        }
    };
    // Whoever has the link has the file.
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// The bytes, or the part of them that was asked for.
pub(super) async fn handed<F: Future<Output = Result<Content, StorageError>>>(
    headers: &HeaderMap,
    file: Handed<'_>,
    open: impl FnOnce(Option<Range<u64>>) -> F,
) -> Answer<Response> {
    let tag = format!("\"{}\"", file.sha256);
    if header(headers, IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    // A part of another version than the caller holds would be glued to the wrong rest.
    let same = header(headers, IF_RANGE).is_none_or(|known| known == tag);
    let (status, range) = match part(header(headers, RANGE).filter(|_| same), file.bytes) {
        Part::Nothing => return Err(Refusal::no_such_part(file.bytes)),
        Part::Whole => (StatusCode::OK, None),
        Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
    };
    let content = open(range.clone()).await?;
    let length = range.as_ref().map_or(file.bytes, |range| range.end - range.start);
    let mut answer = (status, Body::from_stream(content)).into_response();
    let place = range.map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, file.bytes));
    for (name, value) in describe(file, &tag, length, place)? {
        answer.headers_mut().insert(name, value);
    }
    Ok(answer)
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn describe(file: Handed<'_>, tag: &str, length: u64, place: Option<String>) -> Answer<Vec<(HeaderName, HeaderValue)>> {
    let value = |text: String| HeaderValue::try_from(text).map_err(Refusal::internal);
    // Somebody else chose the type; one that no header can carry is no reason to withhold the bytes.
    let media = HeaderValue::try_from(file.content_type);
    let mut all = vec![
        (CONTENT_TYPE, media.unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))),
        (CONTENT_LENGTH, length.into()),
        (ETAG, value(tag.to_owned())?),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CONTENT_DISPOSITION, value(disposition(file.name))?),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
    ];
    if let Some(place) = place {
        all.push((CONTENT_RANGE, value(place)?));
    }
    Ok(all)
}

/// Saved under this name (RFC 6266): plain as it is, any other with its bytes spelt out.
pub(super) fn disposition(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.bytes().all(plain) {
        return format!("attachment; filename=\"{name}\"");
    }
    let spelt: String = name
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("attachment; filename*=UTF-8''{spelt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_sort_is_one_that_a_header_can_carry() {
        assert_eq!(disposition("out-1.txt"), "attachment; filename=\"out-1.txt\"");
        assert_eq!(disposition("a \"b\"/é"), "attachment; filename*=UTF-8''a%20%22b%22%2F%C3%A9");
    }

    #[test]
    fn a_download_comes_through_us_unless_something_else_is_asked_for() {
        let asked = |query: &str| via(&format!("/v1/files/x/content{query}").parse().unwrap());
        assert_eq!(asked("").unwrap(), Via::Us);
        assert_eq!((asked("?via=redirect").unwrap(), asked("?via=link").unwrap()), (Via::Redirect, Via::Link));
        for odd in ["?via=", "?via=us", "?vai=link"] {
            assert_eq!(asked(odd).unwrap_err().fault(), Fault::Malformed, "{odd}");
        }
    }
}
