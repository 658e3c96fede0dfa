//! The tour behind `make demo`: real inputs, a worker killed with -9 in mid-transcode, and every output checked by other
//! means than those that made it. Only a check that was seen to pass counts; without ffmpeg the video is left out, and
//! said to be. Read the story in [`Demo::run`], then [`flight`] for the jobs and [`checks`] for what is believed.

mod checks;
mod flight;
mod home;
mod inputs;
mod photos;
mod process;
mod rows;
mod story;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use longshore_sdk::client::Client;
use tokio::signal::unix::{SignalKind, signal};

use self::checks::Checks;
use self::flight::{Flight, Work};
use self::home::Home;
use self::inputs::Inputs;
use self::process::Dev;
use self::story::Story;
use super::{Done, Ending, show};

/// How long an awaited answer may take while the server is down on purpose.
const PATIENCE: Duration = Duration::from_secs(30);

/// `longshore demo`
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to work; kept afterwards [default: a new directory in .longshore/demo]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Leave Longshore running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Tell the story in JSON, one line an object
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(super) async fn run(self) -> Done {
        let (began, story) = (Instant::now(), Story::new(self.json));
        let home = Home::make(self.data_dir)?;
        let inputs = make_inputs(&story, &home).await?;
        let mut dev = start(&story, &home).await?;
        let client = Client::new(&dev.url())?.with_patience(PATIENCE);
        let flown = fly(&story, &client, &inputs, &mut dev).await?;
        let checks = check(&story, &client, &home, &inputs, &flown).await?;
        story.say("total", &format!("{:.1} s", began.elapsed().as_secs_f64()));
        farewell(&story, &home, &dev, &flown);
        if self.keep {
            stay(&story, &dev).await?;
        }
        dev.stop().await?;
        if checks.all_passed() { Ok(()) } else { Err(Ending::Bad) }
    }
}

async fn make_inputs(story: &Story, home: &Home) -> anyhow::Result<Inputs> {
    let began = Instant::now();
    let inputs = Inputs::make(&home.inputs).await.context("the inputs could not be made")?;
    for line in inputs.describe() {
        story.say("input", &line);
    }
    if inputs.clip.is_none() {
        story.say(
            "note",
            "ffmpeg is not here, so the video and the kill in mid-job are left out; `apt-get install ffmpeg` brings them",
        );
    }
    story.say("", &took("made", began));
    Ok(inputs)
}

async fn start(story: &Story, home: &Home) -> anyhow::Result<Dev> {
    let began = Instant::now();
    let dev = Dev::start(home).await?;
    story.say("start", &format!("longshore dev as process {} at {} ({})", dev.id(), dev.url(), took("ready", began)));
    Ok(dev)
}

async fn fly(story: &Story, client: &Client, inputs: &Inputs, dev: &mut Dev) -> anyhow::Result<Vec<Work>> {
    let began = Instant::now();
    let flight = Flight::submit(client, inputs).await?;
    story
        .say("submit", &format!("{} jobs, their files uploaded over HTTP ({})", flight.len(), took("accepted", began)));
    let flown = flight.follow(story, client, dev).await?;
    story.say("jobs", &took("all ended", began));
    Ok(flown)
}

async fn check(story: &Story, client: &Client, home: &Home, inputs: &Inputs, flown: &[Work]) -> anyhow::Result<Checks> {
    let checks = Checks::run(client, home, inputs, flown).await?;
    for line in checks.lines() {
        story.say("check", &line);
    }
    Ok(checks)
}

fn farewell(story: &Story, home: &Home, dev: &Dev, flown: &[Work]) {
    story.say("files", &format!("inputs   {}", home.inputs.display()));
    story.say("", &format!("outputs  {}", home.outputs.display()));
    story.say("", &format!("rows     {}", home.imports_db().display()));
    story.say("", &format!("log      {}", home.log.display()));
    story.say("go on", &format!("longshore dev --listen {} --data-dir {}", dev.address(), home.data.display()));
    if let Some(work) = flown.first() {
        story.say("", &format!("curl {}/v1/jobs/{}", dev.url(), work.id));
    }
    story.say("", r#"longshore submit image.resize '{"renditions": [{"name": "small", "width": 640}]}' \"#);
    story.say(
        "",
        &format!("  --file source={} --wait --server {}", home.inputs.join("photo-1.jpg").display(), dev.url()),
    );
}

async fn stay(story: &Story, dev: &Dev) -> anyhow::Result<()> {
    story.say("running", &format!("{}/ is the API; Ctrl-C ends it", dev.url()));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

fn took(what: &str, since: Instant) -> String {
    format!("{what} in {:.1} s", since.elapsed().as_secs_f64())
}

fn size_of(path: &std::path::Path) -> anyhow::Result<String> {
    Ok(show::size(std::fs::metadata(path).with_context(|| path.display().to_string())?.len()))
}
