//! Downloads of a completed job's output files, whole or in part. Nothing of an attempt that did not complete its job is
//! ever served, and a browser is told to save what it gets and to believe its type, never to show it.
//! Read [`super::range`] for the parts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use longshore_sdk::Artifact;

use super::Api;
use super::auth::Caller;
use super::params::{ArtifactInPath, nothing};
use super::problem::{Answer, Refusal};
use super::range::{Part, part};
use crate::job::state::State as JobState;
use crate::ledger::Job;

pub(super) async fn download(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ArtifactInPath(id, name): ArtifactInPath,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let found = api.desk(&caller).job(id).await?.and_then(|job| Some((published(&job, &name)?, job)));
    let (artifact, job) = found.ok_or_else(|| nothing("artifact", &uri))?;
    let tag = format!("\"{}\"", artifact.sha256);
    if header(&headers, IF_NONE_MATCH).is_some_and(|known| known == "*" || known.contains(&tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
    }
    // A part of another version than the caller holds would be glued to the wrong rest.
    let same = header(&headers, IF_RANGE).is_none_or(|known| known == tag);
    let (status, range) = match part(header(&headers, RANGE).filter(|_| same), artifact.bytes) {
        Part::Nothing => return Err(Refusal::no_such_part(artifact.bytes)),
        Part::Whole => (StatusCode::OK, None),
        Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
    };
    let content = api.storage.open_artifact(id, job.attempt, &name, range.clone()).await?;
    let length = range.as_ref().map_or(artifact.bytes, |range| range.end - range.start);
    let mut answer = (status, Body::from_stream(content)).into_response();
    let place = range.map(|range| format!("bytes {}-{}/{}", range.start, range.end - 1, artifact.bytes));
    for (name, value) in describe(&artifact, &tag, length, place)? {
        answer.headers_mut().insert(name, value);
    }
    Ok(answer)
}

fn published(job: &Job, name: &str) -> Option<Artifact> {
    let completed = job.state == JobState::Completed;
    job.artifacts.iter().find(|artifact| completed && artifact.name == name).cloned()
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn describe(
    artifact: &Artifact,
    tag: &str,
    length: u64,
    place: Option<String>,
) -> Answer<Vec<(HeaderName, HeaderValue)>> {
    let value = |text: String| HeaderValue::try_from(text).map_err(Refusal::internal);
    // The executor chose the type; one that no header can carry is no reason to withhold the bytes.
    let media = HeaderValue::try_from(&artifact.content_type);
    let mut all = vec![
        (CONTENT_TYPE, media.unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))),
        (CONTENT_LENGTH, length.into()),
        (ETAG, value(tag.to_owned())?),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        // The name's alphabet needs no quoting beyond the quotes.
        (CONTENT_DISPOSITION, value(format!("attachment; filename=\"{}\"", artifact.name))?),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
    ];
    if let Some(place) = place {
        all.push((CONTENT_RANGE, value(place)?));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view::tests::full;

    #[test]
    fn only_a_completed_jobs_own_artifacts_are_published() {
        for state in JobState::ALL {
            let found = published(&full(state), "out.txt").is_some();
            assert_eq!(found, state == JobState::Completed, "{state:?}");
        }
        assert_eq!(published(&full(JobState::Completed), "other.txt"), None);
    }
}
