//! One `POST /v1/jobs` after the other: to an API of the shipped binary, and to a handler that reads the same JSON and does nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::try_join_all;
use longshore_runtime::ledger::postgres::Postgres as Ledger;
use longshore_runtime::ledger::{Kind, Ledger as _};
use longshore_sdk::Policy;
use longshore_sdk::api::SubmitRequest;
use longshore_tests::http::Http;
use longshore_tests::longshore::Longshore;
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use serde_json::{Value, json};

const KIND: &str = "bench.noop";

/// An API on PostgreSQL and RabbitMQ, with no worker.
pub(crate) struct Ours {
    pub(crate) http: Http,
    _api: Longshore,
}

impl Ours {
    pub(crate) async fn start() -> Result<Self> {
        let (database, amqp) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
        let ledger = Ledger::connect(&database, 1)?;
        ledger.migrate().await?;
        let (payload_schema, output_schema) = (json!({"type": "object"}), json!({}));
        let kind = Kind { kind: KIND.into(), payload_schema, output_schema, policy: Policy::default() };
        ledger.register_kinds(&[kind]).await?;
        let api = Longshore::api(&database, &amqp)?.start().await?;
        Ok(Self { http: api.http()?, _api: api })
    }
}

/// The baseline, on a thread and a runtime of its own.
pub(crate) struct Bare {
    pub(crate) http: Http,
}

impl Bare {
    pub(crate) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let http = Http::to(&format!("http://{}", listener.local_addr()?))?;
        let reads = |Json(request): Json<SubmitRequest>| async move {
            (StatusCode::ACCEPTED, Json(json!({"kind": request.kind})))
        };
        std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                Ok(axum::serve(listener, Router::new().route("/v1/jobs", post(reads))).await?)
            })
        });
        Ok(Self { http })
    }
}

/// How long each of so many calls took, by so many callers at once.
pub(crate) async fn times(http: &Http, calls: usize, callers: usize) -> Result<Vec<Duration>> {
    let request = request();
    let caller = async || {
        let mut times = vec![];
        for _ in 0..calls / callers {
            let posted = Instant::now();
            http.post("/v1/jobs", &request).await?.expect(202)?;
            times.push(posted.elapsed());
        }
        anyhow::Ok(times)
    };
    // The first of each caller opens its connection, and is no measure.
    try_join_all((0..callers).map(|_| http.post("/v1/jobs", &request))).await?;
    Ok(try_join_all((0..callers).map(|_| caller())).await?.concat())
}

fn request() -> Value {
    json!({"kind": KIND, "payload": {"padding": "x".repeat(180)}})
}
