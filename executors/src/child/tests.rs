//! What is promised of a child: it lives as long as it is owned, and not a moment longer, with all its group.

use std::fs;
use std::time::{Duration, Instant};

use super::*;

fn sh(script: &str) -> Program {
    sh_within(script, Limits::default())
}

fn sh_within(script: &str, limits: Limits) -> Program {
    let args = vec!["-c".into(), script.into()];
    Program { program: "/bin/sh".into(), args, dir: std::env::temp_dir(), limits }
}

/// The living processes of a group; zombies of other parents do not count.
fn living(group: i32) -> usize {
    let stats = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<String> = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
        (fields[2] == group.to_string() && fields[0] != "Z").then_some(())
    });
    stats.count()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads stdout until the script has said `ready`, so that what follows meets it at work.
async fn until_ready(child: &mut Child) {
    let (ready, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::select! {
        ended = child.drive(|piece| { let _ = ready.send(piece.to_vec()); }) => panic!("ended too early: {ended:?}"),
        said = seen.recv() => assert_eq!(said.unwrap(), b"ready\n"),
    }
}

#[tokio::test]
async fn output_and_exit_code_come_back() {
    let mut out = Vec::new();
    let mut child = Child::spawn(sh("echo out; echo err >&2; exit 3")).await.unwrap();
    let ended = child.drive(|piece| out.extend_from_slice(piece)).await.unwrap();
    assert_eq!((out.as_slice(), ended.stderr.as_str(), ended.status.code()), (&b"out\n"[..], "err\n", Some(3)));
}

#[tokio::test]
async fn only_the_end_of_a_long_stderr_is_kept() {
    let script = "i=0; while [ $i -lt 2000 ]; do echo line-$i >&2; i=$((i+1)); done";
    let ended = Child::spawn(sh(script)).await.unwrap().drive(|_| ()).await.unwrap();
    assert_eq!(ended.stderr.len(), STDERR_TAIL_BYTES);
    assert!(ended.stderr.ends_with("line-1999\n"));
}

#[tokio::test]
async fn a_child_inherits_no_environment() {
    let mut out = Vec::new();
    let mut child = Child::spawn(sh("/usr/bin/env")).await.unwrap();
    child.drive(|piece| out.extend_from_slice(piece)).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| !matches!(*name, "PWD" | "_" | "OLDPWD" | "SHLVL"));
    names.sort_unstable();
    assert_eq!(names, ["AV_LOG_FORCE_NOCOLOR", "HOME", "LC_ALL", "PATH"]);
}

#[tokio::test]
async fn dropping_kills_the_whole_group_and_leaves_no_zombie() {
    let mut child = Child::spawn(sh("sleep 100 & sleep 100 & echo ready; wait")).await.unwrap();
    until_ready(&mut child).await;
    let group = child.pid();
    assert_eq!(living(group), 3);
    drop(child);
    eventually("the group is gone", || living(group) == 0).await;
    eventually("the leader is reaped", || !fs::exists(format!("/proc/{group}")).unwrap()).await;
}

// Had only the leader been killed, the count above would say so.
#[tokio::test]
async fn a_kill_of_the_child_instead_of_its_group_would_be_noticed() {
    let since = Instant::now();
    use std::io::BufRead as _;
    use std::os::unix::process::CommandExt as _;
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "sleep 100 & sleep 100 & echo ready; wait"]).process_group(0);
    let mut leader = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufReader::new(leader.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let group = i32::try_from(leader.id()).unwrap();
    leader.kill().unwrap();
    leader.wait().unwrap();
    assert_eq!((said.as_str(), living(group)), ("ready\n", 2));
    reported("KillOfTheChildAlone", "the count of what lives on in the child's group", "one child", since.elapsed());
    kill_process_group(Pid::from_raw(group).unwrap(), Signal::KILL).unwrap();
    eventually("the rest is gone", || living(group) == 0).await;
}

/// The row of the report on mistakes made on purpose, which is the runtime's (`simulation/mistakes.rs` there): compared with it, or
/// put in its place if the environment says so.
fn reported(mistake: &str, check: &str, after: &str, took: Duration) {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/src/simulation/MISTAKES.txt");
    let page = fs::read_to_string(place).unwrap();
    let (known, begins) = (format!("| {mistake} | {check} | {after} | "), format!("| {mistake} | "));
    let old = page.lines().find(|line| line.starts_with(&begins)).expect("the report has a row for it");
    if std::env::var_os("LONGSHORE_WRITE_DOCS").is_some() {
        fs::write(place, page.replace(old, &format!("{known}{:.2} s |", took.as_secs_f64()))).unwrap();
    } else {
        assert!(old.starts_with(&known), "{old}");
    }
}

#[tokio::test]
async fn what_a_child_leaves_in_its_group_dies_with_it() {
    let mut child = Child::spawn(sh("sleep 100 & echo started")).await.unwrap();
    let group = child.pid();
    let began = Instant::now();
    assert!(child.drive(|_| ()).await.unwrap().status.success());
    assert!(began.elapsed() < Duration::from_secs(5), "the sleeper held the pipe for {:?}", began.elapsed());
    eventually("the sleeper is gone", || living(group) == 0).await;
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_is_killed_after_the_grace() {
    let mut child = Child::spawn(sh("trap '' TERM; echo ready; while :; do sleep 1; done")).await.unwrap();
    until_ready(&mut child).await;
    let (group, began) = (child.pid(), Instant::now());
    child.stop(Duration::from_millis(300)).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
    assert!(!fs::exists(format!("/proc/{group}")).unwrap(), "not reaped");
    eventually("its sleeper is gone", || living(group) == 0).await;
}

#[tokio::test]
async fn a_child_that_obeys_sigterm_is_not_waited_for() {
    let mut child = Child::spawn(sh("echo ready; exec sleep 100")).await.unwrap();
    until_ready(&mut child).await;
    let began = Instant::now();
    child.stop(Duration::from_secs(60)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

// The blocking pool lets a thread idle out after 10 s, and a child it had forked would die with it.
#[tokio::test]
async fn a_child_outlives_the_threads_of_the_blocking_pool() {
    let began = Instant::now();
    let spawn = || tokio::runtime::Handle::current().block_on(Child::spawn(sh("sleep 11; echo lived")));
    let mut child = tokio::task::spawn_blocking(spawn).await.unwrap().unwrap();
    let mut out = Vec::new();
    let ended = child.drive(|piece| out.extend_from_slice(piece)).await.unwrap();
    assert_eq!((ended.status.code(), out.as_slice()), (Some(0), &b"lived\n"[..]), "after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(11));
}

#[tokio::test]
async fn a_file_grows_no_larger_than_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes: Some(100_000), ..Limits::default() };
    let mut program = sh_within("exec dd if=/dev/zero of=big bs=1000 count=1000", limits);
    program.dir = dir.path().to_owned();
    let ended = Child::spawn(program).await.unwrap().drive(|_| ()).await.unwrap();
    assert_eq!(ended.status.signal(), Some(Signal::XFSZ.as_raw()));
    assert_eq!(fs::metadata(dir.path().join("big")).unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_child_that_spins_runs_out_of_processor_time() {
    let limits = Limits { cpu_seconds: Some(1), ..Limits::default() };
    let ended = Child::spawn(sh_within("while :; do :; done", limits)).await.unwrap().drive(|_| ()).await.unwrap();
    assert_eq!(ended.status.signal(), Some(Signal::XCPU.as_raw()));
}

#[tokio::test]
async fn memory_open_files_niceness_and_privileges_are_bounded() {
    let limits = Limits { memory_bytes: Some(1 << 30), nice: 7, ..Limits::default() };
    let script = "ulimit -v; ulimit -n; ulimit -c; nice; grep NoNewPrivs /proc/self/status";
    let mut out = Vec::new();
    let mut child = Child::spawn(sh_within(script, limits)).await.unwrap();
    child.drive(|piece| out.extend_from_slice(piece)).await.unwrap();
    let own_nice = rustix::process::getpriority_process(None).unwrap();
    let expected = format!("1048576\n256\n0\n{}\nNoNewPrivs:\t1\n", own_nice + 7);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[tokio::test]
async fn a_missing_program_is_said_to_be_missing() {
    let mut program = sh("");
    program.program = "/nowhere/ffmpeg".into();
    assert_eq!(Child::spawn(program).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}
