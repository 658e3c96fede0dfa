//! `/v1/keys`: a tenant's administrator makes, lists, rotates and revokes its keys; the house's may do so for every tenant. A key is
//! shown once, in the answer that makes it. Read [`crate::keys`] for what one is, [`super::auth`] for how it opens the door.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use longshore_sdk::api::{FieldError, KeyList, KeyMade, KeyRequest, KeyView, RotateRequest};

use super::auth::Caller;
use super::params::nothing;
use super::problem::{Answer, Fault, Refusal};
use super::{Api, body, json};
use crate::keys::{Minted, Scopes};
use crate::ledger::{ApiKey, NewKey};
use crate::tenant::Tenant;

const MAX_NAME_BYTES: usize = 100;
/// A key that is to live longer lives for ever.
const MAX_LIFE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The `{id}` of `/v1/keys/{id}`.
pub(super) struct KeyInPath(String);

impl<S: Send + Sync> FromRequestParts<S> for KeyInPath {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        // PostgreSQL takes no text with a NUL in it, so there is no such key.
        let path = path.filter(|Path(id)| !id.contains('\0'));
        path.map(|Path(id)| Self(id)).ok_or_else(|| nothing("key", &parts.uri))
    }
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let settings = &api.settings;
    let asked: KeyRequest = body::json(&headers, body, settings.max_body_bytes, settings.body_flow()).await?;
    let minted = Minted::fresh().map_err(Refusal::internal)?;
    keep(&api, &caller, new_key(&caller, asked, &minted)?, &minted).await
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Response> {
    let keys = api.ask(api.ledger.keys(caller.governs())).await?;
    json(StatusCode::OK, &KeyList { keys: keys.iter().map(view).collect() })
}

/// A new key like the old one, which stays good for the overlap: time to carry the new one to where it is used.
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    KeyInPath(id): KeyInPath,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let settings = &api.settings;
    let asked: RotateRequest = body::json(&headers, body, settings.max_body_bytes, settings.body_flow()).await?;
    let overlap = asked
        .overlap_seconds
        .map_or(Ok(api.auth.settings.rotation_overlap), |seconds| life("/overlap_seconds", seconds))?;
    let old = api.ask(api.ledger.key(&id)).await?;
    let old = old.filter(|key| caller.governs().is_none_or(|of| key.tenant == *of) && key.is_good());
    let old = old.ok_or_else(|| nothing("key that is good", &uri))?;
    let minted = Minted::fresh().map_err(Refusal::internal)?;
    let new = old.successor(minted.id.clone(), minted.hash);
    let answer = keep(&api, &caller, new, &minted).await?;
    // After the new one is kept: in doubt there are two good keys, never none.
    api.ask(api.ledger.by(caller.actor()).end_key(caller.governs(), &id, Some(overlap))).await?;
    api.auth.keyring.forget(&id);
    Ok(answer)
}

pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    KeyInPath(id): KeyInPath,
    uri: Uri,
) -> Answer<Response> {
    let ended = api.ask(api.ledger.by(caller.actor()).end_key(caller.governs(), &id, None)).await?;
    api.auth.keyring.forget(&id);
    if ended { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(nothing("key", &uri)) }
}

async fn keep(api: &Api, caller: &Caller, new: NewKey, minted: &Minted) -> Answer<Response> {
    api.ask(api.ledger.by(caller.actor()).add_key(&new)).await?;
    let kept = api.ask(api.ledger.key(&new.id)).await?;
    let kept = kept.ok_or_else(|| Refusal::internal("a key was kept and is not there"))?;
    json(StatusCode::CREATED, &KeyMade { key: minted.reveal().to_owned(), view: view(&kept) })
}

fn new_key(caller: &Caller, asked: KeyRequest, minted: &Minted) -> Answer<NewKey> {
    let wrong = |pointer: &str, message: String| FieldError { pointer: pointer.into(), message };
    let tenant = asked.tenant.as_deref().map_or(Ok(caller.tenant.clone()), str::parse::<Tenant>);
    let scopes: Result<Scopes, _> = asked.scopes.join(" ").parse();
    let named = (1..=MAX_NAME_BYTES).contains(&asked.name.len()) && !asked.name.chars().any(char::is_control);
    let errors = [
        tenant.as_ref().err().map(|error| wrong("/tenant", error.to_string())),
        tenant.as_ref().ok().filter(|tenant| caller.governs().is_some_and(|own| own != *tenant)).map(|_| {
            wrong("/tenant", "must be the key's own; only a key of the tenant default may name another".into())
        }),
        scopes.as_ref().err().map(|error| wrong("/scopes", error.to_string())),
        scopes
            .as_ref()
            .ok()
            .filter(|scopes| scopes.is_empty())
            .map(|_| wrong("/scopes", "must have at least one of submit, read, cancel and admin".into())),
        (!named).then(|| wrong("/name", format!("must be 1 to {MAX_NAME_BYTES} bytes without control characters"))),
    ];
    let errors: Vec<FieldError> = errors.into_iter().flatten().collect();
    let lives = asked.expires_in_seconds.map(|seconds| life("/expires_in_seconds", seconds)).transpose()?;
    match (tenant, scopes, errors.first()) {
        (Ok(tenant), Ok(scopes), None) => {
            Ok(NewKey { id: minted.id.clone(), tenant, name: asked.name, scopes, hash: minted.hash, lives })
        }
        (.., first) => {
            let detail = first.map(|first| format!("{} {}", first.pointer, first.message)).unwrap_or_default();
            Err(Refusal::new(Fault::Invalid, detail).with_errors(errors))
        }
    }
}

fn life(pointer: &str, seconds: f64) -> Answer<Duration> {
    let fits = Duration::try_from_secs_f64(seconds).ok().filter(|life| *life <= MAX_LIFE);
    let rule = format!("must be from 0 to {} seconds", MAX_LIFE.as_secs());
    fits.ok_or_else(|| Refusal::of_field(Fault::Invalid, pointer, rule))
}

/// A key as it is shown.
pub(crate) fn view(key: &ApiKey) -> KeyView {
    KeyView {
        id: key.id.clone(),
        tenant: key.tenant.to_string(),
        name: key.name.clone(),
        scopes: key.scopes.each().map(|scope| scope.word().to_owned()).collect(),
        good: key.is_good(),
        created_at: key.created_at,
        expires_at: key.expires_at,
        revoked_at: key.revoked_at,
        last_used_at: key.last_used_at,
    }
}
