//! `POST /v1/jobs`: check, insert, publish, answer 202. Once the insert is committed the job is accepted, whatever the
//! broker does: a publish that fails leaves the job to the relay. What cannot run is refused before the insert, with every
//! field at fault. Read [`super::schemas`] for the payload's check.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use longshore_sdk::JobId;
use longshore_sdk::api::{FieldError, SubmitRequest};
use serde_json::Value;

use super::params::{CORRELATION_ID_RULE, correlation_id_is_valid, request_id};
use super::problem::{Answer, Fault, Refusal};
use super::schemas::Known;
use super::{Api, ApiSettings, body, json, view};
use crate::broker::{BrokerError, JobMessage, Lane};
use crate::clock;
use crate::ledger::{Job, LedgerError, NewJob, Priority, RunAt};
use crate::metrics;
use crate::metrics::labels::Submit;

pub(super) async fn submit(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Answer<Response> {
    let fresh_id = request_id(&headers)?;
    let settings = &api.settings;
    let mut request: SubmitRequest = body::json(&headers, body, settings.max_body_bytes, settings.body_idle).await?;
    request.correlation_id.get_or_insert(fresh_id);
    let kind = request.kind.clone();
    let job = take(&api, request).await;
    metrics::ours().submitted(&kind, result(&job));
    accepted(&job?)
}

async fn take(api: &Arc<Api>, request: SubmitRequest) -> Answer<Job> {
    let known = api.schemas.get(&request.kind, api.ledger.as_ref()).await?;
    let job = new_job(request, &known, &api.settings)?;
    let owner = Arc::clone(api);
    api.to_the_end(async move { accept(&owner, job).await }).await
}

/// What is not the caller's fault may go well another time.
fn result(job: &Answer<Job>) -> Submit {
    match job {
        Ok(_) => Submit::Accepted,
        Err(refusal) if refusal.is_callers() => Submit::Refused,
        Err(_) => Submit::Unavailable,
    }
}

fn accepted(job: &Job) -> Answer<Response> {
    let now = clock::now();
    let mut answer = json(StatusCode::ACCEPTED, &view::job(job, &[], now))?;
    let location = HeaderValue::try_from(view::address(job.id)).map_err(Refusal::internal)?;
    answer.headers_mut().insert(LOCATION, location);
    answer.headers_mut().insert(RETRY_AFTER, view::ask_again(job, now).unwrap_or(1).into());
    Ok(answer)
}

/// Inserts the job and puts it on the road. From the commit on it ends well.
async fn accept(api: &Api, job: NewJob) -> Answer<Job> {
    let job = insert(api, job).await?;
    // A job that is not queued is scheduled: the relay publishes it at its time.
    if job.queued_at.is_some()
        && let Err(error) = publish(api, &job).await
    {
        tracing::warn!(job.id = %job.id, job.kind = %job.kind, %error, "not published; the relay will do it");
        hand_to_relay(api, &job).await;
    }
    Ok(job)
}

/// A repeat finds the row of the first try if that was committed and only its reply was lost.
async fn insert(api: &Api, job: NewJob) -> Answer<Job> {
    let twice = async {
        match api.submits.ask(job.clone()).await {
            Err(LedgerError::Unavailable(error)) => {
                tracing::warn!(job.id = %job.id, error, "the insert has no answer; trying once more");
                api.submits.ask(job).await
            }
            answer => answer,
        }
    };
    Ok(api.ask(twice).await?.job)
}

async fn publish(api: &Api, job: &Job) -> Result<(), BrokerError> {
    let health = api.broker.health();
    if !health.connected || health.blocked {
        // Waiting for a broker that is known to be away would hold up every caller for nothing.
        return Err(BrokerError::Unavailable("not connected, or it takes no messages".into()));
    }
    let message = message(job);
    match within(api.settings.publish_timeout, api.broker.publish(&message)).await {
        Err(BrokerError::Unroutable(_)) => {
            within(api.settings.publish_timeout, api.broker.declare(&job.kind)).await?;
            within(api.settings.publish_timeout, api.broker.publish(&message)).await
        }
        answer => answer,
    }
}

async fn within(limit: Duration, step: impl Future<Output = Result<(), BrokerError>>) -> Result<(), BrokerError> {
    let late = || BrokerError::Unavailable(format!("no confirm in {limit:?}"));
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(late()))
}

async fn hand_to_relay(api: &Api, job: &Job) {
    if let Err(error) = api.ask(api.ledger.unqueue(job.id, job.version)).await {
        tracing::warn!(job.id = %job.id, %error, "not handed to the relay either; the reconciler will find it");
    }
}

fn message(job: &Job) -> JobMessage {
    let lane = match job.priority {
        Priority::High => Lane::High,
        Priority::Normal => Lane::Normal,
        Priority::Low => Lane::Low,
    };
    JobMessage { job: job.id, kind: job.kind.clone(), lane, correlation_id: job.correlation_id.clone() }
}

/// The job that a request asks for, or everything that is wrong with it.
fn new_job(request: SubmitRequest, known: &Known, settings: &ApiSettings) -> Answer<NewJob> {
    let payload = payload_errors(&request, known);
    let fault = if payload.is_empty() { Fault::Invalid } else { Fault::InvalidPayload };
    let errors: Vec<FieldError> = payload.into_iter().chain(option_errors(&request, settings)).collect();
    if let Some(first) = errors.first() {
        let detail = format!("{} {}", first.pointer, first.message);
        return Err(Refusal::new(fault, detail).with_errors(errors));
    }
    let policy = &known.kind.policy;
    Ok(NewJob {
        id: JobId::fresh(),
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

fn option_errors(request: &SubmitRequest, settings: &ApiSettings) -> Vec<FieldError> {
    let checks = [
        (request.run_at.is_some() && request.delay_seconds.is_some())
            .then(|| wrong("/delay_seconds", "and `run_at` exclude each other")),
        seconds_error("/delay_seconds", request.delay_seconds, 0.0, settings.max_delay),
        seconds_error("/timeout_seconds", request.timeout_seconds, 0.001, settings.max_timeout),
        (!request.max_attempts.is_none_or(|asked| (1..=settings.max_attempts).contains(&asked)))
            .then(|| wrong("/max_attempts", format!("must be from 1 to {}", settings.max_attempts))),
        (!request.correlation_id.as_deref().is_none_or(correlation_id_is_valid))
            .then(|| wrong("/correlation_id", CORRELATION_ID_RULE)),
        metadata_error(request, settings.max_metadata_bytes),
    ];
    checks.into_iter().flatten().collect()
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
