//! A guard: the parent of a worker's process, and outside of it. However the worker is killed, its guard sees it, ends its lease at
//! once instead of letting it run out, and says by which signal, which nobody else can know. It runs no job and judges nothing; signals
//! it passes on. Guard and worker die together: the one holds a socket to the other.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use uuid::Uuid;

use crate::ledger::Ledger;

/// Tells the program that it is the guarded one, and that its stdin is the socket to its guard.
pub const FLAG: &str = "--guarded";
/// How long a guard tries to end the lease of a worker that is gone. It runs out by itself meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(250);

/// The worker's end of the socket; none where there is no guard.
#[derive(Debug, Clone, Default)]
pub struct Guard(Option<Arc<UnixStream>>);

impl Guard {
    /// Of a process that was started with [`FLAG`]: it ends with its guard from now on.
    ///
    /// # Errors
    /// When stdin is no socket, for somebody else has set the flag.
    pub fn take() -> std::io::Result<Self> {
        let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        socket.peer_addr()?;
        // What this process starts must neither read from the socket nor hold it open.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let guard = socket.try_clone()?;
        socket.set_nonblocking(false)?;
        std::thread::Builder::new().name("guarded".into()).spawn(move || end_with(guard))?;
        Ok(Self(Some(Arc::new(socket))))
    }

    /// This worker is about to enter the ledger.
    pub fn entering(&self, worker: Uuid) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = (&**socket).write_all(worker.as_bytes()) {
            tracing::warn!(%error, "the guard is not told of its worker; should that be killed, its lease must run out");
        }
    }
}

/// A worker without its guard would be one that nobody can stop: signals go to the guard.
fn end_with(mut guard: UnixStream) {
    // It never writes; this returns when it is gone.
    let _ = guard.read(&mut [0]);
    let _ = kill_process(getpid(), Signal::KILL);
}

/// Runs this program once more as the guarded one, with the same arguments, until it ends; answers the exit code to end with.
///
/// # Errors
/// When it cannot be started.
pub async fn watch(ledger: &dyn Ledger) -> std::io::Result<u8> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = program(theirs)?.spawn()?;
    let status = pass_signals_on(&mut child).await?;
    if !status.success() {
        let ending = told(status);
        tracing::error!(ending, "the worker is gone; its lease ends now");
        for worker in entered(ours) {
            end_lease(ledger, worker, &ending).await;
        }
    }
    Ok(code(status))
}

fn program(socket: UnixStream) -> std::io::Result<Command> {
    let this = Path::new("/proc/self/exe");
    // The file itself may have been replaced by an upgrade.
    let this = if this.exists() { this.to_owned() } else { std::env::current_exe()? };
    let mut arguments = std::env::args_os();
    let mut program = Command::new(this);
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    // A group of its own: what a terminal sends to all of a group would reach it twice.
    program.args(arguments).arg(FLAG).stdin(std::os::fd::OwnedFd::from(socket)).process_group(0);
    Ok(program)
}

async fn pass_signals_on(child: &mut Child) -> std::io::Result<ExitStatus> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let [mut terminate, mut interrupt, mut hangup] =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(unix::signal);
    let (terminate, interrupt, hangup) = (terminate.as_mut(), interrupt.as_mut(), hangup.as_mut());
    let (Ok(terminate), Ok(interrupt), Ok(hangup)) = (terminate, interrupt, hangup) else { return child.wait().await };
    loop {
        let signal = tokio::select! {
            biased;
            status = child.wait() => return status,
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = hangup.recv() => Signal::HUP,
        };
        // It may be gone by now, and then the loop ends.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }
}

/// All workers that the process has been, the last one last.
fn entered(mut socket: UnixStream) -> Vec<Uuid> {
    let (mut all, mut one) = (vec![], [0; 16]);
    // Somebody that the process has started may hold the socket open still.
    if socket.set_nonblocking(true).is_err() {
        return all;
    }
    loop {
        match socket.read_exact(&mut one) {
            Ok(()) => all.push(Uuid::from_bytes(one)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return all,
        }
    }
}

async fn end_lease(ledger: &dyn Ledger, worker: Uuid, ending: &str) {
    let end = async {
        while let Err(error) = ledger.end_lease(worker, ending).await {
            tracing::warn!(%worker, %error, "the lease is not ended yet");
            tokio::time::sleep(AGAIN).await;
        }
    };
    if tokio::time::timeout(PATIENCE, end).await.is_err() {
        tracing::error!(%worker, "the ledger does not answer; the lease will run out by itself");
    }
}

/// How it went, after "its process".
fn told(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by {}", name(signal)),
        (None, code) => format!("ended with code {}", code.unwrap_or_default()),
    }
}

/// As a shell tells it: 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status.signal().map_or(status.code(), |signal| Some(128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Those that end a process that has not asked for it (signal(7)).
fn name(signal: i32) -> String {
    let names = [
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::ILL, "SIGILL"),
        (Signal::FPE, "SIGFPE"),
        (Signal::SYS, "SIGSYS"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
    ];
    let name = names.iter().find(|(one, _)| one.as_raw() == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_told_by_its_signal_or_its_code() {
        let killed = ExitStatus::from_raw(9);
        assert_eq!((told(killed), code(killed)), ("was killed by SIGKILL".to_owned(), 137));
        let rare = ExitStatus::from_raw(40);
        assert_eq!((told(rare), code(rare)), ("was killed by signal 40".to_owned(), 168));
        let ended = ExitStatus::from_raw(3 << 8);
        assert_eq!((told(ended), code(ended)), ("ended with code 3".to_owned(), 3));
    }

    #[test]
    fn what_a_worker_told_before_its_end_is_heard_after_it() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guard = Guard(Some(Arc::new(theirs)));
        let workers = [Uuid::now_v7(), Uuid::now_v7()];
        workers.iter().for_each(|worker| guard.entering(*worker));
        let held_open = guard.clone();
        drop(guard);
        assert_eq!(entered(ours), workers, "though somebody holds it open: {held_open:?}");
    }
}
