//! What follows a request through everything that it sets going: its id, made here if the caller has none, and its place in a
//! distributed trace. Both are answered with every answer, refusals too, and every line of the log about a request names its
//! id. It decides nothing about the request. Read [`super::submit`] for how both get to a job.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use longshore_sdk::Trace;
use tracing::Instrument;
use uuid::Uuid;

use super::params::{CORRELATION_ID_RULE, correlation_id_is_valid};
use super::problem::{Answer, Fault, Refusal};
use crate::traces::{self, Open};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// Who asks, as far as a log is concerned.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The request's id; a job's correlation id, unless its caller names another.
    pub(super) id: String,
    /// The request's place in a trace: its own span, where it is traced here, and else what its caller sent.
    pub(super) trace: Option<Trace>,
}

/// Around every call.
pub(super) async fn follow(mut request: Request, next: Next) -> Response {
    let trace = trace(request.headers());
    let (id, refused) = match id(request.headers()) {
        Ok(id) => (id, None),
        Err(refusal) => (fresh(), Some(refusal)),
    };
    let call = call(&request, &id, trace.as_ref());
    let asked = Asked { id, trace: call.here().or(trace) };
    let trace_id = asked.trace.as_ref().map(Trace::trace_id);
    let span = tracing::info_span!("request", request_id = asked.id, trace_id);
    let mut answer = match refused {
        Some(refusal) => span.in_scope(|| refusal.into_response()),
        None => {
            request.extensions_mut().insert(asked.clone());
            next.run(request).instrument(span).await
        }
    };
    tell(answer.headers_mut(), &asked);
    call.answered(answer.status().as_u16());
    answer
}

/// The call as a span, under its route's template.
fn call(request: &Request, id: &str, trace: Option<&Trace>) -> Open {
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    traces::call(request.method().as_str(), template, request.uri().path(), id, trace)
}

/// The header's, or a fresh one.
fn id(headers: &HeaderMap) -> Answer<String> {
    let Some(value) = headers.get(REQUEST_ID) else { return Ok(fresh()) };
    let id = value.to_str().ok().filter(|id| correlation_id_is_valid(id));
    id.map(str::to_owned).ok_or_else(|| Refusal::of_field(Fault::Malformed, "X-Request-Id", CORRELATION_ID_RULE))
}

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

/// A header that came twice is one list; a broken one is none, as the standard wants it.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let mut parents = headers.get_all(TRACE_PARENT).iter();
    let (parent, None) = (parents.next()?.to_str().ok()?, parents.next()) else { return None };
    let states: Vec<&str> = headers.get_all(TRACE_STATE).iter().filter_map(|state| state.to_str().ok()).collect();
    Trace::read(parent, Some(states.join(",").as_str()))
}

fn tell(headers: &mut HeaderMap, asked: &Asked) {
    let trace = asked.trace.as_ref();
    let told = [
        (REQUEST_ID, Some(asked.id.as_str())),
        (TRACE_PARENT, trace.map(Trace::traceparent)),
        (TRACE_STATE, trace.and_then(Trace::tracestate)),
    ];
    for (name, text) in told {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_request_id_is_taken_over_made_or_refused() {
        assert_eq!(id(&with(&[("x-request-id", "abc-1")])).unwrap(), "abc-1");
        assert_ne!(id(&HeaderMap::new()).unwrap(), id(&HeaderMap::new()).unwrap());
        for odd in ["", "a b", &"a".repeat(129)] {
            let refused = id(&with(&[("x-request-id", odd)])).unwrap_err();
            assert_eq!(refused.problem().errors[0].pointer, "X-Request-Id", "{odd:?}");
        }
    }

    #[test]
    fn a_trace_is_read_from_one_parent_and_all_states() {
        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let whole = trace(&with(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")])).unwrap();
        assert_eq!((whole.traceparent(), whole.tracestate()), (PARENT, Some("a=1,b=2")));
        for none in [&[][..], &[("traceparent", "00-x")], &[("traceparent", PARENT), ("traceparent", PARENT)]] {
            assert_eq!(trace(&with(none)), None, "{none:?}");
        }
    }
}
