//! The probes. `/healthz` says that the process answers and asks nobody; `/readyz` says whether new work is welcome here,
//! part by part; `/metrics` is for Prometheus. None changes anything, and none is a reason to refuse a call: a submit succeeds without a broker.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use longshore_sdk::api::{PartReadiness, Readiness};

use super::json;
use super::problem::Answer;
use crate::broker::{Broker, Health};
use crate::ledger::Ledger;
use crate::metrics;
use crate::stop::Stop;

/// What the probes of a process look at.
#[derive(Clone)]
pub struct Probes {
    /// Asked for its clock.
    pub ledger: Arc<dyn Ledger>,
    /// Looked at, never asked.
    pub broker: Arc<dyn Broker>,
    /// How long the ledger may take.
    pub patience: Duration,
    /// Whether the process can do nothing without the broker: a worker. An API accepts jobs all the same.
    pub needs_broker: bool,
    /// Asked to end, the process is not ready for more.
    pub stop: Stop,
}

/// `/healthz`, `/readyz` and `/metrics`: all that a worker serves, and a part of what an API does.
pub fn probes<S>(probes: Probes) -> Router<S> {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(page))
        .with_state(probes)
}

async fn alive() -> &'static str {
    "ok\n"
}

/// For Prometheus. How broker and connections are, is looked at now and not when it changes: a scrape is the only reader.
async fn page(State(probes): State<Probes>) -> impl IntoResponse {
    let Health { connected, blocked } = probes.broker.health();
    metrics::ours().broker_seen(connected, blocked);
    metrics::ours().ledger_seen(probes.ledger.pool());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::ours().render())
}

async fn ready(State(probes): State<Probes>) -> Answer<Response> {
    let answers = tokio::time::timeout(probes.patience, probes.ledger.now()).await;
    let mut readiness = readiness(matches!(answers, Ok(Ok(_))), probes.broker.health(), probes.needs_broker);
    readiness.ready &= !probes.stop.is_asked();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

fn readiness(ledger_answers: bool, broker: Health, needs_broker: bool) -> Readiness {
    let ledger = part((!ledger_answers).then_some("it does not answer"));
    let broker = part(match broker {
        Health { connected: false, .. } => Some("not connected"),
        Health { blocked: true, .. } => Some("it takes no messages: a memory or disk alarm"),
        Health { .. } => None,
    });
    Readiness { ready: ledger.ready && (broker.ready || !needs_broker), ledger, broker }
}

fn part(wrong: Option<&str>) -> PartReadiness {
    PartReadiness { ready: wrong.is_none(), detail: wrong.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Health = Health { connected: true, blocked: false };
    const AWAY: Health = Health { connected: false, blocked: false };
    const BLOCKED: Health = Health { connected: true, blocked: true };

    #[test]
    fn a_worker_is_ready_when_every_part_is() {
        assert!(readiness(true, WELL, true).ready);
        for ill in [readiness(false, WELL, true), readiness(true, AWAY, true), readiness(true, BLOCKED, true)] {
            assert!(!ill.ready);
            assert!([ill.ledger, ill.broker].iter().filter_map(|part| part.detail.as_ref()).count() == 1);
        }
    }

    #[test]
    fn an_api_without_its_broker_accepts_jobs_and_says_what_is_wrong() {
        let readiness = readiness(true, AWAY, false);
        assert!(readiness.ready && !readiness.broker.ready);
    }
}
