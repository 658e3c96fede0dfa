//! A way into the API without a network, for whoever simulates time: sockets would not be part of the simulation. Everything behind
//! the listener is as it is served.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt;

use super::{Api, router};

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An API's door.
#[derive(Clone)]
pub(crate) struct Door(Router);

impl Door {
    pub(crate) fn of(api: Api) -> Self {
        Self(router(Arc::new(api)))
    }

    /// Posts to `path`; answers status and body.
    pub(crate) async fn post(self, path: &str, idempotency_key: &str, body: String) -> (u16, Vec<u8>) {
        let request = Request::post(path).header("idempotency-key", idempotency_key).body(Body::from(body)).unwrap();
        let answer = self.0.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, to_bytes(answer.into_body(), MAX_ANSWER_BYTES).await.unwrap().to_vec())
    }
}
