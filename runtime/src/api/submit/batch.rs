//! `POST /v1/jobs/batch`: many jobs in one request, each with an answer of its own; one that is wrong keeps no other back.
//! It is no transaction: after a 503 for some, send those again. With an `Idempotency-Key` the whole request may be sent
//! again: each place in it is then a key of its own. Read [`super::accept`] for what happens to each.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::stream::{self, StreamExt};
use longshore_sdk::api::{BatchAnswer, BatchItem, SubmitRequest};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::accept::{Accepted, By, accept};
use super::{count, idempotency, prepare};
use crate::api::auth::Caller;
use crate::api::desk::Desk;
use crate::api::problem::{Answer, Fault, Refusal};
use crate::api::request::Asked;
use crate::api::{Api, body, json, view};
use crate::clock;
use crate::ledger::batch::MAX_BATCH;

/// [`longshore_sdk::api::BatchRequest`], with its items not yet read: one that is wrong is told so in its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unread {
    jobs: Vec<Box<RawValue>>,
}

pub(in crate::api) async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Extension(asked): Extension<Asked>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let key = idempotency::key(&headers)?;
    let settings = &api.settings;
    let Unread { jobs } = body::json(&headers, body, settings.max_batch_bytes, settings.body_flow()).await?;
    if !(1..=settings.max_batch).contains(&jobs.len()) {
        let message = format!("has {} jobs and must have 1 to {}", jobs.len(), settings.max_batch);
        return Err(Refusal::of_field(Fault::Invalid, "/jobs", message));
    }
    let owner = api.clone();
    let items = api.to_the_end(async move { Ok(all(&owner.desk(&caller), jobs, key, asked).await) }).await?;
    json(StatusCode::OK, &BatchAnswer { items })
}

/// As many at once as the ledger takes in one commit.
async fn all(desk: &Desk<'_>, jobs: Vec<Box<RawValue>>, key: Option<String>, asked: Asked) -> Vec<BatchItem> {
    let at = Instant::now();
    let (key, asked) = (key.as_deref(), &asked);
    let each = |(index, job): (usize, Box<RawValue>)| async move {
        // No caller's key holds a space, so none is this one.
        let key = key.map(|key| format!("{key} {index}"));
        item(one(desk, &job, key, asked, at).await)
    };
    stream::iter(jobs.into_iter().enumerate()).map(each).buffered(MAX_BATCH).collect().await
}

async fn one(desk: &Desk<'_>, job: &RawValue, key: Option<String>, asked: &Asked, at: Instant) -> Answer<Accepted> {
    let api = desk.api;
    if job.get().len() as u64 > api.settings.max_body_bytes {
        let limit = api.settings.max_body_bytes;
        return Err(Refusal::new(Fault::TooLarge, format!("at most {limit} bytes are taken for one job")));
    }
    let request: SubmitRequest = body::parse(job.get().as_bytes())?;
    let kind = request.kind.clone();
    let accepted = match prepare(desk, request, key, asked, at).await {
        Ok(job) => accept(api, job).await,
        Err(refusal) => Err(refusal),
    };
    count(&kind, &accepted);
    accepted
}

fn item(answer: Answer<Accepted>) -> BatchItem {
    match answer {
        Ok(Accepted { job, by }) => {
            let job = Some(view::job(&job, &[], clock::now()));
            let (replayed, held) = (by == By::Earlier, by == By::Other);
            BatchItem { status: StatusCode::ACCEPTED.as_u16(), replayed, held, job, problem: None }
        }
        Err(refusal) => {
            let problem = refusal.tell();
            BatchItem { status: problem.status, replayed: false, held: false, job: None, problem: Some(problem) }
        }
    }
}
