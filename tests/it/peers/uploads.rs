//! The reference client of tus in Python, against an API in front of a directory and of a bucket.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::process::run;
use longshore_tests::s3::S3;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::{house, scratch};
use serde_json::{Value, json};

use super::python;

const ROWS: usize = 200_000;

async fn send(stage: &Stage, file: &Path, stop: u64, resume: Option<&str>) -> Result<Value> {
    let mut sender = Command::new(python()?);
    sender.arg("-B").arg(house::root()?.join("tests/it/peers/uploads.py"));
    sender.arg(stage.worker().url()).arg(file).arg(stop.to_string()).args(resume);
    Ok(serde_json::from_str(&run("sender", sender, PATIENCE).await?)?)
}

/// Sent in two goes, and imported.
async fn sent_and_imported(stage: Stage) -> Result<()> {
    let home = scratch::dir("sender")?;
    let path = home.path().join("people.csv");
    let rows: String = (0..ROWS).map(|row| format!("{row},somebody.{row}@example.org\n")).collect();
    std::fs::write(&path, format!("id,email\n{rows}"))?;
    let bytes = path.metadata()?.len();
    let first = send(&stage, &path, 2_000_000, None).await?;
    ensure!(first["offset"] == 2_000_000, "{first}");
    let url = first["url"].as_str().context("no address")?;
    let second = send(&stage, &path, bytes, Some(url)).await?;
    ensure!(second["began"] == 2_000_000 && second["offset"] == bytes && second["refused"] == 409, "{second}");
    let file = url.rsplit('/').next().context("no id")?;
    let seen = stage.http.get(&format!("/v1/files/{file}")).await?.expect(200)?.json()?;
    ensure!(seen["name"] == "people.csv" && seen["content_type"] == "text/csv" && seen["bytes"] == bytes, "{seen}");
    let columns = json!([{"name": "id", "type": "integer"}, {"name": "email", "type": "text"}]);
    let payload = json!({"source": {"file": file}, "table": "sent_in_pieces", "columns": columns});
    let job = stage.settled(&stage.submit("csv.import", payload).await?).await?;
    ensure!(job["state"] == "completed" && job["result"]["rows_imported"] == ROWS, "{job}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_client_of_tus_sends_a_file_in_two_goes_and_a_job_reads_it() -> Result<()> {
    sent_and_imported(Stage::embedded().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_client_of_tus_sends_a_file_into_a_bucket_and_a_job_reads_it() -> Result<()> {
    let server = S3::shared().await?;
    let location = format!("s3://{}/jobs", server.bucket().await?);
    let variables = server.variables();
    let mut all: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    all.push(("LONGSHORE_STORAGE_LOCATION", &location));
    sent_and_imported(Stage::embedded_with(&all).await?).await
}
