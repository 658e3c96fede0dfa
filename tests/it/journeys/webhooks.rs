//! Webhooks from the transition to the receiver: signed, tried again, given up, sent again, and never lost.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use longshore_sdk::webhook::{self, Forged, Secret, TOLERANCE};
use longshore_tests::house;
use longshore_tests::postgres::Postgres;
use longshore_tests::process::run;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Received, Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use serde_json::{Value, json};

/// Jobs whose ends a receiver is told while it fails and is restarted. What makes the story long is its waits of a second, not these.
const TOLD: usize = 1_000;
/// So many of a hundred tries such a receiver refuses.
const REFUSED: usize = 30;

super::on_both_stages!(
    a_jobs_end_arrives_signed_for_us_and_for_the_reference_library,
    a_receiver_that_fails_is_tried_again_under_the_same_id_when_it_asked,
    a_receiver_that_is_gone_is_told_nothing_more_until_it_is_enabled,
    a_redirect_is_a_failure_and_is_not_followed,
    while_a_secret_is_changed_both_sign,
    a_delivery_that_ended_is_sent_again_under_the_same_id,
    what_cannot_be_told_is_refused_with_the_field,
);

/// A subscription; its id and its secret.
async fn subscribe(stage: &Stage, request: Value) -> Result<(String, Secret)> {
    let made = stage.http.post("/v1/webhooks", &request).await?.expect(201)?.json()?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {made}"));
    Ok((text("id")?, text("secret")?.parse()?))
}

fn verified(secret: &Secret, received: &Received) -> Result<String, Forged> {
    let secrets = std::slice::from_ref(secret);
    webhook::verify(secrets, |name| received.header(name), &received.body, longshore_runtime::clock::now(), TOLERANCE)
        .map(|message| message.id)
}

/// What became of the newest delivery, once it looks so.
async fn delivery(stage: &Stage, webhook: &str, what: &str, looks_so: impl Fn(&Value) -> bool) -> Result<Value> {
    let path = format!("/v1/webhooks/{webhook}/deliveries");
    let look = || async {
        let page = stage.http.get(&path).await.ok()?.json().ok()?;
        page["deliveries"].as_array()?.first().filter(|newest| looks_so(newest)).cloned()
    };
    poll(&format!("the newest delivery {what}"), PATIENCE, look).await
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

async fn believed_by_the_reference_library(stage: &Stage, secret: &Secret, messages: &[&Received]) -> Result<()> {
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

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_to_a_receiver_that_fails_and_is_restarted() -> Result<()> {
    let stage = Stage::servers().await?;
    // Refuses by the id and how often it came, so that each run refuses the same.
    let seen: std::sync::Mutex<BTreeMap<String, usize>> = std::sync::Mutex::default();
    let script = move |_: usize, message: &Received| {
        let id = message.header("webhook-id").unwrap_or_default().to_owned();
        let mut seen = seen.lock().expect("no code panics while it holds the map");
        let nth = seen.entry(id.clone()).or_default();
        *nth += 1;
        let luck = id.bytes().fold(*nth, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 100;
        Reply::of(if luck < REFUSED { 503 } else { 200 })
    };
    let mut receiver = Receiver::start(script).await?;
    let (id, secret) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    let batch = |_| async {
        let jobs = vec![json!({"kind": "trial.work", "payload": {}}); 100];
        stage.http.post("/v1/jobs/batch", &json!({"jobs": jobs})).await?.expect(200)
    };
    try_join_all((0..TOLD / 100).map(batch)).await?;
    receiver.until(TOLD / 4, PATIENCE).await?;
    receiver.stop();
    receiver.restart().await?;
    let all_done = || async {
        let done = completed(&stage, &id).await.ok()?;
        (done == TOLD).then_some(())
    };
    poll("every delivery to be completed", PATIENCE, all_done).await?;
    let received = receiver.received();
    ensure!(received.iter().all(|message| verified(&secret, message).is_ok()), "one was not ours");
    let ids: HashSet<_> = received.iter().filter_map(|message| message.header("webhook-id")).collect();
    assert_eq!(ids.len(), TOLD, "each end once, whatever it took");
    ensure!(received.len() > TOLD + TOLD / 5, "{} tries: it was to fail", received.len());
    Ok(())
}

/// How many of a subscription's deliveries are completed.
async fn completed(stage: &Stage, webhook: &str) -> Result<usize> {
    let (mut done, mut before) = (0, None::<String>);
    loop {
        let from = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let page = stage.http.get(&format!("/v1/webhooks/{webhook}/deliveries?limit=200{from}")).await?.expect(200)?;
        let page = page.json()?;
        let deliveries = page["deliveries"].as_array().context("a page")?;
        done += deliveries.iter().filter(|delivery| delivery["state"] == "completed").count();
        before = page["next"].as_str().map(str::to_owned);
        if before.is_none() {
            return Ok(done);
        }
    }
}
