//! `/v1/uploads`: files that come in pieces, by tus 1.0.0, from senders whose line breaks. An upload that is whole becomes a file of the
//! same id, as one of `POST /v1/files`; whoever sees a whole one that is no file yet makes it one, so that a process which dies in
//! between costs nothing. What headers mean is [`tus`]'s, how bytes are taken [`append`]'s, where they lie [`crate::storage::draft`]'s.

mod append;
mod tus;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use longshore_sdk::api::UploadView;
use uuid::Uuid;

use self::append::{Sum, append};
use super::auth::Caller;
use super::params::{UploadInPath, nothing};
use super::problem::{Answer, Fault, Refusal};
use super::{Api, body, json};
use crate::ledger::File;
use crate::ledger::uploads::{Dooming, NewUpload, Upload};
use crate::storage::draft::Which;
use crate::sweep;
use crate::tenant::Tenant;

/// `OPTIONS /v1/uploads`: what is spoken here.
pub(super) async fn discover(State(api): State<Arc<Api>>) -> Response {
    let mut answer = StatusCode::OK.into_response();
    let told = [
        (tus::TUS_VERSION, tus::SPOKEN),
        (tus::TUS_EXTENSION, HeaderValue::from_static(tus::EXTENSIONS)),
        (tus::TUS_MAX_SIZE, api.settings.max_upload_bytes.into()),
        (tus::TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(tus::ALGORITHMS)),
    ];
    answer.headers_mut().extend(told);
    answer
}

/// `POST /v1/uploads`: an upload, with nothing of it yet.
pub(super) async fn create(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap) -> Answer<Response> {
    tus::speaks(&headers)?;
    let asked = tus::creation(&headers, api.settings.max_upload_bytes, api.settings.max_metadata_bytes)?;
    let owner = Arc::clone(&api);
    // To its end: a place in the storage that no ledger knows of would stay for ever.
    let upload = api.to_the_end(async move { enter(&owner, caller.tenant, asked).await }).await?;
    let mut answer = json(StatusCode::CREATED, &view(&upload))?;
    let location = HeaderValue::try_from(format!("/v1/uploads/{}", upload.id)).map_err(Refusal::internal)?;
    answer.headers_mut().insert(LOCATION, location);
    answer.headers_mut().insert(tus::UPLOAD_EXPIRES, date(upload.expires_at)?);
    Ok(answer)
}

async fn enter(api: &Api, tenant: Tenant, asked: tus::Creation) -> Answer<Upload> {
    let tus::Creation { bytes, name, content_type, metadata } = asked;
    let id = Uuid::now_v7();
    let which = Which { tenant: &tenant, id, bytes };
    let place = api.storage.begin_draft(which).await?;
    let (lives, _) = api.storage.patience();
    let hash = Sum::default().state();
    let tenant = tenant.clone();
    let new = NewUpload { id, tenant, name, content_type, metadata, bytes, place: place.clone(), hash, lives };
    let most = api.limits.most_uploads();
    let entered = match api.ask(api.ledger.begin_upload(&new, most)).await {
        Ok(true) => api.ask(api.ledger.upload(id)).await.map_err(Refusal::from),
        Ok(false) => Err(too_many(most)),
        Err(error) => Err(error.into()),
    };
    match entered {
        Ok(Some(upload)) => Ok(upload),
        other => {
            // If the ledger has it after all, it expires as any other.
            let gone = api.storage.drop_draft(Which { tenant: &new.tenant, id, bytes }, &place).await;
            if let Err(error) = gone {
                tracing::warn!(upload.id = %id, %error, "the place of an upload that was refused stays in the storage");
            }
            other.and_then(|_| Err(Refusal::internal("an upload was gone as soon as it was made")))
        }
    }
}

pub(super) fn too_many(most: u64) -> Refusal {
    let detail = format!("the tenant has {most} unfinished uploads, which is all it may have; finish or DELETE some");
    Refusal::new(Fault::QuotaExceeded, detail).after(std::time::Duration::from_secs(60))
}

/// `GET /v1/uploads/{id}`, and `HEAD`, by which senders ask where to go on.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    UploadInPath(id): UploadInPath,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    if method == Method::HEAD {
        tus::speaks(&headers)?;
    }
    let upload = api.desk(&caller).upload(id).await?.ok_or_else(|| nothing("upload", &uri))?;
    let upload = if upload.is_whole() && !upload.done { finish(&api, upload).await? } else { upload };
    let mut answer = json(StatusCode::OK, &view(&upload))?;
    let told = answer.headers_mut();
    told.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    told.insert(tus::UPLOAD_LENGTH, upload.bytes.into());
    told.extend(standing(&upload)?);
    if let Some(notes) = upload.metadata.and_then(|text| HeaderValue::try_from(text).ok()) {
        told.insert(tus::UPLOAD_METADATA, notes);
    }
    Ok(answer)
}

/// `PATCH /v1/uploads/{id}`: the next bytes.
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    caller: Caller,
    UploadInPath(id): UploadInPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    tus::speaks(&headers)?;
    let chunk = tus::chunk(&headers)?;
    body::check_encoding(&headers)?;
    let upload = api.desk(&caller).upload(id).await?.ok_or_else(|| nothing("upload", &uri))?;
    tus::judge(&chunk, upload.stand.received, upload.bytes)?;
    let owner = Arc::clone(&api);
    // To its end: what came before the line broke is kept by the code behind the body, which a dropped handler never reaches.
    let taken = async move {
        let upload = if upload.is_whole() { upload } else { append(&owner, upload, chunk, body).await? };
        if upload.is_whole() && !upload.done { finish(&owner, upload).await } else { Ok(upload) }
    };
    let upload = api.to_the_end(taken).await?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    answer.headers_mut().extend(standing(&upload)?);
    Ok(answer)
}

/// `DELETE /v1/uploads/{id}`: the upload goes, and its file if it is one that no job has named.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    UploadInPath(id): UploadInPath,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    tus::speaks(&headers)?;
    match api.desk(&caller).doom_upload(id).await? {
        Dooming::Unknown => return Err(nothing("upload", &uri)),
        Dooming::InUse => return Err(Refusal::new(Fault::FileInUse, "the upload is a file, and a job has named it")),
        Dooming::Doomed(upload) => {
            let owner = Arc::clone(&api);
            // It is gone for everybody already; what fails here is the janitor's to do again.
            let swept = async move {
                if let Err(error) = sweep::upload(owner.ledger.as_ref(), &owner.storage, &upload).await {
                    tracing::warn!(upload.id = %upload.id, %error, "the bytes of a removed upload are left to the janitor");
                }
                Ok(())
            };
            api.to_the_end(swept).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/uploads/{id}`: a PATCH or a DELETE of somebody whose network lets neither pass.
pub(super) async fn stand_in(
    state: State<Arc<Api>>,
    caller: Caller,
    id: UploadInPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    match tus::meant(&headers)? {
        tus::Meant::Patch => patch(state, caller, id, uri, headers, body).await,
        tus::Meant::Delete => remove(state, caller, id, uri, headers).await,
    }
}

/// A whole upload becomes a file. Two at once do no harm, nor does one again.
async fn finish(api: &Arc<Api>, upload: Upload) -> Answer<Upload> {
    let Upload { id, tenant, name, content_type, bytes, .. } = upload.clone();
    let sha256 = Sum::of(&upload.stand.hash)?.hex();
    api.storage.finish_draft(Which { tenant: &tenant, id, bytes }, &upload.stand.place).await?;
    let (shown, _) = api.storage.patience();
    let file = File { id, tenant, name, content_type, bytes, sha256 };
    if api.ask(api.ledger.finish_upload(&file, shown)).await? {
        return Ok(Upload { done: true, ..upload });
    }
    // Removed while it became a file: nobody will ask for it.
    api.storage.delete_file(&file.tenant, id).await?;
    Err(Refusal::new(Fault::NotFound, "the upload was removed"))
}

/// Where it stands, and how long that is kept.
fn standing(upload: &Upload) -> Answer<Vec<(HeaderName, HeaderValue)>> {
    let offset = (tus::UPLOAD_OFFSET, HeaderValue::from(upload.stand.received));
    Ok(match upload.done {
        true => vec![offset],
        false => vec![offset, (tus::UPLOAD_EXPIRES, date(upload.expires_at)?)],
    })
}

fn view(upload: &Upload) -> UploadView {
    UploadView {
        id: upload.id.to_string(),
        name: upload.name.clone(),
        content_type: upload.content_type.clone(),
        bytes: upload.bytes,
        received: upload.stand.received,
        complete: upload.done,
        expires_at: upload.expires_at,
    }
}

/// As HTTP writes a moment.
fn date(at: Timestamp) -> Answer<HeaderValue> {
    HeaderValue::try_from(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).map_err(Refusal::internal)
}

/// Every answer of these calls says which tus it is.
pub(super) async fn spoken(mut answer: Response) -> Response {
    answer.headers_mut().insert(tus::RESUMABLE, tus::SPOKEN);
    answer
}
