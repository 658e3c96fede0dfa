//! A worker and its guard. The stories elsewhere kill and pause the worker itself; these start it as it is started by default, with the
//! guard before it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use longshore_tests::postgres::Postgres;
use longshore_tests::procfs::{alive, descendants};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// In seconds. A heartbeat comes within a third of it, and what goes on sooner does not go on because it ran out.
const LEASE: &str = "30";
const LONG_BEFORE: Duration = Duration::from_secs(15);

async fn guarded() -> Result<Stage> {
    let database = Postgres::shared().await?.database().await?;
    let broker = RabbitMq::shared().await?.vhost().await?;
    let guarded = ["--set", "worker.guard=true", "--set", &format!("worker.lease={LEASE}")].map(str::to_owned);
    Stage::on_with(&database, &broker, |worker, _| Ok(guarded.iter().fold(worker, |worker, arg| worker.arg(arg)))).await
}

/// The process that works.
fn worker_of(stage: &Stage) -> Result<u32> {
    descendants(stage.worker().process().pid()).first().copied().context("the guard has no worker")
}

fn send(signal: Signal, to: u32) -> Result<()> {
    let pid = i32::try_from(to).ok().and_then(Pid::from_raw).context("no number of a process")?;
    Ok(kill_process(pid, signal)?)
}

async fn running(stage: &Stage, payload: serde_json::Value) -> Result<String> {
    let id = stage.submit("trial.work", payload).await?;
    stage.when(&id, "to run", |job| job["state"] == "running" && job["progress"].is_object()).await?;
    Ok(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_worker_that_is_killed_keeps_its_jobs_from_nobody() -> Result<()> {
    let mut stage = guarded().await?;
    let id = running(&stage, json!({"log": stage.note_file(), "work_ms": 50_000})).await?;
    poll("a heartbeat that tells of it", PATIENCE, || async {
        let workers = stage.http.get("/v1/workers").await.ok()?.json().ok()?;
        (workers["workers"][0]["busy"] == 1).then_some(())
    })
    .await?;
    send(Signal::KILL, worker_of(&stage)?)?;
    poll("the job's rescue", LONG_BEFORE, || async {
        stage.job(&id).await.ok().filter(|job| job["state"] == "pending").map(drop)
    })
    .await?;
    poll("the guard to follow", PATIENCE, || async { (!stage.worker_lives()).then_some(()) }).await?;
    assert_eq!(stage.worker().process().ended(), Some(longshore_tests::process::Ending::Exit(128 + 9)));
    stage.start_worker().await?;
    let job = stage.when(&id, "to run again", |job| job["state"] == "running").await?;
    assert_eq!(job["attempt"], 2, "{job}");
    let lost = &job["attempts"][0];
    assert_eq!((&lost["outcome"], &lost["error"]["code"]), (&json!("crashed"), &json!("worker_crashed")), "{job}");
    let told = lost["error"]["message"].as_str().context("the history says why")?;
    assert!(told.contains("; its process was killed by SIGKILL"), "{told}");
    assert!(told.contains(" MiB of memory"), "its heartbeats told of its memory: {told}");
    stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(202)?;
    assert_eq!(stage.settled(&id).await?["state"], "canceled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_jobs_dead_letter_shows_the_signal_the_progress_and_the_memory() -> Result<()> {
    // The third crash is the first alone, and the last.
    let variables = [("LONGSHORE_WORKER_GUARD", "true"), ("LONGSHORE_AGENTS_CRASH_LIMIT", "1")];
    let mut stage = Stage::servers_with(&variables).await?;
    // Long enough for a heartbeat and for progress that is stored.
    let poison = stage.submit("trial.work", json!({"work_ms": 3_000, "aborts_at_last": true})).await?;
    let job = loop {
        if !stage.worker_lives() {
            let _ = stage.replace_worker().await; // it may be killed by the poison before it says that it is ready
        }
        match stage.job(&poison).await {
            Ok(job) if job["state"] == "failed" => break job,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(job["error"]["code"], "poison", "{job}");
    assert_eq!((job["charged"].as_u64(), job["attempts"].as_array().map(Vec::len)), (Some(0), Some(3)), "{job}");
    let told = job["error"]["message"].as_str().context("a dead letter says why")?;
    for evidence in ["; its process was killed by SIGABRT", "; the attempt had shown ", " MiB of memory"] {
        assert!(told.contains(evidence), "{evidence:?} is missing: {told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_guard_is_killed_dies_with_it() -> Result<()> {
    let mut stage = guarded().await?;
    let worker = worker_of(&stage)?;
    stage.kill_worker().await?;
    poll("the worker to die", PATIENCE, || async { (!alive(worker)).then_some(()) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_asked_to_leave_lets_its_worker_drain() -> Result<()> {
    let mut stage = guarded().await?;
    let id = running(&stage, json!({"log": stage.note_file(), "work_ms": 1_000})).await?;
    assert_eq!(stage.drain_worker().await?, 0);
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
    Ok(())
}
