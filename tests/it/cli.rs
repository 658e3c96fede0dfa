//! The command line as its users meet it: the built binary, its exit codes, its words, and its JSON.
//!
//! Nothing of the program is linked here. Read `cli/usage.rs` for what is refused, `cli/jobs.rs` for a job's whole life.

mod dead_letters;
mod demo;
mod doctor;
mod events;
mod every;
mod fleet;
mod jobs;
mod keys;
mod listen;
mod screen;
mod servers;
mod usage;
mod verify;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use longshore_tests::longshore::binary;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Far more than any command here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// Runs `longshore` with these arguments and variables, in an environment that names no server of somebody's own.
pub(crate) async fn longshore(args: &[&str], variables: &[(&str, &str)], stdin: &str) -> Result<Said> {
    let mut command = Command::new(binary()?);
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGSHORE_"));
    for (name, _) in inherited {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("has `cargo build` made the binary?")?;
    let mut input = child.stdin.take().context("stdin is piped")?;
    // One that reads no stdin may be gone already.
    let _ = input.write_all(stdin.as_bytes()).await;
    drop(input);
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let ended = ended.with_context(|| format!("longshore {args:?} did not end"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { code: ended.status.code(), out: text(ended.stdout), err: text(ended.stderr) })
}
