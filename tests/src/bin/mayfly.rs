//! A parent made to be killed: it starts what it is told, says which processes those are, and waits for its end.
//!
//! The stories kill it with -9 and look who is left. It never ends by itself.

use std::process::Command;

use anyhow::{Result, bail};
use longshore_tests::postgres::Postgres;
use longshore_tests::process::Process;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::scratch;

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("child") => child().await,
        Some("servers") => servers().await,
        other => bail!("what shall I start, `child` or `servers`? not {other:?}"),
    }
}

/// A program that would run for ever, beside a directory that nobody would remove.
async fn child() -> Result<()> {
    let dir = scratch::dir("mayfly")?;
    let mut command = Command::new("tail");
    command.args(["-f", "/dev/null"]);
    let child = Process::spawn("tail", command, dir.path())?;
    say(&[child.pid()], &dir.path().display().to_string());
    std::future::pending().await
}

/// The servers as the stories share them: in statics that are never dropped.
async fn servers() -> Result<()> {
    let (rabbitmq, postgres) = tokio::try_join!(RabbitMq::shared(), Postgres::shared())?;
    say(&[rabbitmq.pids(), postgres.pids()].concat(), "");
    std::future::pending().await
}

/// One line of JSON that ends the starting.
fn say(pids: &[u32], dir: &str) {
    println!("{}", serde_json::json!({ "pids": pids, "dir": dir }));
}
