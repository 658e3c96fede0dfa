//! The HTTP API: it writes down what is asked for and shows what became of it. Whatever is decided about a job is decided
//! by the ledger; the API runs nothing and keeps nothing but a memory of the kinds' schemas. The JSON is
//! [`longshore_sdk::api`]; start with [`submit`], then [`jobs`], and [`problem`] for how a request is refused.

mod artifacts;
mod audit;
pub(crate) mod auth;
mod body;
pub(crate) mod cors;
mod dead_letters;
mod desk;
mod direct;
#[cfg(test)]
pub(crate) mod door;
mod download;
mod events;
mod files;
mod fleet;
pub mod health;
mod jobs;
mod keys;
mod kinds;
mod limits;
mod listener;
mod params;
pub mod problem;
mod range;
mod request;
mod schemas;
mod spec;
mod submit;
mod uploads;
mod view;
mod webhooks;

use std::any::Any;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use longshore_sdk::executor::seconds;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

pub(crate) use self::audit::view as audit_view;
use self::auth::keyring::Keyring;
pub use self::auth::oidc::Issuer;
pub use self::auth::{Anonymous, AuthSettings};
use self::health::Probes;
pub(crate) use self::keys::view as key_view;
pub use self::limits::LimitSettings;
use self::limits::Limits;
pub use self::listener::serve;
use crate::broker::Broker;
use crate::ledger::batch::{self, Submits};
use crate::ledger::{self, Ledger, LedgerError};
use crate::metrics;
use crate::notify::feed::Feed;
use crate::notify::webhook::WebhookSettings;
use crate::stop::Stop;
use crate::storage::Storage;
use problem::{Answer, Fault, Refusal};
use schemas::Schemas;

/// What the API allows. Every one of these is a limit that a caller can meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSettings {
    /// A larger JSON body is refused. Default 1 MiB.
    pub max_body_bytes: u64,
    /// A larger upload is refused. Default 5 GiB.
    pub max_upload_bytes: u64,
    /// A body is given up when nothing comes for so long. Default 10 s.
    #[serde(with = "seconds")]
    pub body_idle: Duration,
    /// The longest long-poll; a longer `wait` is cut to it. Default 30 s.
    #[serde(with = "seconds")]
    pub max_wait: Duration,
    /// A long-poll asks the ledger so often even when nothing was announced. Default 1 s.
    #[serde(with = "seconds")]
    pub recheck: Duration,
    /// Long-polls at once; one more is answered without waiting. Default 5,000.
    pub max_waiters: usize,
    /// Streams of events at once; one more is answered 503. Default 5,000.
    pub max_streams: usize,
    /// A stream says so often that it lives, and asks the ledger even when nothing was announced. Default 15 s.
    #[serde(with = "seconds")]
    pub stream_heartbeat: Duration,
    /// The latest events that are kept for whoever follows all jobs, with what each costs. Default 32 MiB.
    pub event_ring_bytes: usize,
    /// The most jobs that the ledger is asked about to fill a gap in those events. Default 10,000.
    pub event_fill_jobs: usize,
    /// The most attempts a caller may ask for. Default 100.
    pub max_attempts: u32,
    /// The longest attempt a caller may ask for. Default 24 h.
    #[serde(with = "seconds")]
    pub max_timeout: Duration,
    /// The longest delay a caller may ask for. Default 366 days.
    #[serde(with = "seconds")]
    pub max_delay: Duration,
    /// The largest `metadata`, as JSON text. Default 16 KiB.
    pub max_metadata_bytes: usize,
    /// The largest page of a listing. Default 200.
    pub max_page: usize,
    /// How long an idempotency key is remembered. Default 24 h.
    #[serde(with = "seconds")]
    pub idempotency_ttl: Duration,
    /// The most jobs of one batch. Default 1,000.
    pub max_batch: usize,
    /// A larger batch body is refused. Default 8 MiB.
    pub max_batch_bytes: u64,
    /// The most dead letters that one call replays or purges. Default 1,000.
    pub max_bulk: usize,
    /// How long a submit waits for the broker's confirm before it leaves the job to the relay. Default 5 s.
    #[serde(with = "seconds")]
    pub publish_timeout: Duration,
    /// How long a call waits for the ledger before it answers 503. Default 10 s.
    #[serde(with = "seconds")]
    pub ledger_timeout: Duration,
    /// How long `/readyz` waits for the ledger. Default 2 s.
    #[serde(with = "seconds")]
    pub probe_timeout: Duration,
    /// Connections at once; one more is told so and closed. Default 10,000.
    pub max_connections: usize,
    /// A request's head that takes longer, from its first byte, is given up with its connection. Default 10 s.
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// A connection is closed when it brings no further request for so long. Default 75 s.
    #[serde(with = "seconds")]
    pub idle_timeout: Duration,
    /// A connection is cut when its reader takes nothing of an answer for so long. Default 30 s.
    #[serde(with = "seconds")]
    pub write_idle: Duration,
    /// A longer head is refused. Default 64 KiB.
    pub max_header_bytes: usize,
    /// Origins of sites whose pages may call from a browser, e.g. `https://app.example.org`. Default: none.
    pub cors_origins: Vec<String>,
    /// TLS on its port. Default: none.
    pub tls: ApiTlsSettings,
    /// How long open calls may go on when the server stops. Default 20 s.
    #[serde(with = "seconds")]
    pub shutdown_grace: Duration,
}

/// TLS on the API's own port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiTlsSettings {
    /// The file (PEM) of the certificate, its chain after it; empty: plain HTTP. Read again when it changes.
    pub cert: PathBuf,
    /// The file (PEM) of its private key.
    pub key: PathBuf,
    /// A handshake that takes longer, from the accept, is given up with its connection. Default 10 s.
    #[serde(with = "seconds")]
    pub handshake_timeout: Duration,
}

impl Default for ApiTlsSettings {
    fn default() -> Self {
        Self { cert: PathBuf::new(), key: PathBuf::new(), handshake_timeout: Duration::from_secs(10) }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            max_upload_bytes: 5 * 1024 * 1024 * 1024,
            body_idle: Duration::from_secs(10),
            max_wait: Duration::from_secs(30),
            recheck: Duration::from_secs(1),
            max_waiters: 5_000,
            max_streams: 5_000,
            stream_heartbeat: Duration::from_secs(15),
            event_ring_bytes: 32 * 1024 * 1024,
            event_fill_jobs: 10_000,
            max_attempts: 100,
            max_timeout: Duration::from_secs(24 * 3600),
            max_delay: Duration::from_secs(366 * 24 * 3600),
            max_metadata_bytes: 16 * 1024,
            max_page: 200,
            idempotency_ttl: Duration::from_secs(24 * 3600),
            max_batch: 1_000,
            max_batch_bytes: 8 * 1024 * 1024,
            max_bulk: 1_000,
            publish_timeout: Duration::from_secs(5),
            ledger_timeout: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_idle: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            cors_origins: Vec::new(),
            tls: ApiTlsSettings::default(),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

/// What the calls share.
pub struct Api {
    ledger: Arc<dyn Ledger>,
    submits: Submits,
    broker: Arc<dyn Broker>,
    storage: Arc<Storage>,
    feed: Feed,
    settings: ApiSettings,
    auth: auth::Auth,
    limits: Limits,
    webhooks: WebhookSettings,
    schemas: Schemas,
    last_look: fleet::LastLook,
    /// Room for long-polls.
    waiting_room: Semaphore,
    /// Room for streams.
    streams: Arc<Semaphore>,
    window: events::all::Kept,
    stop: Stop,
}

impl Api {
    /// An API over these parts. What it does for callers who hang up belongs to `stop`.
    pub fn new(
        stop: &Stop,
        ledger: Arc<dyn Ledger>,
        broker: Arc<dyn Broker>,
        storage: Arc<Storage>,
        feed: Feed,
        settings: ApiSettings,
        (auth, limits): (AuthSettings, LimitSettings),
    ) -> Self {
        let waiting_room = Semaphore::new(settings.max_waiters.min(Semaphore::MAX_PERMITS));
        let streams = Arc::new(Semaphore::new(settings.max_streams.min(Semaphore::MAX_PERMITS)));
        let submits = batch::submits(stop, ledger.clone());
        let keyring = Keyring::new(ledger.clone(), auth.key_cache);
        let (auth, limits) = (
            auth::Auth { settings: auth, keyring, issuer: None, refusals: audit::Refusals::default() },
            Limits::new(limits),
        );
        let (schemas, last_look, stop) = (Schemas::default(), fleet::LastLook::default(), stop.clone());
        let window = events::all::Kept::new();
        let webhooks = WebhookSettings::default();
        Self {
            ledger,
            submits,
            broker,
            storage,
            feed,
            settings,
            auth,
            limits,
            webhooks,
            schemas,
            last_look,
            waiting_room,
            streams,
            window,
            stop,
        }
    }

    /// The same, with these rules for webhooks' addresses and secrets.
    #[must_use]
    pub fn with_webhooks(self, webhooks: WebhookSettings) -> Self {
        Self { webhooks, ..self }
    }

    /// The same, taking this issuer's tokens beside keys.
    #[must_use]
    pub fn with_issuer(mut self, issuer: Option<Arc<Issuer>>) -> Self {
        self.auth.issuer = issuer;
        self
    }

    /// Runs `work` to its end even when the caller hangs up: a handler's future is dropped then, at any await.
    async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        // Nobody may be left to take the reply; the work is done all the same.
        let work = async move { drop(reply.send(work.await)) };
        self.stop.spawn_quiet(work.in_current_span());
        answer.await.unwrap_or_else(|_| Err(Refusal::internal("a call's task panicked")))
    }

    /// Asks the ledger, in bounded time.
    async fn ask<T>(&self, answer: impl Future<Output = ledger::Answer<T>>) -> ledger::Answer<T> {
        let late = || LedgerError::Unavailable(format!("no answer in {:?}", self.settings.ledger_timeout));
        tokio::time::timeout(self.settings.ledger_timeout, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Api {
    fn probes(&self) -> Probes {
        Probes {
            ledger: Arc::clone(&self.ledger),
            broker: Arc::clone(&self.broker),
            patience: self.settings.probe_timeout,
            needs_broker: false,
            stop: self.stop.clone(),
        }
    }
}

/// Every call of the API.
pub fn router(api: Arc<Api>) -> Router {
    let origins = api.settings.cors_origins.clone();
    let router = Router::new()
        .route("/v1/jobs", post(submit::submit).get(jobs::list))
        .route("/v1/jobs/batch", post(submit::batch::submit))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/replay", post(dead_letters::replay))
        .route("/v1/dead-letters/purge", post(dead_letters::purge))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/events", get(events::follow))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/replay", post(jobs::replay))
        .route("/v1/jobs/{id}/artifacts/{name}", get(artifacts::download))
        .route("/v1/events", get(events::all::follow))
        .route("/v1/files", post(files::upload))
        .route("/v1/files/{id}", get(files::show))
        .route("/v1/files/direct", post(direct::begin))
        .route("/v1/files/{id}/complete", post(direct::complete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/uploads", post(uploads::create).options(uploads::discover).layer(map_response(uploads::spoken)))
        .route("/v1/uploads/{id}", get(uploads::show).patch(uploads::patch).layer(map_response(uploads::spoken)))
        .route("/v1/uploads/{id}", post(uploads::stand_in).delete(uploads::remove).layer(map_response(uploads::spoken)))
        .route("/v1/jobs/{id}/deliveries", get(webhooks::of_job))
        .route("/v1/webhooks", post(webhooks::create).get(webhooks::list))
        .route("/v1/webhooks/{id}", get(webhooks::show).delete(webhooks::remove))
        .route("/v1/webhooks/{id}/rotate", post(webhooks::rotate))
        .route("/v1/webhooks/{id}/test", post(webhooks::test))
        .route("/v1/webhooks/{id}/enable", post(webhooks::enable))
        .route("/v1/webhooks/{id}/disable", post(webhooks::disable))
        .route("/v1/webhooks/{id}/deliveries", get(webhooks::deliveries))
        .route("/v1/webhooks/deliveries/{id}/replay", post(webhooks::replay))
        .route("/v1/kinds", get(kinds::list))
        .route("/v1/queues", get(fleet::queues))
        .route("/v1/workers", get(fleet::workers))
        .route("/v1/keys", post(keys::create).get(keys::list))
        .route("/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/audit", get(audit::list))
        .route("/openapi.json", get(spec::openapi))
        .route("/asyncapi.json", get(spec::asyncapi))
        .route("/docs", get(spec::docs))
        .merge(health::probes(api.probes()))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), auth::admit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(count))
        .layer(middleware::from_fn(request::follow))
        .with_state(api);
    cors::open_to(router, &origins)
}

/// Counts the call under its route's template, never under its path.
async fn count(request: Request, next: Next) -> Response {
    let (asked, method) = (Instant::now(), request.method().clone());
    let template = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let template = template.as_ref().map(MatchedPath::as_str);
    metrics::ours().answered(method.as_str(), template, response.status().as_u16(), asked.elapsed());
    response
}

async fn no_such_path(uri: Uri) -> Refusal {
    params::nothing("call", &uri)
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let detail = format!("{method} is no method of this path; the Allow header lists those there are");
    Refusal::new(Fault::MethodNotAllowed, detail).about(uri.path())
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Refusal::internal(format!("a call panicked: {}", text.unwrap_or_default())).into_response()
}

/// A JSON answer.
fn json(status: StatusCode, body: &impl serde::Serialize) -> Answer<Response> {
    let text = serde_json::to_vec(body).map_err(Refusal::internal)?;
    let media = HeaderValue::from_static("application/json");
    Ok((status, [(axum::http::header::CONTENT_TYPE, media)], text).into_response())
}

#[cfg(test)]
mod tests;
