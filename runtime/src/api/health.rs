//! The probes. `/healthz` says that the process answers and asks nobody; `/readyz` says whether new work is welcome here,
//! part by part. Neither changes anything, and neither is a reason to refuse a call: a submit succeeds without a broker.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use longshore_sdk::api::{PartReadiness, Readiness};

use super::problem::Answer;
use super::{Api, json};
use crate::broker::Health;

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Answer<Response> {
    let answers = tokio::time::timeout(api.settings.probe_timeout, api.ledger.now()).await;
    let readiness = readiness(matches!(answers, Ok(Ok(_))), api.broker.health());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

fn readiness(ledger_answers: bool, broker: Health) -> Readiness {
    let ledger = part((!ledger_answers).then_some("it does not answer"));
    let broker = part(match broker {
        Health { connected: false, .. } => Some("not connected"),
        Health { blocked: true, .. } => Some("it takes no messages: a memory or disk alarm"),
        Health { .. } => None,
    });
    Readiness { ready: ledger.ready && broker.ready, ledger, broker }
}

fn part(wrong: Option<&str>) -> PartReadiness {
    PartReadiness { ready: wrong.is_none(), detail: wrong.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Health = Health { connected: true, blocked: false };

    #[test]
    fn a_server_is_ready_when_every_part_is() {
        assert!(readiness(true, WELL).ready);
        for ill in [
            readiness(false, WELL),
            readiness(true, Health { connected: false, ..WELL }),
            readiness(true, Health { blocked: true, ..WELL }),
        ] {
            assert!(!ill.ready);
            assert!([ill.ledger, ill.broker].iter().filter_map(|part| part.detail.as_ref()).count() == 1);
        }
    }
}
