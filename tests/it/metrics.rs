//! Metrics as Prometheus scrapes them: a running Longshore, its page read line by line and held by `promtool`.
//!
//! Numbers are compared exactly, for a counter that is nearly right is wrong. What each metric means is in `helm/METRICS.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_runtime::metrics::labels::Role;
use longshore_runtime::metrics::table::{Labels, TABLE};
use longshore_tests::http::Http;
use longshore_tests::stage::Stage;
use longshore_tests::until::poll;
use serde_json::json;

/// A series with its labels, and its value.
type Page = BTreeMap<String, f64>;

/// Of one process that is both API and worker, for five kinds.
const BUDGET: usize = 800;
const PATIENCE: Duration = Duration::from_secs(60);

async fn scrape(http: &Http) -> Result<(String, Page)> {
    let answer = http.get("/metrics").await?.expect(200)?;
    ensure!(answer.header("content-type") == Some("text/plain; version=0.0.4; charset=utf-8"), "{answer:?}");
    let mut page = Page::new();
    for line in answer.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
        ensure!(page.insert(series.to_owned(), value.parse()?).is_none(), "twice: {series}");
    }
    Ok((answer.text, page))
}

/// All of the trial's counters that are not 0, without their names' common parts.
fn counted(page: &Page) -> Vec<(&str, f64)> {
    let of_the_trial = |series: &str| series.contains(r#"kind="trial.work""#) && series.contains("_total{");
    let risen = page.iter().filter(|(series, value)| of_the_trial(series) && **value != 0.0);
    risen.map(|(series, value)| (series.trim_start_matches("longshore_"), *value)).collect()
}

fn promtool(page: &str) -> Result<()> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("promtool is missing; `.ci/install test` brings it")?;
    child.stdin.take().context("stdin is piped")?.write_all(page.as_bytes())?;
    let ended = child.wait_with_output()?;
    let said = [ended.stdout, ended.stderr].concat();
    ensure!(ended.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
    Ok(())
}

#[test]
fn promtool_would_notice_a_bad_page() {
    assert!(promtool("# HELP things\n# TYPE things counter\nthings 1\n").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_there_before_the_first_job_and_within_the_budget() -> Result<()> {
    let stage = Stage::embedded().await?;
    let (text, page) = scrape(&stage.http).await?;
    promtool(&text)?;
    for metric in TABLE {
        ensure!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{} has no help", metric.name);
        let series: Vec<_> = page.keys().filter(|series| is_of(series, metric.name)).collect();
        let by_kind = matches!(metric.labels, Labels::Kind | Labels::KindAnd(..) | Labels::LedgerKind);
        let trials = series.iter().filter(|series| series.contains(r#"kind="trial.work""#)).count();
        ensure!(!series.is_empty() && (!by_kind || trials > 0), "{}: {series:?}", metric.name);
    }
    ensure!(counted(&page).is_empty(), "{:?}", counted(&page));
    // The API answers before the worker has its lease: what the worker sets by then is seen a moment later.
    let at_work = || async { Some(scrape(&stage.http).await.ok()?.1).filter(|page| page["longshore_slots"] == 4.0) };
    let page = poll("the worker to be at work", PATIENCE, at_work).await?;
    ensure!(page["longshore_slots_busy"] == 0.0 && page["longshore_broker_connected"] == 1.0, "{page:?}");
    ensure!(
        page["longshore_worker_last_heartbeat_timestamp_seconds"] > 1.7e9,
        "a lease is renewed from its first moment"
    );
    ensure!(page.len() <= BUDGET, "{} series are more than {BUDGET}", page.len());
    Ok(())
}

fn is_of(series: &str, name: &str) -> bool {
    let rest = series.strip_prefix(name);
    rest.is_some_and(|rest| {
        ["", "{", "_bucket{", "_sum", "_count"]
            .iter()
            .any(|end| rest == *end || !end.is_empty() && rest.starts_with(end))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_jobs_is_counted_exactly() -> Result<()> {
    let stage = Stage::embedded().await?;
    let payloads = [
        json!({"work_ms": 60}),
        json!({"fail_attempts": 1}),
        json!({"panic_attempts": 1}),
        json!({"fail_attempts": 3}),
        json!({"fatal": true}),
    ];
    for payload in &payloads {
        let job = stage.submit("trial.work", payload.clone()).await?;
        stage.settled(&job).await?;
    }
    let wrong = json!({"kind": "trial.work", "payload": {"no_such_field": 1}});
    stage.http.post("/v1/jobs", &wrong).await?.expect(422)?;
    stage.http.post("/v1/jobs", &json!({"kind": "made.up", "payload": {}})).await?.expect(422)?;
    let (text, page) = scrape(&stage.http).await?;
    promtool(&text)?;
    let expected = [
        (r#"attempts_started_total{kind="trial.work"}"#, 9.0),
        (r#"attempts_total{kind="trial.work",outcome="done"}"#, 3.0),
        (r#"attempts_total{kind="trial.work",outcome="error"}"#, 4.0),
        (r#"attempts_total{kind="trial.work",outcome="fatal"}"#, 1.0),
        (r#"attempts_total{kind="trial.work",outcome="panic"}"#, 1.0),
        (r#"dead_letters_total{kind="trial.work",cause="error"}"#, 1.0),
        (r#"dead_letters_total{kind="trial.work",cause="fatal"}"#, 1.0),
        (r#"jobs_submitted_total{kind="trial.work",result="accepted"}"#, 5.0),
        (r#"jobs_submitted_total{kind="trial.work",result="refused"}"#, 1.0),
        (r#"retries_total{kind="trial.work",cause="error"}"#, 3.0),
        (r#"retries_total{kind="trial.work",cause="panic"}"#, 1.0),
    ];
    ensure!(counted(&page) == expected, "{:#?}", counted(&page));
    let samples = |name: &str| page[&format!(r#"longshore_{name}_count{{kind="trial.work"}}"#)];
    ensure!(
        [samples("attempt_duration_seconds"), samples("job_wait_seconds"), samples("job_end_to_end_seconds")]
            == [9.0, 9.0, 5.0]
    );
    let waited = page[r#"longshore_job_wait_seconds_sum{kind="trial.work"}"#];
    ensure!(waited < 9.0 * 5.0, "the backoff is no wait: {waited}");
    ensure!(
        page[r#"longshore_jobs_submitted_total{kind="_OTHER",result="refused"}"#] == 1.0 && !text.contains("made.up")
    );
    ensure!(page[r#"longshore_http_requests_total{method="POST",route="/v1/jobs",status_class="2xx"}"#] == 5.0);
    ensure!(page[r#"longshore_http_requests_total{method="POST",route="/v1/jobs",status_class="4xx"}"#] == 2.0);
    ensure!(page["longshore_slots_busy"] == 0.0 && page["longshore_ledger_batch_rows_count"] > 0.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_shows_its_own_and_one_leader_counts_the_demand() -> Result<()> {
    let stage = Stage::servers().await?;
    let jobs = [json!({"work_ms": 600_000}), json!({"work_ms": 600_000})];
    for payload in jobs {
        stage.submit("trial.work", payload).await?;
    }
    let worker = stage.worker().http()?;
    let (text, page) = scrape(&worker).await?;
    promtool(&text)?;
    let mine = |role| TABLE.iter().filter(move |metric| metric.role == role);
    ensure!(mine(Role::Worker).chain(mine(Role::Agents)).all(|metric| text.contains(metric.name)), "{text}");
    ensure!(!text.contains("_http_") && page["longshore_broker_connected"] == 1.0, "{text}");
    let pages = || async { Some([scrape(&stage.http).await.ok()?.1, scrape(&worker).await.ok()?.1]) };
    let demand = r#"longshore_queue_demand{kind="trial.work"}"#;
    let seen = || async { pages().await.filter(|pages| pages.iter().any(|page| page[demand] == 2.0)) };
    let pages = poll("the leader to count two running jobs", PATIENCE, seen).await?;
    let leaders = pages.iter().filter(|page| page["longshore_queue_stats_timestamp_seconds"] > 1.7e9).count();
    ensure!(leaders == 1, "{leaders} processes survey");
    let consumers: Vec<_> = pages.iter().map(|page| page[r#"longshore_queue_consumers{kind="trial.work"}"#]).collect();
    ensure!(consumers.contains(&1.0) && consumers.contains(&0.0), "{consumers:?}");
    ensure!(pages[1]["longshore_slots_busy"] == 2.0);
    let [size, in_use, waiting] =
        ["size", "in_use", "waiting"].map(|what| pages[1][&format!("longshore_ledger_pool_{what}")]);
    ensure!(
        (1.0..=8.0).contains(&size) && in_use <= size && waiting == 0.0,
        "{size} open, {in_use} used, {waiting} wait"
    );
    let confirms = pages[0]["longshore_broker_confirm_seconds_count"];
    ensure!(confirms == 4.0, "the API published two jobs and announced both, in {confirms} confirms");
    Ok(())
}
