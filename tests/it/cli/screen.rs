//! The bar on a real terminal: a pseudo-terminal from `script`, thirty columns wide, on which no line may wrap.
//! What is drawn where there is no terminal is told in `cli/jobs.rs`.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::longshore::binary;
use longshore_tests::{media, scratch};
use tokio::process::Command;

use super::PATIENCE;
use super::jobs::{Desk, IMPORT};

const COLUMNS: usize = 30;

/// All that a terminal of this width is sent by the command, which sees its variables as `"$NAME"`.
async fn terminal(command: &str, variables: &[(&str, &str)]) -> Result<String> {
    let mut script = Command::new("script");
    script.args(["-qec", &format!("stty cols {COLUMNS} rows 10; {command}"), "/dev/null"]);
    script.envs(variables.iter().copied()).kill_on_drop(true).stdin(Stdio::null());
    let ended = tokio::time::timeout(PATIENCE, script.output()).await.context("it did not end")??;
    let sent = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(ended.status.success(), "{:?}: {sent}", ended.status);
    Ok(sent)
}

/// What was painted, line by line.
fn painted(sent: &str) -> Vec<&str> {
    sent.split("\x1b[2K").skip(1).filter_map(|from| from.split("\r\n").next()).collect()
}

#[tokio::test]
async fn a_bar_on_a_narrow_terminal_is_cut_and_never_wraps() -> Result<()> {
    let desk = Desk::open().await?;
    let dir = scratch::dir("cli-screen")?;
    let csv = media::csv(dir.path(), 1000, 0)?;
    let (program, file) = (binary()?.to_string_lossy().into_owned(), format!("source={}", csv.path.display()));
    let variables = [("PROGRAM", &*program), ("FILE", &*file), ("PAYLOAD", IMPORT), ("LONGSHORE_SERVER", &*desk.url())];
    let sent = terminal(r#""$PROGRAM" submit csv.import "$PAYLOAD" --file "$FILE" --wait"#, &variables).await?;
    let lines = painted(&sent);
    let last = lines.last().context("nothing was painted")?;
    ensure!(last.starts_with("completed  100% ███") && last.chars().count() == COLUMNS, "{lines:?}");
    ensure!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:?}");
    ensure!(sent.contains("\x1b[1A") || lines.len() == 1, "each is drawn over the one before: {sent:?}");
    desk.close().await
}
