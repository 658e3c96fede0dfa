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
mod settings;
mod spec;
mod submit;
mod uploads;
mod view;
mod webhooks;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
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
pub use self::settings::{ApiSettings, ApiTlsSettings};
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
