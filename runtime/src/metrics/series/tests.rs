use super::*;
use crate::job::state::State;
use crate::ledger::{Census, Ended};
use crate::metrics::events::AttemptEnd;
use crate::metrics::labels::Submit;
use std::time::Duration;

const ALL: [Role; 3] = [Role::Api, Role::Worker, Role::Agents];

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let page = metrics.render();
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn every_series_of_a_role_exists_at_zero() {
    let metrics = Metrics::new(&ALL, ["b.two", "a.one"]);
    for kind in ["a.one", "b.two"] {
        let wait = format!("longshore_job_wait_seconds_count{{kind=\"{kind}\"}}");
        let lost = format!("longshore_attempts_total{{kind=\"{kind}\",outcome=\"lost\"}}");
        assert_eq!([value(&metrics, &wait), value(&metrics, &lost)], [Some(0.0); 2], "{}", metrics.render());
    }
    let names = |page: &str| page.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(names(&metrics.render()), TABLE.len());
    let worker = Metrics::new(&[Role::Worker], ["a.one"]);
    assert!(!worker.render().contains("_http_") && worker.render().contains("longshore_slots 0"));
    assert_eq!(Metrics::new(&[], []).render().trim(), "");
}

#[test]
fn an_attempt_counts_for_its_kind_and_no_other() {
    let metrics = Metrics::new(&ALL, ["b.two", "a.one"]);
    let end = |ended, state| AttemptEnd { kind: "b.two", ended, state, age: Duration::from_secs(2) };
    metrics.attempt_ended(&end(Ended::Timeout, State::Pending));
    metrics.attempt_ended(&end(Ended::Yielded, State::Pending));
    metrics.attempt_ended(&end(Ended::Fatal, State::Failed));
    metrics.attempt_ended(&AttemptEnd { kind: "nobody's", ..end(Ended::Done, State::Completed) });
    let sum = |name: &str| {
        let page = metrics.render();
        let lines = page.lines().filter(|line| line.starts_with(name)).map(str::to_owned);
        lines.filter(|line| !line.ends_with(" 0")).collect::<Vec<_>>()
    };
    let mut ended = sum("longshore_attempts_total{");
    ended.sort();
    let expected = ["fatal", "timeout", "yielded"]
        .map(|outcome| format!("longshore_attempts_total{{kind=\"b.two\",outcome=\"{outcome}\"}} 1"));
    assert_eq!(ended, expected);
    assert_eq!(sum("longshore_retries_total{"), [r#"longshore_retries_total{kind="b.two",cause="timeout"} 1"#]);
    assert_eq!(sum("longshore_dead_letters_total{"), [r#"longshore_dead_letters_total{kind="b.two",cause="fatal"} 1"#]);
    assert_eq!(value(&metrics, "longshore_job_end_to_end_seconds_sum{kind=\"b.two\"}"), Some(2.0));
}

#[test]
fn a_submit_of_an_unknown_kind_makes_no_series() {
    let metrics = Metrics::new(&ALL, ["a.one"]);
    metrics.submitted("made.up", Submit::Refused);
    metrics.submitted("a.one", Submit::Accepted);
    assert!(!metrics.render().contains("made.up"));
    let count = |kind: &str, result: &str| {
        value(&metrics, &format!("longshore_jobs_submitted_total{{kind=\"{kind}\",result=\"{result}\"}}"))
    };
    assert_eq!([count("_OTHER", "refused"), count("a.one", "accepted")], [Some(1.0); 2]);
}

#[test]
fn a_request_counts_under_its_route_and_hundred_and_takes_time_as_what_it_is_for() {
    let metrics = Metrics::new(&ALL, []);
    metrics.answered("GET", Some("/v1/jobs/{id}"), 404, Duration::from_millis(20));
    let requests = "longshore_http_requests_total{method=\"GET\",route=\"/v1/jobs/{id}\",status_class=\"4xx\"}";
    let bucket = "longshore_http_request_duration_seconds_bucket{work=\"read\",le=\"0.025\"}";
    assert_eq!([value(&metrics, requests), value(&metrics, bucket)], [Some(1.0); 2], "{}", metrics.render());
}

#[test]
fn who_leads_no_more_shows_no_old_queue() {
    let metrics = Metrics::new(&[Role::Worker], ["a.one"]);
    let row = |kind: &str| Census { kind: kind.to_owned(), waiting: 3, running: 2, oldest_waiting: None };
    metrics.queue_seen("a.one", 7, 1);
    metrics.census_taken(&[row("a.one"), row("of.another.process")]);
    let demand = |kind: &str| value(&metrics, &format!("longshore_queue_demand{{kind=\"{kind}\"}}"));
    assert_eq!([demand("a.one"), demand("of.another.process")], [Some(5.0); 2]);
    metrics.census_taken(&[row("of.another.process")]);
    assert_eq!([demand("a.one"), demand("of.another.process")], [Some(0.0), Some(5.0)]);
    metrics.queues_forgotten();
    assert_eq!(demand("of.another.process"), Some(0.0));
    assert_eq!(value(&metrics, "longshore_queue_ready{kind=\"a.one\"}"), Some(0.0));
}
