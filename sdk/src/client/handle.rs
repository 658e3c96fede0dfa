//! A submitted job as a promise: await it, watch it, cancel it. Waiting outlives a restart of the server, up to the
//! client's patience; dropping the handle changes nothing for the job unless that is asked for. Read [`super::promise`] for how it
//! learns of the end.

use std::future::IntoFuture;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use serde::de::DeserializeOwned;

use super::promise::{News, Polls, Promise};
use super::{Client, ClientError};
use crate::api::{Event, JobState, JobView};
use crate::context::Progress;
use crate::outcome::ErrorReport;
use crate::wire::JobId;

/// How long one long-poll asks the server to hold the answer back.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How often progress is asked for.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Why an awaited job gives no output.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job failed for good.
    #[error("the job failed: {0}")]
    Failed(ErrorReport),
    /// The job was cancelled.
    #[error("the job was canceled")]
    Canceled,
    /// How the job ended could not be learned; it may well go on.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A submitted job. `handle.await` gives its output once it is completed; dropped, the job runs all the same, unless
/// [`JobHandle::cancel_on_drop`] says otherwise.
pub struct JobHandle<T> {
    client: Client,
    id: JobId,
    guard: Option<Guard>,
    output: PhantomData<fn() -> T>,
}

impl<T> JobHandle<T> {
    pub(super) fn new(client: Client, id: JobId) -> Self {
        Self { client, id, guard: None, output: PhantomData }
    }

    /// Cancels the job when this handle, or the future that awaits it, is dropped before the job has ended. Asked for in a task of
    /// its own, so it needs a tokio runtime, and one whose process ends at once may not get it out.
    #[must_use]
    pub fn cancel_on_drop(mut self) -> Self {
        self.guard = Some(Guard { client: self.client.clone(), id: self.id, is_armed: true });
        self
    }

    /// How far the job is, as it says so, up to its end; how that was is the handle's own to tell. Of what is said quickly the
    /// newest is sure to come.
    pub fn progress(&self) -> Pin<Box<dyn Stream<Item = Progress> + Send>> {
        let promise = Promise::new(self.client.clone(), self.id, PROGRESS_EVERY);
        Box::pin(futures_util::stream::unfold(promise, |mut promise| async move {
            match promise.next().await {
                Ok(News::Progress(progress)) => Some((progress, promise)),
                Ok(News::Settled(_)) | Err(_) => None,
            }
        }))
    }

    /// All that happens to the job, in its order and without repeats, up to its end; of its progress the newest is sure to come. A
    /// stream that breaks is taken up where it was, at whatever server answers then, up to the client's patience; an error is the
    /// last that comes.
    pub fn events(&self) -> Pin<Box<dyn Stream<Item = Result<Event, ClientError>> + Send>> {
        Box::pin(self.client.events_of(self.id))
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Where the job stands.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn status(&self) -> Result<JobView, ClientError> {
        self.client.job(self.id).await
    }

    /// Asks for the job's cancellation.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel(&self) -> Result<JobView, ClientError> {
        self.client.cancel(self.id).await
    }
}

impl<T: DeserializeOwned + Send + 'static> JobHandle<T> {
    /// Awaits the job in a task of its own and then calls `callback`, once. Needs a tokio runtime.
    pub fn on_complete(
        self,
        callback: impl FnOnce(Result<T, JobError>) + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { callback(self.await) })
    }

    /// Awaits the job and calls `callback` whenever it says how far it is.
    ///
    /// # Errors
    /// As awaiting the handle.
    pub async fn with_progress(mut self, callback: impl FnMut(&Progress) + Send) -> Result<T, JobError> {
        let guard = self.guard.take();
        let view = settled(Promise::new(self.client.clone(), self.id, PROGRESS_EVERY), callback).await;
        finish(guard, view)
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for JobHandle<T> {
    type Output = Result<T, JobError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let promise = Promise::new(self.client, self.id, LONG_POLL);
        let guard = self.guard;
        Box::pin(async move {
            let view = settled(promise, |_| ()).await;
            finish(guard, view)
        })
    }
}

/// A clone cancels nothing when it is dropped.
impl<T> Clone for JobHandle<T> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone(), self.id)
    }
}

impl<T> std::fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    /// Where a job stands once it has ended; `on_view` is called about once a second on the way, and with the end. A server
    /// that does not answer is asked again up to the client's patience.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn watch(&self, id: JobId, on_view: impl FnMut(&JobView) + Send) -> Result<JobView, ClientError> {
        let (mut polls, mut on_view) = (Polls::new(self.clone(), id, PROGRESS_EVERY), on_view);
        loop {
            let view = polls.next().await?;
            on_view(&view);
            if view.state.is_terminal() {
                return Ok(view);
            }
        }
    }
}

/// Cancels a job when it is dropped.
struct Guard {
    client: Client,
    id: JobId,
    is_armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.is_armed) {
            return;
        }
        let (client, id) = (self.client.clone(), self.id);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::warn!(job.id = %id, "dropped outside of a tokio runtime: the job is not canceled");
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = client.cancel(id).await {
                tracing::warn!(job.id = %id, %error, "the job of a dropped handle is not canceled");
            }
        });
    }
}

async fn settled(mut promise: Promise, mut on_progress: impl FnMut(&Progress) + Send) -> Result<JobView, ClientError> {
    loop {
        match promise.next().await? {
            News::Progress(progress) => on_progress(&progress),
            News::Settled(view) => return Ok(*view),
        }
    }
}

fn finish<T: DeserializeOwned>(guard: Option<Guard>, view: Result<JobView, ClientError>) -> Result<T, JobError> {
    // Ended, or out of reach for longer than the caller's patience: neither is the caller's change of mind.
    if let Some(mut guard) = guard {
        guard.is_armed = false;
    }
    output(view?)
}

/// Whether asking again may help: nobody answered, or a server (or the proxy before it) that is busy or starting did.
pub(super) fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable(_) => true,
        ClientError::Problem(problem) => matches!(problem.status, 408 | 429 | 500..),
        ClientError::Protocol(_) | ClientError::File { .. } => false,
    }
}

/// Doubles from [`FIRST_RETRY`] to [`LONGEST_RETRY`]; the upper half of it is drawn by `random` in `0..1`, so that
/// callers whose server restarted do not all come back at once.
pub(super) fn retry_wait(failures: u32, random: f64) -> Duration {
    let whole = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
    whole.mul_f64(0.5 + random / 2.0)
}

// The standard library's hasher is keyed at random; that is random enough to spread callers, and costs no dependency.
pub(super) fn random() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

fn output<T: DeserializeOwned>(view: JobView) -> Result<T, JobError> {
    match view.state {
        // A result of `null` reads as an absent one.
        JobState::Completed => decode(view.result.as_ref().map_or("null", |result| result.get())),
        JobState::Canceled => Err(JobError::Canceled),
        JobState::Failed => Err(JobError::Failed(view.error.unwrap_or_else(unexplained))),
        JobState::Pending | JobState::Running => unreachable!("a promise waits for a terminal state"),
    }
}

fn decode<T: DeserializeOwned>(result: &str) -> Result<T, JobError> {
    let unlike =
        |error| ClientError::Protocol(format!("the job is completed, but its result is another type: {error}"));
    serde_json::from_str(result).map_err(unlike).map_err(JobError::from)
}

fn unexplained() -> ErrorReport {
    ErrorReport::new("unexplained", "the server says that the job failed, but not why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_tries_double_to_their_limit_and_are_spread() {
        let whole = |failures| retry_wait(failures, 1.0).as_millis();
        assert_eq!([0, 1, 2, 5, 6, 99].map(whole), [100, 200, 400, 3200, 5000, 5000]);
        assert_eq!(retry_wait(0, 0.0), Duration::from_millis(50));
        assert!((0..1000).map(|_| random()).all(|random| (0.0..=1.0).contains(&random)));
    }
}
