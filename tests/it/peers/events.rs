//! Whatever is told of a job on any road is as the AsyncAPI document describes it: each message is held against the schema of its word,
//! and the schema refuses what is broken. That the roads tell the same is another story's ([`crate::journeys`]).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use jsonschema::Validator;
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::until::poll;
use serde_json::{Value, json};

use super::listen;

const WORDS: [&str; 7] = ["accepted", "started", "progressed", "attempt_failed", "completed", "failed", "canceled"];

/// The document's schemas of what is told.
struct Description(Value);

impl Description {
    async fn of(stage: &Stage) -> Result<Description> {
        Ok(Description(stage.http.get("/asyncapi.json").await?.expect(200)?.json()?))
    }

    /// By the word in its type, as a listener would look it up.
    fn fits(&self, event: &Value) -> Result<(), String> {
        let word = event["type"].as_str().and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        let payload = self.0.pointer(&format!("/components/messages/{word}/payload"));
        let payload = payload.ok_or_else(|| format!("nothing of the word {word:?} is described"))?;
        let schema = json!({"allOf": [payload], "components": self.0["components"]});
        let options = jsonschema::draft7::options().should_validate_formats(true).offline();
        let validator: Validator = options.build(&schema).map_err(|error| error.to_string())?;
        validator.validate(event).map_err(|error| format!("{} {error}: {event}", error.instance_path()))
    }
}

/// Three jobs that end in the three ways, and everything that is told of them on the three roads.
async fn told_on_every_road() -> Result<(Description, Vec<Value>)> {
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&Postgres::shared().await?.database().await?, &broker).await?;
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let hook = json!({"url": receiver.url(), "events": WORDS});
    stage.http.post("/v1/webhooks", &hook).await?.expect(201)?;
    let jobs = [
        json!({"kind": "trial.work", "payload": {"fail_attempts": 1, "work_ms": 1500}, "correlation_id": "c-1"}),
        json!({"kind": "trial.work", "payload": {"fatal": true}}),
        json!({"kind": "trial.work", "payload": {}, "delay_seconds": 3600}),
    ];
    // A queue for each, for whoever reads of one job drops what is told of others.
    for place in 0..jobs.len() {
        listen(&["bind", &broker, &format!("ears-{place}"), "trial.work"]).await?;
    }
    let mut all = vec![];
    for (place, request) in jobs.into_iter().enumerate() {
        let waits = request.get("delay_seconds").is_some();
        let id = stage.submit_with(request).await?;
        if waits {
            stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(200)?;
        }
        all.extend(Stream::open(&stage.http, &format!("/v1/jobs/{id}/events"), None).await?.rest().await?);
        let heard: Vec<Value> =
            serde_json::from_str(&listen(&["read", &broker, &format!("ears-{place}"), &id]).await?)?;
        // The webhooks are done when they have told of what the topic told.
        let ids: BTreeSet<String> = heard.iter().filter_map(id_of).collect();
        let came = || async {
            let came: Vec<Value> = receiver.received().iter().filter_map(|message| message.json().ok()).collect();
            let of_it: BTreeSet<String> = came.iter().filter_map(id_of).collect();
            ids.is_subset(&of_it).then_some(came)
        };
        all.extend(poll("the webhooks of the job", PATIENCE, came).await?);
        all.extend(heard);
    }
    Ok((Description::of(&stage).await?, all))
}

fn id_of(event: &Value) -> Option<String> {
    event["id"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_told_on_any_road_is_as_it_is_described() -> Result<()> {
    let (description, all) = told_on_every_road().await?;
    for event in &all {
        description.fits(event).map_err(anyhow::Error::msg)?;
    }
    let words: BTreeSet<&str> = all.iter().filter_map(|event| event["data"]["event"].as_str()).collect();
    assert_eq!(words, BTreeSet::from(WORDS), "each of them was told");
    broken_ones_are_refused(&description, &all)
}

/// Each event with one thing wrong with it.
fn broken_ones_are_refused(description: &Description, all: &[Value]) -> Result<()> {
    let faults: [(&str, Value); 9] = [
        ("/id", json!(7)),
        ("/specversion", json!("0.3")),
        ("/subject", json!(["job"])),
        ("/time", json!("yesterday")),
        ("/data", json!("x")),
        ("/data/event", json!("vanished")),
        ("/data/state", json!("lost")),
        ("/data/attempt", json!(-1)),
        ("/data/sequence", Value::Null),
    ];
    for event in all {
        for (place, wrong) in &faults {
            let mut broken = event.clone();
            *broken.pointer_mut(place).with_context(|| format!("no {place}: {event}"))? = wrong.clone();
            ensure!(description.fits(&broken).is_err(), "{place} may be {wrong}: {broken}");
        }
        for field in ["id", "source", "data", "time"] {
            let mut broken = event.clone();
            broken.as_object_mut().context("an event is an object")?.remove(field);
            ensure!(description.fits(&broken).is_err(), "{field} may be missing: {broken}");
        }
        // One word's data under another's type.
        let mut mixed = event.clone();
        let other = if event["data"]["event"] == "started" { "completed" } else { "started" };
        mixed["type"] = json!(format!("longshore.job.{other}"));
        ensure!(description.fits(&mixed).is_err(), "{mixed}");
    }
    Ok(())
}
