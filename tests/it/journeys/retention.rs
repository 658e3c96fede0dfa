//! When the last is seen of a job: long after its end it goes, with its outputs, and with the last job that names it, an input.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::media;
use longshore_tests::s3::S3;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use serde_json::json;

/// Longer than a download takes after a job's end.
const SHORT: [(&str, &str); 2] = [("LONGSHORE_AGENTS_KEEP_FINISHED", "5"), ("LONGSHORE_STORAGE_KEEP_UNUSED", "2")];

async fn goes_with_all_that_is_its_own(stage: Stage, names: impl AsyncFn(&Stage) -> Result<Vec<String>>) -> Result<()> {
    let photo = media::turned_jpeg(stage.dir.path(), (320, 240), 6).await?;
    let file = stage.upload(&photo).await?;
    let payload = |file: &str| json!({"source": {"file": file}, "renditions": [{"name": "small", "width": 64}]});
    let done = stage.submit("image.resize", payload(&file)).await?;
    ensure!(stage.settled(&done).await?["state"] == "completed");
    stage.download(&done, "small.jpg").await?;
    // A dead letter is kept for whoever has to look at it, and so is what it was to read.
    let kept = stage.upload(&photo).await?;
    let wrong = json!({"source": {"file": kept}, "table": "photos", "columns": [{"name": "id", "type": "integer"}]});
    let dead = stage.submit("csv.import", wrong).await?;
    ensure!(stage.settled(&dead).await?["state"] == "failed");
    let (job, output) = (format!("/v1/jobs/{done}"), format!("/v1/jobs/{done}/artifacts/small.jpg"));
    let gone = || async {
        let mut answers = vec![];
        for path in [&job, &output, &format!("/v1/files/{file}")] {
            answers.push(stage.http.get(path).await.ok()?.status);
        }
        let left = names(&stage).await.ok()?;
        (answers == [404, 404, 404] && left.len() == 1).then_some(left)
    };
    let left = poll("a finished job to be gone with its bytes", PATIENCE, gone).await?;
    ensure!(left[0].ends_with(&kept), "{left:?}");
    ensure!(stage.job(&dead).await?["state"] == "failed");
    let again =
        stage.http.post("/v1/jobs", &json!({"kind": "image.resize", "payload": payload(&file)})).await?.expect(202)?;
    let again = stage.settled(again.json()?["id"].as_str().context("no id")?).await?;
    ensure!(again["error"]["code"] == "source_missing", "{again}");
    Ok(())
}

async fn in_the_directory(stage: &Stage) -> Result<Vec<String>> {
    let storage = stage.dir.path().join("data/storage");
    let rooms = ["files", "uploads", "artifacts", "kept"].map(|room| storage.join(room));
    let mut names = vec![];
    for room in rooms.iter().filter(|room| room.exists()) {
        for entry in std::fs::read_dir(room)? {
            names.push(entry?.path().display().to_string());
        }
    }
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_ended_long_ago_goes_with_its_outputs_and_its_inputs() -> Result<()> {
    goes_with_all_that_is_its_own(Stage::embedded_with(&SHORT).await?, in_the_directory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_on_servers_and_in_a_bucket_too() -> Result<()> {
    let server = S3::shared().await?;
    let bucket = server.bucket().await?;
    let variables = server.storage_in(&bucket);
    let stage = Stage::servers_with(&[&SHORT[..], &Stage::borrowed(&variables)].concat()).await?;
    goes_with_all_that_is_its_own(stage, async |_: &Stage| server.everything(&bucket).await).await
}
