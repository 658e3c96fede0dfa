//! What a request says outside its body: identifiers in the path, the query, headers. A parameter nobody reads is
//! refused, because a misspelt one would otherwise be ignored in silence; an id that is no id is simply not found.
//! Read [`super::body`] for the body.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use longshore_sdk::JobId;
use longshore_sdk::context::artifact_name_is_valid;
use uuid::Uuid;

use super::problem::{Answer, Fault, Refusal};

/// A longer id is refused: it travels in message properties that hold 255 bytes.
const MAX_CORRELATION_ID_BYTES: usize = 128;

/// The `{id}` of `/v1/jobs/{id}`.
pub(super) struct JobInPath(pub(super) JobId);

/// The `{id}` and `{name}` of `/v1/jobs/{id}/artifacts/{name}`.
pub(super) struct ArtifactInPath(pub(super) JobId, pub(super) String);

/// The `{id}` of `/v1/files/{id}`.
pub(super) struct FileInPath(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for JobInPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        path.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(|| nothing("job", &parts.uri))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ArtifactInPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await.ok();
        let read = |Path((id, name)): Path<(String, String)>| Some(Self(id.parse().ok()?, name));
        let named = path.and_then(read).filter(|Self(_, name)| artifact_name_is_valid(name));
        named.ok_or_else(|| nothing("artifact", &parts.uri))
    }
}

/// The `{id}` of `/v1/webhooks/{id}`.
pub(super) struct WebhookInPath(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for WebhookInPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        path.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(|| nothing("webhook", &parts.uri))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FileInPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        path.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(|| nothing("file", &parts.uri))
    }
}

/// The `{id}` of `/v1/uploads/{id}`.
pub(super) struct UploadInPath(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for UploadInPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        path.and_then(|Path(id)| id.parse().ok()).map(Self).ok_or_else(|| nothing("upload", &parts.uri))
    }
}

/// There is no such thing at this address.
pub(super) fn nothing(what: &str, uri: &Uri) -> Refusal {
    Refusal::new(Fault::NotFound, format!("no {what} has this address")).about(uri.path())
}

/// The query's parameters, each known and given once.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads the query of a call that knows these parameters.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Answer<Self> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Refusal::new(Fault::Malformed, format!("the query cannot be read: {error}")))?;
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let message = format!("is no parameter of this call; it knows {}", known.join(", "));
                return Err(Refusal::of_field(Fault::Malformed, name, message));
            }
            // No ledger could look for it.
            if value.contains('\0') {
                return Err(Refusal::of_field(Fault::Malformed, name, "has a NUL in it"));
            }
            if params.insert(name.clone(), value).is_some() {
                return Err(Refusal::of_field(Fault::Malformed, name, "is given twice"));
            }
        }
        Ok(Self(params))
    }

    /// Up to `most` values of one parameter, with commas between them; `wanted` says what would be right.
    pub(super) fn list<T: FromStr>(&self, name: &str, most: usize, wanted: &str) -> Answer<Vec<T>> {
        let Some(text) = self.0.get(name) else { return Ok(vec![]) };
        let read = |part: &str| Some(part).filter(|part| !part.is_empty()).and_then(|part| part.parse().ok());
        let values: Option<Vec<T>> = text.split(',').map(read).collect();
        let values = values.filter(|values| values.len() <= most);
        values.ok_or_else(|| Refusal::of_field(Fault::Malformed, name, format!("must be {wanted}")))
    }

    /// One parameter; `wanted` says what would be right.
    pub(super) fn get<T: FromStr>(&self, name: &str, wanted: &str) -> Answer<Option<T>> {
        let read = |text: &String| {
            text.parse().map_err(|_| Refusal::of_field(Fault::Malformed, name, format!("must be {wanted}")))
        };
        self.0.get(name).map(read).transpose()
    }
}

/// What a correlation id must be, for people.
pub(super) const CORRELATION_ID_RULE: &str = "must be 1 to 128 visible ASCII characters";

/// Whether it can travel in headers, logs and message properties as it is.
pub(super) fn correlation_id_is_valid(id: &str) -> bool {
    (1..=MAX_CORRELATION_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Answer<Params> {
        Params::read(&format!("/v1/jobs?{query}").parse().unwrap(), &["wait", "limit"])
    }

    #[test]
    fn a_known_parameter_is_read() {
        let params = read("wait=5").unwrap();
        assert_eq!(params.get::<u64>("wait", "a number").unwrap(), Some(5));
        assert_eq!(params.get::<u64>("limit", "a number").unwrap(), None);
    }

    #[test]
    fn a_value_that_no_ledger_can_look_for_is_refused() {
        assert_eq!(read("wait=%00").unwrap_err().problem().errors[0].pointer, "wait");
    }

    #[test]
    fn several_values_of_a_parameter_stand_between_commas() {
        let list = |query: &str| read(query).unwrap().list::<u64>("wait", 3, "numbers");
        assert_eq!((list("wait=5,6").unwrap(), list("limit=1").unwrap()), (vec![5, 6], vec![]));
        for odd in ["wait=", "wait=5,", "wait=5,x", "wait=1,2,3,4"] {
            assert_eq!(list(odd).unwrap_err().problem().errors[0].pointer, "wait", "{odd}");
        }
    }

    #[test]
    fn a_parameter_that_is_unknown_doubled_or_unreadable_is_named() {
        let named = |answer: Answer<()>| answer.unwrap_err().problem().errors[0].pointer.clone();
        assert_eq!(named(read("wiat=5").map(drop)), "wiat");
        assert_eq!(named(read("wait=5&wait=6").map(drop)), "wait");
        for odd in ["-1", "1.5", "abc", "", "99999999999999999999999"] {
            let params = read(&format!("wait={odd}")).unwrap();
            assert_eq!(named(params.get::<u64>("wait", "a number").map(drop)), "wait", "{odd}");
        }
    }
}
