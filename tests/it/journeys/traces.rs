//! A job as a trace, as a collector sees it: the call, each publish, each attempt and the webhook's POST, wherever they ran, under one
//! id and each under what set it going. How a caller's own trace is carried is told in `correlation`.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::collector::{Collector, Span};
use longshore_tests::http::{Answer, send};
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::logs::says;

/// Tracing by the standard's variable, soon sent, with logs that a machine reads.
fn traced(collector: &Collector) -> [(&'static str, String); 4] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("LONGSHORE_TRACES_INTERVAL", "0.1".into()),
        ("LONGSHORE_LOG_FORMAT", "json".into()),
        ("LONGSHORE_LOG_LEVEL", "info,longshore_runtime::worker=debug,longshore_runtime::api=debug".into()),
    ]
}

fn variables<'a>(owned: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    owned.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The trace that an answer names.
fn trace_of(answer: &Answer) -> Result<String> {
    let parent = answer.header("traceparent").context("an answer names its trace")?;
    Ok(parent[3..35].to_owned())
}

fn id_of(answer: &Answer) -> Result<String> {
    Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
}

/// The attempts of a job, in order.
fn attempts<'a>(spans: &'a [Span], job: &str) -> Vec<&'a Span> {
    let of_job = |span: &&Span| span.kind == SpanKind::Consumer && span.says("longshore.job.id") == job;
    let mut attempts: Vec<&Span> = spans.iter().filter(of_job).collect();
    attempts.sort_by_key(|span| span.says("longshore.attempt").to_owned());
    attempts
}

fn with_id<'a>(spans: &'a [Span], id: &str) -> Result<&'a Span> {
    spans.iter().find(|span| span.id == id).with_context(|| format!("no span {id} in {spans:#?}"))
}

/// The call of a job's submit.
fn the_call(spans: &[Span]) -> Result<&Span> {
    spans.iter().find(|span| span.kind == SpanKind::Server).with_context(|| format!("no call in {spans:#?}"))
}

/// An attempt is under the publish that brought it, and this under the call; what both say agrees.
fn was_brought_by_a_publish_under(attempt: &Span, call: &Span, spans: &[Span]) -> Result<()> {
    let publish = with_id(spans, &attempt.parent)?;
    ensure!(publish.kind == SpanKind::Producer && publish.parent == call.id, "{publish:#?} is not under {call:#?}");
    for key in ["messaging.system", "messaging.destination.name", "messaging.message.id", "longshore.job.kind"] {
        ensure!(attempt.says(key) == publish.says(key) && !attempt.says(key).is_empty(), "{key}: {attempt:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_is_one_trace_from_its_call_through_queue_and_workers_to_its_receiver() -> Result<()> {
    let (collector, receiver) = (Collector::start().await?, Receiver::start(|_, _| Reply::of(204)).await?);
    let stage = Stage::servers_with(&variables(&traced(&collector))).await?;
    let job = json!({
        "kind": "trial.work",
        "payload": {"fail_attempts": 1, "log": stage.note_file()},
        "webhook": {"url": receiver.url(), "events": ["completed"]},
    });
    let request = stage.http.request(Method::POST, "/v1/jobs").header("x-request-id", "order-9");
    let accepted = send(request.json(&job)).await?.expect(202)?;
    let (trace, id) = (trace_of(&accepted)?, id_of(&accepted)?);
    let job = stage.settled(&id).await?;
    let told = receiver.until(1, PATIENCE).await?;
    let posted = |spans: &[Span]| {
        let ended = |kind, count| spans.iter().filter(|span| span.kind == kind).count() >= count;
        // The call and the publish are sent by another process than the rest.
        ended(SpanKind::Client, 1)
            && ended(SpanKind::Consumer, 3)
            && ended(SpanKind::Server, 1)
            && ended(SpanKind::Producer, 3)
    };
    let spans = collector.trace(&trace, PATIENCE, posted).await?;

    let call = the_call(&spans)?;
    assert_eq!((call.name.as_str(), call.parent.as_str()), ("POST /v1/jobs", ""), "{call:#?}");
    assert_eq!(accepted.header("traceparent"), Some(call.traceparent().as_str()));
    let by_api = |span: &&Span| span.kind == SpanKind::Producer && span.process == call.process;
    ensure!(
        spans.iter().filter(by_api).any(|span| span.says("longshore.job.id") == id),
        "the API published: {spans:#?}"
    );

    let [failed, completed] = attempts(&spans, &id)[..] else { panic!("two attempts: {spans:#?}") };
    for attempt in [failed, completed] {
        was_brought_by_a_publish_under(attempt, call, &spans)?;
        ensure!(attempt.process != call.process, "API and worker are two processes: {attempt:#?}");
        assert_eq!(attempt.name, "process longshore.jobs.trial.work");
        assert_eq!(
            (attempt.says("messaging.system"), attempt.says("longshore.correlation_id")),
            ("rabbitmq", "order-9")
        );
    }
    assert_eq!((failed.error.as_deref(), failed.says("error.type")), (Some("told_to_fail"), "told_to_fail"));
    assert_eq!((failed.links.len(), completed.error.as_deref()), (0, None));
    assert_eq!(completed.links, [(trace.clone(), failed.id.clone())], "the second is linked to the first");
    assert_eq!(job["result"]["traceparent"], completed.traceparent(), "what its executor asks of others is under it");

    let post = spans.iter().find(|span| span.kind == SpanKind::Client).context("a POST")?;
    let delivery = with_id(&spans, &post.parent)?;
    assert_eq!(delivery.says("longshore.job.kind"), "longshore.webhook");
    was_brought_by_a_publish_under(delivery, call, &spans)?;
    assert_eq!((post.says("http.response.status_code"), post.says("longshore.correlation_id")), ("204", "order-9"));
    assert_eq!(post.links, [(trace.clone(), completed.id.clone())], "it tells of the second attempt");
    assert_eq!(
        told[0].header("traceparent"),
        Some(post.traceparent().as_str()),
        "its receiver goes on in the same trace"
    );

    let (payload, hook) = (stage.note_file().to_string_lossy().into_owned(), "/hook");
    let leaks = |span: &&Span| {
        format!("{span:?}").contains(&payload) || span.attributes.values().any(|said| said.contains(hook))
    };
    assert_eq!(spans.iter().find(leaks), None, "no payload, and no more of the receiver than its host");
    every_line_about_it_names_its_trace(&stage, &id, &trace)
}

fn every_line_about_it_names_its_trace(stage: &Stage, id: &str, trace: &str) -> Result<()> {
    let mut about = 0;
    for process in [stage.api(), stage.worker()] {
        let log = std::fs::read_to_string(process.process().log())?;
        for line in log.lines().filter(|line| line.contains(id)) {
            about += 1;
            let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            ensure!(says(&line, "trace_id").is_some_and(|said| said == trace), "it does not name its trace: {line}");
        }
    }
    ensure!(about >= 2, "two attempts, and {about} lines about them");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_collector_jobs_go_on_and_their_spans_are_counted() -> Result<()> {
    let mut collector = Collector::start().await?;
    collector.stop();
    let stage = Stage::embedded_with(&variables(&traced(&collector))).await?;
    for _ in 0..20 {
        let id = stage.submit("trial.work", json!({})).await?;
        assert_eq!(stage.settled(&id).await?["state"], "completed");
    }
    let counted = |result: &'static str| {
        let stage = &stage;
        async move {
            let page = stage.http.get("/metrics").await.ok()?.text;
            let series = format!("longshore_spans_total{{result=\"{result}\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&series))?.parse::<f64>().ok()?;
            (value > 0.0).then_some(value)
        }
    };
    poll("dropped spans to be counted", PATIENCE, || counted("dropped")).await?;
    collector.restart().await?;
    let accepted = stage.http.post("/v1/jobs", &json!({"kind": "trial.work", "payload": {}})).await?.expect(202)?;
    let whole = |spans: &[Span]| spans.iter().any(|span| span.kind == SpanKind::Consumer);
    let spans = collector.trace(&trace_of(&accepted)?, PATIENCE, whole).await?;
    assert_eq!(attempts(&spans, &id_of(&accepted)?)[0].says("messaging.system"), "longshore");
    poll("exported spans to be counted", PATIENCE, || counted("exported")).await?;
    let log = || std::fs::read_to_string(stage.worker().process().log());
    let well = || async { log().ok().filter(|log| log.contains("the collector takes spans again")) };
    let log = poll("the log to say that the collector is back", PATIENCE, well).await?;
    assert_eq!(log.matches("the collector takes no spans").count(), 1, "told once: {log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_decided_not_to_sample_is_obeyed_and_one_who_did_goes_on_in_its_own_trace() -> Result<()> {
    let collector = Collector::start().await?;
    let (given, token) = (traced(&collector), ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush"));
    let stage = Stage::embedded_with(&[variables(&given), vec![token]].concat()).await?;
    let submit = async |trace: &str, flags: &str| {
        let parent = format!("00-{trace}-b7ad6b7169203331-{flags}");
        let request = stage.http.request(Method::POST, "/v1/jobs").header("traceparent", parent);
        let request = request.header("tracestate", "vendor=1").json(&json!({"kind": "trial.work", "payload": {}}));
        let accepted = send(request).await?.expect(202)?;
        assert_eq!((trace_of(&accepted)?.as_str(), accepted.header("tracestate")), (trace, Some("vendor=1")));
        stage.settled(&id_of(&accepted)?).await
    };
    let (unseen, seen) = ("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c");
    let quiet = submit(unseen, "00").await?;
    let carried = quiet["result"]["traceparent"].as_str().unwrap_or_default();
    ensure!(carried.starts_with(&format!("00-{unseen}-")) && carried.ends_with("-00"), "it is carried on: {quiet}");
    submit(seen, "01").await?;
    let spans =
        collector.trace(seen, PATIENCE, |spans| spans.iter().any(|span| span.kind == SpanKind::Consumer)).await?;
    assert_eq!(the_call(&spans)?.parent, "b7ad6b7169203331");
    assert_eq!(collector.headers("authorization").first().map(String::as_str), Some("Bearer hush"), "its token");
    let of_unseen = collector.spans()?.into_iter().find(|span| span.trace == unseen);
    assert_eq!(of_unseen, None, "one queue, in order: what was sent later is here");
    let probes = collector.spans()?.into_iter().find(|span| span.says("http.route") == "/readyz");
    assert_eq!(probes, None, "the stage was started by probes");
    Ok(())
}
