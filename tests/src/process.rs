//! A child process that we own: its number, its output, its signals, and its death, at the latest with ours.
//!
//! It never lets a child outlive the test process, not even when that one is killed with -9, and never signals a number
//! that may have been given to a stranger. Read `procfs.rs` for what the children of such a child do.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::until::poll;

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It left by itself with this code.
    Exit(i32),
    /// This signal ended it.
    Signal(i32),
}

/// A running or ended child in its own process group. Dropping it kills the group.
///
/// An ended child is collected only when it is buried or dropped: until then it stays a zombie, so its number isn't
/// given away and a signal that comes too late reaches nobody.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    life: Mutex<Life>,
    log: PathBuf,
}

#[derive(Debug)]
enum Life {
    /// Running or a zombie: the number is still its own.
    Ours(Child),
    /// Collected: the number may be anybody's.
    Buried(Ending),
}

impl Process {
    /// Starts the command with its output in `<name>.log` of that directory; SIGKILL is its fate when we die.
    pub fn spawn(name: &str, command: Command, dir: &Path) -> Result<Process> {
        Process::spawn_dying_of(Signal::KILL, name, command, dir)
    }

    /// The same for a server that cleans up behind itself on some other signal, and surely ends by it.
    pub fn spawn_dying_of(fate: Signal, name: &str, mut command: Command, dir: &Path) -> Result<Process> {
        let log = dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        Process::adopt(fate, name, command, log)
    }

    fn adopt(fate: Signal, name: &str, mut command: Command, log: PathBuf) -> Result<Process> {
        command.process_group(0);
        tie_to_us(&mut command, fate);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = born(command).with_context(|| format!("starting {name} ({program})"))?;
        let pid = Pid::from_child(&child);
        Ok(Process { name: name.to_owned(), pid, life: Mutex::new(Life::Ours(child)), log })
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The file with everything it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines it printed, for messages about failures.
    pub fn log_tail(&self) -> String {
        format!("the last lines of {}:\n{}", self.name, tail(&self.log))
    }

    /// Sends a signal to the process alone, not to its group.
    pub fn signal(&self, signal: Signal) {
        if let Life::Ours(_) = *self.life() {
            // A zombie takes it and does nothing, so there is no error to handle.
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Kills it at once: the process alone, as a kernel out of memory would; its children are left to their fate.
    pub fn kill_9(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks it to leave.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it, and with it everything it promised to do in time.
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    /// Thaws it.
    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process and every child that stayed in its group.
    pub fn kill_group(&self) {
        if let Life::Ours(_) = *self.life() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// Kills the whole group and gives the number away, for whoever takes a zombie for a living process (PostgreSQL does).
    pub fn bury(&self) {
        self.kill_group();
        let mut life = self.life();
        if let Life::Ours(child) = &mut *life {
            // After SIGKILL this wait is short. It fails only if somebody else collected our child.
            let ending = child.wait().map_or(Ending::Signal(Signal::KILL.as_raw()), Ending::of);
            *life = Life::Buried(ending);
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ending> {
        if let Life::Buried(ending) = *self.life() {
            return Some(ending);
        }
        // NOWAIT looks without collecting, see the type's own comment.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::Pid(self.pid), look).ok()??;
        status.exit_status().map(Ending::Exit).or_else(|| status.terminating_signal().map(Ending::Signal))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its end; at the deadline it shows what the process printed last.
    pub async fn wait(&self, deadline: Duration) -> Result<Ending> {
        let what = format!("the end of {}", self.name);
        let ending = poll(&what, deadline, || std::future::ready(self.ended())).await;
        ending.with_context(|| self.log_tail())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.bury();
    }
}

impl Ending {
    fn of(status: ExitStatus) -> Ending {
        status.code().map_or_else(|| Ending::Signal(status.signal().unwrap_or_default()), Ending::Exit)
    }
}

/// The last lines of a log. Erlang says why in one line and then goes on for seventy.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    format!("  {}", lines[lines.len().saturating_sub(100)..].join("\n  "))
}

/// Runs a command to its end and returns its standard output; anything but success is an error that shows what it said.
pub async fn run(name: &str, mut command: Command, deadline: Duration) -> Result<String> {
    let dir = crate::scratch::dir(name)?;
    let (out, log) = (dir.path().join("out"), dir.path().join("log"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&log)?);
    let process = Process::adopt(Signal::KILL, name, command, log)?;
    match process.wait(deadline).await? {
        Ending::Exit(0) => Ok(std::fs::read_to_string(&out)?),
        ending => bail!("{name} ended with {ending:?}; {}", process.log_tail()),
    }
}

/// Asks the kernel to end the child when we end. This can't be done from outside, hence the hook between fork and exec.
#[expect(
    unsafe_code,
    reason = "pre_exec is unsafe; the hook only makes two system calls, which is allowed after a fork"
)]
fn tie_to_us(command: &mut Command, fate: Signal) {
    let us = rustix::process::getpid();
    let hook = move || {
        // The standard library changes the user before it runs this hook; changing it afterwards would clear the fate.
        rustix::process::set_parent_process_death_signal(Some(fate))?;
        // We may have died between the fork and the line before; then nobody would send the signal any more.
        if rustix::process::getppid() == Some(us) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the hook neither allocates nor locks.
    unsafe { command.pre_exec(hook) };
}

type Order = (Command, Sender<io::Result<Child>>);

/// Forks on one thread that lives as long as the process.
///
/// The death signal follows the *thread* that forked: a child started from a pool's thread was killed in good health
/// when that thread had idled for ten seconds (measured).
fn born(command: Command) -> io::Result<Child> {
    static NURSERY: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, child) = channel();
    NURSERY.send((command, reply)).expect("the nursery never ends: its inbox lives in a static");
    child.recv().expect("the nursery answers every order")
}
