//! `POST /v1/files/direct`: a file of known size that its sender puts into the bucket by himself, by a link, and then says that it is
//! there. It is an unfinished upload until then, and expires as one. A storage that is a directory has no links, and the answer says
//! what to use instead. What a link allows is [`crate::storage::direct`]'s.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use longshore_sdk::api::{DirectRequest, DirectView};
use uuid::Uuid;

use super::auth::Caller;
use super::files::{name_is_valid, type_is_valid};
use super::params::{FileInPath, nothing};
use super::problem::{Answer, Fault, Refusal};
use super::uploads::too_many;
use super::{Api, body, json, view};
use crate::clock;
use crate::ledger::File;
use crate::ledger::uploads::{Hold, NewUpload, Stand, Upload};
use crate::storage::direct::MOST_AT_ONCE;
use crate::storage::draft::{Draft, Which};
use crate::storage::{StorageError, Stored};
use crate::tenant::Tenant;

/// How long the completion of a process that died is closed to others.
const LEASE: Duration = Duration::from_secs(10);
const RENEWED_EVERY: Duration = Duration::from_secs(3);

pub(super) async fn begin(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let request: DirectRequest =
        body::json(&headers, body, api.settings.max_body_bytes, api.settings.body_flow()).await?;
    let new = asked(&api, caller.tenant, request)?;
    let which = Which { tenant: &new.tenant, id: new.id, bytes: new.bytes };
    let url = api.storage.link_to_send(which).await?;
    let most = api.limits.most_uploads();
    if !api.ask(api.ledger.begin_upload(&new, most)).await? {
        return Err(too_many(most));
    }
    let expires_at = clock::now().checked_add(api.storage.link_lifetime()).map_err(Refusal::internal)?;
    let complete = format!("/v1/files/{}/complete", new.id);
    let told =
        DirectView { id: new.id.to_string(), method: "PUT".to_owned(), url, bytes: new.bytes, expires_at, complete };
    let mut answer = json(StatusCode::CREATED, &told)?;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

fn asked(api: &Api, tenant: Tenant, request: DirectRequest) -> Answer<NewUpload> {
    let DirectRequest { bytes, name, content_type } = request;
    let most = api.settings.max_upload_bytes.min(MOST_AT_ONCE);
    if !(1..=most).contains(&bytes) {
        return Err(Refusal::of_field(Fault::Invalid, "/bytes", format!("must be from 1 to {most}")));
    }
    let name = name.unwrap_or_else(|| "upload".to_owned());
    if !name_is_valid(&name) {
        return Err(Refusal::of_field(Fault::Invalid, "/name", "must be 1 to 255 bytes without control characters"));
    }
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
    if !type_is_valid(&content_type) {
        return Err(Refusal::of_field(
            Fault::Invalid,
            "/content_type",
            "must be 1 to 255 bytes that a header can carry",
        ));
    }
    let (id, place, lives) = (Uuid::now_v7(), Draft::direct(), life(api));
    Ok(NewUpload { id, tenant, name, content_type, metadata: None, bytes, place, hash: vec![], lives })
}

/// An upload by a link is kept in mind until nobody sends to it any more: what was begun while the link was good has as long as any
/// unfinished upload. What was sent last is removed then.
fn life(api: &Api) -> Duration {
    api.storage.link_lifetime() + api.storage.patience().0
}

/// `POST /v1/files/{id}/complete`: it is there. A repeat is answered as the first.
pub(super) async fn complete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    FileInPath(id): FileInPath,
    uri: Uri,
) -> Answer<Response> {
    let file = match api.desk(&caller).file(id).await? {
        Some(file) => file,
        None => {
            let upload = api.desk(&caller).direct_upload(id).await?.ok_or_else(|| nothing("file", &uri))?;
            let owner = Arc::clone(&api);
            // To its end: who asks again finds it done.
            api.to_the_end(async move { finish(&owner, upload).await }).await?
        }
    };
    let mut answer = json(StatusCode::OK, &view::file(file))?;
    let location = HeaderValue::try_from(format!("/v1/files/{id}")).map_err(Refusal::internal)?;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

/// One at a time takes what was sent: of two that copy, one might measure what the other brings.
async fn finish(api: &Api, upload: Upload) -> Answer<File> {
    let (id, holder) = (upload.id, Uuid::now_v7());
    let upload = match api.ask(api.ledger.hold_upload(id, holder, 0, LEASE)).await? {
        Hold::Granted(upload) => upload,
        Hold::Refused(upload) if upload.done => {
            let file = api.ask(api.ledger.file(id)).await?;
            return file.ok_or_else(|| Refusal::new(Fault::NotFound, "the upload was removed"));
        }
        Hold::Refused(_) => return Err(Refusal::locked()),
        Hold::Unknown => return Err(Refusal::new(Fault::NotFound, "the upload was removed")),
    };
    let stand = upload.stand.clone();
    let taken = tokio::select! {
        taken = take(api, upload) => taken,
        lost = keep_holding(api, id, holder, &stand) => Err(lost),
    };
    if taken.is_err() {
        // Its lease runs out soon by itself.
        let _ = api.ask(api.ledger.save_upload(id, holder, &stand, None, life(api))).await;
    }
    taken
}

/// Renews the lease as long as the copy takes; why that is no longer possible.
async fn keep_holding(api: &Api, id: Uuid, holder: Uuid, stand: &Stand) -> Refusal {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        match api.ask(api.ledger.save_upload(id, holder, stand, Some(LEASE), life(api))).await {
            Ok(true) => {}
            Ok(false) => return Refusal::locked(),
            Err(error) => return error.into(),
        }
    }
}

async fn take(api: &Api, upload: Upload) -> Answer<File> {
    let Upload { id, tenant, name, content_type, bytes, stand, .. } = upload;
    let sent = api.storage.take_sent(Which { tenant: &tenant, id, bytes }).await;
    let nothing_yet =
        || Refusal::new(Fault::UploadIncomplete, "nothing was sent to the link yet; PUT the file there first");
    let Stored { sha256, .. } = match sent {
        Err(StorageError::Missing) => return Err(nothing_yet()),
        sent => sent?,
    };
    let file = File { id, tenant, name, content_type, bytes, sha256 };
    if !api.ask(api.ledger.finish_upload(&file, life(api))).await? {
        api.storage.delete_file(&file.tenant, id).await?;
        return Err(Refusal::new(Fault::NotFound, "the upload was removed"));
    }
    // What was sent has been copied; if this fails, or more is sent while the link is good, the janitor removes it.
    if let Err(error) = api.storage.drop_draft(Which { tenant: &file.tenant, id, bytes }, &stand.place).await {
        tracing::warn!(file.id = %id, %error, "what was sent for a file stays beside it");
    }
    Ok(file)
}
