//! The series of one process: a handle for every label set of every metric of its roles, made once. On the way to a handle no
//! string is made and no lock is taken: a kind's place is looked up among a few, the rest is arithmetic. It knows no event.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::labels::{CALLS, OTHER, Role, STATUS_CLASSES};
use super::table::{Labels, Metric, Name, Sort, TABLE};

/// The metrics of a process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Sorted.
    kinds: Vec<String>,
    /// By [`Name`]; of metrics of other roles there are none.
    families: Vec<Family>,
    /// Kinds with queue statistics.
    queues: Mutex<BTreeSet<String>>,
}

enum Family {
    Counters(Vec<Counter>),
    Gauges(Vec<Gauge>),
    Histograms(Vec<Histogram>),
}

type LabelSet = Vec<(&'static str, SharedString)>;

const METADATA: Metadata<'static> = Metadata::new("longshore", Level::INFO, None);

impl Metrics {
    /// All series of these roles, for these kinds, at 0.
    pub fn new<'a>(roles: &[Role], kinds: impl IntoIterator<Item = &'a str>) -> Self {
        let kinds: BTreeSet<String> = kinds.into_iter().map(str::to_owned).collect();
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        let queues = Mutex::new(kinds.clone());
        let kinds = kinds.into_iter().collect();
        let mut ours = Self { recorder, handle, kinds, families: vec![], queues };
        let here = |metric: &Metric| roles.contains(&metric.role) || metric.role == Role::Agents && !roles.is_empty();
        ours.families = TABLE.iter().map(|metric| ours.family(metric, here(metric))).collect();
        ours.begin();
        ours
    }

    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Counts the samples that lie in buffers.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The place of a kind; after the last, if it is none of this process.
    pub(super) fn kind(&self, kind: &str) -> usize {
        self.kinds.binary_search_by(|known| known.as_str().cmp(kind)).unwrap_or(self.kinds.len())
    }

    /// Counts, where there is such a series.
    pub(super) fn count(&self, name: Name, place: usize) {
        self.count_many(name, place, 1);
    }

    /// So many more.
    pub(super) fn count_many(&self, name: Name, place: usize, more: u64) {
        if let Family::Counters(counters) = &self.families[name as usize]
            && let Some(counter) = counters.get(place)
        {
            counter.increment(more);
        }
    }

    /// The gauge, where there is one.
    pub(super) fn gauge(&self, name: Name) -> Option<&Gauge> {
        self.gauge_at(name, 0)
    }

    /// The gauge of this place among its labels.
    pub(super) fn gauge_at(&self, name: Name, place: usize) -> Option<&Gauge> {
        match &self.families[name as usize] {
            Family::Gauges(gauges) => gauges.get(place),
            Family::Counters(_) | Family::Histograms(_) => None,
        }
    }

    /// Adds a sample, where there is such a series.
    pub(super) fn sample(&self, name: Name, place: usize, value: f64) {
        if let Family::Histograms(histograms) = &self.families[name as usize]
            && let Some(histogram) = histograms.get(place)
        {
            histogram.record(value);
        }
    }

    /// A queue's gauge. The kinds of other processes appear with their first statistics.
    pub(super) fn queue_gauge(&self, name: Name, kind: &str) -> Gauge {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains(kind) {
            queues.insert(kind.to_owned());
        }
        drop(queues);
        self.recorder.register_gauge(&key(&TABLE[name as usize], vec![("kind", kind.to_owned().into())]), &METADATA)
    }

    /// The kinds that have queue statistics.
    pub(super) fn queues(&self) -> Vec<String> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn family(&self, metric: &Metric, here: bool) -> Family {
        let sets = if here { self.sets(metric.labels) } else { vec![] };
        let help = || SharedString::const_str(metric.help);
        let keys = sets.into_iter().map(|set| key(metric, set));
        match metric.sort {
            Sort::Counter => {
                self.recorder.describe_counter(metric.name.into(), None, help());
                Family::Counters(keys.map(|key| self.recorder.register_counter(&key, &METADATA)).collect())
            }
            Sort::Gauge => {
                self.recorder.describe_gauge(metric.name.into(), None, help());
                Family::Gauges(keys.map(|key| self.recorder.register_gauge(&key, &METADATA)).collect())
            }
            Sort::Histogram(_) => {
                self.recorder.describe_histogram(metric.name.into(), None, help());
                Family::Histograms(keys.map(|key| self.recorder.register_histogram(&key, &METADATA)).collect())
            }
        }
    }

    /// Every label set, in the order that places count.
    fn sets(&self, labels: Labels) -> Vec<LabelSet> {
        let kinds = || self.kinds.iter().map(|kind| SharedString::from(kind.clone()));
        let each = |label, values: &'static [&'static str], kinds: Vec<SharedString>| {
            let pairs = kinds.into_iter().flat_map(|kind| values.iter().map(move |value| (kind.clone(), *value)));
            pairs.map(|(kind, value)| vec![("kind", kind), (label, value.into())]).collect()
        };
        match labels {
            Labels::None => vec![vec![]],
            Labels::Kind | Labels::LedgerKind => kinds().map(|kind| vec![("kind", kind)]).collect(),
            Labels::KindAnd(label, values) => each(label, values, kinds().collect()),
            Labels::AnyKindAnd(label, values) => each(label, values, kinds().chain([OTHER.into()]).collect()),
            Labels::One(label, values) => values.iter().map(|value| vec![(label, (*value).into())]).collect(),
            Labels::Calls => CALLS.iter().flat_map(|call| STATUS_CLASSES.map(|class| answer(*call, class))).collect(),
        }
    }
}

fn answer((method, route): (&'static str, &'static str), class: &'static str) -> LabelSet {
    vec![("method", method.into()), ("route", route.into()), ("status_class", class.into())]
}

fn key(metric: &Metric, labels: LabelSet) -> Key {
    let labels: Vec<Label> = labels.into_iter().map(|(label, value)| Label::new(label, value)).collect();
    Key::from_parts(metric.name, labels)
}

fn builder() -> PrometheusBuilder {
    TABLE.iter().fold(PrometheusBuilder::new(), |builder, metric| match metric.sort {
        Sort::Histogram(bounds) => builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
            .expect("the table's histograms have bounds"),
        Sort::Counter | Sort::Gauge => builder,
    })
}

#[cfg(test)]
mod tests;
