//! One job followed on all six roads at once (poll, long-poll, stream, webhook, topic, promise), over two API processes of which one
//! is killed on the way: all tell the same, in the same order.
//!
//! The job is accepted, waits, is attempted, says how far it is, fails, waits, is attempted again at the moment of the kill, says how far
//! it is, and completes: seven events. What is equal to what:
//!
//! - The stream of the job, the stream of all jobs, the topic, the webhook and the promise's events are equal, event for event, with all
//!   that is in them, in the order in which they came. Of a webhook a receiver sorts by sequence number, for deliveries may overtake each
//!   other. Where a road may repeat (all jobs, topic, webhook) a repeat must be equal in content and is left out; the job's own stream and
//!   the promise may not repeat. A webhook alone brings the output, which is what the promise gives.
//! - The promise's progress is the progress of those events, and it is followed from the killed process to the other without being told.
//! - A poll sees where a job stands and not what happened: for each state it has been in, the version, the state, the attempt and its
//!   latest progress. Polls and long-polls are equal to the events reduced to that, none left out. What a poll cannot see is the word,
//!   the moment and that progress came later than the start; words and moments are in the attempts of its last view, which are compared
//!   with the words and times of the transitions.

use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use longshore_sdk::client::{Client, EventFilter, Events, JobHandle, Told};
use longshore_tests::http::Http;
use longshore_tests::postgres::Postgres;
use longshore_tests::proxy::Proxy;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::trial::{Trial, Tried};
use longshore_tests::until::poll;
use serde_json::{Value, json};
use tokio::time::timeout;

/// So long the job waits before each attempt: longer than a long-poll, so that each of them sees every state.
const REST_MS: u64 = 3_000;
/// Of a long-poll.
const WAIT_SECONDS: u32 = 1;

/// What one road has told so far, in its order.
#[derive(Debug, Clone)]
struct Road {
    name: &'static str,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Road {
    fn new(name: &'static str) -> Self {
        Self { name, told: Arc::default() }
    }

    fn told(&self) -> Vec<Value> {
        self.told.lock().expect("no code panics while it holds the list").clone()
    }

    /// An event; says whether it is new. Nothing but progress may be told under another's id, and nobody is told of a telling.
    fn take(&self, event: Value) -> Result<bool> {
        ensure!(event["data"]["kind"] == "trial.work", "{}: nobody is told of a telling: {event}", self.name);
        let mut told = self.told.lock().expect("no code panics while it holds the list");
        let known = told.iter().find(|known| known["id"] == event["id"]);
        ensure!(known.is_none_or(|known| *known == event), "{}: one id, two events: {known:?} {event}", self.name);
        let new = known.is_none();
        told.extend(new.then_some(event));
        Ok(new)
    }

    fn take_first(&self, event: Value) -> Result<()> {
        let told = format!("{event}");
        ensure!(self.take(event)?, "{} repeats {told}", self.name);
        Ok(())
    }

    fn see(&self, view: &Value) {
        let seen = json!({"version": view["version"], "state": view["state"], "attempt": view["attempt"], "progress": view["progress"]});
        stand(&mut self.told.lock().expect("no code panics while it holds the list"), seen);
    }

    /// Whether it has told that this attempt is at the gate.
    fn tells_of(&self, attempt: u32) -> bool {
        let message = format!("attempt {attempt} is at the gate");
        self.told().iter().any(|told| told.to_string().contains(&message))
    }

    /// Whether the end was told, and all the transitions before it.
    fn is_whole(&self) -> bool {
        let transitions = self.told().into_iter().filter(|event| event["data"]["event"] != "progressed");
        let numbers: Vec<_> = transitions.map(|event| (event["data"]["sequence"].as_u64(), is_last(&event))).collect();
        numbers.iter().any(|(last, is_last)| *is_last && *last == Some(numbers.len() as u64))
    }
}

fn is_last(event: &Value) -> bool {
    matches!(event["data"]["state"].as_str(), Some("completed" | "failed" | "canceled"))
}

/// Where the job stands, behind where it stood: with the same version it only has newer progress.
fn stand(before: &mut Vec<Value>, now: Value) {
    let same = |last: &&mut Value| ["version", "state", "attempt"].iter().all(|field| last[*field] == now[*field]);
    match before.last_mut().filter(same) {
        None => before.push(now),
        Some(last) if !now["progress"].is_null() => *last = now,
        Some(_) => {}
    }
}

/// What of these events a poll can see.
fn as_polled(events: &[Value]) -> Vec<Value> {
    events.iter().map(|event| &event["data"]).fold(vec![], |mut before, data| {
        let (version, progress) = (&data["sequence"], &data["progress"]);
        stand(
            &mut before,
            json!({"version": version, "state": data["state"], "attempt": data["attempt"], "progress": progress}),
        );
        before
    })
}

/// What a stream tells of the job, taken up at the other process when its own dies.
async fn by_stream(first: &Http, second: &Http, id: &str, road: &Road) -> Result<()> {
    let path = format!("/v1/jobs/{id}/events");
    let mut stream = Stream::open(first, &path, None).await?;
    loop {
        match stream.next().await {
            Ok(Some(event)) => road.take_first(event)?,
            // A job's stream ends behind its last event.
            Ok(None) => return Ok(()),
            Err(_) => stream = Stream::open(second, &path, stream.last_id.as_deref()).await?,
        }
    }
}

/// What the stream of all jobs tells, at one process after the other.
async fn by_all(mut events: Events, second: Client, road: &Road) -> Result<()> {
    loop {
        match events.next().await {
            Ok(Told::Event(event)) => {
                let event = serde_json::to_value(event)?;
                let ends = is_last(&event);
                road.take(event)?;
                if ends {
                    return Ok(());
                }
            }
            Ok(Told::Gap(gap)) => bail!("{gap:?}"),
            Err(_) => {
                let after = events.place().map(str::to_owned);
                events = second.events(EventFilter { after, ..EventFilter::default() });
            }
        }
    }
}

/// What the topic exchange tells, from now on. The connection lasts as long as it is held.
async fn ears(broker: &str) -> Result<(lapin::Connection, lapin::Consumer)> {
    let connection = lapin::Connection::connect(broker, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?.name().clone();
    let (binding, table) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), "longshore.events".into(), "job.#".into(), binding, table).await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
    Ok((connection, consumer))
}

async fn by_topic(mut consumer: lapin::Consumer, road: &Road) -> Result<()> {
    while let Some(delivery) = consumer.next().await {
        let event: Value = serde_json::from_slice(&delivery?.data)?;
        let ends = is_last(&event);
        road.take(event)?;
        if ends {
            return Ok(());
        }
    }
    bail!("the topic ends before the job")
}

/// What the webhook of the job is told, until that is all.
async fn by_webhook(receiver: &Receiver, road: &Road) -> Result<()> {
    let mut read = 0;
    while !road.is_whole() {
        for message in receiver.until(read + 1, PATIENCE).await?.split_off(read) {
            road.take(message.json()?)?;
            read += 1;
        }
    }
    Ok(())
}

/// What the promise tells, three times: event by event, as progress, and as the output.
async fn by_promise(handle: JobHandle<Tried>, road: &Road, progress: &Road) -> Result<Tried> {
    let (mut events, mut reports) = (handle.events(), handle.progress());
    let events = async {
        while let Some(event) = events.next().await {
            road.take_first(serde_json::to_value(event?)?)?;
        }
        Ok(())
    };
    let reports = async {
        while let Some(report) = reports.next().await {
            let report = serde_json::to_value(report)?;
            progress.told.lock().expect("no code panics while it holds the list").push(report);
        }
        Ok(())
    };
    let output = async { Ok(handle.clone().into_future().await?) };
    tokio::try_join!(events, reports, output).map(|((), (), output): ((), (), Tried)| output)
}

/// What polls, or long-polls of this length, see at whichever process answers, up to their last view.
async fn by_polls(first: &Http, second: &Http, id: &str, wait: u32, road: &Road) -> Result<Value> {
    let path = format!("/v1/jobs/{id}?wait={wait}");
    loop {
        let view = match first.get(&path).await {
            Ok(answer) => answer,
            Err(_) => second.get(&path).await?,
        };
        let view = view.expect(200)?.json()?;
        road.see(&view);
        if !matches!(view["state"].as_str(), Some("pending" | "running")) {
            return Ok(view);
        }
        tokio::task::yield_now().await;
    }
}

/// The words and moments of the transitions, as the attempts of a view tell them.
fn by_view(view: &Value) -> Result<Vec<(&str, &Value)>> {
    let mut told = vec![("accepted", &view["created_at"])];
    for attempt in view["attempts"].as_array().context("a view has attempts")? {
        let end = if attempt["outcome"] == "done" { "completed" } else { "attempt_failed" };
        told.extend([("started", &attempt["started_at"]), (end, &attempt["finished_at"])]);
    }
    Ok(told)
}

/// As a receiver of webhooks has them: in the order of their numbers, and without the output, which is the webhook's alone.
fn sorted(mut told: Vec<Value>) -> (Vec<Value>, Value) {
    told.sort_by_key(|event| (event["data"]["sequence"].as_u64(), event["data"]["event"] == "progressed"));
    let results = told.iter_mut().filter_map(|event| event["data"].as_object_mut()?.remove("result"));
    let result = results.last().unwrap_or_default();
    (told, result)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_followed_on_every_road_is_told_alike_though_an_api_process_dies() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    let stage = Stage::on(&database, &broker).await?;
    let (doomed, other) = (stage.another_api(&broker).await?, stage.another_api(&broker).await?);
    let (first, second) = (doomed.http()?, other.http()?);
    let balancer = Proxy::before(&doomed.url()).await?;
    let [stream, all, topic, webhook, promise, progress, polled, long_polled] =
        ["stream", "all jobs", "topic", "webhook", "promise", "progress", "polls", "long-polls"].map(Road::new);
    let mut everything = Client::new(&doomed.url())?.with_patience(Duration::ZERO).events(EventFilter::default());
    everything.open().await?;
    let (_connection, consumer) = ears(&broker).await?;
    // The second request fails, so that a repeat comes.
    let receiver = Receiver::start(|nth, _| Reply::of(if nth == 1 { 500 } else { 204 })).await?;
    let hook =
        json!({"url": receiver.url(), "events": ["accepted", "started", "progressed", "attempt_failed", "completed"]});
    let gate = stage.dir.path().join("gate");
    let payload = json!({"fail_attempts": 1, "rest_ms": REST_MS, "gate": gate});
    // The only job there is in this ledger, but for those that tell of it.
    let request = json!({"kind": "trial.work", "payload": payload, "webhook": hook, "delay_seconds": REST_MS / 1000});
    let id = stage.submit_with(request).await?;
    let handle = Client::new(balancer.url())?.handle::<Trial>(id.parse()?);

    let all_hear = async |attempt| {
        let roads = [&stream, &all, &topic, &webhook, &promise, &progress, &polled, &long_polled];
        let deaf = || roads.iter().filter(|road| !road.tells_of(attempt)).collect::<Vec<_>>();
        let look = || async { deaf().is_empty().then_some(()) };
        poll("every road to tell of the attempt", PATIENCE, look).await.with_context(|| format!("{:?}", deaf()))
    };
    // Each attempt goes on once it is heard of everywhere: of its progress only the newest is kept, and that while it runs.
    let story = async {
        all_hear(1).await?;
        std::fs::write(&gate, "1\n")?;
        stage.when(&id, "to run again", |job| job["state"] == "running" && job["attempt"] == 2).await?;
        balancer.lead_to(&other.url())?;
        doomed.kill_9().await?;
        all_hear(2).await?;
        Ok(std::fs::write(&gate, "1\n2\n")?)
    };
    let told = timeout(PATIENCE * 2, async {
        tokio::try_join!(
            story,
            by_stream(&first, &second, &id, &stream),
            by_all(everything, Client::new(&other.url())?, &all),
            by_topic(consumer, &topic),
            by_webhook(&receiver, &webhook),
            by_promise(handle, &promise, &progress),
            by_polls(&first, &second, &id, 0, &polled),
            by_polls(&first, &second, &id, WAIT_SECONDS, &long_polled),
        )
    });
    let ((), (), (), (), (), output, view, late_view) = told.await??;

    let events = stream.told();
    let words: Vec<_> =
        events.iter().map(|event| (event["data"]["event"].as_str(), event["data"]["sequence"].as_u64())).collect();
    let expected = [
        ("accepted", 1),
        ("started", 2),
        ("progressed", 2),
        ("attempt_failed", 3),
        ("started", 4),
        ("progressed", 4),
        ("completed", 5),
    ];
    assert_eq!(words, expected.map(|(word, sequence)| (Some(word), Some(sequence))));
    assert_eq!(all.told(), events);
    assert_eq!(topic.told(), events);
    assert_eq!(promise.told(), events);
    let (hooked, told_result) = sorted(webhook.told());
    assert_eq!(hooked, events);
    ensure!(receiver.count() > hooked.len(), "nothing was repeated to the webhook");
    let reports: Vec<_> =
        events.iter().map(|event| event["data"]["progress"].clone()).filter(|report| !report.is_null()).collect();
    assert_eq!(progress.told(), reports);

    assert_eq!(polled.told(), as_polled(&events));
    assert_eq!(long_polled.told(), polled.told());
    assert_eq!(view, late_view);
    let transitions = events.iter().filter(|event| event["data"]["event"] != "progressed");
    let moments: Vec<_> = transitions.map(|event| (event["data"]["event"].as_str(), &event["time"])).collect();
    let viewed: Vec<_> = by_view(&view)?.into_iter().map(|(word, at)| (Some(word), at)).collect();
    assert_eq!(viewed, moments);
    assert_eq!((&view["result"], &told_result), (&json!(output), &json!(output)));
    Ok(())
}
