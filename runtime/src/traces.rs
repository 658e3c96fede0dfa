//! What one job did across all processes, as a trace: the call that submitted it, each publish, each attempt and each POST to a
//! receiver is a span, exported to an OpenTelemetry collector. Without `traces.endpoint` each of these costs a branch. It decides
//! nothing, and nothing waits for it. Read [`place`] for where a span stands in its trace, [`says`] for what it says, and
//! [`outbox`] for how it leaves.

mod outbox;
mod place;
mod says;

use std::sync::OnceLock;
use std::time::Duration;

use longshore_sdk::executor::seconds;
use longshore_sdk::{Context, JobId, Trace};
use serde::{Deserialize, Serialize};

use self::outbox::Outbox;
use self::place::{Place, Sampling, Stand, attempt_id, attempt_of, fresh_id, fresh_trace, home};
pub use self::says::Road;
use self::says::{End, Of, Said, Span};
use crate::broker::{BrokerError, JobMessage};
use crate::clock;
use crate::ledger::{Event, Granted};
use crate::stop::Stop;

/// Which traces are exported, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceSettings {
    /// Where the collector takes OTLP over HTTP, e.g. `http://collector:4318/v1/traces`. Empty, the default: nobody traces.
    pub endpoint: String,
    /// The service that the spans are of. Default `longshore`.
    pub service_name: String,
    /// The part of the traces that is exported, from 0 to 1, by the trace's id. Default 1.
    pub sample_ratio: f64,
    /// Whether a decision that came with the trace counts instead. Default true.
    pub parent_based: bool,
    /// Spans that may wait to be sent; one more is dropped and counted. Default 4,096.
    pub max_queue: usize,
    /// How long spans gather before they are sent. Default 5 s.
    #[serde(with = "seconds")]
    pub interval: Duration,
    /// How long the collector may take to answer, all retries together. Default 10 s.
    #[serde(with = "seconds")]
    pub timeout: Duration,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            service_name: "longshore".into(),
            sample_ratio: 1.0,
            parent_based: true,
            max_queue: 4_096,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

struct Tracer {
    sampling: Sampling,
    road: Road,
    outbox: Outbox,
}

static OURS: OnceLock<Tracer> = OnceLock::new();

/// What traces this process until it is ended. It is told to end by itself: the last attempts end long after the rest was told to.
#[derive(Debug, Default)]
pub struct Traces(Option<Stop>);

/// How long the last spans may take to leave.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Traces {
    /// Begins, if there is a collector. The first call in a process counts.
    ///
    /// # Errors
    /// When this machine has no root certificates for an `https` collector.
    pub fn begin(settings: &TraceSettings, road: Road) -> anyhow::Result<Self> {
        if settings.endpoint.is_empty() || OURS.get().is_some() {
            return Ok(Self::default());
        }
        let (stop, exporter) = (Stop::new(), outbox::exporter(settings)?);
        let outbox = Outbox::start(settings, exporter, &stop);
        let sampling = Sampling { parent_based: settings.parent_based, ratio: settings.sample_ratio };
        let _ = OURS.set(Tracer { sampling, road, outbox });
        Ok(Self(Some(stop)))
    }

    /// Sends what is left, if the collector takes it soon.
    pub async fn end(&self) {
        let Some(stop) = &self.0 else { return };
        stop.ask();
        stop.finished(LAST_WORD).await;
    }
}

/// A span that has begun, or nothing where nobody traces. Dropped before its end, as when a caller hangs up, it says so.
#[must_use]
pub struct Open(Option<(&'static Tracer, Span)>);

/// A call of the API, whose caller may have sent a place in a trace. Probes come every few seconds and are of no trace.
pub fn call(method: &str, route: Option<&str>, path: &str, request_id: &str, asked: Option<&Trace>) -> Open {
    if route.is_some_and(says::is_probe) {
        return Open(None);
    }
    Open::begin(|tracer| {
        let parent = asked.map(Place::of);
        let trace = parent.as_ref().map_or_else(fresh_trace, |parent| parent.trace);
        let stand = tracer.sampling.stand(trace, parent.as_ref(), fresh_id());
        tracer.begin(stand, || says::call(method, route, path, request_id))
    })
}

/// A job is about to be published; its message then says so.
pub fn publish(message: &mut JobMessage) -> Open {
    let open = Open::begin(|tracer| {
        let (trace, parent) = home(message.job, message.trace.as_ref());
        let stand = tracer.sampling.stand(trace, parent.as_ref(), fresh_id());
        let of = Of { job: message.job, kind: &message.kind, correlation_id: message.correlation_id.as_deref() };
        tracer.begin(stand, || says::publish(of, message.lane, &tracer.road))
    });
    message.trace = open.here().or(message.trace.take());
    open
}

/// An attempt begins: under the publish whose delivery brought it, and beside the attempt before it, to which it is linked.
pub fn attempt(job: &Granted, brought: Option<&Trace>) -> Open {
    Open::begin(|tracer| {
        let (id, number) = (job.fence.job, job.fence.attempt);
        let (trace, parent) = home(id, job.trace.as_ref());
        // A message says what its producer likes: it is believed only about its job's own trace.
        let brought = brought.map(Place::of).filter(|brought| brought.trace == trace);
        let stand = tracer.sampling.stand(trace, brought.or(parent).as_ref(), attempt_id(id, number));
        let of = Of { job: id, kind: &job.kind, correlation_id: job.correlation_id.as_deref() };
        let before =
            number.checked_sub(1).filter(|before| *before > 0).map(|before| stand.here.at(attempt_id(id, before)));
        tracer.begin(stand, || says::attempt(of, number, before, &tracer.road))
    })
}

/// A POST to a receiver, of this attempt's, telling of an attempt of another job, whose own trace is `told_of`'s last part.
pub fn post(context: &Context, url: &str, told_of: Option<(JobId, u32, Option<&Trace>)>) -> Open {
    Open::begin(|tracer| {
        let (trace, parent) = home(context.job_id(), context.trace());
        let stand = tracer.sampling.stand(trace, parent.as_ref(), fresh_id());
        let of = Of { job: context.job_id(), kind: context.kind(), correlation_id: context.correlation_id() };
        let told_of = told_of.filter(|(_, attempt, _)| *attempt > 0);
        let told_of = told_of.map(|(job, attempt, trace)| attempt_of(job, attempt, trace, &stand.here));
        tracer.begin(stand, || says::post(of, context.attempt(), url, told_of))
    })
}

impl Tracer {
    /// What is not sampled has its place, for what it sets going, and nothing to say.
    fn begin(&self, stand: Stand, say: impl FnOnce() -> Said) -> Span {
        let said = stand.here.is_sampled().then(say);
        Span { stand, began: clock::now(), said }
    }
}

impl Open {
    fn begin(make: impl FnOnce(&'static Tracer) -> Span) -> Self {
        Self(OURS.get().map(|tracer| (tracer, make(tracer))))
    }

    /// Where what it sets going has its place.
    pub fn here(&self) -> Option<Trace> {
        self.0.as_ref().and_then(|(_, span)| span.stand.here.header())
    }

    /// The call was answered.
    pub fn answered(self, status: u16) {
        self.end(|| End::answered(status));
    }

    /// The publish was confirmed, or not.
    pub fn published(self, result: &Result<(), BrokerError>) {
        self.end(|| match result {
            Ok(()) => End::default(),
            Err(BrokerError::Unavailable(_)) => End::failed("unavailable"),
            Err(BrokerError::Unroutable(_)) => End::failed("unroutable"),
        });
    }

    /// The attempt's end is in the ledger.
    pub fn settled(self, event: &Event) {
        self.end(|| End::settled(event.state.word(), event.error.as_ref().map(|error| error.code.as_str())));
    }

    /// The receiver answered with this status, or there was this trouble.
    pub fn posted(self, status: Option<u16>, trouble: Option<&str>) {
        self.end(|| End::posted(status, trouble));
    }

    /// It failed for this reason, one of a closed set.
    pub fn failed(self, reason: &'static str) {
        self.end(|| End::failed(reason));
    }

    fn end(mut self, end: impl FnOnce() -> End) {
        if let Some((tracer, span)) = self.0.take() {
            tracer.outbox.put(span.ended(clock::now(), end()));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((tracer, span)) = self.0.take() {
            tracer.outbox.put(span.ended(clock::now(), End::failed("abandoned")));
        }
    }
}
