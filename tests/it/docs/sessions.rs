//! The README's commands, run as they stand: blocks of `sh` with a second word are one session of one shell each, in the order
//! of the page, in an empty directory with a photograph in it. Only addresses of servers are exchanged for those of the test's own. A block of
//! `json` or `text` behind a command is what it must have answered; `…` in it stands for anything.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use longshore_tests::longshore::{Longshore, binary};
use longshore_tests::postgres::Postgres;
use longshore_tests::process::run;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::PATIENCE;
use longshore_tests::{media, ports, scratch};
use serde_json::Value;
use tempfile::TempDir;

use super::page::{Block, Page};

/// Where the README's server listens.
const HERE: &str = "http://127.0.0.1:7070";

/// The commands of one session, and the answers that the page shows.
struct Session {
    commands: Vec<String>,
    shown: Vec<Option<Block>>,
    dir: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Session {
    async fn of(page: &Page, name: &str) -> Result<Session> {
        let (blocks, info) = (page.blocks(), format!("sh {name}"));
        let here = |at: &usize| blocks[*at].info == info;
        let answer =
            |at: usize| blocks.get(at + 1).filter(|next| ["json", "text"].contains(&next.info.as_str())).cloned();
        let at: Vec<usize> = (0..blocks.len()).filter(here).collect();
        ensure!(!at.is_empty(), "the page has no session {name}");
        let dir = scratch::dir("readme")?;
        media::jpeg(dir.path(), (1600, 1200)).await?;
        let commands = at.iter().map(|at| blocks[*at].text.clone()).collect();
        let shown = at.iter().map(|at| answer(*at)).collect();
        Ok(Session { commands, shown, dir, environment: vec![] })
    }

    /// Exchanges an address for one of ours, which must be there to be exchanged.
    fn with(mut self, theirs: &str, ours: &str) -> Result<Session> {
        ensure!(self.commands.iter().any(|command| command.contains(theirs)), "nothing names {theirs}");
        self.commands.iter_mut().for_each(|command| *command = command.replace(theirs, ours));
        Ok(self)
    }

    fn env(mut self, name: &'static str, value: &str) -> Session {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Runs it to its end; what each block answered, already compared with the page.
    async fn run(&self) -> Result<Vec<String>> {
        let mut script = String::from("set -eu -o pipefail\n");
        for (at, commands) in self.commands.iter().enumerate() {
            write!(script, "{{\n{commands}\n}} > answer-{at}\n")?;
        }
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(script).current_dir(self.dir.path()).env("PATH", path_with_ours()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGSHORE_")) {
            shell.env_remove(name);
        }
        shell.envs(self.environment.iter().map(|(name, value)| (name, value)));
        run("the README's shell", shell, PATIENCE).await?;
        let read = |at: usize| std::fs::read_to_string(self.dir.path().join(format!("answer-{at}")));
        let answers = (0..self.commands.len()).map(read).collect::<std::io::Result<Vec<String>>>()?;
        for (shown, answer) in self.shown.iter().zip(&answers) {
            ensure!(shown.as_ref().is_none_or(|shown| tells(shown, answer)), "the page shows {shown:?}, but: {answer}");
        }
        Ok(answers)
    }
}

/// Our binary before any other of its name.
fn path_with_ours() -> Result<std::ffi::OsString> {
    let ours = binary()?.parent().map(Path::to_owned);
    let theirs = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&theirs)))?)
}

/// Whether a block of the page tells the truth about an answer.
fn tells(shown: &Block, answer: &str) -> bool {
    if shown.info == "text" {
        let (shown, answer): (Vec<&str>, Vec<&str>) = (shown.text.lines().collect(), answer.lines().collect());
        return shown.len() == answer.len() && shown.iter().zip(answer).all(|(shown, line)| fits(shown, line));
    }
    let last = answer.lines().last().unwrap_or_default();
    let (shown, answer) = (serde_json::from_str(&shown.text), serde_json::from_str(last));
    matches!((shown, answer), (Ok(shown), Ok(answer)) if holds(&answer, &shown))
}

/// `…` stands for any text: the pieces between must follow each other, the first at the start and the last at the end.
fn fits(shown: &str, line: &str) -> bool {
    let Some((first, shown)) = shown.split_once('…') else { return shown == line };
    let (between, last) = shown.rsplit_once('…').unwrap_or(("", shown));
    let inner = line.strip_prefix(first).and_then(|line| line.strip_suffix(last));
    let after = |line: &'_ str, piece: &str| line.find(piece).map(|at| at + piece.len());
    inner.is_some_and(|line| between.split('…').try_fold(line, |rest, piece| rest.get(after(rest, piece)?..)).is_some())
}

/// Whether an answer has everything that is shown of it.
fn holds(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::String(_), Value::String(any)) if any == "…" => true,
        (Value::Object(answer), Value::Object(shown)) => {
            shown.iter().all(|(name, shown)| answer.get(name).is_some_and(|answer| holds(answer, shown)))
        }
        (Value::Array(answer), Value::Array(shown)) => {
            answer.len() == shown.len() && answer.iter().zip(shown).all(|(answer, shown)| holds(answer, shown))
        }
        (answer, shown) => answer == shown,
    }
}

async fn width(picture: &Path) -> Result<String> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-of", "csv=p=0", "-show_entries", "stream=width"]).arg(picture);
    Ok(run("ffprobe", probe, PATIENCE).await?.trim().to_owned())
}

#[tokio::test]
async fn the_commands_for_one_process_do_what_they_show() -> Result<()> {
    let data = scratch::dir("readme-dev")?;
    let dev = Longshore::dev(data.path())?.start().await?;
    let session = Session::of(&Page::open("README.md")?, "embedded").await?;
    let session = session.with(HERE, &dev.url())?.env("LONGSHORE_SERVER", &dev.url());
    let answers = session.run().await?;
    assert_eq!(width(&session.dir.path().join("thumb.jpg")).await?, "256");
    assert!(answers.len() >= 3 && session.shown.iter().all(Option::is_some), "each command's answer is shown");
    Ok(())
}

#[tokio::test]
async fn the_readmes_own_binary_runs_its_executor() -> Result<()> {
    let data = scratch::dir("readme-own")?;
    let wordcount = binary()?.with_file_name("wordcount");
    let own = Longshore::dev(data.path())?.binary(&wordcount).start().await?;
    let session = Session::of(&Page::open("README.md")?, "own").await?.env("LONGSHORE_SERVER", &own.url());
    session.run().await.map(drop)
}

#[tokio::test]
async fn the_commands_for_servers_do_what_they_show() -> Result<()> {
    let page = Page::open("README.md")?;
    let (database, broker) = (Postgres::shared().await?.database().await?, RabbitMq::shared().await?.vhost().await?);
    let (api, probes) = (format!("127.0.0.1:{}", ports::free()?), format!("127.0.0.1:{}", ports::free()?));
    let session = Session::of(&page, "servers").await?;
    let session = session.with("postgres://longshore:secret@db.internal/longshore", &database)?;
    let session = session.with("amqp://longshore:secret@mq.internal/%2f", &broker)?;
    let session = session.with("127.0.0.1:7070", &api)?.with("127.0.0.1:7071", &probes)?;
    let session = session.env("LONGSHORE_LISTEN", &api).env("LONGSHORE_SERVER", &format!("http://{api}"));
    let answers = session.run().await?;
    let all = answers.first().context("no answer")?;
    assert!(all.contains(r#"{"ready":true"#) && all.contains("  image.resize  completed\n"), "{all}");
    Ok(())
}

#[test]
fn every_marked_command_is_run() -> Result<()> {
    let marked = Page::open("README.md")?
        .blocks()
        .into_iter()
        .filter_map(|block| Some(block.info.strip_prefix("sh ")?.to_owned()));
    let unknown: Vec<String> = marked.filter(|name| !["embedded", "own", "servers"].contains(&name.as_str())).collect();
    assert_eq!(unknown, [""; 0], "sessions that no test runs");
    Ok(())
}

#[tokio::test]
async fn a_command_that_fails_or_answers_otherwise_is_found() -> Result<()> {
    let told = async |page: &str| Session::of(&Page::planted(page), "demo").await?.run().await;
    assert!(told("```sh demo\necho 1\n```\n```sh demo\nfalse\n```").await.is_err());
    assert!(told("```sh demo\necho '{\"a\": 1}'\n```\n```json\n{\"a\": 2}\n```").await.is_err());
    assert!(told("```sh demo\necho one two\n```\n```text\none … three\n```").await.is_err());
    let good = "```sh demo\nN=1\n```\n```sh demo\necho '{\"a\": '$N', \"b\": \"x\"}'\n```\n```json\n{\"b\": \"…\", \"a\": 1}\n```";
    assert_eq!(told(good).await?.len(), 2);
    Ok(())
}
