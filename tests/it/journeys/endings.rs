//! How jobs end: completed, failed and buried, canceled; and how they wait: backing off, scheduled.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::procfs;
use longshore_tests::stage::Stage;
use longshore_tests::until::until;
use serde_json::{Value, json};

super::on_both_stages!(
    a_failing_job_backs_off_and_completes_at_last,
    a_job_whose_attempts_are_spent_is_a_dead_letter_with_its_evidence_and_can_be_replayed,
    a_fatal_failure_spends_no_second_attempt,
    a_panic_is_a_failed_attempt_and_the_worker_lives,
    a_pending_job_is_canceled_at_once,
    a_running_job_is_canceled_within_two_seconds,
    a_stubborn_job_is_canceled_all_the_same,
    a_scheduled_job_runs_when_it_is_due,
    a_high_job_overtakes_a_thousand_that_wait_and_a_low_one_is_not_starved,
    a_timeout_is_a_failed_attempt,
    a_caller_who_waits_is_answered_when_the_job_is_done,
    a_mistake_in_a_request_is_named_with_its_field,
);

fn outcomes(job: &Value) -> Vec<&str> {
    job["attempts"].as_array().into_iter().flatten().filter_map(|attempt| attempt["outcome"].as_str()).collect()
}

async fn a_failing_job_backs_off_and_completes_at_last(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"fail_attempts": 2})).await?;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    assert_eq!(outcomes(&job), ["error", "error", "done"], "{job}");
    assert_eq!(job["attempts"][0]["error"]["code"], "told_to_fail");
    assert_eq!(job["result"], json!({"attempt": 3}));
    assert_eq!(std::fs::read_to_string(stage.download(&id, "trial.txt").await?)?, "attempt 3");
    Ok(())
}

async fn a_job_whose_attempts_are_spent_is_a_dead_letter_with_its_evidence_and_can_be_replayed(
    stage: Stage,
) -> Result<()> {
    let id = stage.submit("trial.work", json!({"fail_attempts": 3})).await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], &job["dead_letter"]), (&json!("failed"), &json!(true)), "{job}");
    assert_eq!(outcomes(&job), ["error"; 3], "{job}");
    assert_eq!(job["error"]["code"], "told_to_fail");
    stage.http.post(&format!("/v1/jobs/{id}/replay"), &json!({})).await?.expect(202)?;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    assert_eq!(job["result"], json!({"attempt": 4}), "the attempt number goes on rising: it is the fence");
    Ok(())
}

async fn a_fatal_failure_spends_no_second_attempt(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"fatal": true})).await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], outcomes(&job)), (&json!("failed"), vec!["fatal"]), "{job}");
    assert_eq!(job["error"]["field"], "/fatal");
    Ok(())
}

async fn a_panic_is_a_failed_attempt_and_the_worker_lives(stage: Stage) -> Result<()> {
    let worker = stage.worker().process().pid();
    let id = stage.submit("trial.work", json!({"panic_attempts": 1})).await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], outcomes(&job)), (&json!("completed"), vec!["panic", "done"]), "{job}");
    assert!(job["attempts"][0]["error"]["message"].as_str().is_some_and(|text| text.contains("as it was told")));
    assert_eq!(stage.worker().process().pid(), worker);
    assert!(procfs::alive(worker));
    Ok(())
}

async fn a_pending_job_is_canceled_at_once(stage: Stage) -> Result<()> {
    let payload = json!({"log": stage.note_file()});
    let id = stage.submit_with(json!({"kind": "trial.work", "payload": payload, "delay_seconds": 3600})).await?;
    assert_eq!(stage.job(&id).await?["waiting"], "scheduled");
    let answer = stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(200)?;
    assert_eq!(answer.json()?["state"], "canceled");
    stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(200)?;
    assert_eq!(stage.notes(), [""; 0], "it never started");
    Ok(())
}

async fn a_running_job_is_canceled_within_two_seconds(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 600_000})).await?;
    stage.when(&id, "to run", |job| job["state"] == "running").await?;
    stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(202)?;
    let canceled = || async { stage.job(&id).await.ok().filter(|job| job["state"] == "canceled") };
    let job = until("the running job to be canceled", Duration::from_secs(2), canceled).await;
    assert_eq!(outcomes(&job), ["canceled"], "{job}");
    assert_eq!(job["artifacts"], json!([]));
    Ok(())
}

async fn a_stubborn_job_is_canceled_all_the_same(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"work_ms": 600_000, "stubborn": true})).await?;
    stage.when(&id, "to run", |job| job["state"] == "running").await?;
    stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(202)?;
    assert_eq!(stage.settled(&id).await?["state"], "canceled");
    Ok(())
}

async fn a_scheduled_job_runs_when_it_is_due(stage: Stage) -> Result<()> {
    let id = stage.submit_with(json!({"kind": "trial.work", "payload": {}, "delay_seconds": 1.5})).await?;
    let job = stage.job(&id).await?;
    assert_eq!((&job["state"], &job["waiting"]), (&json!("pending"), &json!("scheduled")), "{job}");
    let due: jiff::Timestamp = job["due_at"].as_str().unwrap_or_default().parse()?;
    let job = stage.settled(&id).await?;
    let started: jiff::Timestamp = job["started_at"].as_str().unwrap_or_default().parse()?;
    assert_eq!(job["state"], "completed", "{job}");
    assert!(started >= due, "started {started}, due {due}");
    Ok(())
}

async fn a_high_job_overtakes_a_thousand_that_wait_and_a_low_one_is_not_starved(stage: Stage) -> Result<()> {
    let job = |priority: &str| json!({"kind": "trial.work", "payload": {"work_ms": 20}, "priority": priority});
    let jobs = std::iter::once(job("low")).chain(std::iter::repeat_n(job("normal"), 999)).collect::<Vec<_>>();
    let batch = stage.http.post("/v1/jobs/batch", &json!({"jobs": jobs})).await?.expect(200)?.json()?;
    let low = batch["items"][0]["job"]["id"].as_str().context("no id")?;
    let high = stage.submit_with(job("high")).await?;
    for early in [&high, low] {
        ensure!(stage.settled(early).await?["state"] == "completed");
    }
    let behind = stage.http.get("/v1/jobs?state=pending&limit=100").await?.expect(200)?.json()?;
    ensure!(
        behind["jobs"].as_array().is_some_and(|jobs| jobs.len() == 100),
        "they ran after those that came before: {behind}"
    );
    Ok(())
}

async fn a_timeout_is_a_failed_attempt(stage: Stage) -> Result<()> {
    let request =
        json!({"kind": "trial.work", "payload": {"work_ms": 600_000}, "timeout_seconds": 1, "max_attempts": 1});
    let id = stage.submit_with(request).await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], outcomes(&job)), (&json!("failed"), vec!["timeout"]), "{job}");
    Ok(())
}

async fn a_caller_who_waits_is_answered_when_the_job_is_done(stage: Stage) -> Result<()> {
    let id = stage.submit("trial.work", json!({"work_ms": 300})).await?;
    let job = stage.http.get(&format!("/v1/jobs/{id}?wait=30")).await?.expect(200)?.json()?;
    assert_eq!(job["state"], "completed", "{job}");
    Ok(())
}

async fn a_mistake_in_a_request_is_named_with_its_field(stage: Stage) -> Result<()> {
    let wrong = json!({"kind": "trial.work", "payload": {"work_ms": "long"}});
    let problem = stage.http.post("/v1/jobs", &wrong).await?.expect(422)?.json()?;
    assert_eq!(problem["errors"][0]["pointer"], "/payload/work_ms", "{problem}");
    let unknown = json!({"kind": "trial.werk", "payload": {}});
    let problem = stage.http.post("/v1/jobs", &unknown).await?.expect(422)?.json()?;
    assert!(problem.to_string().contains("trial.work"), "the known kinds are listed: {problem}");
    let nested =
        json!({"kind": "media.transcode", "payload": {"source": {"file": "x"}, "video": {"preset": "h264_9p"}}});
    let problem = stage.http.post("/v1/jobs", &nested).await?.expect(422)?.json()?;
    assert_eq!(problem["errors"][0]["pointer"], "/payload/video/preset", "{problem}");
    Ok(())
}
