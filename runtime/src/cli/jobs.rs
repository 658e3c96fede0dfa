//! `upload`, `status`, `watch`, `cancel`, `kinds`: one call each, and its answer for people or as JSON.
//! It keeps nothing between two commands. Read [`super::show`] for the words, [`super::submit`] for how a job begins.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use longshore_sdk::JobId;
use longshore_sdk::api::{JobState, JobView, KindList};
use longshore_sdk::client::Client;
use serde::Serialize;

use super::screen::Screen;
use super::server::Server;
use super::{Done, Ending, given, show, tell};

/// Between two lines about a job's progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// `longshore upload`
#[derive(Debug, Args)]
pub(super) struct Upload {
    #[command(flatten)]
    server: Server,
    /// The file
    path: PathBuf,
}

/// `longshore status`
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    server: Server,
    /// The job
    #[arg(value_parser = given::job)]
    id: JobId,
}

/// `longshore watch`: exit code 1 when the job fails or is canceled
#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    server: Server,
    /// The job
    #[arg(value_parser = given::job)]
    id: JobId,
}

/// `longshore cancel`
#[derive(Debug, Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    server: Server,
    /// The job
    #[arg(value_parser = given::job)]
    id: JobId,
}

/// `longshore kinds`
#[derive(Debug, Args)]
pub(super) struct Kinds {
    #[command(flatten)]
    server: Server,
}

impl Upload {
    pub(super) async fn run(self) -> Done {
        let file = self.server.client()?.upload(&self.path).await;
        let file = file.map_err(|error| self.server.explain_file("PATH", error))?;
        Ok(tell(&if self.server.json { json(&file)? } else { show::file(&file) })?)
    }
}

impl Status {
    pub(super) async fn run(self) -> Done {
        let view = self.server.client()?.job(self.id).await.map_err(|error| self.server.explain(error))?;
        answer(&self.server, &view)
    }
}

impl Watch {
    pub(super) async fn run(self) -> Done {
        let client = self.server.client()?;
        let every_view = self.server.json;
        let last = follow(&self.server, &client, self.id, every_view).await?;
        if !every_view {
            answer(&self.server, &last)?;
        }
        verdict(&last)
    }
}

impl Cancel {
    pub(super) async fn run(self) -> Done {
        let view = self.server.client()?.cancel(self.id).await.map_err(|error| self.server.explain(error))?;
        answer(&self.server, &view)
    }
}

impl Kinds {
    pub(super) async fn run(self) -> Done {
        let kinds = self.server.client()?.kinds().await.map_err(|error| self.server.explain(error))?;
        let text = if self.server.json { json(&KindList { kinds })? } else { show::kinds(&kinds) };
        Ok(tell(&text)?)
    }
}

/// Follows a job to its end: each view as a line of JSON, or its progress on stderr.
pub(super) async fn follow(server: &Server, client: &Client, id: JobId, every_view: bool) -> Result<JobView, Ending> {
    let mut screen = Screen::of_stderr(LINE_EVERY);
    let mut failed = None;
    let (mut version, mut progress) = (None, None);
    let on_view = |view: &JobView| {
        if every_view {
            // Only what has changed: a view a second would bury it.
            if (version, &progress) != (Some(view.version), &view.progress) {
                failed = failed.take().or(json(view).and_then(|line| tell(&line)).err());
                (version, progress) = (Some(view.version), view.progress.clone());
            }
        } else {
            screen.draw(&[show::progress(view)]);
        }
    };
    let last = client.watch(id, on_view).await.map_err(|error| server.explain(error))?;
    screen.end();
    failed.map_or(Ok(last), |error| Err(Ending::Failure(error)))
}

/// A job's view as the answer.
pub(super) fn answer(server: &Server, view: &JobView) -> Done {
    Ok(tell(&if server.json { json(view)? } else { show::job(view) })?)
}

/// Whoever waits for a job wants to know by the exit code.
pub(super) fn verdict(view: &JobView) -> Done {
    if view.state == JobState::Completed { Ok(()) } else { Err(Ending::Bad) }
}

pub(super) fn json(answer: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string(answer)?)
}
