//! Which pages of other sites may call from a browser: those whose origin is listed, and by default none. It lets nobody in: a page brings
//! its user's key as everybody does, and no cookie is ever read.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::cors::CorsLayer;

/// How long a browser may remember what it was told.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Whether it is the origin of a site, such as `https://app.example.org`.
pub(crate) fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let plain = uri.scheme_str().zip(uri.authority()).is_some_and(|(scheme, authority)| {
        matches!(scheme, "http" | "https") && text == format!("{scheme}://{authority}")
    });
    plain && !text.contains(['@', '*'])
}

/// The router, called by pages of these origins too.
pub(super) fn open_to<S: Clone + Send + Sync + 'static>(router: Router<S>, origins: &[String]) -> Router<S> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect();
    if origins.is_empty() {
        return router;
    }
    let named = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let asked = named(&["idempotency-key", "last-event-id", "prefer", "x-request-id", "traceparent", "tracestate"]);
    let tus = [
        "tus-resumable",
        "upload-length",
        "upload-offset",
        "upload-metadata",
        "upload-checksum",
        "x-http-method-override",
    ];
    let asked = [asked, named(&tus)].concat();
    let told = named(&["ratelimit", "ratelimit-policy", "idempotent-replayed", "unique-key-held", "x-request-id"]);
    let tus = ["tus-resumable", "tus-version", "upload-length", "upload-offset", "upload-metadata", "upload-expires"];
    let told = [told, named(&tus)].concat();
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([vec![AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, RANGE], asked].concat())
        .expose_headers([vec![ETAG, LOCATION, RETRY_AFTER], told].concat())
        .max_age(REMEMBERED);
    router.layer(middleware::from_fn(unveiled)).layer(cors).layer(middleware::from_fn(veiled))
}

/// A caller's own OPTIONS, which the layer between the two would take for a browser's question.
#[derive(Debug, Clone, Copy)]
struct Own;

async fn veiled(mut request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS && !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        request.extensions_mut().insert(Own);
        *request.method_mut() = Method::GET;
    }
    next.run(request).await
}

async fn unveiled(mut request: Request, next: Next) -> Response {
    if request.extensions_mut().remove::<Own>().is_some() {
        *request.method_mut() = Method::OPTIONS;
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for origin in ["https://app.example.org", "http://localhost:3000", "https://[2001:db8::1]:8443"] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in ["*", "https://*.example.org", "null", "example.org", "https://a/", "https://a@b", "ftp://a", ""] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
