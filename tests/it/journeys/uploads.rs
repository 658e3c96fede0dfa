//! Uploads in pieces, on PostgreSQL and two API processes, into a directory and into a bucket: what is acknowledged is there whoever dies,
//! and what nobody finishes or uses goes with its bytes.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use longshore_tests::http::{Answer, Http, send};
use longshore_tests::longshore::Longshore;
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::s3::S3;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use reqwest::{Body, Method, RequestBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const MIB: usize = 1024 * 1024;

/// Two API processes on one ledger and one storage.
struct Nodes {
    _stage: Stage,
    one: Longshore,
    other: Longshore,
    /// The bucket, if the storage is one.
    bucket: Option<(&'static S3, String)>,
}

impl Nodes {
    async fn start(in_a_bucket: bool) -> Result<Nodes> {
        let (database, broker) =
            (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
        let stage = Stage::on(&database, &broker).await?;
        let mut variables = vec![];
        let mut bucket = None;
        if in_a_bucket {
            let server = S3::shared().await?;
            let name = server.bucket().await?;
            variables = server.storage_in(&name);
            bucket = Some((server, name));
        }
        let start = async || {
            let launch = Stage::dressed(Longshore::api(&database, &broker)?, &stage.dir)?;
            variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start().await
        };
        let (one, other) = (start().await?, start().await?);
        Ok(Nodes { _stage: stage, one, other, bucket })
    }
}

fn tus(http: &Http, method: &str, path: &str) -> Result<RequestBuilder> {
    Ok(http.request(method.parse::<Method>()?, path).header("Tus-Resumable", "1.0.0"))
}

fn patch(http: &Http, path: &str, at: u64, body: impl Into<Body>) -> Result<RequestBuilder> {
    let request = tus(http, "PATCH", path)?.header("Content-Type", "application/offset+octet-stream");
    Ok(request.header("Upload-Offset", at).body(body))
}

async fn begin(http: &Http, bytes: usize) -> Result<String> {
    let begun = send(tus(http, "POST", "/v1/uploads")?.header("Upload-Length", bytes)).await?.expect(201)?;
    Ok(begun.header("location").context("no location")?.to_owned())
}

async fn offset(http: &Http, path: &str) -> Result<u64> {
    let head = send(tus(http, "HEAD", path)?).await?.expect(200)?;
    Ok(head.header("upload-offset").context("no offset")?.parse()?)
}

/// Bytes no stretch of which is another's.
fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8 + 1).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).take(bytes).collect()
}

/// A PATCH whose bytes come when the story says so.
fn slow(http: &Http, path: &str, at: u64) -> Result<(mpsc::Sender<Bytes>, tokio::task::JoinHandle<Result<Answer>>)> {
    let (sender, bytes) = mpsc::channel::<Bytes>(1);
    let body = futures_util::stream::unfold(bytes, |mut bytes| async { Some((bytes.recv().await?, bytes)) });
    let request = patch(http, path, at, Body::wrap_stream(body.map(Ok::<_, std::io::Error>)))?;
    Ok((sender, tokio::spawn(send(request))))
}

async fn goes_on_after_a_kill(nodes: Nodes) -> Result<()> {
    let content = noise(40 * MIB);
    let (one, other) = (nodes.one.http()?, nodes.other.http()?);
    let path = begin(&one, content.len()).await?;
    let first = send(patch(&other, &path, 0, content[..3 * MIB].to_vec())?).await?.expect(204)?;
    ensure!(first.header("upload-offset") == Some(&(3 * MIB).to_string()), "{first:?}");
    let (sender, hung) = slow(&other, &path, 3 * MIB as u64)?;
    for piece in content[3 * MIB..30 * MIB].chunks(MIB) {
        sender.send(Bytes::copy_from_slice(piece)).await?;
    }
    // More is acknowledged while it still comes.
    let further = || async { offset(&one, &path).await.ok().filter(|at| *at > 16 * MIB as u64) };
    let acknowledged = poll("some of it to be acknowledged", PATIENCE, further).await?;
    let locked = send(patch(&one, &path, acknowledged, content[acknowledged as usize..].to_vec())?).await?;
    ensure!(locked.status == 423 || locked.status == 409, "two append at once: {locked:?}");
    nodes.other.kill_9().await?;
    ensure!(hung.await?.is_err(), "a killed process has answered");
    let at = offset(&one, &path).await?;
    ensure!(at >= acknowledged, "{at} are left of {acknowledged} acknowledged bytes");
    let rest = content[usize::try_from(at)?..].to_vec();
    let sent = || async {
        let answer = send(patch(&one, &path, at, rest.clone()).ok()?).await.ok()?;
        (answer.status != 423).then_some(answer)
    };
    let last = poll("the dead process's lease to run out", PATIENCE, sent).await?.expect(204)?;
    ensure!(last.header("upload-offset") == Some(&content.len().to_string()), "{last:?}");
    let file = one.get(&path.replace("uploads", "files")).await?.expect(200)?.json()?;
    // The same file, sent at once: its checksum is the whole's.
    let whole = send(one.request(Method::POST, "/v1/files").body(content)).await?.expect(201)?.json()?;
    ensure!(file["sha256"] == whole["sha256"] && file["bytes"] == whole["bytes"], "{file} is not {whole}");
    if let Some((server, bucket)) = &nodes.bucket {
        let (objects, open) = server.names(bucket).await?;
        ensure!(objects.len() == 2 && open.is_empty(), "more is left than two files: {objects:?}, {open:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_api_process_is_killed_goes_on_at_another_one() -> Result<()> {
    goes_on_after_a_kill(Nodes::start(false).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_into_a_bucket_whose_api_process_is_killed_goes_on_at_another_one() -> Result<()> {
    goes_on_after_a_kill(Nodes::start(true).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_at_once_at_two_processes_one_appends_and_no_bytes_are_mixed() -> Result<()> {
    let nodes = Nodes::start(false).await?;
    let http = [nodes.one.http()?, nodes.other.http()?];
    let (bytes, senders) = (64 * 1024, 8);
    for round in 0..10_u8 {
        let path = begin(&http[0], bytes).await?;
        let all = (0..senders).map(|n| {
            let content = vec![round * 16 + n; bytes];
            let request = patch(&http[usize::from(n % 2)], &path, 0, content);
            async move { anyhow::Ok((n, send(request?).await?)) }
        });
        let answers: Vec<(u8, Answer)> =
            futures_util::future::join_all(all).await.into_iter().collect::<Result<_>>()?;
        let good: Vec<u8> = answers.iter().filter(|(_, answer)| answer.status == 204).map(|(n, _)| *n).collect();
        let refused = |answer: &Answer| matches!(answer.status, 204 | 409 | 423);
        ensure!(good.len() == 1 && answers.iter().all(|(_, answer)| refused(answer)), "{answers:?}");
        let file = http[1].get(&path.replace("uploads", "files")).await?.expect(200)?.json()?;
        let same = send(http[0].request(Method::POST, "/v1/files").body(vec![round * 16 + good[0]; bytes])).await?;
        ensure!(file["sha256"] == same.expect(201)?.json()?["sha256"], "round {round}: {file}");
    }
    Ok(())
}

/// Many senders write all of a request before they read anything of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_refused_hears_why_though_it_sends_all_of_it_first() -> Result<()> {
    let stage = Stage::embedded_with(&[("LONGSHORE_API_MAX_UPLOAD_BYTES", "5000000")]).await?;
    let path = begin(&stage.http, 4 * MIB).await?;
    let tus = "tus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream\r\nupload-offset: 7";
    let calls = [
        (format!("PATCH {path} HTTP/1.1\r\n{tus}"), "HTTP/1.1 409 ", "upload-offset: 0\r\n"),
        ("POST /v1/files HTTP/1.1".to_owned(), "HTTP/1.1 413 ", "5000000"),
        ("POST /v1/nowhere HTTP/1.1".to_owned(), "HTTP/1.1 404 ", "not_found"),
    ];
    for (head, status, why) in calls {
        let head = format!("{head}\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", 10 * MIB);
        let mut stream = TcpStream::connect(stage.worker().address()).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&noise(10 * MIB)).await.with_context(|| format!("cut off while it sent: {head}"))?;
        let mut said = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut said)).await??;
        ensure!(said.starts_with(status) && said.contains(why), "{head}{said}");
    }
    Ok(())
}

async fn expires(variables: &[(&str, &str)], names: impl AsyncFn(&Stage) -> Result<Vec<String>>) -> Result<()> {
    let short = [("LONGSHORE_STORAGE_KEEP_UNFINISHED", "2"), ("LONGSHORE_STORAGE_KEEP_UNUSED", "2")];
    let stage = Stage::embedded_with(&[&short[..], variables].concat()).await?;
    let http = &stage.http;
    let upload = || send(http.request(Method::POST, "/v1/files").body("hello"));
    let id = |answer: Answer| Ok::<_, anyhow::Error>(answer.json()?["id"].as_str().context("no id")?.to_owned());
    let (used, unused) = (id(upload().await?.expect(201)?)?, id(upload().await?.expect(201)?)?);
    // Not run before the other file is gone: that it was named is enough.
    let payload = json!({"source": {"file": used}, "renditions": [{"name": "a", "width": 8}]});
    stage.submit_with(json!({"kind": "image.resize", "payload": payload, "delay_seconds": 3600})).await?;
    let unfinished = begin(http, 20 * MIB).await?;
    send(patch(http, &unfinished, 0, noise(9 * MIB))?).await?.expect(204)?;
    let gone = || async {
        let upload = send(tus(http, "HEAD", &unfinished).ok()?).await.ok()?.status;
        let file = http.get(&format!("/v1/files/{unused}")).await.ok()?.status;
        let left = names(&stage).await.ok()?;
        (upload == 404 && file == 404 && left.len() == 1).then_some(left)
    };
    let left = poll("what nobody finishes or uses to be gone with its bytes", PATIENCE, gone).await?;
    ensure!(left[0].ends_with(&used), "{left:?}");
    let late = send(patch(http, &unfinished, 9 * MIB as u64, "x")?).await?;
    ensure!(late.status == 404, "{late:?}");
    http.get(&format!("/v1/files/{used}")).await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_finishes_or_uses_expires_with_its_bytes() -> Result<()> {
    let names = async |stage: &Stage| {
        let storage = stage.dir.path().join("data/storage");
        let rooms = ["files", "uploads"].map(|room| std::fs::read_dir(storage.join(room)));
        let entries = rooms.into_iter().collect::<std::io::Result<Vec<_>>>()?.into_iter().flatten();
        Ok(entries.map(|entry| Ok(entry?.path().display().to_string())).collect::<std::io::Result<_>>()?)
    };
    expires(&[], names).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_finishes_or_uses_expires_in_a_bucket_too() -> Result<()> {
    let server = S3::shared().await?;
    let bucket = server.bucket().await?;
    let variables = server.storage_in(&bucket);
    expires(&Stage::borrowed(&variables), async |_: &Stage| server.everything(&bucket).await).await
}
