//! How a promise learns of its job's end, by the best road that there is: a stream of events; where that tells nothing,
//! long-polls; where those answer at once, polls further and further apart. It outlives a server that is gone for a while, up to
//! the client's patience. Read [`super::handle`] for what callers hold.

use std::time::Duration;

use tokio::time::Instant;

use super::handle::{passes, random, retry_wait};
use super::sse::{Frames, Opened};
use super::{Client, ClientError};
use crate::api::{Event, JobView};
use crate::context::Progress;
use crate::wire::JobId;

/// The least time from one poll to the next, for a server that answers at once; it doubles while that goes on.
const POLL_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_POLL_PAUSE: Duration = Duration::from_secs(2);

/// News of a job.
pub(super) enum News {
    Progress(Progress),
    /// It has ended.
    Settled(Box<JobView>),
}

/// Somebody who waits for a job's end.
pub(super) struct Promise {
    client: Client,
    id: JobId,
    /// `None` once the stream is given up.
    stream: Option<Stream>,
    polls: Polls,
    progress: Option<Progress>,
}

#[derive(Default)]
struct Stream {
    frames: Option<Frames>,
    last_id: Option<String>,
    /// Whether the open one told an event: only such a one is opened again.
    told: bool,
}

/// The job, asked for again and again.
pub(super) struct Polls {
    client: Client,
    id: JobId,
    /// How long the server is asked to hold an answer back.
    wait: Duration,
    asked: Option<Instant>,
    pause: Duration,
    failures: u32,
    heard: Instant,
}

impl Promise {
    pub(super) fn new(client: Client, id: JobId, wait: Duration) -> Self {
        let polls = Polls::new(client.clone(), id, wait);
        Self { client, id, stream: Some(Stream::default()), polls, progress: None }
    }

    pub(super) async fn next(&mut self) -> Result<News, ClientError> {
        loop {
            let news = match self.stream.take() {
                Some(stream) => self.by_stream(stream).await?,
                None => self.by_poll().await?,
            };
            if let Some(news) = news {
                return Ok(news);
            }
        }
    }

    /// Puts the stream back unless it is given up.
    async fn by_stream(&mut self, mut stream: Stream) -> Result<Option<News>, ClientError> {
        let Some(mut frames) = stream.frames.take() else {
            let url = self.client.transport.url(&["v1", "jobs", &self.id.to_string(), "events"]);
            match self.client.transport.open_stream(url, stream.last_id.as_deref()).await {
                Ok(Opened::Frames(frames)) => {
                    self.stream = Some(Stream { frames: Some(*frames), told: false, ..stream });
                }
                Ok(Opened::Over | Opened::Unspoken) => {}
                Err(error) => tracing::debug!(job.id = %self.id, %error, "no stream of events; polling"),
            }
            return Ok(None);
        };
        let event =
            frames.next().await.ok().flatten().and_then(|frame| serde_json::from_str::<Event>(&frame.data).ok());
        stream.last_id = frames.last_id().map(str::to_owned).or(stream.last_id);
        self.polls.heard = frames.heard().unwrap_or(self.polls.heard);
        let Some(event) = event else {
            self.stream = stream.told.then_some(stream);
            // One that tells the same again and again, and breaks, is not asked without a breath.
            tokio::time::sleep(POLL_PAUSE).await;
            return Ok(None);
        };
        // The job's own view has its output; whether it is settled for good is the view's to say.
        if event.data.state.is_terminal() {
            return Ok(None);
        }
        self.stream = Some(Stream { frames: Some(frames), told: true, ..stream });
        Ok(event.data.progress.map(News::Progress))
    }

    async fn by_poll(&mut self) -> Result<Option<News>, ClientError> {
        let view = self.polls.next().await?;
        if view.state.is_terminal() {
            return Ok(Some(News::Settled(Box::new(view))));
        }
        let changed = view.progress != self.progress;
        self.progress.clone_from(&view.progress);
        Ok(view.progress.filter(|_| changed).map(News::Progress))
    }
}

impl Polls {
    pub(super) fn new(client: Client, id: JobId, wait: Duration) -> Self {
        Self { client, id, wait, asked: None, pause: POLL_PAUSE, failures: 0, heard: Instant::now() }
    }

    /// The job once more. Every answer of the server renews the patience.
    pub(super) async fn next(&mut self) -> Result<JobView, ClientError> {
        if let Some(asked) = self.asked {
            tokio::time::sleep(self.pause.saturating_sub(asked.elapsed())).await;
        }
        loop {
            let asked = Instant::now();
            match self.client.wait(self.id, self.wait).await {
                Ok(view) => {
                    let held_back = asked.elapsed() >= self.wait / 2;
                    // The first answers come at once from a server that holds the next one back.
                    self.pause = if held_back { POLL_PAUSE } else { later(self.asked, self.pause) };
                    (self.asked, self.failures, self.heard) = (Some(asked), 0, Instant::now());
                    return Ok(view);
                }
                Err(error) if passes(&error) && self.heard.elapsed() < self.client.patience => {
                    let failures = self.failures;
                    tracing::warn!(job.id = %self.id, %error, failures, "the job's state is not to be had; asking again");
                    let rest = self.client.patience.saturating_sub(self.heard.elapsed());
                    tokio::time::sleep(retry_wait(failures, random()).min(rest)).await;
                    self.failures += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn later(asked: Option<Instant>, pause: Duration) -> Duration {
    if asked.is_some() { (pause * 2).min(LONGEST_POLL_PAUSE) } else { pause }
}
