//! A submitted job as a promise: await it, watch it, cancel it. Waiting outlives a restart of the server, up to the
//! client's patience; dropping the handle changes nothing for the job. Read [`super::transport`] for the calls below.

use std::future::IntoFuture;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Client, ClientError};
use crate::api::{JobState, JobView};
use crate::context::Progress;
use crate::outcome::ErrorReport;
use crate::wire::JobId;

/// How long one long-poll asks the server to hold the answer back.
const LONG_POLL: Duration = Duration::from_secs(30);
/// How often progress is asked for.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// The least time from one poll to the next, for a server that answers at once.
const POLL_PAUSE: Duration = Duration::from_millis(100);
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

/// A submitted job. `handle.await` gives its output once it is completed; dropped, the job runs all the same.
pub struct JobHandle<T> {
    client: Client,
    id: JobId,
    output: PhantomData<fn() -> T>,
}

impl<T> JobHandle<T> {
    pub(super) fn new(client: Client, id: JobId) -> Self {
        Self { client, id, output: PhantomData }
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

    /// Awaits the job and calls `callback` about once a second when its progress has changed.
    ///
    /// # Errors
    /// As awaiting the handle.
    pub async fn progress(self, mut callback: impl FnMut(&Progress) + Send) -> Result<T, JobError> {
        let mut last = None;
        let on_view = |view: &JobView| {
            if view.progress != last {
                view.progress.iter().for_each(&mut callback);
                last.clone_from(&view.progress);
            }
        };
        output(settle(&self.client, self.id, PROGRESS_EVERY, on_view).await?)
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for JobHandle<T> {
    type Output = Result<T, JobError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { output(settle(&self.client, self.id, LONG_POLL, |_| ()).await?) })
    }
}

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
        settle(self, id, PROGRESS_EVERY, on_view).await
    }
}

/// Polls until the job has ended. Every answer of the server renews the patience.
async fn settle(
    client: &Client,
    id: JobId,
    wait: Duration,
    mut on_view: impl FnMut(&JobView) + Send,
) -> Result<JobView, ClientError> {
    let (mut failures, mut heard) = (0, Instant::now());
    loop {
        let asked = Instant::now();
        match client.wait(id, wait).await {
            Ok(view) => {
                on_view(&view);
                if view.state.is_terminal() {
                    return Ok(view);
                }
                (failures, heard) = (0, Instant::now());
                tokio::time::sleep(POLL_PAUSE.saturating_sub(asked.elapsed())).await;
            }
            Err(error) if passes(&error) && heard.elapsed() < client.patience => {
                tracing::warn!(job.id = %id, %error, failures, "the job's state is not to be had; asking again");
                let rest = client.patience.saturating_sub(heard.elapsed());
                tokio::time::sleep(retry_wait(failures, random()).min(rest)).await;
                failures += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether asking again may help: nobody answered, or a server (or the proxy before it) that is busy or starting did.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable(_) => true,
        ClientError::Problem(problem) => matches!(problem.status, 408 | 429 | 500..),
        ClientError::Protocol(_) | ClientError::File { .. } => false,
    }
}

/// Doubles from [`FIRST_RETRY`] to [`LONGEST_RETRY`]; the upper half of it is drawn by `random` in `0..1`, so that
/// callers whose server restarted do not all come back at once.
fn retry_wait(failures: u32, random: f64) -> Duration {
    let whole = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
    whole.mul_f64(0.5 + random / 2.0)
}

// The standard library's hasher is keyed at random; that is random enough to spread callers, and costs no dependency.
fn random() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

fn output<T: DeserializeOwned>(view: JobView) -> Result<T, JobError> {
    match view.state {
        // A result of `null` reads as an absent one.
        JobState::Completed => decode(view.result.as_ref().map_or("null", |result| result.get())),
        JobState::Canceled => Err(JobError::Canceled),
        JobState::Failed => Err(JobError::Failed(view.error.unwrap_or_else(unexplained))),
        JobState::Pending | JobState::Running => unreachable!("`settle` waits for a terminal state"),
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
