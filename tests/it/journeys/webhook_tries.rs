//! How often and how long a receiver is tried, and what becomes of one that fails for good: too late, by the schedule and no more, gone,
//! failing for days. How a single try is made is told in [`super::webhooks`].

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use longshore_sdk::webhook::Secret;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use serde_json::{Value, json};

use super::webhooks::{delivery, subscribe, verified};

super::on_both_stages!(a_jobs_own_webhook_that_is_gone_hears_nothing_more_of_it_and_every_try_is_shown);

async fn test(stage: &Stage, webhook: &str) -> Result<String> {
    let sent = stage.http.post(&format!("/v1/webhooks/{webhook}/test"), &json!({})).await?.expect(202)?.json()?;
    Ok(sent["id"].as_str().context("no id")?.to_owned())
}

fn tries(delivery: &Value) -> Result<&Vec<Value>> {
    delivery["tries"].as_array().with_context(|| format!("it was not tried: {delivery}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_and_never_answers_is_late_and_tried_again() -> Result<()> {
    let stage = Stage::servers_with(&[("LONGSHORE_WEBHOOKS_TIMEOUT", "2")]).await?;
    let receiver = Receiver::start(|nth, _| if nth == 0 { Reply::never() } else { Reply::of(204) }).await?;
    let (id, secret) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    test(&stage, &id).await?;
    let done = delivery(&stage, &id, "to be completed", |newest| newest["state"] == "completed").await?;
    let [late, taken] = &tries(&done)?[..] else { panic!("two tries: {done}") };
    assert_eq!(late["error"], "the receiver did not answer within 2s");
    let took = late["duration_seconds"].as_f64().context("it took time")?;
    ensure!((2.0..10.0).contains(&took) && late.get("status").is_none(), "{done}");
    assert_eq!((&taken["status"], taken.get("error")), (&json!(204), None));
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!(verified(&secret, &received[0])?, verified(&secret, &received[1])?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_answer_keeps_no_other_waiting() -> Result<()> {
    let variables = [("LONGSHORE_WEBHOOKS_CONCURRENCY", "2"), ("LONGSHORE_WEBHOOKS_TIMEOUT", "1")];
    let stage = Stage::embedded_with(&variables).await?;
    let silent = Receiver::start(|_, _| Reply::never()).await?;
    let well = Receiver::start(|_, _| Reply::of(204)).await?;
    let (slow, _) = subscribe(&stage, json!({"url": silent.url()})).await?;
    let (quick, _) = subscribe(&stage, json!({"url": well.url()})).await?;
    for _ in 0..20 {
        test(&stage, &slow).await?;
    }
    test(&stage, &quick).await?;
    well.until(1, PATIENCE).await?;
    let tried = silent.count();
    ensure!((2..10).contains(&tried), "of the 20 before it, {tried} were tried first");
    // What was put off was not tried, is charged nothing, and has its turn later.
    let page = stage.http.get(&format!("/v1/webhooks/{slow}/deliveries?limit=100")).await?.expect(200)?.json()?;
    let all = page["deliveries"].as_array().context("no deliveries")?;
    let waits = |one: &&Value| one["state"] == "pending" && one["tries"].as_array().is_none_or(Vec::is_empty);
    ensure!(all.len() == 20 && all.iter().filter(waits).count() >= 10, "{page}");
    Ok(())
}

/// Unequal, and so far apart that none passes for another.
const SCHEDULE: [f64; 3] = [3.0, 9.0, 5.0];

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_tried_by_its_schedule_and_no_more_and_raised_when_it_is_dead() -> Result<()> {
    let stage = Stage::servers_with(&[("LONGSHORE_WEBHOOKS_SCHEDULE", "3,9,5")]).await?;
    let receiver = Receiver::start(|nth, _| Reply::of(if nth < 4 { 500 } else { 204 })).await?;
    let (id, secret) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    test(&stage, &id).await?;
    for (place, wait) in SCHEDULE.into_iter().enumerate() {
        let waits =
            |newest: &Value| newest["due_at"].is_string() && tries(newest).is_ok_and(|tries| tries.len() == place + 1);
        let waiting = delivery(&stage, &id, "to wait", waits).await?;
        ensure!(waiting["state"] == "pending", "{waiting}");
        let planned = waits_after(&waiting)?;
        // From the end of the try, spread by a tenth; the record of it takes a moment.
        ensure!((wait * 0.9..wait * 1.1 + 1.1).contains(&planned), "{planned} s and not {wait}: {waiting}");
    }
    let dead = delivery(&stage, &id, "to be given up", |newest| newest["state"] == "failed").await?;
    let failed = tries(&dead)?;
    ensure!(failed.len() == 4 && failed.iter().all(|tried| tried["status"] == 500), "{dead}");
    for (pair, wait) in failed.windows(2).zip(SCHEDULE) {
        let between = at(&pair[1]["at"])?.duration_since(at(&pair[0]["at"])?).as_secs_f64();
        ensure!(between >= wait * 0.9, "tried again after {between} s and not {wait}: {dead}");
    }
    let letters = stage.http.get("/v1/webhooks").await?.json()?;
    ensure!(letters["webhooks"][0]["enabled"] == true && dead.get("due_at").is_none(), "{letters}");
    assert_eq!(receiver.count(), 4, "it is not tried more often");
    let replay = format!("/v1/webhooks/deliveries/{}/replay", dead["id"].as_str().unwrap_or_default());
    stage.http.post(&replay, &json!({})).await?.expect(202)?;
    let raised = delivery(&stage, &id, "to be completed", |newest| newest["state"] == "completed").await?;
    assert_eq!((&raised["id"], tries(&raised)?.len(), receiver.count()), (&dead["id"], 5, 5));
    let received = receiver.received();
    assert_eq!(verified(&secret, &received[0])?, verified(&secret, &received[4])?);
    Ok(())
}

fn at(moment: &Value) -> Result<Timestamp> {
    Ok(moment.as_str().context("no moment")?.parse()?)
}

/// From the end of the last try to the next.
fn waits_after(waiting: &Value) -> Result<f64> {
    let last = tries(waiting)?.last().context("it was tried")?;
    let took = Duration::from_secs_f64(last["duration_seconds"].as_f64().context("it took time")?);
    Ok(at(&waiting["due_at"])?.duration_since(at(&last["at"])? + took).as_secs_f64())
}

/// Told of all, gone from the second on.
async fn a_jobs_own_webhook_that_is_gone_hears_nothing_more_of_it_and_every_try_is_shown(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Reply { body: "not yet".into(), ..Reply::of(503) },
        1 => Reply::of(204),
        _ => Reply { body: "moved away".into(), ..Reply::of(410) },
    });
    let receiver = receiver.await?;
    let hook = json!({"url": receiver.url(), "secret": Secret::fresh(), "events": ["accepted", "canceled"]});
    let request = json!({"kind": "trial.work", "payload": {}, "webhook": hook, "delay_seconds": 3600});
    let (first, second) = (stage.submit_with(request.clone()).await?, stage.submit_with(request).await?);
    // The first tells of its acceptance, whichever of the two the receiver was told of first.
    let listed = async |job: &str| -> Result<Vec<Value>> {
        let page = stage.http.get(&format!("/v1/jobs/{job}/deliveries")).await?.expect(200)?.json()?;
        Ok(page["deliveries"].as_array().context("no deliveries")?.clone())
    };
    let ended = || async {
        let all = [listed(&first).await.ok()?, listed(&second).await.ok()?].concat();
        all.iter().all(|one| one["state"] != "pending" && one["state"] != "running").then_some(all)
    };
    let all = poll("both acceptances to be told or given up", PATIENCE, ended).await?;
    ensure!(all.len() == 2 && all.iter().all(|one| one["event"] == "accepted"), "{all:?}");
    let [taken, gone] = ["completed", "failed"].map(|state| all.iter().find(|one| one["state"] == state));
    let (taken, gone) = (taken.context("one was taken")?, gone.context("one was gone")?);
    let last = tries(gone)?.last().context("it was tried")?;
    assert_eq!((&last["status"], &last["answer"]), (&json!(410), &json!("moved away")));
    let statuses =
        [tries(taken)?, tries(gone)?].into_iter().flatten().map(|tried| tried["status"].clone()).collect::<Vec<_>>();
    ensure!(statuses.len() == 3 && statuses.contains(&json!(503)), "{all:?}");
    // What else happens to the job is told to nobody; of the other it is.
    let (gone, taken) = (gone["job"].as_str().context("a job")?, taken["job"].as_str().context("a job")?);
    let shown = stage.job(gone).await?;
    assert_eq!((&shown["webhook"]["url"], &shown["webhook"]["events"]), (&json!(receiver.url()), &json!([])));
    assert_eq!(stage.job(taken).await?["webhook"]["events"], json!(["accepted", "canceled"]));
    for job in [gone, taken] {
        stage.http.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await?.expect(200)?;
    }
    assert_eq!((listed(gone).await?.len(), listed(taken).await?.len()), (1, 2));
    for nobodys in ["00000000-0000-7000-8000-000000000000", "x"] {
        stage.http.get(&format!("/v1/jobs/{nobodys}/deliveries")).await?.expect(404)?;
    }
    stage.http.get(&format!("/v1/jobs/{gone}/deliveries?limit=0")).await?.expect(400)?;
    Ok(())
}

/// Of a receiver that fails everything, with this much borne: whether its subscription is disabled once a delivery is given up.
async fn after_a_dead_letter(borne: &str) -> Result<(Value, Value)> {
    let variables = [("LONGSHORE_WEBHOOKS_SCHEDULE", "2"), ("LONGSHORE_WEBHOOKS_DISABLE_AFTER", borne)];
    let stage = Stage::embedded_with(&variables).await?;
    let receiver = Receiver::start(|_, _| Reply::of(500)).await?;
    let (id, _) = subscribe(&stage, json!({"url": receiver.url()})).await?;
    test(&stage, &id).await?;
    delivery(&stage, &id, "to be given up", |newest| newest["state"] == "failed").await?;
    let webhook = stage.http.get(&format!("/v1/webhooks/{id}")).await?.expect(200)?.json()?;
    let log = stage.http.get("/v1/audit?limit=1").await?.expect(200)?.json()?;
    Ok((webhook, log["lines"][0].clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_has_failed_for_too_long_is_disabled_and_who_did_it_is_noted() -> Result<()> {
    let (webhook, line) = after_a_dead_letter("1").await?;
    ensure!(webhook["enabled"] == false && webhook["failing_since"].is_string(), "{webhook}");
    let why = webhook["disabled_reason"].as_str().context("it says why")?;
    ensure!(why.starts_with("every try since ") && why.contains("webhooks.disable_after"), "{why}");
    let noted = (&line["deed"], &line["object"], &line["actor"]);
    assert_eq!(noted, (&json!("webhook.disabled"), &webhook["id"], &json!("longshore")));
    // With five days of patience, as is the default, nothing of this happens.
    let (webhook, line) = after_a_dead_letter("432000").await?;
    ensure!(webhook["enabled"] == true && webhook["failing_since"].is_string(), "{webhook}");
    ensure!(line["deed"] != "webhook.disabled", "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_too_many_is_refused_with_the_way_out() -> Result<()> {
    let stage = Stage::embedded_with(&[("LONGSHORE_WEBHOOKS_MAX_SUBSCRIPTIONS", "2")]).await?;
    let hook = json!({"url": "https://example.com/hook"});
    let (first, _) = subscribe(&stage, hook.clone()).await?;
    subscribe(&stage, hook.clone()).await?;
    let problem = stage.http.post("/v1/webhooks", &hook).await?.expect(422)?.json()?;
    assert_eq!(problem["errors"][0]["pointer"], "/url", "{problem}");
    let detail = problem["detail"].as_str().context("it says why")?;
    for told in ["there are 2 already", "webhooks.max_subscriptions", "DELETE /v1/webhooks/{id}"] {
        ensure!(detail.contains(told), "{detail}");
    }
    // The way out is one.
    stage.http.request(reqwest::Method::DELETE, &format!("/v1/webhooks/{first}")).send().await?.error_for_status()?;
    subscribe(&stage, hook).await?;
    Ok(())
}
