//! The SDK's promise against real processes: it tells how far its job is, calls back at its end, has its webhook told, and cancels what
//! nobody waits for any more where that was asked for. How it finds its way when a server dies is told in `roads`.

use std::future::IntoFuture as _;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use longshore_sdk::api::{EventWord, JobWebhook};
use longshore_sdk::client::{Client, JobError, JobHandle, SubmitOptions};
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::trial::{Trial, Tried};
use longshore_tests::until::poll;
use serde_json::{Value, json};
use tokio::time::timeout;

super::on_both_stages!(
    a_promise_tells_its_progress_its_events_and_its_end_and_so_does_its_webhook,
    a_promise_calls_back_once_with_whatever_the_end_is,
    a_promise_that_is_dropped_cancels_its_job_only_if_that_was_asked_for
);

fn client(stage: &Stage) -> Result<Client> {
    Ok(Client::new(&stage.api().url())?)
}

async fn a_promise_tells_its_progress_its_events_and_its_end_and_so_does_its_webhook(stage: Stage) -> Result<()> {
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let webhook = JobWebhook { url: receiver.url(), secret: None, events: Some(vec![EventWord::Completed]) };
    let gate = stage.dir.path().join("gate");
    let trial = Trial { gate: Some(gate.clone()), ..Trial::default() };
    let options = SubmitOptions { webhook: Some(webhook), ..SubmitOptions::default() };
    let handle = client(&stage)?.submit_with(&trial, options).await?;
    let (mut progress, mut told) = (handle.progress(), handle.events());
    let first = timeout(PATIENCE, progress.next()).await?.context("it ended before it said how far it is")?;
    assert_eq!(first.message.as_deref(), Some("attempt 1 is at the gate"));
    let mut words = vec![];
    while words.last() != Some(&"progressed") {
        words.push(timeout(PATIENCE, told.next()).await?.context("it ended at the gate")??.data.event.word());
    }
    std::fs::write(&gate, "1\n")?;
    ensure!(timeout(PATIENCE, progress.next()).await?.is_none(), "it goes on after the end");
    while let Some(event) = timeout(PATIENCE, told.next()).await? {
        words.push(event?.data.event.word());
    }
    assert_eq!(words, ["accepted", "started", "progressed", "completed"]);
    let id = handle.id().to_string();
    assert_eq!(timeout(PATIENCE, handle.into_future()).await??.attempt, 1);
    let hooked = receiver.until(1, PATIENCE).await?[0].json()?;
    assert_eq!((&hooked["subject"], &hooked["data"]["event"]), (&json!(id), &json!("completed")));
    Ok(())
}

/// What its callback was told, after which nothing may come.
async fn called_back(handle: JobHandle<Tried>) -> Result<Result<Tried, JobError>> {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let calling = handle.on_complete(move |end| drop(tell.send(end)));
    let end = timeout(PATIENCE, told.recv()).await?.context("nobody calls")?;
    calling.await?;
    ensure!(told.recv().await.is_none(), "it is called twice");
    Ok(end)
}

async fn a_promise_calls_back_once_with_whatever_the_end_is(stage: Stage) -> Result<()> {
    let client = client(&stage)?;
    let done = called_back(client.submit(&Trial { fail_attempts: 1, ..Trial::default() }).await?).await?;
    assert_eq!(done?.attempt, 2);
    let failed = called_back(client.submit(&Trial { fatal: true, ..Trial::default() }).await?).await?;
    ensure!(matches!(&failed, Err(JobError::Failed(error)) if error.code == "told_to_give_up"), "{failed:?}");
    let handle = client.submit(&Trial { work_ms: 60_000, ..Trial::default() }).await?;
    let (stopped, ended) = (handle.clone(), tokio::spawn(called_back(handle)));
    stopped.cancel().await?;
    let canceled = ended.await??;
    ensure!(matches!(canceled, Err(JobError::Canceled)), "{canceled:?}");
    Ok(())
}

async fn a_promise_that_is_dropped_cancels_its_job_only_if_that_was_asked_for(stage: Stage) -> Result<()> {
    let client = client(&stage)?;
    let long = Trial { work_ms: 60_000, ..Trial::default() };
    let running = async |handle: &JobHandle<Tried>| {
        let id = handle.id().to_string();
        stage.when(&id, "to run", |job: &Value| job["state"] == "running").await.map(|_| id)
    };
    let (unguarded, guarded, awaited) =
        (client.submit(&long).await?, client.submit(&long).await?, client.submit(&long).await?);
    let (guarded, awaited) = (guarded.cancel_on_drop(), awaited.cancel_on_drop());
    let (going_on, dropped, aborted) = (running(&unguarded).await?, running(&guarded).await?, running(&awaited).await?);
    let wait = tokio::spawn(awaited.into_future());
    drop((unguarded, guarded));
    wait.abort();
    for id in [dropped, aborted] {
        assert_eq!(stage.settled(&id).await?["state"], "canceled");
    }
    assert_eq!(stage.job(&going_on).await?["state"], "running");
    stage.http.post(&format!("/v1/jobs/{going_on}/cancel"), &json!({})).await?;
    // One that has ended is past cancelling, and dropping its handle asks for nothing.
    let ended = client.submit(&Trial::default()).await?.cancel_on_drop();
    let id = ended.id().to_string();
    timeout(PATIENCE, ended.into_future()).await??;
    let completed = || async { stage.job(&id).await.ok().filter(|job| job["state"] == "completed") };
    poll("the job to be completed still", PATIENCE, completed).await.map(drop)
}
