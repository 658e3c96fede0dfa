//! All the demo's jobs on their way: submitted, shown live, and one server killed under them when the transcode is in its
//! middle. It believes the API about states only; outputs are [`super::checks`]'s. Polling goes on while the server is
//! down: an answer that does not come changes nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use longshore_sdk::api::{JobState, JobView};
use longshore_sdk::client::{Client, ClientError, SubmitOptions};
use longshore_sdk::{JobId, Source};
use serde_json::{Value, json};

use super::inputs::Inputs;
use super::process::Dev;
use super::story::Story;
use crate::cli::screen::Screen;
use crate::cli::show;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(3);
/// No job of this size takes so long, killed or not.
const GIVE_UP: Duration = Duration::from_secs(240);
/// In the middle: work is lost, and work is left.
const MIDDLE: std::ops::RangeInclusive<f64> = 0.2..=0.8;

/// A job and its latest view.
pub(super) struct Work {
    pub(super) id: JobId,
    /// The input's file name.
    pub(super) name: String,
    pub(super) subject: Subject,
    pub(super) view: Option<JobView>,
}

/// What a job works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Clip,
    /// Whether it is higher than wide when it is seen upright.
    Photo {
        portrait: bool,
    },
    Table,
}

/// The jobs.
pub(super) struct Flight {
    works: Vec<Work>,
    killed: bool,
}

impl Flight {
    pub(super) async fn submit(client: &Client, inputs: &Inputs) -> anyhow::Result<Self> {
        let mut works = Vec::new();
        if let Some(clip) = &inputs.clip {
            works.push(submit(client, clip, Subject::Clip).await?);
        }
        works.push(submit(client, &inputs.table, Subject::Table).await?);
        for photo in &inputs.photos {
            works.push(submit(client, &photo.path, Subject::Photo { portrait: photo.is_portrait() }).await?);
        }
        Ok(Self { works, killed: false })
    }

    pub(super) fn len(&self) -> usize {
        self.works.len()
    }

    /// Shows the jobs to their end, with the kill on the way.
    pub(super) async fn follow(mut self, story: &Story, client: &Client, dev: &mut Dev) -> anyhow::Result<Vec<Work>> {
        let mut screen = Screen::of_stderr(LINE_EVERY);
        let deadline = Instant::now() + GIVE_UP;
        while !self.works.iter().all(Work::has_ended) {
            ensure!(Instant::now() < deadline, "the jobs did not end within {GIVE_UP:?}");
            for work in self.works.iter_mut().filter(|work| !work.has_ended()) {
                work.look(client).await?;
            }
            screen.draw(&self.works.iter().map(Work::line).collect::<Vec<_>>());
            if !self.killed && self.works.iter().any(Work::is_mid_transcode) {
                screen.end();
                self.killed = true;
                kill_and_restart(story, dev).await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        screen.end();
        Ok(self.works)
    }
}

impl Work {
    fn has_ended(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.state.is_terminal())
    }

    /// Running its first attempt, and neither at its beginning nor at its end.
    fn is_mid_transcode(&self) -> bool {
        let Some(view) = self.view.as_ref().filter(|_| self.subject == Subject::Clip) else { return false };
        let fraction = view.progress.as_ref().and_then(|progress| progress.fraction);
        view.state == JobState::Running && fraction.is_some_and(|fraction| MIDDLE.contains(&fraction))
    }

    async fn look(&mut self, client: &Client) -> anyhow::Result<()> {
        match client.job(self.id).await {
            Ok(view) => self.view = Some(view),
            Err(ClientError::Unreachable(_)) => {}
            Err(ClientError::Problem(problem)) if problem.status >= 500 => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn line(&self) -> String {
        let state = self.view.as_ref().map(show::progress).unwrap_or_default();
        format!("  {:<14} {state}", self.name)
    }
}

async fn kill_and_restart(story: &Story, dev: &mut Dev) -> anyhow::Result<()> {
    let id = dev.id();
    dev.kill()?;
    story.say("kill -9", &format!("process {id}, in the middle of the transcode"));
    let began = Instant::now();
    dev.restart().await?;
    let took = began.elapsed().as_secs_f64();
    story.say("restart", &format!("process {} on the same data, ready in {took:.1} s; the jobs go on", dev.id()));
    Ok(())
}

async fn submit(client: &Client, path: &Path, subject: Subject) -> anyhow::Result<Work> {
    let file = client.upload(path).await?;
    let (kind, payload) = payload(subject, Source::file(file.id));
    let payload = serde_json::value::to_raw_value(&payload)?;
    let id = client.submit_json(kind, payload, SubmitOptions::default()).await?.id();
    Ok(Work { id, name: file.name, subject, view: None })
}

/// The kind, and a payload as a caller in any language would write it.
fn payload(subject: Subject, source: Source) -> (&'static str, Value) {
    match subject {
        Subject::Clip => (
            "media.transcode",
            json!({
                "source": source, "video": {"preset": "h264_720p"}, "audio": {"format": "m4a", "loudness": -16},
                "thumbnail": {"width": 640}
            }),
        ),
        Subject::Photo { .. } => (
            "image.resize",
            json!({"source": source, "renditions": [
                {"name": "web", "width": 1600, "height": 1200, "quality": 82},
                {"name": "square", "width": 320, "height": 320, "fit": "cover", "format": "webp"}
            ]}),
        ),
        Subject::Table => (
            "csv.import",
            json!({"source": source, "table": "customers", "columns": [
                {"name": "id", "type": "integer", "required": true}, {"name": "name", "type": "text", "max_length": 80},
                {"name": "email", "type": "text", "required": true}, {"name": "balance", "type": "decimal"},
                {"name": "joined", "type": "date"}
            ]}),
        ),
    }
}
