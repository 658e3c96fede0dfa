//! Bytes that go past the API, by links of a real S3 server, and what a directory answers in their place.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::{Http, send};
use longshore_tests::s3::S3;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use reqwest::Method;
use serde_json::{Value, json};

const TEXT: &str = "id,email\n1,ada@example.org\n2,bob@example.org\n";

/// Asks the bucket itself, as a caller with nothing but the link.
async fn ask(method: Method, url: &str, body: &'static str) -> Result<longshore_tests::http::Answer> {
    let (origin, path) = url.split_at(url.find("/bucket-").context("no bucket's address")?);
    send(Http::to(origin)?.request(method, path).body(body)).await
}

async fn in_a_bucket() -> Result<Stage> {
    in_this_bucket(&S3::shared().await?.bucket().await?, &[]).await
}

async fn in_this_bucket(bucket: &str, settings: &[(&str, &str)]) -> Result<Stage> {
    let variables = S3::shared().await?.storage_in(bucket);
    Stage::embedded_with(&[&Stage::borrowed(&variables), settings].concat()).await
}

async fn begin(stage: &Stage, bytes: usize) -> Result<(String, String)> {
    let request = json!({"bytes": bytes, "name": "people \"x\".csv", "content_type": "text/csv"});
    let begun = stage.http.post("/v1/files/direct", &request).await?.expect(201)?.json()?;
    let text = |field: &str| begun[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {begun}"));
    ensure!(text("method")? == "PUT" && begun["bytes"] == bytes, "{begun}");
    Ok((text("id")?, text("url")?))
}

async fn complete(stage: &Stage, id: &str) -> Result<longshore_tests::http::Answer> {
    stage.http.post(&format!("/v1/files/{id}/complete"), &json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_to_the_bucket_itself_and_is_an_input_when_it_is_said_to_be_there() -> Result<()> {
    let stage = in_a_bucket().await?;
    let (id, url) = begin(&stage, TEXT.len()).await?;
    let early = complete(&stage, &id).await?.expect(409)?.json()?;
    ensure!(early["type"] == "urn:longshore:problem:upload_incomplete", "{early}");
    let path = format!("/v1/files/{id}");
    stage.http.get(&path).await?.expect(404)?;
    ask(Method::PUT, &url, "too short").await?.expect(200)?;
    complete(&stage, &id).await?.expect(409)?;
    ask(Method::PUT, &url, TEXT).await?.expect(200)?;
    let file = complete(&stage, &id).await?.expect(200)?.json()?;
    ensure!(complete(&stage, &id).await?.expect(200)?.json()? == file, "a repeat is answered otherwise");
    let same = send(stage.http.request(Method::POST, "/v1/files").body(TEXT)).await?.expect(201)?.json()?;
    ensure!(file["sha256"] == same["sha256"] && file["bytes"] == same["bytes"] && file["id"] == id.as_str(), "{file}");
    let (one, two) = (begin(&stage, TEXT.len()).await?, stage.http.clone());
    ask(Method::PUT, &one.1, TEXT).await?.expect(200)?;
    let complete_it = || async { two.post(&format!("/v1/files/{}/complete", one.0), &json!({})).await };
    let both = tokio::try_join!(complete_it(), complete_it())?;
    ensure!(
        [&both.0, &both.1].iter().all(|answer| matches!(answer.status, 200 | 423)),
        "one of two at once takes it, and the other waits or finds it done: {both:?}"
    );
    complete_it().await?.expect(200)?;
    // Whoever still has the link changes nothing of the file.
    ask(Method::PUT, &url, "something else altogether, put there later on").await?;
    let content = stage.http.get(&format!("{path}/content")).await?.expect(200)?;
    ensure!(content.text == TEXT, "{content:?}");
    let columns = json!([{"name": "id", "type": "integer"}, {"name": "email", "type": "text"}]);
    let payload = json!({"source": {"file": id}, "table": "sent_directly", "columns": columns});
    let job = stage.settled(&stage.submit("csv.import", payload).await?).await?;
    ensure!(job["state"] == "completed" && job["result"]["rows_imported"] == 2, "{job}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_once_more_by_a_link_is_swept_and_the_file_stays() -> Result<()> {
    let server = S3::shared().await?;
    let bucket = server.bucket().await?;
    let short = [("LONGSHORE_STORAGE_KEEP_UNFINISHED", "4"), ("LONGSHORE_STORAGE_LINK_LIFETIME", "4")];
    let stage = in_this_bucket(&bucket, &short).await?;
    let (id, url) = begin(&stage, TEXT.len()).await?;
    ask(Method::PUT, &url, TEXT).await?.expect(200)?;
    complete(&stage, &id).await?.expect(200)?;
    ask(Method::PUT, &url, "late").await?.expect(200)?;
    let names = async || anyhow::Ok(server.names(&bucket).await?.0);
    ensure!(names().await?.iter().any(|name| name.ends_with("/sent")), "nothing lies beside the file");
    let alone = || async { names().await.ok().filter(|names| names.len() == 1) };
    let left = poll("what was sent late to be gone", PATIENCE, alone).await?;
    ensure!(left[0].ends_with(&id), "{left:?}");
    let content = stage.http.get(&format!("/v1/files/{id}/content")).await?.expect(200)?;
    ensure!(content.text == TEXT, "{content:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_sent_on_to_the_bucket_or_told_the_link() -> Result<()> {
    let stage = in_a_bucket().await?;
    let upload = send(stage.http.request(Method::POST, "/v1/files?name=people.csv").body(TEXT)).await?.expect(201)?;
    let file = upload.json()?["id"].as_str().context("no id")?.to_owned();
    let columns = json!([{"name": "id", "type": "integer"}, {"name": "email", "type": "integer"}]);
    let payload =
        json!({"source": {"file": file}, "table": "rejected", "columns": columns, "max_rejects": {"rows": 10}});
    let job = stage.submit("csv.import", payload).await?;
    let settled = stage.settled(&job).await?;
    let name = settled["artifacts"][0]["name"].as_str().with_context(|| format!("no output: {settled}"))?;
    for path in [format!("/v1/files/{file}/content"), format!("/v1/jobs/{job}/artifacts/{name}")] {
        let ours = stage.http.get(&path).await?.expect(200)?;
        ensure!(ours.text.contains("ada@example.org"), "{ours:?}");
        let sent_on = stage.http.get(&format!("{path}?via=redirect")).await?.expect(307)?;
        let told: Value = stage.http.get(&format!("{path}?via=link")).await?.expect(200)?.json()?;
        ensure!(told["expires_at"].is_string(), "{told}");
        for link in [sent_on.header("location").context("no location")?, told["url"].as_str().context("no link")?] {
            let theirs = ask(Method::GET, link, "").await?.expect(200)?;
            ensure!(theirs.text == ours.text, "{theirs:?}");
            let part = send(Http::to(link)?.request(Method::GET, "").header("Range", "bytes=1-3")).await?;
            ensure!(part.status == 206 && part.text == ours.text[1..4], "{part:?}");
        }
        let part = send(stage.http.request(Method::GET, &path).header("Range", "bytes=1-3")).await?.expect(206)?;
        ensure!(part.text == ours.text[1..4], "{part:?}");
        stage.http.get(&format!("{path}?via=pigeon")).await?.expect(400)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_no_links_and_says_what_to_use_instead() -> Result<()> {
    let stage = Stage::embedded().await?;
    let begun = stage.http.post("/v1/files/direct", &json!({"bytes": 5})).await?.expect(409)?.json()?;
    ensure!(begun["type"] == "urn:longshore:problem:no_links", "{begun}");
    ensure!(begun["detail"].as_str().is_some_and(|text| text.contains("/v1/uploads")), "{begun}");
    let file = send(stage.http.request(Method::POST, "/v1/files").body(TEXT)).await?.expect(201)?.json()?;
    let path = format!("/v1/files/{}/content", file["id"].as_str().context("no id")?);
    stage.http.get(&format!("{path}?via=link")).await?.expect(409)?;
    ensure!(stage.http.get(&path).await?.expect(200)?.text == TEXT);
    Ok(())
}
