//! What happens to all jobs of the caller's tenant as one stream of Server-Sent Events: from now on, or from a place that the reader
//! brings. Unlike a job's own stream it passes on what it heard, through the process's [`crate::notify::window`], and where something
//! cannot be had it says so by a `gap` and goes on. Its frames' ids are places in the stream, good at any API process; the events
//! have the ids they have on every road. It keeps nothing for a reader but its place. Read [`super::sse`] for the format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use longshore_sdk::api::{GapReason, JobState, StreamGap};
use tokio::sync::OnceCell;

use super::{Seat, seat, sse};
use crate::api::auth::Caller;
use crate::api::params::Params;
use crate::api::problem::{Answer, Fault, Refusal};
use crate::api::{Api, ApiSettings};
use crate::ledger;
use crate::notify::window::{Cursor, Hole, Limits, Reader, Told, Wanted, Window};

const KINDS: &str = "kind";
const STATES: &str = "state";
const MAX_KINDS: usize = 100;

pub(in crate::api) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let tenant = caller.tenant;
    let wanted = Wanted { tenant: Some(tenant.clone()), ..wanted(&Params::read(&uri, &[KINDS, STATES])?)? };
    let after: Option<Cursor> =
        sse::last_id(&headers, "must be the id of a frame of this stream; leave it out to begin now")?;
    let seat = seat(&api, &tenant)?;
    let reader = window(&api).await?.reader(after, wanted).await?;
    let here = sse::place(&reader.at());
    let follower = Follower { api, reader, _seat: seat };
    let frames = futures_util::stream::unfold(follower, Follower::next);
    // A reader whose line breaks before the first event has its place all the same.
    Ok(sse::stream(futures_util::StreamExt::chain(futures_util::stream::iter([here]), frames)))
}

/// The process's window, opened by the first who wants it.
async fn window(api: &Api) -> ledger::Answer<&Window> {
    api.window
        .get_or_try_init(|| api.ask(Window::open(&api.stop, api.ledger.clone(), &api.feed, limits(&api.settings))))
        .await
}

/// Where it is kept.
pub(in crate::api) type Kept = OnceCell<Window>;

fn limits(settings: &ApiSettings) -> Limits {
    let ApiSettings { event_ring_bytes: ring_bytes, event_fill_jobs: fill_jobs, ledger_timeout: patience, .. } =
        *settings;
    Limits { ring_bytes, fill_jobs, patience }
}

fn wanted(params: &Params) -> Answer<Wanted> {
    let kinds = params.list(KINDS, MAX_KINDS, "1 to 100 kinds with commas between them")?;
    let states = params.list::<String>(STATES, JobState::ALL.len(), "states with commas between them")?;
    let state = |word: String| JobState::ALL.into_iter().find(|state| state.word() == word);
    let words = "must be of pending, running, completed, failed and canceled, with commas between them";
    let wrong = || Refusal::of_field(Fault::Malformed, STATES, words);
    let states = states.into_iter().map(|word| state(word).ok_or_else(wrong)).collect::<Answer<_>>()?;
    Ok(Wanted { tenant: None, kinds, states })
}

/// One reader of all jobs.
struct Follower {
    api: Arc<Api>,
    reader: Reader,
    _seat: Seat,
}

impl Follower {
    /// What is told next; `None` ends the stream.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let told = self.reader.next(self.api.settings.stream_heartbeat).await?;
        if told.is_empty() {
            return Some((sse::place(&self.reader.at()), self));
        }
        let frames: Vec<u8> = told.iter().flat_map(frame).collect();
        Some((frames.into(), self))
    }
}

fn frame(told: &Told) -> Vec<u8> {
    match told {
        Told::Event(after, event) => sse::frame_of(after, event.word, &event.body),
        Told::Hole(hole, since_us, at) => {
            let body = serde_json::to_vec(&gap(*hole, *since_us)).expect("a gap has string keys");
            sse::frame_of(at, StreamGap::WORD, &body)
        }
    }
}

fn gap(hole: Hole, since_us: i64) -> StreamGap {
    let since = Timestamp::from_microsecond(since_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let (reason, why) = match hole {
        Hole::Lagged => (GapReason::Lagged, "this reader was too slow for what happened"),
        Hole::Forgotten => (GapReason::Forgotten, "the server does not know any more all that happened"),
    };
    let detail = format!(
        "{why} since {since}: list the jobs (GET /v1/jobs) to learn where they stand; what follows is whole again"
    );
    StreamGap { reason, since, detail }
}
