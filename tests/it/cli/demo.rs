//! `demo`, as far as it goes without ffmpeg: the same tour with photos and a table, because a video takes a debug build too long.
//! The whole tour is `make demo`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::longshore::binary;
use longshore_tests::scratch;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Twelve million pixels a photo, without optimisation, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn tour(args: &[&str]) -> Result<Command> {
    let mut tour = Command::new(binary()?);
    tour.args(args).env("PATH", "/nowhere").kill_on_drop(true);
    tour.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(tour)
}

#[tokio::test]
async fn the_tour_is_told_in_words_and_ends_well() -> Result<()> {
    let dir = scratch::dir("demo")?;
    let mut tour = tour(&["demo", "--data-dir", &dir.path().to_string_lossy()])?;
    let ended = tokio::time::timeout(PATIENCE, tour.output()).await.context("the tour did not end")??;
    let told = String::from_utf8_lossy(&ended.stdout);
    ensure!(ended.status.success(), "{:?}: {told}", ended.status);
    for step in ["input    ", "note     ", "start    ", "submit   ", "jobs     ", "check    ", "total    ", "go on    "]
    {
        ensure!(told.lines().any(|line| line.starts_with(step)), "{step} is not told: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn the_tour_is_told_in_json_from_its_first_line() -> Result<()> {
    let dir = scratch::dir("demo")?;
    let mut child = tour(&["demo", "--json", "--data-dir", &dir.path().to_string_lossy()])?.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
    let mut steps = vec![];
    while !steps.contains(&"start".to_owned()) {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??.context("it ended")?;
        let line: Value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
        ensure!(line["told"].as_str().is_some_and(|told| !told.is_empty()), "{line}");
        steps.push(line["step"].as_str().context("no step")?.to_owned());
    }
    steps.dedup();
    ensure!(steps == ["input", "note", "start"], "{steps:?}");
    child.kill().await?;
    Ok(())
}
