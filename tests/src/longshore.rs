//! The built `longshore` binary as a child process: the very program we ship, started, watched and killed.
//!
//! It never builds the binary: `make test` does that before the stories run. Read `process.rs` for what a kill means.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::http::Http;
use crate::process::{Ending, Process};
use crate::until::poll;
use crate::{ports, scratch};

/// How long a start may take: migrations run, the broker's topology is declared.
const START: Duration = Duration::from_secs(60);

/// How we know that it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// `GET` of this path answers 200.
    Answers(String),
    /// It printed this text.
    Says(String),
    /// As soon as the process runs, ready or not: for stories about starts that fail.
    Started,
}

/// A start to be made, as often as wished; each start is another process on the same address.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    binary: PathBuf,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    port: u16,
    ready: Ready,
    home: Arc<TempDir>,
}

/// A running `longshore`. Dropping it kills it and the children that stayed in its group.
#[derive(Debug)]
pub struct Longshore {
    process: Process,
    port: u16,
    _home: Arc<TempDir>,
}

impl Longshore {
    /// Everything in one process, keeping its data in this directory.
    pub fn dev(data: &Path) -> Result<Launch> {
        Ok(Launch::of("dev")?.arg("--data-dir").arg(&data.to_string_lossy()))
    }

    /// An API server.
    pub fn api(database_url: &str, amqp_url: &str) -> Result<Launch> {
        Ok(Launch::of("api")?.servers(database_url, amqp_url))
    }

    /// API and worker in one process.
    pub fn all(database_url: &str, amqp_url: &str) -> Result<Launch> {
        Ok(Launch::of("all")?.servers(database_url, amqp_url))
    }

    /// A worker for these kinds (all, when none is named), `slots` jobs at once.
    pub fn worker(database_url: &str, amqp_url: &str, kinds: &[&str], slots: usize) -> Result<Launch> {
        // The stories' kills and pauses are meant for the worker, not for a guard before it; its own stories set it again.
        let launch = Launch::of("worker")?.servers(database_url, amqp_url).env("LONGSHORE_WORKER_GUARD", "false");
        let launch = launch.arg("--slots").arg(&slots.to_string());
        Ok(if kinds.is_empty() { launch } else { launch.arg("--kinds").arg(&kinds.join(",")) })
    }

    /// The process, for its number, its signals and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The URL it listens at, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// A client for it.
    pub fn http(&self) -> Result<Http> {
        Http::to(&self.url())
    }

    /// Kills the process alone; gone when this returns. What its children do about it is theirs to show.
    pub async fn kill_9(&self) -> Result<()> {
        self.process.kill_9();
        self.process.wait(Duration::from_secs(20)).await.map(|_| ())
    }

    /// Asks it to drain and leave, and returns its exit code.
    pub async fn drain(&self, deadline: Duration) -> Result<i32> {
        self.process.sigterm();
        match self.process.wait(deadline).await? {
            // The process says so itself, and it would be seconds late at every roll of a deployment.
            Ending::Exit(_) if self.process.log_tail().contains("a loop did not notice the end") => {
                bail!("it left something behind; {}", self.process.log_tail())
            }
            Ending::Exit(code) => Ok(code),
            Ending::Signal(signal) => {
                bail!("it should have left by itself, signal {signal} took it; {}", self.process.log_tail())
            }
        }
    }
}

impl Launch {
    fn of(subcommand: &str) -> Result<Launch> {
        let (port, home) = (ports::free()?, Arc::new(scratch::dir("longshore")?));
        let ready = Ready::Answers("/readyz".to_owned());
        let launch =
            Launch { name: subcommand.to_owned(), binary: binary()?, args: vec![], envs: vec![], port, ready, home };
        Ok(launch.arg(subcommand).arg("--listen").arg(&format!("127.0.0.1:{port}")))
    }

    fn servers(self, database_url: &str, amqp_url: &str) -> Launch {
        self.arg("--database-url").arg(database_url).arg("--amqp-url").arg(amqp_url)
    }

    /// One more argument.
    pub fn arg(mut self, arg: &str) -> Launch {
        self.args.push(arg.to_owned());
        self
    }

    /// One more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another program than the stock binary, for a platform team's own.
    pub fn binary(mut self, binary: &Path) -> Launch {
        self.binary = binary.to_owned();
        self
    }

    /// Another sign of readiness than `GET /readyz`.
    pub fn ready(mut self, ready: Ready) -> Launch {
        self.ready = ready;
        self
    }

    /// The same for a process beside the one that was started: with an address and a log of its own, so that neither is in the other's
    /// way and the readiness of one is not taken for that of the other.
    pub fn beside(&self) -> Result<Launch> {
        let (port, home) = (ports::free()?, Arc::new(scratch::dir("longshore")?));
        let (old, new) = (format!("127.0.0.1:{}", self.port), format!("127.0.0.1:{port}"));
        let args = self.args.iter().map(|arg| if *arg == old { new.clone() } else { arg.clone() }).collect();
        Ok(Launch { port, home, args, ..self.clone() })
    }

    /// Starts it and waits until it is ready. A process that ends before that is an error with its last words.
    pub async fn start(&self) -> Result<Longshore> {
        let mut command = Command::new(&self.binary);
        command.args(&self.args).envs(self.envs.iter().cloned()).current_dir(self.home.path());
        let process =
            Process::spawn(&self.name, command, self.home.path()).context("has `cargo build` made the binary?")?;
        let longshore = Longshore { process, port: self.port, _home: Arc::clone(&self.home) };
        let ready = || async {
            if longshore.process.ended().is_some() {
                Some(false)
            } else {
                self.is_ready(&longshore).await.then_some(true)
            }
        };
        let what = format!("longshore {} to be ready", self.name);
        match poll(&what, START, ready).await.with_context(|| longshore.process.log_tail())? {
            true => Ok(longshore),
            false => bail!("longshore {} ended while it started; {}", self.name, longshore.process.log_tail()),
        }
    }

    async fn is_ready(&self, longshore: &Longshore) -> bool {
        match &self.ready {
            Ready::Started => true,
            Ready::Says(text) => {
                std::fs::read_to_string(longshore.process.log()).is_ok_and(|log| log.contains(text.as_str()))
            }
            Ready::Answers(path) => match longshore.http() {
                Ok(http) => http.get(path).await.is_ok_and(|answer| answer.status == 200),
                Err(_) => false,
            },
        }
    }
}

/// `LONGSHORE_BIN`, or the binary of the same profile.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("LONGSHORE_BIN") {
        return Ok(named.into());
    }
    built("longshore")
}

/// A binary of this workspace, of the same profile: test programs lie in `<target>/<profile>/deps`.
pub fn built(name: &str) -> Result<PathBuf> {
    let us = std::env::current_exe()?;
    let profile = us.parent().filter(|dir| dir.ends_with("deps")).and_then(Path::parent).or(us.parent());
    Ok(profile.context("a test program lies in a directory")?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_its_servers_its_kinds_and_its_slots() {
        let launch = Longshore::worker("postgres://db", "amqp://mq", &["image.resize", "csv.import"], 4).unwrap();
        let line = launch.args.join(" ");
        let listen = format!("worker --listen 127.0.0.1:{} ", launch.port);
        assert!(line.starts_with(&listen), "{line}");
        let rest = "--database-url postgres://db --amqp-url amqp://mq --slots 4 --kinds image.resize,csv.import";
        assert_eq!(line[listen.len()..], *rest);
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error_with_its_last_words() {
        let launch = Longshore::dev(Path::new("data")).unwrap().binary(Path::new("ls"));
        let error = format!("{:#}", launch.start().await.unwrap_err());
        assert!(error.contains("ended while it started") && error.contains("--listen"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_binary_is_an_error_that_says_what_to_do() {
        let launch = Longshore::dev(Path::new("data")).unwrap().binary(Path::new("/nowhere/longshore"));
        let error = format!("{:#}", launch.start().await.unwrap_err());
        assert!(error.contains("cargo build"), "{error}");
    }
}
