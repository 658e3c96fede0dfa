//! Callers that harm by how they call: half a request, half a body, ten thousand at once. Each has its limit, and a caller who behaves
//! is served meanwhile. Everything runs in one process here; the listener's own stories are beside its code.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use longshore_tests::procfs;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::until;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// So many callers hold a connection and never come to the point.
const SLOW: usize = 200;
const POLLS: usize = 10_000;
/// What a server of ten thousand connections may take: some 30 KiB for each and what it takes anyhow, unoptimised.
const MEMORY_KIB: u64 = 800 << 10;

async fn connect(stage: &Stage) -> Result<TcpStream> {
    Ok(TcpStream::connect(stage.worker().address()).await?)
}

async fn begin(stage: &Stage, text: &str) -> Result<TcpStream> {
    let mut stream = connect(stage).await?;
    stream.write_all(text.as_bytes()).await?;
    Ok(stream)
}

/// All that the server still says, until it hangs up.
async fn last_words(mut stream: TcpStream) -> Result<String> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    // A reset is an end as well.
    let _ = read.context("the server never hung up")?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_never_come_to_the_point_are_let_go_and_the_others_are_served() -> Result<()> {
    let limits = [("LONGSHORE_API_HEADER_TIMEOUT", "3"), ("LONGSHORE_API_BODY_IDLE", "3")];
    let stage = Stage::embedded_with(&limits).await?;
    let half_head = "POST /v1/jobs HTTP/1.1\r\nhost: localh";
    let half_body = "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{\"kind\"";
    let half_file = "POST /v1/files?name=a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 90\r\n\r\nabc";
    let mut heads = vec![];
    let mut bodies = vec![];
    for number in 0..SLOW {
        heads.push(begin(&stage, if number % 2 == 0 { half_head } else { "" }).await?);
        bodies.push(begin(&stage, if number % 2 == 0 { half_body } else { half_file }).await?);
    }
    let id = stage.submit("trial.work", json!({})).await?;
    let job = stage.settled(&id).await?;
    ensure!(job["state"] == "completed", "{job}");
    for stream in heads {
        let said = last_words(stream).await?;
        ensure!(!said.contains(" 202 "), "{said}");
    }
    for stream in bodies {
        let said = last_words(stream).await?;
        ensure!(said.starts_with("HTTP/1.1 408 ") && said.contains("request_timeout"), "{said:?}");
    }
    let listed = stage.http.get("/v1/jobs").await?.expect(200)?.json()?;
    ensure!(listed["jobs"].as_array().map(Vec::len) == Some(1), "half a request became a job: {listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_a_byte_now_and_then_is_let_go_though_it_never_stands_still() -> Result<()> {
    let stage = Stage::embedded_with(&[("LONGSHORE_API_BODY_IDLE", "2")]).await?;
    let job =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n";
    let file = "POST /v1/files?name=a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9000\r\n\r\n";
    for head in [job, file] {
        let (mut answer, mut body) = begin(&stage, head).await?.into_split();
        let trickle = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            while body.write_all(b" ").await.is_ok() {
                tick.tick().await;
            }
        });
        let mut said = String::new();
        let read = tokio::time::timeout(PATIENCE, answer.read_to_string(&mut said)).await;
        let _ = read.context("the server never hung up")?;
        trickle.abort();
        ensure!(said.starts_with("HTTP/1.1 408 ") && said.contains("slower than 240 bytes a second"), "{said:?}");
    }
    Ok(())
}

/// Files that this process and its child may each have open.
fn room_for_polls() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|most| most >= POLLS as u64 + 1_000);
    ensure!(enough, "this machine allows {:?} open files a process: `ulimit -Hn`", limit.maximum);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// Asks on a connection of its own and reads the status line's code and the body.
async fn poll(stream: &mut TcpStream, path: &str) -> Result<(String, String)> {
    let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await?;
    let said = String::from_utf8(said)?;
    let status = said.split_whitespace().nth(1).unwrap_or_default().to_owned();
    Ok((status, said.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_polls_at_once_are_each_answered_in_bounded_memory() -> Result<()> {
    room_for_polls()?;
    // The first to connect waits for the last before it asks.
    let limits = [("LONGSHORE_API_MAX_CONNECTIONS", "10100"), ("LONGSHORE_API_HEADER_TIMEOUT", "90")];
    let stage = Stage::embedded_with(&limits).await?;
    let id = stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 500})).await?;
    stage.settled(&id).await?;
    let mut streams = vec![];
    for _ in 0..POLLS {
        streams.push(connect(&stage).await?);
    }
    // All are connected before the first asks.
    let path = format!("/v1/jobs/{id}");
    let mut polls: FuturesUnordered<_> = streams.iter_mut().map(|stream| poll(stream, &path)).collect();
    let mut answered = 0;
    while let Some(answer) = tokio::time::timeout(PATIENCE, polls.next()).await.context("a poll hangs")? {
        let (status, body) = answer?;
        ensure!(status == "200" && body.contains(r#""state":"completed""#), "{status}: {body}");
        answered += 1;
    }
    ensure!(answered == POLLS, "{answered}");
    let peak = procfs::peak_kib(stage.worker().process().pid()).context("the server runs")?;
    ensure!(peak < MEMORY_KIB, "{peak} KiB at the peak");
    let next = stage.settled(&stage.submit("trial.work", json!({})).await?).await?;
    ensure!(next["state"] == "completed", "{next}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_than_allowed_is_told_so_and_the_held_ones_stay() -> Result<()> {
    let stage = Stage::embedded_with(&[("LONGSHORE_API_MAX_CONNECTIONS", "20")]).await?;
    let mut held = vec![];
    let refused = loop {
        let mut stream = begin(&stage, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        let mut said = [0; 12];
        tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut said)).await.context("no answer")??;
        if &said == b"HTTP/1.1 503" {
            break last_words(stream).await?;
        }
        held.push(stream);
        ensure!(held.len() <= 20, "no limit holds");
    };
    ensure!(
        refused.to_lowercase().contains("retry-after") && refused.contains("all the connections it takes"),
        "{refused}"
    );
    drop(held);
    let free = || async { stage.http.get("/healthz").await.ok().filter(|answer| answer.status == 200) };
    until("a seat to be free again", PATIENCE, free).await;
    let next = stage.settled(&stage.submit("trial.work", json!({})).await?).await?;
    ensure!(next["state"] == "completed", "{next}");
    Ok(())
}
