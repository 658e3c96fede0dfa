//! `/v1/dead-letters`: the failed jobs, listed, made ready again, or removed, many at once. What is no dead letter any more when
//! its turn comes is left alone and counted, so that two operators do no harm. Read [`super::jobs`] for a single one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use longshore_sdk::JobId;
use longshore_sdk::api::{DeadLetterChoice, PurgedMany, ReplayedMany};

use super::auth::Caller;
use super::desk::Desk;
use super::jobs::{narrowed, page, tell};
use super::params::Params;
use super::problem::{Answer, Fault, Refusal};
use super::{Api, body, json};
use crate::broker::Control;
use crate::job::state::State as JobState;
use crate::ledger::Replaying;

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Answer<Response> {
    let params = Params::read(&uri, &["kind", "limit", "before"])?;
    page(&api.desk(&caller), narrowed(&params, Some(JobState::Failed), api.settings.max_page)?).await
}

pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let (ids, more) = chosen(&api.desk(&caller), &headers, body).await?;
    let owner = api.clone();
    let (replayed, skipped) = api.to_the_end(async move { replay_all(&owner.desk(&caller), ids).await }).await?;
    json(StatusCode::OK, &ReplayedMany { replayed, skipped, more })
}

pub(super) async fn purge(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let desk = api.desk(&caller);
    let (ids, more) = chosen(&desk, &headers, body).await?;
    let purged = desk.purge(&ids).await?;
    json(StatusCode::OK, &PurgedMany { purged, skipped: ids.len() - purged, more })
}

/// Each in a transaction of its own: after a 503 the same request goes on where this one ended.
async fn replay_all(desk: &Desk<'_>, ids: Vec<JobId>) -> Answer<(usize, usize)> {
    let (mut replayed, mut skipped) = (0, 0);
    for id in ids {
        match desk.replay(id).await? {
            Replaying::Ready(_) => replayed += 1,
            Replaying::NotDead(_) | Replaying::Held(_) | Replaying::Unknown => skipped += 1,
        }
    }
    if replayed > 0 {
        tell(desk.api, Control::Wake).await;
    }
    Ok((replayed, skipped))
}

/// The jobs that a request means, and whether its kind may have more of them.
async fn chosen(desk: &Desk<'_>, headers: &HeaderMap, body: Body) -> Answer<(Vec<JobId>, bool)> {
    let api = desk.api;
    let choice = body::json(headers, body, api.settings.max_body_bytes, api.settings.body_flow()).await?;
    match meant(choice, api.settings.max_bulk)? {
        Meant::Ids(ids) => Ok((ids, false)),
        Meant::Kind(kind, limit) => {
            let ids = desk.dead_letters(&kind, limit).await?;
            let more = ids.len() == limit;
            Ok((ids, more))
        }
    }
}

#[derive(Debug, PartialEq)]
enum Meant {
    Ids(Vec<JobId>),
    Kind(String, usize),
}

fn meant(choice: DeadLetterChoice, most: usize) -> Answer<Meant> {
    let wrong = |field: &str, message: String| Err(Refusal::of_field(Fault::Invalid, field, message));
    match (choice.ids, choice.kind, choice.limit) {
        (Some(ids), None, None) if (1..=most).contains(&ids.len()) => Ok(Meant::Ids(ids)),
        (Some(ids), None, None) => wrong("/ids", format!("has {} ids and must have 1 to {most}", ids.len())),
        (None, Some(kind), _) if kind.contains('\0') => wrong("/kind", "has a NUL in it".into()),
        (None, Some(kind), limit) if (1..=most).contains(&limit.unwrap_or(most)) => {
            Ok(Meant::Kind(kind, limit.unwrap_or(most)))
        }
        (None, Some(_), _) => wrong("/limit", format!("must be from 1 to {most}")),
        (Some(_), None, Some(_)) => wrong("/limit", "goes with `kind`, not with `ids`".into()),
        (Some(_), Some(_), _) => wrong("/kind", "and `ids` exclude each other".into()),
        (None, None, _) => wrong("/ids", "is missing: name jobs by `ids`, or a `kind`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(json: &str) -> Answer<Meant> {
        meant(serde_json::from_str(json).unwrap(), 2)
    }

    #[test]
    fn dead_letters_are_meant_by_ids_or_by_kind_up_to_the_limit() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(choice(&format!(r#"{{"ids": ["{id}"]}}"#)).unwrap(), Meant::Ids(vec![id.parse().unwrap()]));
        assert_eq!(choice(r#"{"kind": "a.b"}"#).unwrap(), Meant::Kind("a.b".into(), 2));
        assert_eq!(choice(r#"{"kind": "a.b", "limit": 1}"#).unwrap(), Meant::Kind("a.b".into(), 1));
        let three = format!(r#"{{"ids": ["{id}", "{id}", "{id}"]}}"#);
        let cases = [
            ("{}", "/ids"),
            (r#"{"ids": []}"#, "/ids"),
            (three.as_str(), "/ids"),
            (r#"{"kind": "a.b", "limit": 0}"#, "/limit"),
            (r#"{"kind": "\u0000"}"#, "/kind"),
            (r#"{"kind": "a.b", "limit": 3}"#, "/limit"),
            (r#"{"ids": [], "limit": 1}"#, "/limit"),
            (r#"{"ids": [], "kind": "a.b"}"#, "/kind"),
        ];
        for (json, pointer) in cases {
            assert_eq!(choice(json).unwrap_err().problem().errors[0].pointer, pointer, "{json}");
        }
    }
}
