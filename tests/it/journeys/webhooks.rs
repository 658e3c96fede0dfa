//! Webhooks from the transition to the receiver: signed, tried again, given up, sent again. That none is lost, whatever dies, is told
//! in [`super::webhook_faults`].

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use longshore_sdk::api::EventId;
use longshore_sdk::webhook::{self, Forged, Secret, TOLERANCE};
use longshore_tests::house;
use longshore_tests::postgres::Postgres;
use longshore_tests::process::run;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Received, Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::{Stream, transitions};
use longshore_tests::until::poll;
use serde_json::{Value, json};

super::on_both_stages!(
    whoever_asked_is_told_every_event_as_the_stream_tells_it,
    a_jobs_end_arrives_signed_for_us_and_for_the_reference_library,
    a_receiver_that_fails_is_tried_again_under_the_same_id_when_it_asked,
    a_receiver_that_is_gone_is_told_nothing_more_until_it_is_enabled,
    a_redirect_is_a_failure_and_is_not_followed,
    while_a_secret_is_changed_both_sign,
    a_delivery_that_ended_is_sent_again_under_the_same_id,
    what_cannot_be_told_is_refused_with_the_field,
);

/// A subscription; its id and its secret.
pub(super) async fn subscribe(stage: &Stage, request: Value) -> Result<(String, Secret)> {
    let made = stage.http.post("/v1/webhooks", &request).await?.expect(201)?.json()?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {made}"));
    Ok((text("id")?, text("secret")?.parse()?))
}

pub(super) fn verified(secret: &Secret, received: &Received) -> Result<String, Forged> {
    let secrets = std::slice::from_ref(secret);
    webhook::verify(secrets, |name| received.header(name), &received.body, longshore_runtime::clock::now(), TOLERANCE)
        .map(|message| message.id)
}

/// What became of the newest delivery, once it looks so.
pub(super) async fn delivery(
    stage: &Stage,
    webhook: &str,
    what: &str,
    looks_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let path = format!("/v1/webhooks/{webhook}/deliveries");
    let look = || async {
        let page = stage.http.get(&path).await.ok()?.json().ok()?;
        page["deliveries"].as_array()?.first().filter(|newest| looks_so(newest)).cloned()
    };
    poll(&format!("the newest delivery {what}"), PATIENCE, look).await
}

fn placed(event: Value) -> Result<(EventId, Value)> {
    Ok((event["id"].as_str().context("an event has an id")?.parse()?, event))
}

/// What came signed by this secret, but for the output, which is a webhook's alone.
fn events(secret: &Secret, received: &[Received]) -> Result<BTreeMap<EventId, Value>> {
    let event = |message: &Received| -> Result<(EventId, Value)> {
        let mut event = message.json()?;
        event["data"].as_object_mut().context("an event has data")?.remove("result");
        let (id, event) = placed(event)?;
        assert_eq!(verified(secret, message)?, id.to_string().replace('.', "_"));
        Ok((id, event))
    };
    received.iter().filter(|message| verified(secret, message).is_ok()).map(event).collect()
}

async fn whoever_asked_is_told_every_event_as_the_stream_tells_it(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let words = ["accepted", "started", "progressed", "attempt_failed", "completed", "failed", "canceled"];
    let (_, secret) = subscribe(&stage, json!({"url": receiver.url(), "events": words})).await?;
    let own = Secret::fresh();
    let hook = json!({"url": receiver.url(), "secret": own, "events": ["accepted", "started"]});
    let payload = json!({"fail_attempts": 1, "work_ms": 2500});
    let id = stage.submit_with(json!({"kind": "trial.work", "payload": payload, "webhook": hook})).await?;
    let streamed = Stream::open(&stage.http, &format!("/v1/jobs/{id}/events"), None).await?.rest().await?;
    assert_eq!(transitions(&streamed), ["accepted", "started", "attempt_failed", "started", "completed"]);
    let streamed: BTreeMap<EventId, Value> = streamed.into_iter().map(placed).collect::<Result<_>>()?;
    let all = || async {
        let told = events(&secret, &receiver.received()).ok()?;
        streamed.keys().all(|id| told.contains_key(id)).then_some(told)
    };
    let told_all = poll("every event of the stream at the receiver", PATIENCE, all).await?;
    let as_streamed: BTreeMap<_, _> =
        told_all.clone().into_iter().filter(|(id, _)| streamed.contains_key(id)).collect();
    assert_eq!(as_streamed, streamed);
    // A stream may leave out progress that a newer one has overtaken; a webhook is told of all that was stored.
    let progress = told_all.values().filter(|event| event["data"]["event"] == "progressed");
    let shown: Vec<_> = progress.map(|event| event["data"]["progress"]["fraction"].as_f64()).collect();
    ensure!(shown.len() > 2 && shown.is_sorted_by(|one, next| one < next), "{shown:?}");
    // The job's own was told of what it asked for.
    let own_words = || async { events(&own, &receiver.received()).ok().filter(|told| told.len() == 3) };
    let own_ones = poll("acceptance and two starts", PATIENCE, own_words).await?;
    assert_eq!(transitions(&own_ones.into_values().collect::<Vec<_>>()), ["accepted", "started", "started"]);
    Ok(())
}

async fn a_jobs_end_arrives_signed_for_us_and_for_the_reference_library(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let (all, secret) = subscribe(&stage, json!({"url": receiver.url(), "kinds": ["trial.work"]})).await?;
    let own = Secret::fresh();
    let hook = json!({"url": receiver.url(), "secret": own, "events": ["attempt_failed", "completed"]});
    let id = stage.submit_with(json!({"kind": "trial.work", "payload": {"fail_attempts": 1}, "webhook": hook})).await?;
    let job = stage.settled(&id).await?;
    ensure!(job["webhook"]["url"] == receiver.url().as_str() && job["webhook"].get("secret").is_none(), "{job}");
    let received = receiver.until(3, PATIENCE).await?;
    let (subscribed, own_ones): (Vec<_>, Vec<_>) =
        received.iter().partition(|message| verified(&secret, message).is_ok());
    assert_eq!((subscribed.len(), own_ones.len()), (1, 2), "{received:?}");
    for message in &own_ones {
        let event = message.json()?;
        assert_eq!(verified(&own, message)?, event["id"].as_str().unwrap_or_default().replace('.', "_"));
    }
    // The same event as the job's history has it, with the result beside.
    let mut said = subscribed[0].json()?;
    assert_eq!(said["data"].as_object_mut().and_then(|data| data.remove("result")), Some(job["result"].clone()));
    assert_eq!((&said["id"], &said["type"]), (&json!(format!("{id}.5")), &json!("longshore.job.completed")));
    assert_eq!(said["data"]["state"], "completed");
    believed_by_the_reference_library(&stage, &secret, &subscribed).await?;
    believed_by_the_reference_library(&stage, &own, &own_ones).await?;
    let told = delivery(&stage, &all, "to be completed", |newest| newest["state"] == "completed").await?;
    assert_eq!(
        (&told["job"], &told["event"], &told["tries"][0]["status"]),
        (&json!(id), &json!("completed"), &json!(204))
    );
    Ok(())
}

pub(super) async fn believed_by_the_reference_library(
    stage: &Stage,
    secret: &Secret,
    messages: &[&Received],
) -> Result<()> {
    let line =
        |message: &&Received| json!({"headers": message.headers, "body": String::from_utf8_lossy(&message.body)});
    let lines: Vec<String> = messages.iter().map(|message| line(message).to_string()).collect();
    let file = stage.dir.path().join("messages");
    std::fs::write(&file, lines.join("\n"))?;
    let ask = |secret: &Secret| -> Result<Command> {
        let mut verifier = Command::new(crate::peers::python()?);
        verifier.arg("-B").arg(house::root()?.join("tests/it/peers/receiver.py")).arg(secret.reveal()).arg(&file);
        Ok(verifier)
    };
    assert_eq!(run("verifier", ask(secret)?, PATIENCE).await?.trim(), messages.len().to_string());
    // And it is no rubber stamp.
    ensure!(run("verifier", ask(&Secret::fresh())?, PATIENCE).await.is_err());
    Ok(())
}

async fn a_receiver_that_fails_is_tried_again_under_the_same_id_when_it_asked(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Reply { status: 503, header: Some("retry-after: 2"), body: "not yet".into() },
        _ => Reply { body: "thanks".into(), ..Reply::of(200) },
    });
    let receiver = receiver.await?;
    let (id, secret) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    stage.http.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await?.expect(202)?;
    let done = delivery(&stage, &id, "to be completed", |newest| newest["state"] == "completed").await?;
    let received = receiver.received();
    assert_eq!(received.len(), 2, "{received:?}");
    assert_eq!(verified(&secret, &received[0])?, verified(&secret, &received[1])?);
    assert_eq!(received[0].json()?["type"], "longshore.webhook.test");
    let tries = done["tries"].as_array().context("it was tried")?;
    let [failed, delivered] = &tries[..] else { panic!("two tries: {done}") };
    assert_eq!((&failed["status"], &failed["error"]), (&json!(503), &json!("the receiver answered 503")));
    assert_eq!((&failed["answer"], &delivered["answer"]), (&json!("not yet"), &json!("thanks")));
    assert_eq!((&delivered["status"], delivered.get("error")), (&json!(200), None));
    let at = |tried: &Value| tried["at"].as_str().unwrap_or_default().parse::<jiff::Timestamp>();
    ensure!(at(delivered)?.duration_since(at(failed)?).as_secs_f64() >= 2.0, "it asked for two seconds: {done}");
    Ok(())
}

async fn a_receiver_that_is_gone_is_told_nothing_more_until_it_is_enabled(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|nth, _| Reply::of(if nth == 0 { 410 } else { 200 })).await?;
    let (id, _) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    stage.submit("trial.work", json!({})).await?;
    let dead = delivery(&stage, &id, "to be given up", |newest| newest["state"] == "failed").await?;
    let place = format!("/v1/webhooks/{id}");
    let webhook = stage.http.get(&place).await?.expect(200)?.json()?;
    ensure!(webhook["enabled"] == false, "{webhook}");
    ensure!(webhook["disabled_reason"].as_str().is_some_and(|why| why.contains("410 Gone")), "{webhook}");
    let silent = stage.submit("trial.work", json!({})).await?;
    stage.settled(&silent).await?;
    let page = stage.http.get(&format!("{place}/deliveries")).await?.json()?;
    assert_eq!(page["deliveries"].as_array().map(Vec::len), Some(1), "nothing is made for it: {page}");
    // Enabled, the dead letter is raised as itself.
    stage.http.post(&format!("{place}/enable"), &json!({})).await?.expect(200)?;
    let replay = format!("/v1/webhooks/deliveries/{}/replay", dead["id"].as_str().unwrap_or_default());
    stage.http.post(&replay, &json!({})).await?.expect(202)?;
    let raised = delivery(&stage, &id, "to be completed", |newest| newest["state"] == "completed").await?;
    assert_eq!((&raised["id"], raised["tries"].as_array().map(Vec::len)), (&dead["id"], Some(2)));
    Ok(())
}

async fn a_redirect_is_a_failure_and_is_not_followed(stage: Stage) -> Result<()> {
    let elsewhere = Receiver::start(|_, _| Reply::of(200)).await?;
    let place: &'static str = format!("location: {}", elsewhere.url()).leak();
    let receiver = Receiver::start(move |_, _| Reply { header: Some(place), ..Reply::of(307) }).await?;
    let (id, _) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    stage.http.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await?.expect(202)?;
    let tried = |newest: &Value| newest["tries"].as_array().is_some_and(|tries| tries.len() >= 2);
    let shown = delivery(&stage, &id, "to be tried twice", tried).await?;
    let first = &shown["tries"][0];
    assert_eq!(first["error"], "the receiver answered 307; redirects are not followed");
    assert_eq!((&first["status"], elsewhere.received().len()), (&json!(307), 0));
    Ok(())
}

async fn while_a_secret_is_changed_both_sign(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|_, _| Reply::of(200)).await?;
    let (id, old) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    let rotate = async |request: Value| -> Result<Secret> {
        let answer = stage.http.post(&format!("/v1/webhooks/{id}/rotate"), &request).await?.expect(200)?.json()?;
        Ok(answer["secret"].as_str().context("no secret")?.parse()?)
    };
    let new = rotate(json!({"overlap_seconds": 600})).await?;
    let shown = stage.http.get("/v1/webhooks").await?.json()?;
    ensure!(shown["webhooks"][0]["old_secret_until"].is_string() && !shown.to_string().contains("whsec_"), "{shown}");
    stage.submit("trial.work", json!({})).await?;
    let both = receiver.until(1, PATIENCE).await?.remove(0);
    assert_eq!(verified(&old, &both)?, verified(&new, &both)?);
    assert_eq!(both.header("webhook-signature").map(|list| list.split(' ').count()), Some(2));
    let last = rotate(json!({"overlap_seconds": 0})).await?;
    stage.submit("trial.work", json!({})).await?;
    let alone = receiver.until(2, PATIENCE).await?.remove(1);
    ensure!(verified(&last, &alone).is_ok() && verified(&old, &alone) == Err(Forged::Signature), "{alone:?}");
    ensure!(verified(&new, &alone) == Err(Forged::Signature));
    Ok(())
}

async fn a_delivery_that_ended_is_sent_again_under_the_same_id(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|_, _| Reply::of(200)).await?;
    let (id, secret) = subscribe(&stage, json!({"url": receiver.url(), "events": ["failed"]})).await?;
    stage.submit("trial.work", json!({"fatal": true})).await?;
    let done = delivery(&stage, &id, "to be completed", |newest| newest["state"] == "completed").await?;
    let replay = format!("/v1/webhooks/deliveries/{}/replay", done["id"].as_str().unwrap_or_default());
    let again = stage.http.post(&replay, &json!({})).await?.expect(202)?.json()?;
    ensure!(again["id"] != done["id"] && again["job"] == done["job"], "{again}");
    let received = receiver.until(2, PATIENCE).await?;
    assert_eq!(verified(&secret, &received[0])?, verified(&secret, &received[1])?);
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].json()?["data"]["error"]["code"], "told_to_give_up");
    Ok(())
}

async fn what_cannot_be_told_is_refused_with_the_field(stage: Stage) -> Result<()> {
    let refused = async |path: &str, request: Value, pointer: &str| -> Result<String> {
        let problem = stage.http.post(path, &request).await?.expect(422)?.json()?;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        Ok(problem["detail"].as_str().unwrap_or_default().to_owned())
    };
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let detail = refused("/v1/webhooks", json!({"url": metadata}), "/url").await?;
    ensure!(detail.contains("169.254.169.254, which is no public address; webhooks.allow_private"), "{detail}");
    let job = json!({"kind": "trial.work", "payload": {}, "webhook": {"url": "https://[::1]/"}});
    refused("/v1/jobs", job, "/webhook/url").await?;
    let weak =
        json!({"kind": "trial.work", "payload": {}, "webhook": {"url": "https://example.com", "secret": "hush"}});
    ensure!(stage.http.post("/v1/jobs", &weak).await?.text.contains("24 to 64 random bytes"));
    // The kind that delivers is Longshore's own.
    refused("/v1/jobs", json!({"kind": "longshore.webhook", "payload": {"event": "test"}}), "/kind").await?;
    ensure!(!stage.http.get("/v1/kinds").await?.text.contains("longshore.webhook"));
    for path in ["/v1/webhooks/00000000-0000-7000-8000-000000000000/test", "/v1/webhooks/x/rotate"] {
        stage.http.post(path, &json!({})).await?.expect(404)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_a_worker_may_not_reach_is_not_called() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    // The API takes it, and the worker knows better.
    let strict = Stage::on_with(&database, &broker, |worker, _| Ok(worker.env("LONGSHORE_WEBHOOKS_ALLOW_PRIVATE", "")));
    let stage = strict.await?;
    let receiver = Receiver::start(|_, _| Reply::of(200)).await?;
    let (id, _) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    stage.http.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await?.expect(202)?;
    let dead = delivery(&stage, &id, "to be given up", |newest| newest["state"] == "failed").await?;
    let error = dead["tries"][0]["error"].as_str().context("it says why")?;
    ensure!(error.starts_with("the address leads to 127.0.0.1, which is no public address"), "{error}");
    ensure!(receiver.received().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_though_its_worker_died_before_it_could_send() -> Result<()> {
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    // The first worker records ends and sends nothing, as if it died each time in between.
    let mut stage =
        Stage::on_with(&database, &broker, |worker, _| Ok(worker.env("LONGSHORE_WEBHOOKS_DELIVER", "false"))).await?;
    let receiver = Receiver::start(|_, _| Reply::of(200)).await?;
    let (id, secret) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    let job = stage.submit("trial.work", json!({})).await?;
    stage.settled(&job).await?;
    stage.kill_worker().await?;
    let waiting = delivery(&stage, &id, "to be there", |_| true).await?;
    ensure!(waiting["state"] == "pending" && receiver.received().is_empty(), "{waiting}");
    let worker = longshore_tests::longshore::Longshore::worker(&database, &broker, &[], 4)?;
    let _worker = Stage::dressed(worker, &stage.dir)?.start().await?;
    let received = receiver.until(1, PATIENCE).await?;
    assert_eq!((received.len(), verified(&secret, &received[0]).is_ok()), (1, true));
    assert_eq!(received[0].json()?["subject"], json!(job));
    Ok(())
}
