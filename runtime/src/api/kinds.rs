//! `GET /v1/kinds`: what can be asked for, and whether anybody is there to do it. It shows what workers registered, also
//! kinds that no live worker runs at the moment: their jobs wait.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use longshore_sdk::api::KindList;

use super::problem::Answer;
use super::{Api, json, view};
use crate::ledger::webhooks::is_internal;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Answer<Response> {
    let mut kinds = api.ask(api.ledger.kinds()).await?;
    let workers = api.ask(api.ledger.workers()).await?;
    kinds.retain(|kind| !is_internal(&kind.kind));
    kinds.sort_by(|one, other| one.kind.cmp(&other.kind));
    json(StatusCode::OK, &KindList { kinds: kinds.into_iter().map(|kind| view::kind(kind, &workers)).collect() })
}
