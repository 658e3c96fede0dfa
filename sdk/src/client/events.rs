//! What happens to all jobs, followed: a stream that is taken up again where it broke, up to the client's patience. What it
//! cannot tell it says. Read [`crate::api::Event`] for what is told, [`super::handle`] to follow one job.

use std::time::Duration;

use futures_util::Stream;
use tokio::time::Instant;

use super::handle::{passes, random, retry_wait};
use super::sse::{Frame, Frames, Opened};
use super::{Client, ClientError};
use crate::api::{Event, JobState, StreamGap};
use crate::wire::JobId;

/// Which events to follow; what is left out narrows nothing.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only of these kinds.
    pub kinds: Vec<String>,
    /// Only those after which the job is in one of these states.
    pub states: Vec<JobState>,
    /// From this place on, as [`Events::place`] gave it; from now on without.
    pub after: Option<String>,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Something happened. The same may be told again after a stream was taken up: its id says so.
    Event(Box<Event>),
    /// Not everything can be told.
    Gap(StreamGap),
}

/// All that happens, without an end. Dropping it leaves the stream.
pub struct Events {
    client: Client,
    /// One job's alone, for its handle.
    job: Option<JobId>,
    filter: EventFilter,
    frames: Option<Frames>,
    /// Tries since something was heard, and when that was.
    failures: u32,
    heard: Option<Instant>,
}

impl Client {
    /// Follows all jobs.
    pub fn events(&self, filter: EventFilter) -> Events {
        Events { client: self.clone(), job: None, filter, frames: None, failures: 0, heard: None }
    }

    /// Follows one job, to its end.
    pub(super) fn events_of(&self, job: JobId) -> impl Stream<Item = Result<Event, ClientError>> + Send + use<> {
        let events = Events { job: Some(job), ..self.events(EventFilter::default()) };
        futures_util::stream::unfold(Some(events), |events| async move {
            let mut events = events?;
            let told = match events.next().await {
                Ok(Told::Event(event)) => Ok(*event),
                Ok(Told::Gap(gap)) => Err(ClientError::Protocol(format!("a job's stream has no gaps: {}", gap.detail))),
                Err(error) => Err(error),
            };
            let goes_on = told.as_ref().is_ok_and(|event| !event.data.state.is_terminal());
            Some((told, goes_on.then_some(events)))
        })
    }
}

impl Events {
    /// Where it is: what was told ends here. To go on from later, or from another process.
    pub fn place(&self) -> Option<&str> {
        self.filter.after.as_deref()
    }

    /// Opens the stream, unless it is open: what happens from then on is told.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub async fn open(&mut self) -> Result<(), ClientError> {
        while self.frames.is_none() {
            match self.client.transport.open_stream(self.url(), self.place()).await {
                Ok(Opened::Frames(frames)) => self.frames = Some(*frames),
                Ok(Opened::Over | Opened::Unspoken) => {
                    return Err(ClientError::Protocol("the server has no such stream of events".into()));
                }
                Err(error) => self.rest(error).await?,
            }
        }
        Ok(())
    }

    /// What is told next.
    ///
    /// # Errors
    /// Every [`ClientError`], once the client's patience is at its end, or at once when the server was never there.
    pub async fn next(&mut self) -> Result<Told, ClientError> {
        loop {
            self.open().await?;
            let Some(frames) = &mut self.frames else { continue };
            let next = frames.next().await;
            if frames.heard().is_some() {
                (self.failures, self.heard) = (0, frames.heard());
            }
            if let Some(id) = frames.last_id() {
                self.filter.after = Some(id.to_owned());
            }
            match next {
                Ok(Some(frame)) => return told(&frame),
                Ok(None) => self.broken(ClientError::Unreachable("the stream ended".into())).await?,
                Err(error) => self.broken(error).await?,
            }
        }
    }

    /// The same as a stream, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Told, ClientError>> + Send {
        futures_util::stream::unfold(Some(self), |events| async move {
            let mut events = events?;
            let told = events.next().await;
            let rest = told.is_ok().then_some(events);
            Some((told, rest))
        })
    }

    async fn broken(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.frames = None;
        self.rest(error).await
    }

    /// Waits before the next try, if there is to be one.
    async fn rest(&mut self, error: ClientError) -> Result<(), ClientError> {
        let patience = self.heard.map_or(Duration::ZERO, |heard| self.client.patience.saturating_sub(heard.elapsed()));
        if patience.is_zero() || !passes(&error) {
            return Err(error);
        }
        tracing::warn!(%error, failures = self.failures, "a stream of events broke; taking it up again");
        tokio::time::sleep(retry_wait(self.failures, random()).min(patience)).await;
        self.failures += 1;
        Ok(())
    }

    fn url(&self) -> reqwest::Url {
        if let Some(job) = self.job {
            return self.client.transport.url(&["v1", "jobs", &job.to_string(), "events"]);
        }
        let mut url = self.client.transport.url(&["v1", "events"]);
        let EventFilter { kinds, states, .. } = &self.filter;
        if !kinds.is_empty() {
            url.query_pairs_mut().append_pair("kind", &kinds.join(","));
        }
        if !states.is_empty() {
            let words: Vec<&str> = states.iter().map(|state| state.word()).collect();
            url.query_pairs_mut().append_pair("state", &words.join(","));
        }
        url
    }
}

fn told(frame: &Frame) -> Result<Told, ClientError> {
    let unlike = |error| ClientError::Protocol(format!("an event is not as agreed: {error}"));
    match frame.word.as_str() {
        StreamGap::WORD => serde_json::from_str(&frame.data).map(Told::Gap).map_err(unlike),
        _ => serde_json::from_str(&frame.data).map(|event| Told::Event(Box::new(event))).map_err(unlike),
    }
}
