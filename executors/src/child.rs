//! Owns child processes: each leads a process group of its own, dies with its owner and is always reaped.
//! It refuses to inherit: no environment but a minimum, no stdin, no open files, no limit left open. A descendant that calls
//! `setsid` leaves the group and is out of reach here; only a PID namespace or a cgroup would hold it. Read [`limits`] next.

pub mod limits;
mod spawner;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::oneshot;

pub use limits::Limits;

/// How much of a child's stderr is kept: its end, where programs say why they stop.
pub const STDERR_TAIL_BYTES: usize = 4096;

/// How long output is still read after the child has ended. Only a descendant outside the group can hold a pipe open then.
const LINGER: Duration = Duration::from_millis(500);

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// A path, or a name to be found in `PATH`.
    pub program: PathBuf,
    /// Its arguments; no shell reads them.
    pub args: Vec<OsString>,
    /// Its working directory and its `HOME`.
    pub dir: PathBuf,
    /// What it may use.
    pub limits: Limits,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// The last [`STDERR_TAIL_BYTES`] of its stderr.
    pub stderr: String,
}

/// A running child and its group. Dropping it kills the whole group; a thread of its own reaps it.
#[derive(Debug)]
pub struct Child {
    group: Arc<Group>,
    exit: oneshot::Receiver<io::Result<ExitStatus>>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
}

impl Child {
    /// Starts `program` from the one thread that lives as long as this process.
    ///
    /// # Errors
    /// Those of starting a process: [`io::ErrorKind::NotFound`] when there is no such program.
    pub async fn spawn(program: Program) -> io::Result<Self> {
        spawner::spawn(program).await
    }

    /// The child's process id, which is its group's as well.
    pub fn pid(&self) -> i32 {
        self.group.id.as_raw_nonzero().get()
    }

    /// Reads the child's output until it ends, handing each piece of stdout to `on_stdout`. May be given up and then
    /// followed by [`Child::stop`]; is to be called once.
    ///
    /// # Errors
    /// Those of waiting for a process.
    pub async fn drive(&mut self, on_stdout: impl FnMut(&[u8]) + Send) -> io::Result<Ended> {
        let stdout = self.stdout.take().map(ChildStdout::from_std).transpose()?;
        let stderr = self.stderr.take().map(ChildStderr::from_std).transpose()?;
        let mut tail = Tail::default();
        let pipes = async { tokio::join!(pump(stdout, on_stdout), pump(stderr, |piece| tail.push(piece))) };
        let status = wait_beside(&mut self.exit, pipes).await?;
        Ok(Ended { status, stderr: tail.text() })
    }

    /// SIGTERM to the group, after `grace` SIGKILL; returns once the child is reaped.
    pub async fn stop(mut self, grace: Duration) {
        if !self.group.signal(Signal::TERM) {
            return;
        }
        if tokio::time::timeout(grace, &mut self.exit).await.is_err() {
            self.group.signal(Signal::KILL);
            // An error would mean that the reaper is gone, and with it the child.
            let _ = (&mut self.exit).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

async fn wait_beside(
    mut exit: &mut oneshot::Receiver<io::Result<ExitStatus>>,
    pipes: impl Future,
) -> io::Result<ExitStatus> {
    let mut pipes = std::pin::pin!(pipes);
    let early = tokio::select! {
        _ = &mut pipes => None,
        status = &mut exit => {
            let _ = tokio::time::timeout(LINGER, pipes).await;
            Some(status)
        }
    };
    let status = match early {
        Some(status) => status,
        None => exit.await,
    };
    status.unwrap_or_else(|_| Err(io::Error::other("the thread that waits for the child is gone")))
}

async fn pump(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 8192];
    // A pipe that breaks ends like one that closes: the exit status is what counts.
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        take(&buffer[..read]);
    }
}

/// The end of a stream.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        let surplus = self.0.len().saturating_sub(STDERR_TAIL_BYTES);
        self.0.drain(..surplus);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// A process group whose leader is our child. The lock is held while signalling and while reaping, so no signal goes to a
/// number that was reaped and belongs to a stranger by now.
#[derive(Debug)]
struct Group {
    id: Pid,
    reaped: Mutex<bool>,
}

impl Group {
    fn of(id: Pid) -> Arc<Self> {
        Arc::new(Self { id, reaped: Mutex::new(false) })
    }

    /// Whether there was still someone to signal.
    fn signal(&self, signal: Signal) -> bool {
        let reaped = self.reaped.lock().expect("nothing panics while it holds the lock");
        if !*reaped {
            // ESRCH cannot be while the leader is unreaped; EPERM only after a setuid program, which no_new_privs rules out.
            let _ = kill_process_group(self.id, signal);
        }
        !*reaped
    }

    /// Waits for the leader, kills what it left behind in its group, then reaps it, in this order: as long as the leader is
    /// a zombie, the group's number cannot be given to anyone else.
    fn reap(&self) -> io::Result<ExitStatus> {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        retry_on_intr(|| waitid(WaitId::Pid(self.id), ended))?;
        let mut reaped = self.reaped.lock().expect("nothing panics while it holds the lock");
        let _ = kill_process_group(self.id, Signal::KILL);
        let status = retry_on_intr(|| waitpid(Some(self.id), WaitOptions::empty()))?;
        *reaped = true;
        let (_, status) = status.ok_or_else(|| io::Error::other("the child ended and cannot be reaped"))?;
        Ok(ExitStatus::from_raw(status.as_raw()))
    }
}

#[cfg(test)]
mod tests;
