//! Where a span stands: in which trace, under whom, and whether it is exported. Pure, but for the random ids. What two processes
//! must agree on without asking each other (an attempt's id, the trace of a job that came with none) is made from the job's id, so
//! that no column holds it. Read [`super::says`] for what a span says.

use longshore_sdk::{JobId, Trace};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample};
use sha2::{Digest, Sha256};

/// A span, as others name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    flags: TraceFlags,
    /// What the tracing systems on the way want to know; passed on as it came.
    state: Option<String>,
}

/// A span's place, and whose child it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) here: Place,
    pub(super) parent: SpanId,
}

/// Which traces are exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    /// Whether what was decided before us counts.
    pub(super) parent_based: bool,
    /// The part of the traces otherwise, from 0 to 1.
    pub(super) ratio: f64,
}

impl Place {
    /// What a header names. A [`Trace`] has been read, so each part has its length and is hexadecimal.
    pub(super) fn of(trace: &Trace) -> Self {
        let text = trace.traceparent();
        Self {
            trace: TraceId::from_hex(&text[3..35]).unwrap_or(TraceId::INVALID),
            span: SpanId::from_hex(&text[36..52]).unwrap_or(SpanId::INVALID),
            flags: TraceFlags::new(u8::from_str_radix(&text[53..55], 16).unwrap_or_default()),
            state: trace.tracestate().map(str::to_owned),
        }
    }

    /// As a header.
    pub(super) fn header(&self) -> Option<Trace> {
        let Self { trace, span, flags, state } = self;
        Trace::read(&format!("00-{trace}-{span}-{:02x}", flags.to_u8()), state.as_deref())
    }

    /// Another span of the same trace, exported as this one is.
    pub(super) fn at(&self, span: SpanId) -> Self {
        Self { span, ..self.clone() }
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }

    /// As the exporter has it. A state that only others can read is left out.
    pub(super) fn context(&self) -> SpanContext {
        let state = self.state.as_deref().and_then(|state| state.parse().ok()).unwrap_or_default();
        SpanContext::new(self.trace, self.span, self.flags, false, state)
    }
}

impl Sampling {
    /// Where a span of this trace stands, under its parent if it has one.
    pub(super) fn stand(&self, trace: TraceId, parent: Option<&Place>, span: SpanId) -> Stand {
        let flags = parent.map_or(TraceFlags::NOT_SAMPLED, |parent| parent.flags);
        let flags = flags.with_sampled(self.samples(trace, parent));
        let here = Place { trace, span, flags, state: parent.and_then(|parent| parent.state.clone()) };
        Stand { here, parent: parent.map_or(SpanId::INVALID, |parent| parent.span) }
    }

    /// By the trace's id, so that all processes with the same ratio decide the same of a trace.
    fn samples(&self, trace: TraceId, parent: Option<&Place>) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.is_sampled(),
            _ => {
                let by_ratio = Sampler::TraceIdRatioBased(self.ratio);
                let result = by_ratio.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}

/// Where a job is at home: in the trace that it was submitted in, under its submit; else in one made from its id, under nobody.
pub(super) fn home(job: JobId, submitted: Option<&Trace>) -> (TraceId, Option<Place>) {
    let submitted = submitted.map(Place::of);
    (submitted.as_ref().map_or_else(|| trace_of(job), |place| place.trace), submitted)
}

// Hashed, and not the UUID as it is, for sampling takes the lower half of an id for a random number, and some of its bits are not.
fn trace_of(job: JobId) -> TraceId {
    TraceId::from_bytes(made_from(job, "trace"))
}

/// The same in every process, so that the next attempt can name the one before it, and a webhook the attempt that it tells of.
pub(super) fn attempt_id(job: JobId, attempt: u32) -> SpanId {
    SpanId::from_bytes(made_from(job, &format!("attempt {attempt}")))
}

/// An attempt of another job, for a link to it; sampled as `like` is where its own trace does not say.
pub(super) fn attempt_of(job: JobId, attempt: u32, submitted: Option<&Trace>, like: &Place) -> Place {
    let (trace, parent) = home(job, submitted);
    Place { trace, ..parent.unwrap_or_else(|| like.clone()) }.at(attempt_id(job, attempt))
}

fn made_from<const N: usize>(job: JobId, what: &str) -> [u8; N] {
    let hash = Sha256::new().chain_update(job.0.as_bytes()).chain_update(what).finalize();
    std::array::from_fn(|at| hash[at])
}

pub(super) fn fresh_id() -> SpanId {
    RandomIdGenerator::default().new_span_id()
}

pub(super) fn fresh_trace() -> TraceId {
    RandomIdGenerator::default().new_trace_id()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sampling = Sampling { parent_based: true, ratio: 1.0 };

    fn header(flags: &str) -> Trace {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        Trace::read(&parent, Some("vendor=t61rcWkgMzE,other=1 2")).unwrap()
    }

    #[test]
    fn a_header_is_a_place_and_a_place_a_header() {
        for flags in ["00", "01", "03"] {
            assert_eq!(Place::of(&header(flags)).header(), Some(header(flags)));
        }
    }

    #[test]
    fn a_child_goes_on_in_its_parents_trace_with_its_parents_state() {
        let (parent, id) = (Place::of(&header("01")), fresh_id());
        let stand = ALL.stand(parent.trace, Some(&parent), id);
        assert_eq!((stand.parent, stand.here.trace, stand.here.span), (parent.span, parent.trace, id));
        assert_eq!(stand.here.header().unwrap().tracestate(), header("01").tracestate());
        let root = ALL.stand(fresh_trace(), None, id);
        assert_eq!((root.parent, root.here.is_sampled()), (SpanId::INVALID, true));
    }

    /// Who is sampled, by what came with the trace, whether that counts, and the ratio.
    #[test]
    fn a_parents_decision_counts_and_else_the_ratio() {
        let decided = |parent: Option<&str>, parent_based, ratio| {
            let parent = parent.map(|flags| Place::of(&header(flags)));
            let trace = parent.as_ref().map_or_else(fresh_trace, |parent| parent.trace);
            Sampling { parent_based, ratio }.stand(trace, parent.as_ref(), fresh_id()).here.is_sampled()
        };
        assert!(decided(Some("01"), true, 0.0) && !decided(Some("00"), true, 1.0), "the caller has decided");
        assert!(!decided(Some("01"), false, 0.0) && decided(Some("00"), false, 1.0), "whose word does not count");
        assert!(decided(None, true, 1.0) && !decided(None, true, 0.0), "nobody has decided");
    }

    #[test]
    fn a_ratio_takes_its_part_of_random_traces_and_of_those_made_from_jobs() {
        let quarter = Sampling { parent_based: true, ratio: 0.25 };
        let part = |trace: fn() -> TraceId| (0..4000).filter(|_| quarter.samples(trace(), None)).count();
        for sampled in [part(fresh_trace), part(|| trace_of(JobId::fresh()))] {
            assert!((850..1150).contains(&sampled), "{sampled} of 4000");
        }
        let trace = fresh_trace();
        assert_eq!(quarter.samples(trace, None), quarter.samples(trace, None), "once and for all");
    }

    #[test]
    fn what_processes_must_agree_on_follows_from_the_job() {
        let (one, other) = (JobId::fresh(), JobId::fresh());
        assert_eq!((attempt_id(one, 2), home(one, None)), (attempt_id(one, 2), home(one, None)));
        let ids = [attempt_id(one, 1), attempt_id(one, 2), attempt_id(other, 1)];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && home(one, None).0 != home(other, None).0);
        let (trace, parent) = home(one, Some(&header("01")));
        let told_of = attempt_of(one, 2, Some(&header("01")), &Place::of(&header("00")));
        assert_eq!((told_of.trace, told_of.span, told_of.is_sampled()), (trace, attempt_id(one, 2), true));
        assert_eq!((trace, parent), (Place::of(&header("01")).trace, Some(Place::of(&header("01")))));
    }
}
