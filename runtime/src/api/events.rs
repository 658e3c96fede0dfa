//! A job's events as a stream of Server-Sent Events: first those that were, then those that come, and an end after the last.
//! It passes on nothing that it heard: news from the feed makes it ask the ledger, so a stream has no holes, repeats nothing,
//! and may be resumed at any API process. Who reads slowly hears later; nothing is kept for him. Read [`sse`] for the format.

pub(super) mod all;
mod sse;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use longshore_sdk::JobId;
use longshore_sdk::api::EventId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Api;
use super::auth::Caller;
use super::limits::StreamPlace;
use super::params::{JobInPath, Params, nothing};
use super::problem::{Answer, Fault, Refusal};
use crate::ledger::{Event, LedgerError};
use crate::notify::feed::Waiter;
use crate::tenant::Tenant;

/// When to come again for a place on a full server.
const FULL_FOR: Duration = Duration::from_secs(5);

pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JobInPath(id): JobInPath,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    Params::read(&uri, &[])?;
    let after = sse::last_event_id(&headers)?;
    if after.is_some_and(|after| after.job != id) {
        return Err(Refusal::of_field(Fault::Malformed, sse::LAST_EVENT_ID, "is an event of another job"));
    }
    let seat = seat(&api, &caller.tenant)?;
    // Before the first read: what is announced between the read and the wait must wake this one.
    let waiter = api.feed.waiter(id);
    let history = api.desk(&caller).history(id).await?.ok_or_else(|| nothing("job", &uri))?;
    let heartbeat = Instant::now() + api.settings.stream_heartbeat;
    let tenant = caller.tenant;
    let (due, latest, over) = (VecDeque::new(), None, false);
    let mut follower = Follower { api, tenant, job: id, waiter, after, due, latest, over, heartbeat, _seat: seat };
    follower.take(history);
    if follower.over && follower.due.is_empty() {
        // An EventSource takes this for the end and comes no more.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(sse::stream(futures_util::stream::unfold(follower, Follower::next)))
}

/// A place among the server's streams and the tenant's.
type Seat = (OwnedSemaphorePermit, StreamPlace);

/// A place among the streams, while there is one.
fn seat(api: &Api, tenant: &Tenant) -> Answer<Seat> {
    let own = api.limits.stream(tenant)?;
    let permit = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| {
        let detail = "the server has all the streams it takes; ask for the job itself, or try again in a moment";
        Refusal::new(Fault::Unavailable, detail).after(FULL_FOR)
    })?;
    Ok((permit, own))
}

/// One reader of one job.
struct Follower {
    api: Arc<Api>,
    tenant: Tenant,
    job: JobId,
    waiter: Waiter,
    /// The last one told.
    after: Option<EventId>,
    /// To be told: at most what one read of the ledger brought.
    due: VecDeque<Event>,
    /// What the ledger told last, for the log.
    latest: Option<Event>,
    /// Nothing comes after these.
    over: bool,
    heartbeat: Instant,
    _seat: Seat,
}

impl Follower {
    /// What is told next; `None` ends the stream.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(event) = self.due.pop_front() {
                self.after = Some(event.id());
                return Some((sse::frame(&event), self.rested()));
            }
            let left = self.heartbeat.saturating_duration_since(Instant::now());
            if self.over || !self.waiter.news(left).await {
                return None;
            }
            match self.api.desk_of(&self.tenant).history(self.job).await {
                Ok(Some(history)) => self.take(history),
                Ok(None) => return None, // purged
                Err(error) => self.waits(&error),
            }
            if self.due.is_empty() && self.heartbeat <= Instant::now() {
                return Some((sse::HEARTBEAT, self.rested()));
            }
        }
    }

    fn waits(&self, error: &LedgerError) {
        let latest = self.latest.as_ref();
        let (kind, attempt) = (latest.map(|event| event.kind.as_str()), latest.map(|event| event.attempt));
        let correlation_id = latest.and_then(|event| event.correlation_id.as_deref());
        tracing::debug!(job.id = %self.job, job.kind = kind, attempt, correlation_id, %error, "a stream waits for the ledger");
    }

    fn take(&mut self, history: Vec<Event>) {
        self.latest = history.last().cloned();
        self.over = history.last().is_some_and(|last| last.state.is_terminal());
        let after = self.after;
        self.due = history.into_iter().filter(|event| Some(event.id()) > after).collect();
    }

    fn rested(self) -> Self {
        Self { heartbeat: Instant::now() + self.api.settings.stream_heartbeat, ..self }
    }
}
