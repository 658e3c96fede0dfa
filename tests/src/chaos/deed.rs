//! The executor of the suite: works a while, sins once if told to, and leaves one row behind a fence of its own, as a custom executor
//! should. It counts what it did and what it was refused in tables of its own, so that nobody must believe it.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longshore_sdk::prelude::*;
use longshore_sdk::{Backoff, JobId};
use rustix::process::Signal;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use super::hunger;
use super::mistake::Mistake;
use crate::process::Process;

/// Where the effects are written.
pub const DATABASE: &str = "CHAOS_DATABASE_URL";

/// The tables of the effects. No unique key on `effects`: a doubled effect must be seen, not prevented by the table.
pub const SCHEMA: &str = "\
create schema chaos; \
create table chaos.fences (job uuid primary key, attempt integer not null); \
create table chaos.starts (seq bigserial primary key, job uuid not null, attempt integer not null, pid integer not null, \
work_ms bigint not null, at timestamptz not null default now()); \
create index on chaos.starts (job); \
create table chaos.effects (seq bigserial primary key, job uuid not null, attempt integer not null, at timestamptz not null default now()); \
create table chaos.stale (seq bigserial primary key, job uuid not null, attempt integer not null); \
create table chaos.sins (job uuid not null, attempt integer not null, sin text not null, pid integer not null, how text, \
primary key (job, attempt))";

/// The newest attempt takes the fence; an older one that comes late does not get it back.
const FENCE: &str = "\
with start as (insert into chaos.starts (job, attempt, pid, work_ms) values ($1, $2, $3, $4)) \
insert into chaos.fences values ($1, $2) on conflict (job) do update set attempt = excluded.attempt \
where fences.attempt <= excluded.attempt returning attempt";

/// Fence and effect in one transaction: the lock on the fence makes a newer attempt wait for this commit, or this one see it.
const EFFECT: &str = "\
with fence as (select attempt from chaos.fences where job = $1 for update), \
effect as (insert into chaos.effects (job, attempt) select $1, $2 from fence \
    where fence.attempt = $2 and not exists (select from chaos.effects where job = $1)) \
select attempt = $2 as mine from fence";

/// A sin is committed until it has ended as it should, and not for ever: another fault may have ended the attempt before.
const TEMPTATION: &str = "\
insert into chaos.sins (job, attempt, sin, pid) select $1, $2, $3, $4 \
where (select count(*) from chaos.sins where job = $1) < 8 and not exists (select from chaos.sins \
    join attempts using (job, attempt) where job = $1 and attempts.ended = $5)";

/// What is to be done.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deed {
    /// How long to work.
    #[schemars(range(max = 600_000))]
    pub work_ms: u64,
    /// What to do wrong, once.
    pub sin: Option<Sin>,
    /// Whether to leave a file.
    pub artifact: bool,
    /// Whether to have a child process meanwhile, which would live longer.
    pub child: bool,
}

/// How executors go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sin {
    /// It panics.
    Panic,
    /// It takes its process with it.
    Abort,
    /// It asks for more memory than its cgroup has, and the kernel kills its process; see `hunger.rs` for where there is none.
    OutOfMemory,
    /// It works on for ever on a thread of its own, whatever it is told.
    Loop,
}

impl Sin {
    /// All of them.
    pub const ALL: [Sin; 4] = [Sin::Panic, Sin::Abort, Sin::OutOfMemory, Sin::Loop];

    /// Its word in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Sin::Panic => "panic",
            Sin::Abort => "abort",
            Sin::OutOfMemory => "out_of_memory",
            Sin::Loop => "loop",
        }
    }

    /// How an attempt ends that commits it.
    pub const fn ends(self) -> &'static str {
        match self {
            Sin::Panic => "panic",
            Sin::Abort | Sin::OutOfMemory => "lost",
            Sin::Loop => "timeout",
        }
    }

    /// The signal that ends its process, where it does not outlive the sin.
    pub const fn signal(self) -> Option<Signal> {
        match self {
            Sin::Panic | Sin::Loop => None,
            Sin::Abort => Some(Signal::ABORT),
            Sin::OutOfMemory => Some(Signal::KILL),
        }
    }
}

/// What a deed answers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Did {
    /// The attempt that did it.
    pub attempt: u32,
}

impl Deed {
    /// What the file is called.
    pub const FILE: &'static str = "deed.txt";
}

impl Payload for Deed {
    const KIND: &'static str = "chaos.deed";
    type Output = Did;
}

/// Does deeds.
pub struct Doer;

impl Executor for Doer {
    type Payload = Deed;

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(12),
            max_attempts: 50,
            backoff: Backoff { initial: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(1) },
            cancel_grace: Duration::from_millis(200),
            ..Policy::default()
        }
    }

    async fn run(&self, deed: Deed, context: &Context) -> Result<Did> {
        let hand = Hand { job: context.job_id(), attempt: context.attempt() };
        hand.take_fence(&deed).await?;
        if let Some(sin) = deed.sin {
            hand.tempted(sin, context).await?;
        }
        let _child = deed.child.then(child).transpose()?;
        hand.work(&deed, context).await?;
        if deed.artifact {
            let text = format!("{} {}", hand.job, hand.attempt);
            context.publish_bytes(Deed::FILE, "text/plain", text.as_bytes()).await?;
        }
        Ok(Did { attempt: hand.attempt })
    }
}

#[derive(Debug, Clone, Copy)]
struct Hand {
    job: JobId,
    attempt: u32,
}

impl Hand {
    async fn take_fence(self, deed: &Deed) -> Result<()> {
        let (pid, work_ms) = (std::process::id().cast_signed(), deed.work_ms.cast_signed());
        let taken =
            async |client: &Client| client.query_opt(FENCE, &[&self.job.0, &self.number(), &pid, &work_ms]).await;
        let taken = with_client(taken).await?;
        if taken.is_some() { Ok(()) } else { self.refused().await }
    }

    /// Commits the sin, if it has not yet ended as it should.
    async fn tempted(self, sin: Sin, context: &Context) -> Result<()> {
        let pid = std::process::id().cast_signed();
        let params: [&(dyn ToSql + Sync); 5] = [&self.job.0, &self.number(), &sin.word(), &pid, &sin.ends()];
        let written = with_client(async |client| client.execute(TEMPTATION, &params).await).await?;
        if written == 1 { self.commit(sin, context).await } else { Ok(()) }
    }

    async fn commit(self, sin: Sin, context: &Context) -> Result<()> {
        match sin {
            Sin::Panic => panic!("this deed panics as it was told"),
            Sin::Abort => std::process::abort(),
            Sin::OutOfMemory => self.starve().await,
            Sin::Loop => {
                context
                    .blocking(|| {
                        loop {
                            std::thread::sleep(Duration::from_millis(5))
                        }
                    })
                    .await
            }
        }
    }

    /// Whoever is confined does not get out again, so it is told by whom the process will be killed, and then it is.
    async fn starve(self) -> ! {
        let (sql, how) = ("update chaos.sins set how = $3 where job = $1 and attempt = $2", hunger::confine().word());
        // Untold, it is counted as nobody's.
        let _ = with_client(async |client| client.execute(sql, &[&self.job.0, &self.number(), &how]).await).await;
        hunger::exhaust()
    }

    /// The effect is made by a task of its own: dropping this future, as a worker without a lease does, does not hinder it. That is
    /// what a thread or a child process would be like, and what the fence is for.
    async fn work(self, deed: &Deed, context: &Context) -> Result<()> {
        let work = Duration::from_millis(deed.work_ms);
        let task = tokio::spawn(async move {
            tokio::time::sleep(work).await;
            self.effect().await
        });
        let stop = task.abort_handle();
        tokio::select! {
            done = task => done.map_err(|error| Failure::retry("task", error))?,
            () = context.cancellation().yield_requested() => {
                stop.abort();
                Err(Failure::Yielded)
            }
        }
    }

    async fn effect(self) -> Result<()> {
        match Mistake::of_this_process() {
            Some(Mistake::EffectWithoutFence) => return self.effect_of_a_careless_author().await,
            Some(Mistake::EffectForgotten) if self.job.0.as_u128().is_multiple_of(50) => return Ok(()),
            _ => {}
        }
        let mine = with_client(async |client| client.query_opt(EFFECT, &[&self.job.0, &self.number()]).await).await?;
        if mine.is_some_and(|row| row.get("mine")) { Ok(()) } else { self.refused().await }
    }

    async fn effect_of_a_careless_author(self) -> Result<()> {
        let sql = "insert into chaos.effects (job, attempt) values ($1, $2)";
        with_client(async |client| client.execute(sql, &[&self.job.0, &self.number()]).await).await.map(drop)
    }

    async fn refused(self) -> Result<()> {
        let sql = "insert into chaos.stale (job, attempt) values ($1, $2)";
        with_client(async |client| client.execute(sql, &[&self.job.0, &self.number()]).await).await?;
        Err(Failure::retry("stale", "a newer attempt has the fence"))
    }

    fn number(self) -> i32 {
        i32::try_from(self.attempt).unwrap_or(i32::MAX)
    }
}

/// A child that would work on when its parent is gone, were it not tied to it.
fn child() -> Result<Process> {
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    Process::spawn("child", sleep, Path::new(".")).map_err(|error| Failure::retry("child", format!("{error:#}")))
}

/// Runs one statement on a connection of the process's own few; one that failed is not used again.
async fn with_client<T>(run: impl AsyncFnOnce(&Client) -> std::result::Result<T, tokio_postgres::Error>) -> Result<T> {
    static IDLE: Mutex<Vec<Client>> = Mutex::new(vec![]);
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = idle().pop().filter(|client| !client.is_closed());
    let client = match kept {
        Some(client) => client,
        None => connect().await?,
    };
    let answer = tokio::time::timeout(Duration::from_secs(8), run(&client)).await;
    let answer = answer.map_err(|_| Failure::retry("effects", "no answer in time"))?;
    let answer = answer.map_err(|error| Failure::retry("effects", error))?;
    idle().push(client);
    Ok(answer)
}

async fn connect() -> Result<Client> {
    let url = std::env::var(DATABASE).map_err(|error| Failure::retry("effects", error))?;
    let connecting = tokio::time::timeout(Duration::from_secs(5), tokio_postgres::connect(&url, NoTls)).await;
    let connected = connecting.map_err(|_| Failure::retry("effects", "no connection in time"))?;
    let (client, connection) = connected.map_err(|error| Failure::retry("effects", error))?;
    tokio::spawn(connection);
    Ok(client)
}
