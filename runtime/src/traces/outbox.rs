//! Spans on their way to the collector: a bounded queue, gathered into batches by one task. Nothing waits for it and nothing fails by
//! it: a collector that is away, slow or ill costs spans, which are counted (`longshore_spans_total`), and one line in the log until
//! it is well again. It knows nothing of what spans say. OpenTelemetry's own batcher would do the same on a thread of its own, but
//! tells nobody how many it dropped.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use reqwest::{Client, redirect};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::TraceSettings;
use crate::metrics;
use crate::stop::Stop;
use crate::storage::install_tls;

/// Spans in one request: a few hundred KiB.
const BATCH: usize = 512;

/// Where spans are put.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: mpsc::Sender<SpanData>,
    /// That it is full has been said.
    told: AtomicBool,
}

impl Outbox {
    /// One whose spans leave by this exporter, until `stop` is asked and all have left.
    pub(super) fn start(settings: &TraceSettings, exporter: impl SpanExporter + 'static, stop: &Stop) -> Self {
        let (waiting, spans) = mpsc::channel(settings.max_queue);
        stop.spawn("traces", carry(spans, exporter, settings.clone(), stop.clone()));
        Self { waiting, told: AtomicBool::new(false) }
    }

    /// Puts a span, if there is one and there is room.
    pub(super) fn put(&self, span: Option<SpanData>) {
        let Some(span) = span else { return };
        if self.waiting.try_send(span).is_ok() {
            return;
        }
        metrics::ours().spans_dropped(1);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "spans end faster than the collector takes them; some are dropped (longshore_spans_total, traces.max_queue)"
            );
        }
    }
}

/// OTLP over HTTP, in protobuf. Headers, such as a collector's token, come from `OTEL_EXPORTER_OTLP_HEADERS`, and what else is to be
/// said of this process from `OTEL_RESOURCE_ATTRIBUTES`.
///
/// # Errors
/// When this machine has no root certificates, or the address is none.
pub(super) fn exporter(settings: &TraceSettings) -> anyhow::Result<impl SpanExporter + use<>> {
    install_tls();
    let client = Client::builder().redirect(redirect::Policy::none()).timeout(settings.timeout).build()?;
    let builder = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(client);
    let builder = builder.with_endpoint(&settings.endpoint).with_protocol(Protocol::HttpBinary);
    let mut exporter = builder.with_timeout(settings.timeout).build()?;
    exporter.set_resource(&process(settings));
    Ok(exporter)
}

/// Who speaks, in every span's resource.
fn process(settings: &TraceSettings) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let instance = KeyValue::new("service.instance.id", Uuid::now_v7().to_string());
    Resource::builder().with_attributes([version, instance]).with_service_name(settings.service_name.clone()).build()
}

/// Sends what gathers, until told to end and nothing waits.
async fn carry(mut spans: mpsc::Receiver<SpanData>, exporter: impl SpanExporter, settings: TraceSettings, stop: Stop) {
    let mut well = true;
    loop {
        let batch = gather(&mut spans, settings.interval, &stop).await;
        if batch.is_empty() && stop.is_asked() {
            return;
        }
        if !batch.is_empty() {
            well = sent(batch, &exporter, settings.timeout, well).await;
        }
    }
}

/// Whether the collector took them. It is told of once, until it takes some again.
async fn sent(batch: Vec<SpanData>, exporter: &impl SpanExporter, patience: Duration, well: bool) -> bool {
    let count = batch.len();
    let answer = tokio::time::timeout(patience, exporter.export(batch)).await;
    let error = match answer {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer in {patience:?}")),
    };
    match &error {
        None => metrics::ours().spans_exported(count),
        Some(_) => metrics::ours().spans_dropped(count),
    }
    match &error {
        Some(error) if well => tracing::warn!(
            error,
            "the collector takes no spans; they are dropped until it does (longshore_spans_total)"
        ),
        None if !well => tracing::info!("the collector takes spans again"),
        _ => {}
    }
    error.is_none()
}

/// What comes within the interval, or is there already when told to end.
async fn gather(spans: &mut mpsc::Receiver<SpanData>, interval: Duration, stop: &Stop) -> Vec<SpanData> {
    let mut batch = Vec::new();
    let mut pause = pin!(stop.sleep(interval));
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        tokio::select! {
            biased;
            taken = spans.recv_many(&mut batch, room) => if taken == 0 { break }, // none will come
            _ = &mut pause => break,
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use jiff::Timestamp;
    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use tokio::time::Instant;

    use super::*;
    use crate::traces::place::{Sampling, fresh_id, fresh_trace};
    use crate::traces::says::{self, End, Span};

    /// What it was sent, and how it behaves.
    #[derive(Debug, Clone)]
    struct Collector {
        batches: Arc<Mutex<Vec<usize>>>,
        manner: Manner,
    }

    #[derive(Debug, Clone, Copy)]
    enum Manner {
        Takes,
        Refuses,
        NeverAnswers,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.batches.lock().unwrap().push(batch.len());
            match self.manner {
                Manner::Takes => Ok(()),
                Manner::Refuses => Err(OTelSdkError::InternalFailure("no".into())),
                Manner::NeverAnswers => std::future::pending().await,
            }
        }
    }

    fn span() -> Option<SpanData> {
        let stand = Sampling { parent_based: true, ratio: 1.0 }.stand(fresh_trace(), None, fresh_id());
        let said = Some(says::call("GET", None, "/", "r"));
        Span { stand, began: Timestamp::UNIX_EPOCH, said }.ended(Timestamp::UNIX_EPOCH, End::default())
    }

    fn begin(manner: Manner, settings: &TraceSettings) -> (Outbox, Collector, Stop) {
        let (collector, stop) = (Collector { batches: Arc::default(), manner }, Stop::new());
        (Outbox::start(settings, collector.clone(), &stop), collector, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn what_gathers_in_an_interval_leaves_together_and_the_rest_at_the_end() {
        let (outbox, collector, stop) = begin(Manner::Takes, &TraceSettings::default());
        let seen = || collector.batches.lock().unwrap().clone();
        (0..3).for_each(|_| outbox.put(span()));
        outbox.put(None);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(seen(), [3]);
        (0..BATCH + 5).for_each(|_| outbox.put(span()));
        stop.ask();
        assert!(stop.finished(Duration::from_secs(1)).await, "it ends when all have left");
        assert_eq!(seen(), [3, BATCH, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_away_or_never_answers_holds_nobody_up() {
        for manner in [Manner::Refuses, Manner::NeverAnswers] {
            let settings = TraceSettings { max_queue: 10, ..TraceSettings::default() };
            let (outbox, collector, stop) = begin(manner, &settings);
            let before = Instant::now();
            for _ in 0..5 {
                (0..100).for_each(|_| outbox.put(span()));
                assert_eq!(before.elapsed().as_secs() % 60, 0, "putting takes no time, whatever becomes of the span");
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let batches = collector.batches.lock().unwrap().clone();
            assert_eq!(batches, [10; 5], "{manner:?}: each time what fits is tried, and the rest is dropped");
            stop.ask();
            assert!(stop.finished(Duration::from_secs(30)).await, "{manner:?}");
        }
    }

    #[test]
    fn a_process_says_its_service_and_its_version() {
        let settings = TraceSettings { service_name: "jobs-api".into(), ..TraceSettings::default() };
        let resource = process(&settings);
        let said = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
        assert_eq!(said("service.name").as_deref(), Some("jobs-api"));
        assert_eq!(said("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert!(said("service.instance.id").is_some_and(|id| !id.is_empty()));
    }
}
