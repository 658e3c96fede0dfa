//! One function per event that is measured. Each takes what the caller has and finds the series itself; a label is only ever a
//! place in a closed set. In a process without the role, or before [`super::begin`], they do nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::labels::{self, DEATH_CAUSES, OUTCOMES, RESULTS, RETRY_CAUSES, STATUS_CLASSES, Submit, WEBHOOK_OUTCOMES};
use super::series::Metrics;
use super::table::Name;
use crate::job::state::State;
use crate::ledger::{Census, Check, Ended, LedgerError, Pool, Rescued};

/// An attempt that was recorded.
#[derive(Debug, Clone, Copy)]
pub struct AttemptEnd<'a> {
    /// The job's kind.
    pub kind: &'a str,
    /// How it ended.
    pub ended: Ended,
    /// Where the job is now.
    pub state: State,
    /// Since the job was accepted.
    pub age: Duration,
}

/// Slots in use, counted until dropped.
#[derive(Debug)]
pub struct BusySlots(u32);

impl BusySlots {
    /// So many more.
    pub fn take(slots: u32) -> Self {
        if let Some(busy) = super::ours().gauge(Name::SlotsBusy) {
            busy.increment(slots);
        }
        Self(slots)
    }
}

impl Drop for BusySlots {
    fn drop(&mut self) {
        if let Some(busy) = super::ours().gauge(Name::SlotsBusy) {
            busy.decrement(self.0);
        }
    }
}

impl Metrics {
    /// What is so from the start.
    pub(super) fn begin(&self) {
        self.set(Name::BuildInfo, 1.0);
    }

    /// An executor is about to run.
    pub fn attempt_started(&self, kind: &str, waited: Duration) {
        let kind = self.kind(kind);
        self.count(Name::AttemptsStarted, kind);
        self.sample(Name::JobWait, kind, waited.as_secs_f64());
    }

    /// An executor has run, whatever will be recorded of it.
    pub fn executor_ran(&self, kind: &str, took: Duration) {
        self.sample(Name::AttemptDuration, self.kind(kind), took.as_secs_f64());
    }

    /// An attempt's end is in the ledger.
    pub fn attempt_ended(&self, end: &AttemptEnd<'_>) {
        self.outcome(end.kind, end.ended, end.state);
        if end.state.is_terminal() {
            self.sample(Name::JobEndToEnd, self.kind(end.kind), end.age.as_secs_f64());
        }
    }

    /// An attempt's outcome was dropped: its job has been given to another.
    pub fn fenced(&self) {
        self.count(Name::FencedOutcomes, 0);
    }

    /// Attempts were taken from lost workers.
    pub fn rescued(&self, rescued: &[Rescued]) {
        for job in rescued {
            self.count(Name::Rescued, 0);
            self.outcome(&job.kind, job.ended, job.state);
        }
    }

    fn outcome(&self, kind: &str, ended: Ended, state: State) {
        let kind = self.kind(kind);
        let count = |name, among: usize, place: Option<usize>| {
            if let Some(place) = place {
                self.count(name, kind * among + place);
            }
        };
        count(Name::Attempts, OUTCOMES.len(), labels::outcome(ended));
        match state {
            State::Pending => count(Name::Retries, RETRY_CAUSES.len(), labels::retry_cause(ended)),
            State::Failed => count(Name::DeadLetters, DEATH_CAUSES.len(), labels::death_cause(ended)),
            State::Running | State::Completed | State::Canceled => {}
        }
    }

    /// A delivery found no place at its receiver.
    pub fn webhook_put_off(&self) {
        self.count(Name::WebhooksPutOff, 0);
    }

    /// A webhook was sent, or could not be; `outcome` is one of the closed set.
    pub fn webhook_tried(&self, outcome: &str, took: Duration) {
        if let Some(place) = WEBHOOK_OUTCOMES.iter().position(|word| *word == outcome) {
            self.count(Name::WebhookTries, place);
        }
        self.sample(Name::WebhookDuration, 0, took.as_secs_f64());
    }

    /// The collector took spans.
    pub fn spans_exported(&self, count: usize) {
        self.count_many(Name::Spans, 0, count as u64);
    }

    /// Spans are lost to whoever looks at traces.
    pub fn spans_dropped(&self, count: usize) {
        self.count_many(Name::Spans, 1, count as u64);
    }

    /// A worker has a lease, and so many slots.
    pub fn working(&self, slots: u32, now: Timestamp) {
        self.heartbeat(now);
        self.set(Name::Draining, 0.0);
        // Last: who sees the slots sees a worker with a lease.
        self.set(Name::Slots, f64::from(slots));
    }

    /// The lease was renewed.
    pub fn heartbeat(&self, now: Timestamp) {
        self.set(Name::LastHeartbeat, seconds(now));
    }

    /// The worker takes no more.
    pub fn draining(&self) {
        self.set(Name::Draining, 1.0);
    }

    /// The worker has no lease any more, and did not give it back.
    pub fn lease_lost(&self) {
        self.count(Name::LeasesLost, 0);
        self.set(Name::Slots, 0.0);
    }

    /// How the broker is now.
    pub fn broker_seen(&self, connected: bool, blocked: bool) {
        self.set(Name::BrokerConnected, f64::from(u8::from(connected)));
        self.set(Name::BrokerBlocked, f64::from(u8::from(blocked)));
    }

    /// The broker has confirmed a publish.
    pub fn confirmed(&self, took: Duration) {
        self.sample(Name::BrokerConfirm, 0, took.as_secs_f64());
    }

    /// So many rows go into one commit.
    pub fn ledger_batch(&self, rows: usize) {
        self.sample(Name::LedgerBatch, 0, f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
    }

    /// How busy the ledger's connections are now.
    pub fn ledger_seen(&self, pool: Pool) {
        self.set(Name::LedgerPoolSize, number(pool.size as u64));
        self.set(Name::LedgerPoolInUse, number(pool.in_use as u64));
        self.set(Name::LedgerPoolWaiting, number(pool.waiting as u64));
    }

    /// The ledger's database failed.
    pub fn ledger_failed(&self, error: &LedgerError) {
        self.count(Name::LedgerErrors, labels::ledger_error(error));
    }

    /// A request was answered. `template` is the router's, if a route took it.
    pub fn answered(&self, method: &str, template: Option<&str>, status: u16, took: Duration) {
        let call = labels::call(method, template);
        self.count(Name::HttpRequests, call * STATUS_CLASSES.len() + labels::status_class(status));
        self.sample(Name::HttpDuration, labels::work(call), took.as_secs_f64());
    }

    /// A submit came to its end.
    pub fn submitted(&self, kind: &str, result: Submit) {
        self.count(Name::JobsSubmitted, self.kind(kind) * RESULTS.len() + result as usize);
    }

    /// A queue's depth.
    pub fn queue_seen(&self, kind: &str, ready: u64, consumers: u64) {
        self.queue_gauge(Name::QueueReady, kind).set(number(ready));
        self.queue_gauge(Name::QueueConsumers, kind).set(number(consumers));
    }

    /// All unfinished jobs were counted.
    pub fn census_taken(&self, census: &[Census]) {
        for kind in self.queues().iter().filter(|kind| !census.iter().any(|row| row.kind == **kind)) {
            self.demand(kind, 0, None);
        }
        for row in census {
            self.demand(&row.kind, row.waiting + row.running, row.oldest_waiting);
        }
    }

    fn demand(&self, kind: &str, demand: u64, oldest: Option<Timestamp>) {
        self.queue_gauge(Name::QueueDemand, kind).set(number(demand));
        self.queue_gauge(Name::QueueOldest, kind).set(oldest.map_or(0.0, seconds));
    }

    /// The queue statistics of this process are as of now.
    pub fn queues_surveyed(&self, now: Timestamp) {
        self.set(Name::QueueStats, seconds(now));
    }

    /// Another process leads: what this one knew of the queues must not stay for ever.
    pub fn queues_forgotten(&self) {
        for kind in self.queues() {
            self.queue_seen(&kind, 0, 0);
            self.demand(&kind, 0, None);
        }
        self.set(Name::QueueStats, 0.0);
    }

    /// What the auditor knows of, for each check.
    pub fn audited(&self, violations: &[usize; Check::ALL.len()]) {
        for (place, count) in violations.iter().enumerate() {
            if let Some(gauge) = self.gauge_at(Name::AuditViolations, place) {
                gauge.set(number(*count as u64));
            }
        }
    }

    fn set(&self, name: Name, value: f64) {
        if let Some(gauge) = self.gauge(name) {
            gauge.set(value);
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "queues of 2^53 messages are not ours")]
fn number(count: u64) -> f64 {
    count as f64
}
