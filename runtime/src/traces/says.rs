//! What each span says, in OpenTelemetry's semantic conventions for HTTP and messaging, and for what only we have under
//! `longshore.`. Pure. It says no payload, no result, no error's text and no more of a receiver's address than its host: each may hold
//! a secret, and traces are read by more people than jobs. Read [`super::place`] for where a span stands.

use std::borrow::Cow;
use std::sync::LazyLock;

use jiff::Timestamp;
use longshore_sdk::JobId;
use opentelemetry::trace::{Link, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use reqwest::Url;

use super::place::{Place, Stand};
use crate::broker::Lane;
use crate::broker::topology::Topology;

/// A longer path of a call is cut here: it is a stranger's text.
const PATH_BYTES: usize = 256;

/// A span that has begun.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) stand: Stand,
    pub(super) began: Timestamp,
    /// Nothing where it is not sampled.
    pub(super) said: Option<Said>,
}

/// What is known of it from the start.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    link: Option<Place>,
}

/// How it ended.
#[derive(Debug, Default, PartialEq)]
pub(super) struct End {
    /// The failure's type, never its text.
    error: Option<Cow<'static, str>>,
    attributes: Vec<KeyValue>,
}

/// The job that it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) job: JobId,
    pub(super) kind: &'a str,
    pub(super) correlation_id: Option<&'a str>,
}

const RABBITMQ: &str = "rabbitmq";

/// What carries jobs from a publish to an attempt.
#[derive(Debug, Clone)]
pub struct Road {
    system: &'static str,
    topology: Topology,
}

impl Road {
    /// RabbitMQ, by these names.
    pub fn rabbitmq(topology: Topology) -> Self {
        Self { system: RABBITMQ, topology }
    }

    /// The broker in this process.
    pub fn embedded() -> Self {
        Self { system: "longshore", topology: Topology::default() }
    }

    /// The same on both ends, so the queue of the kind's normal lane: a delivery does not say which lane it came by.
    fn destination(&self, kind: &str) -> String {
        self.topology.job_queue_name(kind, Lane::Normal).unwrap_or_else(|_| kind.to_owned())
    }
}

/// Nobody wants a trace of each.
pub(super) fn is_probe(route: &str) -> bool {
    matches!(route, "/healthz" | "/readyz" | "/metrics")
}

/// A call of the API.
pub(super) fn call(method: &str, route: Option<&str>, path: &str, request_id: &str) -> Said {
    let path = &path[..path.floor_char_boundary(PATH_BYTES)];
    let mut attributes = vec![
        text("http.request.method", method),
        text("url.path", path),
        text("url.scheme", "http"),
        text(CORRELATION_ID, request_id),
    ];
    attributes.extend(route.map(|route| text("http.route", route)));
    let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    Said { name, kind: SpanKind::Server, attributes, link: None }
}

/// A job's way onto the road.
pub(super) fn publish(of: Of<'_>, lane: Lane, road: &Road) -> Said {
    let mut attributes = message(of, road, "publish", "send");
    if road.system == RABBITMQ {
        attributes.push(text("messaging.rabbitmq.destination.routing_key", road.topology.job_key(of.kind, lane)));
    }
    let name = format!("publish {}", road.destination(of.kind));
    Said { name, kind: SpanKind::Producer, attributes, link: None }
}

/// An attempt, linked to the one before it.
pub(super) fn attempt(of: Of<'_>, attempt: u32, before: Option<Place>, road: &Road) -> Said {
    let mut attributes = message(of, road, "process", "process");
    attributes.push(KeyValue::new(ATTEMPT, i64::from(attempt)));
    let name = format!("process {}", road.destination(of.kind));
    Said { name, kind: SpanKind::Consumer, attributes, link: before }
}

/// A webhook's POST, linked to the attempt that it tells of.
pub(super) fn post(of: Of<'_>, attempt: u32, url: &str, told_of: Option<Place>) -> Said {
    let mut attributes = vec![text("http.request.method", "POST"), KeyValue::new(ATTEMPT, i64::from(attempt))];
    if attempt > 1 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::from(attempt - 1)));
    }
    attributes.extend(about(of));
    attributes.extend(Url::parse(url).into_iter().flat_map(|url| host(&url)));
    Said { name: "POST".to_owned(), kind: SpanKind::Client, attributes, link: told_of }
}

const JOB: &str = "longshore.job.id";
const KIND: &str = "longshore.job.kind";
const STATE: &str = "longshore.job.state";
const ATTEMPT: &str = "longshore.attempt";
const CORRELATION_ID: &str = "longshore.correlation_id";
const STATUS: &str = "http.response.status_code";

fn message(of: Of<'_>, road: &Road, operation: &'static str, sort: &'static str) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("messaging.system", road.system),
        text("messaging.operation.name", operation),
        text("messaging.operation.type", sort),
        text("messaging.destination.name", road.destination(of.kind)),
        text("messaging.message.id", of.job.to_string()),
    ];
    attributes.extend(of.correlation_id.map(|id| text("messaging.message.conversation_id", id)));
    attributes.extend(about(of));
    attributes
}

fn about(of: Of<'_>) -> impl Iterator<Item = KeyValue> {
    let correlation_id = of.correlation_id.map(|id| text(CORRELATION_ID, id));
    [text(JOB, of.job.to_string()), text(KIND, of.kind)].into_iter().chain(correlation_id)
}

/// Path and query of a receiver's address are often its password.
fn host(url: &Url) -> Vec<KeyValue> {
    let port = url.port_or_known_default().map(|port| KeyValue::new("server.port", i64::from(port)));
    let host = url.host_str().map(|host| text("server.address", host));
    [Some(text("url.scheme", url.scheme())), host, port].into_iter().flatten().collect()
}

fn text(key: &'static str, value: impl Into<String>) -> KeyValue {
    KeyValue::new(key, value.into())
}

impl End {
    /// A server has failed only by its own fault.
    pub(super) fn answered(status: u16) -> Self {
        let error = (status >= 500).then(|| status.to_string().into());
        Self { error, attributes: vec![KeyValue::new(STATUS, i64::from(status))] }
    }

    pub(super) fn settled(state: &'static str, error: Option<&str>) -> Self {
        Self { error: error.map(|code| code.to_owned().into()), attributes: vec![text(STATE, state)] }
    }

    /// A client has failed with every answer that it did not want.
    pub(super) fn posted(status: Option<u16>, trouble: Option<&str>) -> Self {
        let error = trouble.map(|code| status.map_or_else(|| code.to_owned(), |status| status.to_string()));
        let status = status.map(|status| KeyValue::new(STATUS, i64::from(status)));
        Self { error: error.map(Cow::Owned), attributes: status.into_iter().collect() }
    }

    pub(super) fn failed(error: &'static str) -> Self {
        Self { error: Some(error.into()), attributes: vec![] }
    }
}

static SCOPE: LazyLock<InstrumentationScope> =
    LazyLock::new(|| InstrumentationScope::builder("longshore").with_version(env!("CARGO_PKG_VERSION")).build());

impl Span {
    /// As it is exported, if it is.
    pub(super) fn ended(self, at: Timestamp, end: End) -> Option<SpanData> {
        let Said { name, kind, mut attributes, link } = self.said?;
        let status = end.error.as_ref().map_or(Status::Unset, |code| Status::error(code.clone()));
        attributes.extend(end.attributes);
        attributes.extend(end.error.map(|code| KeyValue::new("error.type", code.into_owned())));
        let mut links = SpanLinks::default();
        links.links.extend(link.map(|place| Link::with_context(place.context())));
        Some(SpanData {
            span_context: self.stand.here.context(),
            parent_span_id: self.stand.parent,
            // All that we hang a span under was read from a header, a message or the ledger.
            parent_span_is_remote: self.stand.parent != SpanId::INVALID,
            span_kind: kind,
            name: name.into(),
            start_time: self.began.into(),
            end_time: at.max(self.began).into(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status,
            instrumentation_scope: SCOPE.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
