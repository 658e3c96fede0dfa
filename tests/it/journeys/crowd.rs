//! Thousands who follow all jobs at one API process: each is told, and the process stays small.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::procfs::peak_kib;
use longshore_tests::stage::{PATIENCE, Stage};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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
