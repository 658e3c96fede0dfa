//! What the stories take for granted about processes: above all, that none outlives them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::process::{Ending, Process, run};
use longshore_tests::until::until;
use longshore_tests::{procfs, scratch};
use serde_json::Value;

use super::{SOON, all_gone};

/// What a mayfly started.
struct Brood {
    pids: Vec<u32>,
    dir: PathBuf,
}

/// Starts a mayfly and waits until it has said what it started.
async fn mayfly(what: &str, dir: &Path) -> Result<(Process, Brood)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mayfly"));
    command.arg(what);
    let mayfly = Process::spawn("mayfly", command, dir)?;
    let said = until("the mayfly to start its brood", Duration::from_secs(180), || async {
        let said = std::fs::read_to_string(mayfly.log()).unwrap_or_default();
        (said.ends_with('\n') || mayfly.ended().is_some()).then_some(said)
    });
    let said: Value = serde_json::from_str(&said.await).with_context(|| mayfly.log_tail())?;
    let pids = said["pids"].as_array().context("no pids")?.iter().filter_map(Value::as_u64);
    let pids = pids.map(u32::try_from).collect::<Result<_, _>>()?;
    Ok((mayfly, Brood { pids, dir: said["dir"].as_str().unwrap_or_default().into() }))
}

#[tokio::test]
async fn a_child_dies_with_its_killed_parent_and_its_directory_is_swept() -> Result<()> {
    let home = scratch::dir("story")?;
    let (mayfly, brood) = mayfly("child", home.path()).await?;
    ensure!(brood.pids.iter().all(|pid| procfs::alive(*pid)), "the child should live while its parent does");
    ensure!(brood.dir.exists(), "the directory should live while its owner does");
    mayfly.kill_9();
    all_gone(&brood.pids).await;
    until("the directory to be swept", SOON, || async { (!brood.dir.exists()).then_some(()) }).await;
    Ok(())
}

#[tokio::test]
async fn servers_die_with_their_killed_parent() -> Result<()> {
    let home = scratch::dir("story")?;
    let (mayfly, brood) = mayfly("servers", home.path()).await?;
    // The broker and its epmd, the postmaster and its backends, and the port programs of Erlang.
    ensure!(brood.pids.len() > 4, "that is not all: {:?}", brood.pids);
    mayfly.kill_9();
    all_gone(&brood.pids).await;
    Ok(())
}

#[tokio::test]
async fn a_child_outlives_the_thread_that_asked_for_it() -> Result<()> {
    let home = scratch::dir("story")?;
    let dir = home.path().to_owned();
    let forever = move || Process::spawn("tail", tail(), &dir);
    let child = std::thread::spawn(forever).join().expect("spawning doesn't panic")?;
    // The thread has been joined, so had the child died with it, it would be dead by the time a second child has lived.
    run("true", Command::new("true"), SOON).await?;
    ensure!(child.ended().is_none(), "the child died with the thread that asked for it: {:?}", child.ended());
    Ok(())
}

#[tokio::test]
async fn every_ending_is_told_apart() -> Result<()> {
    let home = scratch::dir("story")?;
    let mut leaves = Command::new("sh");
    leaves.args(["-c", "echo farewell; exit 3"]);
    let leaves = Process::spawn("leaves", leaves, home.path())?;
    ensure!(leaves.wait(SOON).await? == Ending::Exit(3), "an exit code is kept");
    ensure!(leaves.log_tail().contains("farewell"), "its words are kept: {}", leaves.log_tail());

    let killed = Process::spawn("killed", tail(), home.path())?;
    ensure!(killed.ended().is_none(), "nobody has killed it yet");
    killed.kill_9();
    ensure!(killed.wait(SOON).await? == Ending::Signal(9), "a signal is no exit");
    Ok(())
}

#[tokio::test]
async fn dropping_a_process_takes_its_whole_group() -> Result<()> {
    let home = scratch::dir("story")?;
    let mut family = Command::new("sh");
    family.args(["-c", "tail -f /dev/null & tail -f /dev/null & wait"]);
    let parent = Process::spawn("family", family, home.path())?;
    let children = until("both children", SOON, || async {
        Some(procfs::descendants(parent.pid())).filter(|children| children.len() == 2)
    });
    let everyone = [vec![parent.pid()], children.await].concat();
    drop(parent);
    all_gone(&everyone).await;
    Ok(())
}

#[tokio::test]
async fn a_failed_command_shows_what_it_said() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo because >&2; exit 1"]);
    let error = format!("{:#}", run("story", command, SOON).await.expect_err("it failed"));
    assert!(error.contains("because") && error.contains("Exit(1)"), "{error}");
}

/// A program that runs for ever.
fn tail() -> Command {
    let mut command = Command::new("tail");
    command.args(["-f", "/dev/null"]);
    command
}
