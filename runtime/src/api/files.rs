//! Uploads: a job's input, streamed to the storage and then entered in the ledger, so that no row names a file that is not
//! there. The name is kept for people and is never part of a path. Read [`crate::storage`] for where the bytes go.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use futures_util::TryStreamExt;
use uuid::Uuid;

use super::auth::Caller;
use super::body::{BodyError, check_encoding, check_length, stream};
use super::download::{Handed, Via, disposition, handed, linked, via};
use super::params::{FileInPath, Params, nothing};
use super::problem::{Answer, Fault, Refusal};
use super::{Api, json, view};
use crate::ledger::File;
use crate::storage::direct::Shown;
use crate::storage::{StorageError, Stored};
use crate::tenant::Tenant;

const MAX_NAME_BYTES: usize = 255;
const MAX_TYPE_BYTES: usize = 255;

pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let name = name(&uri)?;
    check_encoding(&headers)?;
    check_length(&headers, api.settings.max_upload_bytes)?;
    let content_type = content_type(&headers);
    let owner = api.clone();
    // To its end: an upload that breaks off is cleaned away by the code after it, which a dropped handler never reaches.
    let file = api.to_the_end(async move { keep(&owner, caller.tenant, name, content_type, body).await }).await?;
    let location = HeaderValue::try_from(format!("/v1/files/{}", file.id)).map_err(Refusal::internal)?;
    let mut answer = json(StatusCode::CREATED, &view::file(file))?;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    FileInPath(id): FileInPath,
    uri: Uri,
) -> Answer<Response> {
    let file = api.desk(&caller).file(id).await?.ok_or_else(|| nothing("file", &uri))?;
    json(StatusCode::OK, &view::file(file))
}

/// `GET /v1/files/{id}/content`: the bytes themselves.
pub(super) async fn content(
    State(api): State<Arc<Api>>,
    caller: Caller,
    FileInPath(id): FileInPath,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let via = via(&uri)?;
    let file = api.desk(&caller).file(id).await?.ok_or_else(|| nothing("file", &uri))?;
    let File { tenant, name, content_type, bytes, sha256, .. } = &file;
    if via != Via::Us {
        let shown = Shown { disposition: &disposition(name), content_type };
        return linked(&api, via, api.storage.link_to_file(tenant, id, shown).await?);
    }
    let handed_out = Handed { name, content_type, bytes: *bytes, sha256 };
    handed(&headers, handed_out, |range| api.storage.open_file(tenant, id, range)).await
}

async fn keep(api: &Api, tenant: Tenant, name: String, content_type: String, body: Body) -> Answer<File> {
    let id = Uuid::now_v7();
    let Stored { bytes, sha256 } = store(api, &tenant, id, body).await?;
    if bytes == 0 {
        forget(api, &tenant, id).await;
        return Err(Refusal::new(Fault::Malformed, "the body is empty; send the file's bytes as the body"));
    }
    let file = File { id, tenant, name, content_type, bytes, sha256 };
    match api.ask(api.ledger.add_file(&file)).await {
        Ok(()) => Ok(file),
        Err(error) => {
            forget(api, &file.tenant, id).await;
            Err(error.into())
        }
    }
}

async fn store(api: &Api, whose: &Tenant, id: Uuid, body: Body) -> Answer<Stored> {
    let slow = Arc::new(OnceLock::new());
    let noted = slow.clone();
    let body = stream(body, api.settings.body_flow()).inspect_err(move |error| {
        let _ = error.slow().map(|slow| noted.set(slow));
    });
    match (
        api.storage.put_file(whose, id, body, api.settings.max_upload_bytes).await,
        slow.get().and_then(BodyError::slow),
    ) {
        (Err(StorageError::Interrupted(_)), Some(slow)) => Err(slow.into()),
        (answer, _) => Ok(answer?),
    }
}

async fn forget(api: &Api, whose: &Tenant, id: Uuid) {
    if let Err(error) = api.storage.delete_file(whose, id).await {
        tracing::warn!(file.id = %id, %error, "an upload that nobody will ask for stays in the storage");
    }
}

fn name(uri: &Uri) -> Answer<String> {
    let name = Params::read(uri, &["name"])?.get::<String>("name", "text")?.unwrap_or_else(|| "upload".into());
    let rule = format!("must be 1 to {MAX_NAME_BYTES} bytes without control characters");
    Some(name).filter(|name| name_is_valid(name)).ok_or_else(|| Refusal::of_field(Fault::Malformed, "name", rule))
}

fn content_type(headers: &HeaderMap) -> String {
    let told = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    told.filter(|text| type_is_valid(text)).unwrap_or("application/octet-stream").to_owned()
}

/// Whether a file may be called so.
pub(super) fn name_is_valid(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Whether a file's type may be written so: as a header can carry it.
pub(super) fn type_is_valid(text: &str) -> bool {
    (1..=MAX_TYPE_BYTES).contains(&text.len()) && HeaderValue::try_from(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_is_for_people_and_may_be_anything_they_can_read() {
        let named = |query: &str| name(&format!("/v1/files{query}").parse().unwrap());
        assert_eq!(named("").unwrap(), "upload");
        assert_eq!(named("?name=..%2Fetc%2Fpasswd").unwrap(), "../etc/passwd");
        assert_eq!(named(&format!("?name={}", "a".repeat(255))).unwrap().len(), 255);
        for bad in ["?name=", "?name=a%00b", "?name=a%0D%0Ab", "?nam=a", &format!("?name={}", "a".repeat(256))] {
            assert_eq!(named(bad).unwrap_err().fault(), Fault::Malformed, "{bad}");
        }
    }
}
