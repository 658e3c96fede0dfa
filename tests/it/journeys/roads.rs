//! One job followed on all six roads at once (poll, long-poll, stream, webhook, topic, promise), over two API processes of which one
//! is killed on the way: all tell the same.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use longshore_sdk::client::{Client, EventFilter, Told};
use longshore_tests::http::Http;
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::trial::Trial;
use longshore_tests::until::poll;
use serde_json::{Value, json};
use tokio::time::timeout;

/// A job's transitions by their ids; a repeat must be equal.
#[derive(Debug, Default, PartialEq)]
struct Heard(BTreeMap<String, Value>);

impl Heard {
    /// Says whether it was the last.
    fn take(&mut self, event: Value) -> Result<bool> {
        ensure!(event["data"]["kind"] == "trial.work", "nobody is told of a telling: {event}");
        if event["data"]["event"] == "progressed" {
            return Ok(false);
        }
        let id = event["id"].as_str().context("an event has an id")?.to_owned();
        let is_last = matches!(event["data"]["state"].as_str(), Some("completed" | "failed" | "canceled"));
        let known = self.0.insert(id, event.clone());
        ensure!(known.as_ref().is_none_or(|known| *known == event), "another event of the same id: {known:?} {event}");
        Ok(is_last)
    }
}

/// What a stream tells of the job, taken up at the other process when its own dies.
async fn by_stream(first: Http, second: Http, id: String) -> Result<Heard> {
    let (path, mut heard) = (format!("/v1/jobs/{id}/events"), Heard::default());
    let mut stream = Stream::open(&first, &path, None).await?;
    loop {
        match stream.next().await {
            Ok(Some(event)) => {
                heard.take(event)?;
            }
            // A job's stream ends behind its last event.
            Ok(None) => return Ok(heard),
            Err(_) => stream = Stream::open(&second, &path, stream.last_id.as_deref()).await?,
        }
    }
}

/// What the stream of all jobs tells, at one process after the other.
async fn by_all(first: Client, second: Client, ready: tokio::sync::oneshot::Sender<()>) -> Result<Heard> {
    let (mut heard, filter) = (Heard::default(), EventFilter::default());
    let mut events = first.with_patience(Duration::ZERO).events(filter);
    events.open().await?;
    ensure!(ready.send(()).is_ok());
    loop {
        match events.next().await {
            Ok(Told::Event(event)) => {
                if heard.take(serde_json::to_value(event)?)? {
                    return Ok(heard);
                }
            }
            Ok(Told::Gap(gap)) => anyhow::bail!("{gap:?}"),
            Err(_) => {
                let after = events.place().map(str::to_owned);
                events = second.events(EventFilter { after, ..EventFilter::default() });
            }
        }
    }
}

/// What the topic exchange tells.
async fn by_topic(broker: String, ready: tokio::sync::oneshot::Sender<()>) -> Result<Heard> {
    let connection = lapin::Connection::connect(&broker, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?.name().clone();
    let (binding, table) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), "longshore.events".into(), "job.#".into(), binding, table).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
    ensure!(ready.send(()).is_ok());
    let mut heard = Heard::default();
    while let Some(delivery) = consumer.next().await {
        if heard.take(serde_json::from_slice(&delivery?.data)?)? {
            break;
        }
    }
    Ok(heard)
}

/// What the webhook of the job was told, once it is told of its end and of all before it.
async fn by_webhook(receiver: Receiver, transitions: usize) -> Result<(Heard, Value)> {
    let look = || async {
        let (mut heard, mut result, mut ended) = (Heard::default(), Value::Null, false);
        for message in receiver.received() {
            let mut event = message.json().ok()?;
            // The output is a webhook's alone.
            result = event["data"].as_object_mut()?.remove("result").unwrap_or(result);
            ended |= heard.take(event).ok()?;
        }
        (ended && heard.0.len() >= transitions).then_some((heard, result))
    };
    poll("the webhook to be told of every transition", PATIENCE, look).await
}

/// What happened and when, as the views tell it: a poll is no list of events, but its attempts are.
fn by_view(view: &Value) -> Result<Vec<(&str, &Value)>> {
    let mut told = vec![("accepted", &view["created_at"])];
    for attempt in view["attempts"].as_array().context("a view has attempts")? {
        let end = if attempt["outcome"] == "done" { "completed" } else { "attempt_failed" };
        told.extend([("started", &attempt["started_at"]), (end, &attempt["finished_at"])]);
    }
    Ok(told)
}

/// The last view that polls, or long-polls of this length, come to, at whichever process answers.
async fn by_polls(first: Http, second: Http, id: String, wait: u32) -> Result<Value> {
    let path = format!("/v1/jobs/{id}?wait={wait}");
    loop {
        let view = match first.get(&path).await {
            Ok(answer) => answer,
            Err(_) => second.get(&path).await?,
        };
        let view = view.expect(200)?.json()?;
        if !matches!(view["state"].as_str(), Some("pending" | "running")) {
            return Ok(view);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_followed_on_every_road_is_told_alike_though_an_api_process_dies() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    let stage = Stage::on(&database, &broker).await?;
    let (doomed, other) = (stage.another_api(&broker).await?, stage.another_api(&broker).await?);
    let (first, second) = (doomed.http()?, other.http()?);
    let (first_client, second_client) = (Client::new(&doomed.url())?, Client::new(&other.url())?);
    let ears = || tokio::sync::oneshot::channel();
    let ((all_ready, all_listens), (topic_ready, topic_listens)) = (ears(), ears());
    let all = tokio::spawn(by_all(first_client, second_client.clone(), all_ready));
    let topic = tokio::spawn(by_topic(broker.clone(), topic_ready));
    all_listens.await?;
    topic_listens.await?;
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    // The only job there is in this ledger, but for those that tell of it.
    let hook = json!({"url": receiver.url(), "events": ["accepted", "started", "attempt_failed", "completed"]});
    let payload = json!({"fail_attempts": 1, "work_ms": 1500});
    let text = stage.submit_with(json!({"kind": "trial.work", "payload": payload, "webhook": hook})).await?;
    let webhook = tokio::spawn(by_webhook(receiver, 5));
    let stream = tokio::spawn(by_stream(first.clone(), second.clone(), text.clone()));
    let poll = tokio::spawn(by_polls(first.clone(), second.clone(), text.clone(), 0));
    let long_poll = tokio::spawn(by_polls(first, second, text.clone(), 30));
    let promise = tokio::spawn(second_client.handle::<Trial>(text.parse()?).into_future());
    stage.when(&text, "to run again", |job| job["state"] == "running" && job["attempt"] == 2).await?;
    doomed.kill_9().await?;
    let stream = timeout(PATIENCE, stream).await???;
    let (all, topic) = (timeout(PATIENCE, all).await???, timeout(PATIENCE, topic).await???);
    let (poll, long_poll) = (timeout(PATIENCE, poll).await???, timeout(PATIENCE, long_poll).await???);
    let output = timeout(PATIENCE, promise).await???;
    let (webhook, told_result) = timeout(PATIENCE, webhook).await???;
    let numbers: Vec<_> = stream.0.values().map(|event| event["data"]["sequence"].as_i64()).collect();
    assert_eq!(numbers, (1..=5).map(Some).collect::<Vec<_>>());
    assert_eq!(all, stream);
    assert_eq!(topic, stream);
    assert_eq!(webhook, stream);
    assert_eq!(poll, long_poll);
    let streamed: Vec<_> = stream.0.values().map(|event| (event["data"]["event"].as_str(), &event["time"])).collect();
    let viewed: Vec<_> = by_view(&poll)?.into_iter().map(|(word, at)| (Some(word), at)).collect();
    assert_eq!(viewed, streamed);
    // And the views end where the events do.
    let last = stream.0.values().next_back().context("there are five")?;
    assert_eq!((&poll["version"], &poll["state"]), (&last["data"]["sequence"], &last["data"]["state"]));
    assert_eq!((&poll["result"], &told_result), (&json!(output), &json!(output)));
    Ok(())
}
