//! The table of every metric: what is not in it cannot be recorded, for [`Name`] is the only way to a handle. It holds no value.
//! `helm/METRICS.md` is written from it by [`document`], and a test holds the two together.

use std::fmt::Write as _;

use super::labels::{self, Role};
use crate::ledger::Check;

/// What a metric does, with a histogram's upper bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sort {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts samples up to each of these bounds.
    Histogram(&'static [f64]),
}

/// The labels of a metric, and where their values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// One series.
    None,
    /// The kinds of this process.
    Kind,
    /// The kinds, and for each these values of another label.
    KindAnd(&'static str, &'static [&'static str]),
    /// The kinds and all others together, and for each these values of another label.
    AnyKindAnd(&'static str, &'static [&'static str]),
    /// The kinds of the ledger.
    LedgerKind,
    /// These values of one label.
    One(&'static str, &'static [&'static str]),
    /// Method and route of the API's calls, and the hundred of the status.
    Calls,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its key in the code.
    pub is: Name,
    /// Its name for Prometheus.
    pub name: &'static str,
    /// What it does.
    pub sort: Sort,
    /// What its number counts; a base unit also ends its name.
    pub unit: &'static str,
    /// Its labels.
    pub labels: Labels,
    /// Who has it.
    pub role: Role,
    /// What it says, for people.
    pub help: &'static str,
}

const RUN: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0];
const WAIT: &[f64] = &[0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
const END_TO_END: &[f64] = &[0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, 86400.0];
const ANSWER: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const HTTP: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const ROWS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

macro_rules! table {
    ($($is:ident $name:literal $sort:expr, $unit:literal, $labels:expr, $role:expr, $help:literal;)+) => {
        /// The key of each metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Name { $(
            #[doc = $help]
            $is,
        )+ }

        /// Every metric, in the order of [`Name`].
        pub const TABLE: &[Metric] = &[$(Metric {
            is: Name::$is, name: $name, sort: $sort, unit: $unit, labels: $labels, role: $role, help: $help,
        },)+];
    };
}

use Labels::{AnyKindAnd, Calls, Kind, KindAnd, LedgerKind, None, One};
use Role::{Agents, Api, Worker};
use Sort::{Counter, Gauge, Histogram};

table! {
    AttemptsStarted "longshore_attempts_started_total" Counter, "attempts", Kind, Worker,
        "Attempts that this worker began.";
    Attempts "longshore_attempts_total" Counter, "attempts", KindAnd("outcome", &labels::OUTCOMES), Agents,
        "Attempts that ended and were recorded, by outcome. Those lost with their worker are counted by whoever rescued them.";
    Retries "longshore_retries_total" Counter, "attempts", KindAnd("cause", &labels::RETRY_CAUSES), Agents,
        "Attempts after which the job is to be tried again, by cause.";
    DeadLetters "longshore_dead_letters_total" Counter, "jobs", KindAnd("cause", &labels::DEATH_CAUSES), Agents,
        "Jobs that became dead letters, by the cause of their last attempt; lost means poison.";
    AttemptDuration "longshore_attempt_duration_seconds" Histogram(RUN), "seconds", Kind, Worker,
        "How long executors ran, whatever the outcome.";
    JobWait "longshore_job_wait_seconds" Histogram(WAIT), "seconds", Kind, Worker,
        "From the moment an attempt was due to its start. Backoff and schedules are not in it.";
    JobEndToEnd "longshore_job_end_to_end_seconds" Histogram(END_TO_END), "seconds", Kind, Worker,
        "From a job's acceptance to its end as completed, failed or canceled by its worker, through all attempts.";
    Slots "longshore_slots" Gauge, "slots", None, Worker,
        "Slots of this worker; 0 while it has no lease.";
    SlotsBusy "longshore_slots_busy" Gauge, "slots", None, Worker,
        "Slots in use.";
    Draining "longshore_worker_draining" Gauge, "0 or 1", None, Worker,
        "1 while the worker takes no more and finishes what it runs.";
    LastHeartbeat "longshore_worker_last_heartbeat_timestamp_seconds" Gauge, "seconds", None, Worker,
        "When the worker's lease was last renewed, by this machine's clock; 0 before the first time.";
    LeasesLost "longshore_leases_lost_total" Counter, "leases", None, Worker,
        "Leases that this worker lost; its attempts were stopped.";
    FencedOutcomes "longshore_fenced_outcomes_total" Counter, "attempts", None, Worker,
        "Attempts whose outcome was dropped because the job had been given to another.";
    Rescued "longshore_rescued_total" Counter, "attempts", None, Agents,
        "Attempts that this process took from lost workers.";
    BrokerConnected "longshore_broker_connected" Gauge, "0 or 1", None, Agents,
        "1 while the broker is connected.";
    BrokerBlocked "longshore_broker_blocked" Gauge, "0 or 1", None, Agents,
        "1 while the broker takes no messages: a memory or disk alarm.";
    BrokerConfirm "longshore_broker_confirm_seconds" Histogram(ANSWER), "seconds", None, Agents,
        "From a publish to RabbitMQ's confirm. The embedded broker confirms nothing.";
    LedgerBatch "longshore_ledger_batch_rows" Histogram(ROWS), "rows", None, Agents,
        "Submits, claims and records in one commit.";
    LedgerPoolSize "longshore_ledger_pool_size" Gauge, "connections", None, Agents,
        "Connections to the ledger's database that are open; the heartbeat's own is not among them.";
    LedgerPoolInUse "longshore_ledger_pool_in_use" Gauge, "connections", None, Agents,
        "Connections to the ledger's database that serve a call.";
    LedgerPoolWaiting "longshore_ledger_pool_waiting" Gauge, "calls", None, Agents,
        "Calls that wait for a connection to the ledger's database: database.connections is too small, or it is slow.";
    LedgerErrors "longshore_ledger_errors_total" Counter, "errors", One("error", &labels::LEDGER_ERRORS), Agents,
        "Errors of the ledger's database: unavailable may pass, refused passes when an operator has seen to it (a right, the schema), unstorable is a value that it can never keep.";
    HttpRequests "longshore_http_requests_total" Counter, "requests", Calls, Api,
        "Requests answered.";
    HttpDuration "longshore_http_request_duration_seconds" Histogram(HTTP), "seconds", One("work", &labels::WORKS), Api,
        "From a request's head to the head of its answer; a long-poll waits within.";
    JobsSubmitted "longshore_jobs_submitted_total" Counter, "jobs", AnyKindAnd("result", &labels::RESULTS), Api,
        "Submits over HTTP whose body could be read, by result.";
    WebhookTries "longshore_webhook_tries_total" Counter, "tries", One("outcome", &labels::WEBHOOK_OUTCOMES), Worker,
        "Tries to deliver a webhook, by what became of them.";
    WebhooksPutOff "longshore_webhooks_put_off_total" Counter, "deliveries", None, Worker,
        "Deliveries of webhooks that were put off, because their receiver had not answered in time and has few places until it does.";
    WebhookDuration "longshore_webhook_duration_seconds" Histogram(HTTP), "seconds", None, Worker,
        "How long a try to deliver a webhook took, whatever became of it.";
    QueueReady "longshore_queue_ready" Gauge, "messages", LedgerKind, Agents,
        "Messages on the queue. 0 unless this process leads the agents, as for all queue statistics.";
    QueueConsumers "longshore_queue_consumers" Gauge, "consumers", LedgerKind, Agents,
        "Consumers of the queue.";
    QueueOldest "longshore_queue_oldest_waiting_timestamp_seconds" Gauge, "seconds", LedgerKind, Agents,
        "Since when the oldest waiting job could have run, by the ledger's clock; 0 when none waits.";
    QueueDemand "longshore_queue_demand" Gauge, "jobs", LedgerKind, Agents,
        "Jobs that wait and could run now, and jobs that run: what workers are needed for.";
    QueueStats "longshore_queue_stats_timestamp_seconds" Gauge, "seconds", None, Agents,
        "When this process last took the queue statistics, by its clock; 0 while another process leads.";
    AuditViolations "longshore_audit_violations" Gauge, "violations", One("check", &Check::WORDS), Agents,
        "Violations of what must always be true in the ledger, by check; `longshore verify` names the jobs. 0 unless this process leads.";
    Spans "longshore_spans_total" Counter, "spans", One("result", &labels::SPAN_RESULTS), Agents,
        "Spans of traces, by whether the collector took them; dropped means that it was away or too slow. 0 while nobody traces.";
    BuildInfo "longshore_build_info" Gauge, "1", One("version", &[env!("CARGO_PKG_VERSION")]), Agents,
        "1, with the version that runs.";
}

/// The documentation of the table.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    for metric in TABLE {
        let (sort, labels) = (word(metric.sort), describe(metric.labels));
        let (name, unit, role, help) = (metric.name, metric.unit, metric.role.word(), metric.help);
        let _ = writeln!(text, "| `{name}` | {sort} | {unit} | {labels} | {role} | {help} |");
    }
    text
}

const HEAD: &str = "\
# Metrics

`GET /metrics` on the API and on a worker's probes listener answers in Prometheus' text format. Every series exists from the
start, at 0, and every label has a closed set of values: no job, file, path or error text is ever one. `_OTHER` stands for
whatever is outside of its set. The queue statistics come from the one process that leads the agents; all others show 0, so
take `max by (kind)`. A test keeps this page equal to the table in `runtime/src/metrics/table.rs`.

| metric | type | unit | labels | of | meaning |
| --- | --- | --- | --- | --- | --- |
";

fn word(sort: Sort) -> String {
    match sort {
        Counter => "counter".to_owned(),
        Gauge => "gauge".to_owned(),
        Histogram(bounds) => {
            format!("histogram: {}", bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", "))
        }
    }
}

fn describe(labels: Labels) -> String {
    let of = |label: &str, values: &[&str]| format!("`{label}`: {}", values.join(", "));
    match labels {
        None => String::new(),
        Kind => "`kind`".to_owned(),
        LedgerKind => "`kind` (all that the ledger knows)".to_owned(),
        KindAnd(label, values) => format!("`kind`; {}", of(label, values)),
        AnyKindAnd(label, values) => format!("`kind` or `{}`; {}", labels::OTHER, of(label, values)),
        One("version", _) => "`version`".to_owned(),
        One(label, values) => of(label, values),
        Calls => format!("`method`, `route`; {}", of("status_class", &labels::STATUS_CLASSES)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_metric_stands_once_at_the_place_of_its_key() {
        for (place, metric) in TABLE.iter().enumerate() {
            assert_eq!(metric.is as usize, place);
        }
        assert_eq!(TABLE.iter().map(|metric| metric.name).collect::<HashSet<_>>().len(), TABLE.len());
    }

    #[test]
    fn names_follow_the_rules() {
        for metric in TABLE {
            let Metric { name, sort, unit, .. } = *metric;
            assert!(
                name.starts_with("longshore_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                sort == Counter,
                "{name}: _total is for counters, and for all of them"
            );
            assert_eq!(name.ends_with("_seconds"), unit == "seconds", "{name}: a base unit ends the name");
            assert!(!["_ms", "_millis", "_minutes", "_kb"].iter().any(|unit| name.ends_with(unit)), "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}: a sentence that fits a table");
            if let Histogram(bounds) = sort {
                assert!(bounds.is_sorted_by(|one, other| one < other), "{name}: {bounds:?}");
            }
        }
    }

    #[test]
    fn every_metric_is_recorded_somewhere() {
        let events = include_str!("events.rs");
        let silent: Vec<_> =
            TABLE.iter().filter(|metric| !events.contains(&format!("Name::{:?}", metric.is))).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn the_page_for_operators_is_written_from_the_table() {
        let page = include_str!("../../../helm/METRICS.md");
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../helm/METRICS.md");
        if page != document() && std::env::var_os("LONGSHORE_WRITE_DOCS").is_some() {
            std::fs::write(place, document()).unwrap();
            return;
        }
        assert!(page == document(), "helm/METRICS.md is old; write it: LONGSHORE_WRITE_DOCS=1 cargo test the_page_for");
    }
}
