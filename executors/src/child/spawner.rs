//! The one thread from which every child is started, and the threads that wait for them.
//! It never ends, because `PR_SET_PDEATHSIG` is about the *thread* that forked: a child of a thread of the blocking pool
//! was killed after 10.1 s, when that thread idled out (measured). Read [`super::limits`] for what a child may use.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::set_no_new_privs;
use tokio::sync::oneshot;

use super::{Child, Group, Program};

struct Request {
    program: Program,
    answer: oneshot::Sender<io::Result<Child>>,
}

static SPAWNER: LazyLock<io::Result<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = mpsc::channel::<Request>();
    let serve = move || {
        for request in requests {
            // An asker that is gone drops the child in its answer, and a dropped child is killed.
            let _ = request.answer.send(start(&request.program));
        }
    };
    thread::Builder::new().name("child-spawner".into()).spawn(serve).map(|_| sender)
});

pub(super) async fn spawn(program: Program) -> io::Result<Child> {
    let (answer, started) = oneshot::channel();
    let spawner = SPAWNER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let gone = || io::Error::other("the thread that starts children is gone");
    spawner.send(Request { program, answer }).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

fn start(program: &Program) -> io::Result<Child> {
    let mut child = command(program).spawn()?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no such pid"))?;
    let group = Group::of(id);
    let (report, exit) = oneshot::channel();
    // Made before the reaper, so that the child is killed should there be no thread for one.
    let owned = Child { group: group.clone(), exit, stdout: child.stdout.take(), stderr: child.stderr.take() };
    let reaper = thread::Builder::new().name("child-reaper".into());
    let watched = group.clone();
    let reap = move || {
        let _ = report.send(watched.reap());
    };
    if let Err(error) = reaper.spawn(reap) {
        drop(owned);
        group.reap()?;
        return Err(error);
    }
    Ok(owned)
}

fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.program);
    command.args(&program.args).current_dir(&program.dir).process_group(0).env_clear();
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    command.env("PATH", path).env("HOME", &program.dir).env("LC_ALL", "C").env("AV_LOG_FORCE_NOCOLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (limits, parent) = (program.limits, rustix::process::getpid());
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the call above sends no signal any more.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        set_no_new_privs(true)?;
        Ok(limits.apply()?)
    };
    #[expect(
        unsafe_code,
        reason = "runs between fork and exec: it only makes system calls, allocates and locks nothing"
    )]
    unsafe {
        command.pre_exec(prepare);
    }
    command
}
