//! An OpenTelemetry collector as small as can be: takes OTLP over HTTP in protobuf and keeps the spans. It decodes with
//! OpenTelemetry's own types, so that what it understands any collector does. Read `receiver.rs` for the HTTP under it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans};
use prost::Message as _;

use crate::receiver::{Received, Receiver, Reply};
use crate::until::poll;

/// A running collector.
pub struct Collector {
    receiver: Receiver,
}

/// A span, with its ids in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The process that it is of, by `service.instance.id`.
    pub process: String,
    /// Its service.
    pub service: String,
    /// Its trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span above it; empty where there is none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// The failure's type, where it failed.
    pub error: Option<String>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The spans that it is linked to, each by trace and id.
    pub links: Vec<(String, String)>,
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Result<Self> {
        let receiver = Receiver::start(|_, _| Reply::of(200)).await?;
        Ok(Self { receiver })
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn url(&self) -> String {
        self.receiver.url()
    }

    /// Refuses connections until it is started again.
    pub fn stop(&mut self) {
        self.receiver.stop();
    }

    /// Listens again, where it was.
    pub async fn restart(&mut self) -> Result<()> {
        self.receiver.restart().await
    }

    /// The values that a header came with, in the order of the requests.
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.receiver.received().iter().filter_map(|received| received.header(name).map(str::to_owned)).collect()
    }

    /// All spans that came.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let batches: Vec<Vec<Span>> = self.receiver.received().iter().map(spans).collect::<Result<_>>()?;
        Ok(batches.concat())
    }

    /// The spans of a trace, once they look so.
    pub async fn trace(
        &self,
        trace: &str,
        patience: Duration,
        looks_so: impl Fn(&[Span]) -> bool,
    ) -> Result<Vec<Span>> {
        let of_it = || Some(self.spans().ok()?.into_iter().filter(|span| span.trace == trace).collect::<Vec<_>>());
        let look = || async { of_it().filter(|spans| looks_so(spans)) };
        let found = poll(&format!("the spans of trace {trace}"), patience, look).await;
        found.with_context(|| format!("there are {:#?}", of_it()))
    }
}

impl Span {
    /// One attribute's value.
    pub fn says(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    /// Its place as a header, exported.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

fn spans(received: &Received) -> Result<Vec<Span>> {
    anyhow::ensure!(received.header("content-type") == Some("application/x-protobuf"), "{:?}", received.headers);
    let request = ExportTraceServiceRequest::decode(received.body.as_slice()).context("no OTLP")?;
    Ok(request.resource_spans.iter().flat_map(of_resource).collect())
}

fn of_resource(spans: &ResourceSpans) -> Vec<Span> {
    let resource = spans.resource.as_ref().map(|resource| texts(&resource.attributes)).unwrap_or_default();
    let said = |key: &str| resource.get(key).cloned().unwrap_or_default();
    let (process, service) = (said("service.instance.id"), said("service.name"));
    let all = spans.scope_spans.iter().flat_map(|scope| &scope.spans);
    all.map(|span| Span { process: process.clone(), service: service.clone(), ..read(span) }).collect()
}

fn read(span: &otlp::Span) -> Span {
    let failed = span.status.as_ref().filter(|status| status.code() == otlp::status::StatusCode::Error);
    Span {
        process: String::new(),
        service: String::new(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind(),
        error: failed.map(|status| status.message.clone()),
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
