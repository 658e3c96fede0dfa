//! The demo's `longshore dev`: this very binary as a child on a free port, killed with -9, started again, stopped.
//! It never outlives the demo: the kernel kills it when our main thread ends, which is why nothing here may be called from
//! another thread. Read [`super::flight`] for when it is killed.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use longshore_sdk::client::Client;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};

use super::home::Home;

const START: Duration = Duration::from_secs(30);
/// More than a drain takes.
const END: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running `longshore dev`.
pub(super) struct Dev {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
    log: PathBuf,
}

impl Dev {
    /// Starts it and waits until it takes jobs.
    pub(super) async fn start(home: &Home) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (data, log) = (home.data.clone(), home.log.clone());
        let child = spawn(address, &data, &log)?;
        let mut dev = Self { child, address, data, log };
        dev.ready().await?;
        Ok(dev)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and the burial.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The same again, on the same data and the same port.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(self.address, &self.data, &self.log)?;
        self.ready().await
    }

    /// SIGTERM: it must leave by itself, with code 0.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "longshore dev did not end well ({status}); see {}", self.log.display());
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("longshore dev did not end within {END:?} of SIGTERM; see {}", self.log.display())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let client = Client::new(&self.url())?.with_call_timeout(Duration::from_secs(2));
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("longshore dev ended while it started ({status}):\n{}", self.last_words());
            }
            if client.health().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("longshore dev was not ready within {START:?}; see {}", self.log.display())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: SocketAddr, data: &std::path::Path, log: &std::path::Path) -> anyhow::Result<Child> {
    let out = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["dev", "--listen", &address.to_string(), "--data-dir"]).arg(data);
    command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    // Settings of somebody's own server are not for this one.
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGSHORE_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    tie_to_us(&mut command);
    command.spawn().context("longshore dev cannot be started")
}

#[expect(
    unsafe_code,
    reason = "runs between fork and exec: it only makes two system calls, allocates and locks nothing"
)]
fn tie_to_us(command: &mut Command) {
    let us = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the line above sends no signal any more.
        if getppid() == Some(us) { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the hook neither allocates nor locks.
    unsafe { command.pre_exec(hook) };
}
