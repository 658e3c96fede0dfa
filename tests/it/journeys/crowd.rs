//! Thousands who follow all jobs at one API process: each is told, and the process stays small.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::procfs::peak_kib;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// As many as `api.max_streams` lets in.
const CROWD: usize = 5_000;
/// So many come at once: more than a listener's backlog would be refused by the kernel.
const WAVE: usize = 100;
const MOST_MEMORY_KIB: u64 = 1024 * 1024;

struct Follower {
    socket: TcpStream,
    heard: Vec<u8>,
}

impl Follower {
    /// Follows by now.
    async fn join(address: SocketAddr) -> Result<Self> {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").await?;
        let mut follower = Self { socket, heard: vec![] };
        follower.until("\nid: ").await?;
        Ok(follower)
    }

    /// Reads until this was said.
    async fn until(&mut self, said: &str) -> Result<Instant> {
        while !String::from_utf8_lossy(&self.heard).contains(said) {
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.heard)).await??;
            ensure!(read > 0, "the stream ended: {}", String::from_utf8_lossy(&self.heard));
        }
        Ok(Instant::now())
    }
}

/// Both ends of so many lines need a descriptor each.
fn room_for_all() -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let enough = Some(2 * CROWD as u64 + 1000);
    if current.is_some() && current < enough {
        setrlimit(Resource::Nofile, Rlimit { current: maximum.min(enough).or(enough), maximum })?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_follow_all_jobs_at_one_process_within_a_gigabyte() -> Result<()> {
    room_for_all()?;
    let stage = Stage::embedded().await?;
    let (address, pid) = (stage.worker().address(), stage.worker().process().pid());
    let peak = || peak_kib(pid).context("the server is gone");
    let alone = peak()?;
    let mut crowd = vec![];
    while crowd.len() < CROWD {
        crowd.extend(futures_util::future::try_join_all((0..WAVE).map(|_| Follower::join(address))).await?);
    }
    let listening: Vec<_> = crowd
        .into_iter()
        .map(|mut follower| tokio::spawn(async move { (follower.until("event: completed").await, follower) }))
        .collect();
    stage.submit("trial.work", json!({"work_ms": 1})).await?;
    let (mut told, mut kept) = (vec![], vec![]);
    for follower in listening {
        let (heard, follower) = timeout(Duration::from_secs(120), follower).await??;
        told.push(heard?);
        kept.push(follower);
    }
    told.sort();
    let after = |share: usize| told[(told.len() - 1) * share / 100].duration_since(told[0]);
    let memory = peak()?;
    eprintln!(
        "{CROWD} followers: {} MiB at most, {} MiB alone; told after the first: half in {:?}, 99% in {:?}, all in {:?}",
        memory / 1024,
        alone / 1024,
        after(50),
        after(99),
        after(100)
    );
    ensure!(memory <= MOST_MEMORY_KIB, "{memory} KiB");
    Ok(())
}

/// Their events are more than the kernel holds for one connection (`tcp_wmem`: 4 MiB).
const TOO_MANY: usize = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_who_takes_nothing_is_cut_and_the_others_are_told_of_all() -> Result<()> {
    let stage = Stage::embedded_with(&[("LONGSHORE_API_WRITE_IDLE", "2")]).await?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut idler = socket.connect(stage.worker().address()).await?;
    idler.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").await?;
    let mut follower = Stream::open(&stage.http, "/v1/events", None).await?;
    let told = tokio::spawn(async move {
        let mut completed = HashSet::new();
        while completed.len() < TOO_MANY {
            let event = follower.next().await?.context("a stream of all jobs does not end")?;
            ensure!(event["data"]["job"].is_string(), "a reader who keeps up has no gap: {event}");
            if event["data"]["event"] == "completed" {
                completed.insert(event["data"]["job"].to_string());
            }
        }
        anyhow::Ok(())
    });
    let one = json!({"kind": "trial.work", "payload": {}});
    for _ in 0..TOO_MANY / 500 {
        stage.http.post("/v1/jobs/batch", &json!({"jobs": vec![&one; 500]})).await?.expect(200)?;
    }
    timeout(Duration::from_secs(120), told).await.context("the other is not told")???;
    let mut held = vec![];
    let cut = timeout(PATIENCE, idler.read_to_end(&mut held)).await;
    // A reset is an end as well.
    let _ = cut.context("who takes nothing keeps its connection")?;
    let heard = String::from_utf8_lossy(&held).matches("event: completed").count();
    ensure!(heard < TOO_MANY, "it was told of everything: the kernel held it all");
    Ok(())
}
