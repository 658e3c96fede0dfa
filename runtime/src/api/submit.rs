//! `POST /v1/jobs`: check, accept, answer 202 (or 200 to those who prefer to wait and see the end). What cannot run is
//! refused before the ledger hears of it, with every field at fault. Read [`accept`] for what happens to the rest, [`batch`]
//! for many at once, [`super::schemas`] for the payload's check.

mod accept;
pub(super) mod batch;
mod idempotency;
mod inputs;
mod prefer;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use longshore_sdk::JobId;
use longshore_sdk::api::{FieldError, SubmitRequest};
use serde_json::Value;
use tokio::time::Instant;

use self::accept::{Accepted, By, accept};
use super::auth::Caller;
use super::desk::Desk;
use super::jobs::{settled_or_late, whole};
use super::params::{CORRELATION_ID_RULE, correlation_id_is_valid};
use super::problem::{Answer, Fault, Refusal};
use super::request::Asked;
use super::schemas::Known;
use super::webhooks::{hook, hook_errors};
use super::{Api, ApiSettings, body, json, view};
use crate::clock;
use crate::ledger::{Job, NewJob, Priority, RunAt};
use crate::metrics;
use crate::metrics::labels::Submit;
use crate::notify::webhook::WebhookSettings;
use crate::tenant::Tenant;

pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Extension(asked): Extension<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let (key, wait) = (idempotency::key(&headers)?, prefer::wait(&headers));
    let settings = &api.settings;
    let request: SubmitRequest = body::json(&headers, body, settings.max_body_bytes, settings.body_flow()).await?;
    let accepted = take(&api, &caller.tenant, request, key, &asked).await?;
    let mut answer = match wait {
        Some(wait) => awaited(&api.desk(&caller), accepted.job, wait.min(settings.max_wait)).await?,
        None => told(&accepted.job)?,
    };
    let found = match accepted.by {
        By::This => None,
        By::Earlier => Some("idempotent-replayed"),
        By::Other => Some("unique-key-held"),
    };
    if let Some(header) = found {
        answer.headers_mut().insert(header, HeaderValue::from_static("true"));
    }
    Ok(answer)
}

async fn take(
    api: &Arc<Api>,
    whose: &Tenant,
    request: SubmitRequest,
    key: Option<String>,
    asked: &Asked,
) -> Answer<Accepted> {
    let kind = request.kind.clone();
    let accepted = match prepare(&api.desk_of(whose), request, key, asked, Instant::now()).await {
        Ok(job) => {
            let owner = Arc::clone(api);
            api.to_the_end(async move { accept(&owner, job).await }).await
        }
        Err(refusal) => Err(refusal),
    };
    count(&kind, &accepted);
    accepted
}

/// One that found a job by a key made none; what is not the caller's fault may go well another time.
fn count(kind: &str, accepted: &Answer<Accepted>) {
    let result = match accepted {
        Ok(Accepted { by: By::Earlier | By::Other, .. }) => return,
        Ok(_) => Submit::Accepted,
        Err(refusal) if refusal.is_callers() => Submit::Refused,
        Err(_) => Submit::Unavailable,
    };
    metrics::ours().submitted(kind, result);
}

/// Checks what is asked for, before the ledger hears of it.
async fn prepare(
    desk: &Desk<'_>,
    mut request: SubmitRequest,
    key: Option<String>,
    asked: &Asked,
    at: Instant,
) -> Answer<NewJob> {
    let api = desk.api;
    api.has_room(desk.tenant, key.as_deref()).await?;
    let lives = api.settings.idempotency_ttl;
    let idempotency = key.map(|key| idempotency::of(key, &request, lives)).transpose()?;
    request.correlation_id.get_or_insert_with(|| asked.id.clone());
    let known = api.schemas.get(&request.kind, at, api.ledger.as_ref()).await?;
    let new = new_job(request, &known, &api.settings, &api.webhooks)?;
    inputs::keep(desk, new.id, &new.payload).await?;
    Ok(NewJob { tenant: desk.tenant.clone(), idempotency, trace: asked.trace.clone(), ..new })
}

/// 202: it is written down.
fn told(job: &Job) -> Answer<Response> {
    let now = clock::now();
    let mut answer = json(StatusCode::ACCEPTED, &view::job(job, &[], now))?;
    answer.headers_mut().insert(LOCATION, location(job)?);
    answer.headers_mut().insert(RETRY_AFTER, view::ask_again(job, now).unwrap_or(1).into());
    Ok(answer)
}

/// 200 with the job's end if that comes within `wait`, else 202. Who hangs up meanwhile has submitted all the same.
async fn awaited(desk: &Desk<'_>, job: Job, wait: Duration) -> Answer<Response> {
    let api = desk.api;
    let job = match settled_or_late(desk, job.id, wait).await {
        Ok(found) => found.unwrap_or(job),
        // The job is accepted; that its end cannot be seen now is no reason to say otherwise.
        Err(error) => {
            let (attempt, correlation_id) = accept::named(&job);
            tracing::warn!(job.id = %job.id, job.kind = job.kind, attempt, correlation_id, %error, "accepted, but its end cannot be awaited");
            job
        }
    };
    let mut answer = if job.state.is_terminal() { whole(api, StatusCode::OK, &job).await? } else { told(&job)? };
    answer.headers_mut().insert(LOCATION, location(&job)?);
    let applied = HeaderValue::try_from(format!("wait={}", wait.as_secs())).map_err(Refusal::internal)?;
    answer.headers_mut().insert("preference-applied", applied);
    Ok(answer)
}

fn location(job: &Job) -> Answer<HeaderValue> {
    HeaderValue::try_from(view::address(job.id)).map_err(Refusal::internal)
}

/// The job that a request asks for, or everything that is wrong with it.
fn new_job(
    request: SubmitRequest,
    known: &Known,
    settings: &ApiSettings,
    webhooks: &WebhookSettings,
) -> Answer<NewJob> {
    let payload = payload_errors(&request, known);
    let fault = if payload.is_empty() { Fault::Invalid } else { Fault::InvalidPayload };
    let errors: Vec<FieldError> = payload.into_iter().chain(option_errors(&request, settings, webhooks)).collect();
    if let Some(first) = errors.first() {
        let detail = format!("{} {}", first.pointer, first.message);
        return Err(Refusal::new(fault, detail).with_errors(errors));
    }
    let policy = &known.kind.policy;
    Ok(NewJob {
        id: JobId::fresh(),
        tenant: Tenant::default(),
        kind: request.kind,
        payload: request.payload,
        priority: request.priority.map_or(Priority::Normal, priority),
        max_attempts: request.max_attempts.unwrap_or(policy.max_attempts),
        timeout: request.timeout_seconds.map_or(policy.timeout, Duration::from_secs_f64),
        run_at: run_at(request.run_at, request.delay_seconds),
        metadata: request
            .metadata
            .map(|notes| serde_json::value::to_raw_value(&notes))
            .transpose()
            .map_err(Refusal::internal)?,
        correlation_id: request.correlation_id,
        trace: None,
        unique_key: request.unique_key,
        webhook: request.webhook.map(hook),
        idempotency: None,
    })
}

fn priority(asked: longshore_sdk::api::Priority) -> Priority {
    match asked {
        longshore_sdk::api::Priority::High => Priority::High,
        longshore_sdk::api::Priority::Normal => Priority::Normal,
        longshore_sdk::api::Priority::Low => Priority::Low,
    }
}

/// A moment before 1970 is as past as any, and no ledger has to be able to hold it.
fn run_at(moment: Option<Timestamp>, delay_seconds: Option<f64>) -> Option<RunAt> {
    let moment = moment.map(|moment| RunAt::At(moment.max(Timestamp::UNIX_EPOCH)));
    moment.or(delay_seconds.filter(|delay| *delay > 0.0).map(|delay| RunAt::After(Duration::from_secs_f64(delay))))
}

fn payload_errors(request: &SubmitRequest, known: &Known) -> Vec<FieldError> {
    match serde_json::from_str::<Value>(request.payload.get()) {
        Err(error) => vec![wrong("/payload", format!("cannot be read: {error}"))],
        Ok(payload) if holds_nul(&payload) => vec![wrong("/payload", "holds a NUL character, which cannot be stored")],
        Ok(payload) => known.violations(&payload),
    }
}

fn option_errors(request: &SubmitRequest, settings: &ApiSettings, webhooks: &WebhookSettings) -> Vec<FieldError> {
    let checks = [
        (request.run_at.is_some() && request.delay_seconds.is_some())
            .then(|| wrong("/delay_seconds", "and `run_at` exclude each other")),
        seconds_error("/delay_seconds", request.delay_seconds, 0.0, settings.max_delay),
        seconds_error("/timeout_seconds", request.timeout_seconds, 0.001, settings.max_timeout),
        (!request.max_attempts.is_none_or(|asked| (1..=settings.max_attempts).contains(&asked)))
            .then(|| wrong("/max_attempts", format!("must be from 1 to {}", settings.max_attempts))),
        (!request.correlation_id.as_deref().is_none_or(correlation_id_is_valid))
            .then(|| wrong("/correlation_id", CORRELATION_ID_RULE)),
        (!request.unique_key.as_deref().is_none_or(idempotency::key_is_valid))
            .then(|| wrong("/unique_key", "must be 1 to 255 visible ASCII characters")),
        metadata_error(request, settings.max_metadata_bytes),
    ];
    let of_hook = request.webhook.iter().flat_map(|asked| hook_errors(asked, webhooks));
    checks.into_iter().flatten().chain(of_hook).collect()
}

fn seconds_error(pointer: &str, asked: Option<f64>, least: f64, most: Duration) -> Option<FieldError> {
    let most = most.as_secs_f64();
    let fits = asked.is_none_or(|asked| (least..=most).contains(&asked));
    (!fits).then(|| wrong(pointer, format!("must be from {least} to {most} seconds")))
}

fn metadata_error(request: &SubmitRequest, limit: usize) -> Option<FieldError> {
    let notes = Value::Object(request.metadata.clone()?);
    match notes.to_string().len() {
        bytes if bytes > limit => Some(wrong("/metadata", format!("has {bytes} bytes as JSON, more than {limit}"))),
        _ if holds_nul(&notes) => Some(wrong("/metadata", "holds a NUL character, which cannot be stored")),
        _ => None,
    }
}

/// PostgreSQL's `jsonb` and `text` hold no NUL. The parser has limited the depth already.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn wrong(pointer: &str, message: impl Into<String>) -> FieldError {
    FieldError { pointer: pointer.into(), message: message.into() }
}

#[cfg(test)]
mod tests;
