//! What became of a job, and what its caller wants done about it. `wait` holds the answer back until the job is settled
//! (no lesser news ends it) or the time is over; the answer is then the job as it stands, settled or not.
//! Read [`super::submit`] for how a job comes to be and [`super::view`] for what is shown.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{ETAG, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use longshore_sdk::JobId;
use longshore_sdk::api::JobList;
use tokio::time::Instant;

use super::auth::Caller;
use super::desk::Desk;
use super::params::{JobInPath, Params, nothing};
use super::problem::{Answer, Fault, Refusal};
use super::{Api, json, view};
use crate::broker::Control;
use crate::clock;
use crate::job::state::State as JobState;
use crate::ledger::{self, Canceling, Filter, Job, Replaying};

const DEFAULT_PAGE: usize = 50;

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JobInPath(id): JobInPath,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let asked = Params::read(&uri, &["wait"])?.get::<u64>("wait", "a whole number of seconds, 0 or more")?;
    let wait = Duration::from_secs(asked.unwrap_or(0)).min(api.settings.max_wait);
    let job = settled_or_late(&api.desk(&caller), id, wait).await?.ok_or_else(|| nothing("job", &uri))?;
    let tag = tag(&job);
    let mut answer = match is_known(&headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => whole(&api, StatusCode::OK, &job).await?,
    };
    answer.headers_mut().insert(ETAG, HeaderValue::try_from(tag).map_err(Refusal::internal)?);
    Ok(answer)
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller, uri: Uri) -> Answer<Response> {
    page(&api.desk(&caller), filter(&uri, api.settings.max_page)?).await
}

/// One page of jobs without their attempts.
pub(super) async fn page(desk: &Desk<'_>, filter: Filter) -> Answer<Response> {
    let now = clock::now();
    let limit = filter.limit;
    let jobs = desk.list(filter).await?;
    let next = jobs.last().filter(|_| jobs.len() == limit).map(|last| last.id);
    json(StatusCode::OK, &JobList { jobs: jobs.iter().map(|job| view::job(job, &[], now)).collect(), next })
}

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JobInPath(id): JobInPath,
    uri: Uri,
) -> Answer<Response> {
    match api.desk(&caller).cancel(id).await? {
        Canceling::Canceled(job) => {
            // The relay announces it in a moment; who waits at this door need not wait for that.
            api.feed.wake(id);
            whole(&api, StatusCode::OK, &job).await
        }
        Canceling::Requested(job) => {
            tell(&api, Control::Cancel(id)).await;
            whole(&api, StatusCode::ACCEPTED, &job).await
        }
        Canceling::Settled(job) if job.state == JobState::Canceled => whole(&api, StatusCode::OK, &job).await,
        Canceling::Settled(job) => {
            let detail = format!("the job is {} and cannot be canceled any more", job.state.word());
            Err(Refusal::new(Fault::AlreadyFinished, detail).about(view::address(id)))
        }
        Canceling::Unknown => Err(nothing("job", &uri)),
    }
}

pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JobInPath(id): JobInPath,
    uri: Uri,
) -> Answer<Response> {
    match api.desk(&caller).replay(id).await? {
        Replaying::Ready(job) => {
            tell(&api, Control::Wake).await;
            whole(&api, StatusCode::ACCEPTED, &job).await
        }
        Replaying::NotDead(job) => {
            let detail = format!("the job is {}; only a failed one can be replayed", job.state.word());
            Err(Refusal::new(Fault::NotADeadLetter, detail).about(view::address(id)))
        }
        Replaying::Held(other) => {
            let detail =
                format!("job {other} is not finished and holds the same unique_key; replay this one after its end");
            Err(Refusal::new(Fault::UniqueKeyHeld, detail).about(view::address(id)))
        }
        Replaying::Unknown => Err(nothing("job", &uri)),
    }
}

/// The job once it is settled, or as it stands when `wait` is over. A full waiting room means no wait.
pub(super) async fn settled_or_late(desk: &Desk<'_>, id: JobId, wait: Duration) -> ledger::Answer<Option<Job>> {
    let api = desk.api;
    let Some(_seat) = (!wait.is_zero()).then(|| api.waiting_room.try_acquire().ok()).flatten() else {
        return desk.job(id).await;
    };
    let end = Instant::now() + wait;
    // Before the first read: what is announced between the read and the wait must wake this one.
    let mut waiter = api.feed.waiter(id);
    loop {
        let job = desk.job(id).await?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || job.as_ref().is_none_or(|job| job.state.is_terminal()) {
            return Ok(job);
        }
        if !waiter.news(left.min(api.settings.recheck)).await {
            return Ok(job);
        }
    }
}

/// A hint that saves seconds: workers see a cancel at their next heartbeat and relays a due job at their next look.
pub(super) async fn tell(api: &Api, control: Control) {
    match tokio::time::timeout(api.settings.publish_timeout, api.broker.tell(&control)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(?control, %error, "not told; it will be seen a little later"),
        Err(_) => tracing::warn!(?control, "not told in time; it will be seen a little later"),
    }
}

/// A job with its history.
pub(super) async fn whole(api: &Api, status: StatusCode, job: &Job) -> Answer<Response> {
    let attempts = api.ask(api.ledger.attempts(job.id)).await?;
    let now = clock::now();
    let mut answer = json(status, &view::job(job, &attempts, now))?;
    if let Some(seconds) = view::ask_again(job, now) {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    Ok(answer)
}

/// The version, and with it what moves without a new one while an attempt runs: its progress, and the wish to cancel it.
fn tag(job: &Job) -> String {
    if job.state != JobState::Running {
        return format!("\"{}\"", job.version);
    }
    let mut hash = DefaultHasher::new();
    let progress = job.progress.as_ref().map(|progress| (progress.fraction.map(f64::to_bits), &progress.message));
    (job.cancel_requested, progress).hash(&mut hash);
    format!("\"{}.{:016x}\"", job.version, hash.finish())
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = known.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn filter(uri: &Uri, max_page: usize) -> Answer<Filter> {
    let params = Params::read(uri, &["state", "kind", "limit", "before"])?;
    let state = params.get::<StateWord>("state", "pending, running, completed, failed or canceled")?;
    narrowed(&params, state.map(|word| word.0), max_page)
}

/// What every listing knows: kind, place and size.
pub(super) fn narrowed(params: &Params, state: Option<JobState>, max_page: usize) -> Answer<Filter> {
    let wanted = format!("a whole number from 1 to {max_page}");
    let limit = params.get("limit", &wanted)?.unwrap_or(DEFAULT_PAGE.min(max_page));
    if !(1..=max_page).contains(&limit) {
        return Err(Refusal::of_field(Fault::Malformed, "limit", format!("must be {wanted}")));
    }
    let before = params.get("before", "a job's id")?;
    Ok(Filter { tenant: None, state, kind: params.get("kind", "a kind")?, before, limit })
}

struct StateWord(JobState);

impl std::str::FromStr for StateWord {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        JobState::ALL.into_iter().find(|state| state.word() == word).map(Self).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use longshore_sdk::Progress;

    use super::*;
    use crate::api::view::tests::full;

    fn asked(query: &str) -> Answer<Filter> {
        filter(&format!("/v1/jobs?{query}").parse().unwrap(), 200)
    }

    #[test]
    fn a_listing_is_narrowed_by_state_kind_and_place() {
        let id = JobId::fresh();
        let filter = asked(&format!("state=failed&kind=a.b&limit=200&before={id}")).unwrap();
        assert_eq!((filter.state, filter.kind.as_deref()), (Some(JobState::Failed), Some("a.b")));
        assert_eq!((filter.limit, filter.before), (200, Some(id)));
        assert_eq!(asked("").unwrap().limit, 50);
    }

    #[test]
    fn a_listing_that_cannot_be_made_names_the_parameter() {
        for (query, name) in
            [("limit=0", "limit"), ("limit=201", "limit"), ("state=dead", "state"), ("before=x", "before")]
        {
            assert_eq!(asked(query).unwrap_err().problem().errors[0].pointer, name);
        }
    }

    #[test]
    fn a_tag_changes_with_every_change_that_is_shown() {
        let settled = full(JobState::Completed);
        assert_eq!(tag(&settled), "\"4\"");
        let (mut early, mut late) = (full(JobState::Running), full(JobState::Running));
        early.progress = Some(Progress::from(0.25));
        late.progress = Some(Progress::from(0.75));
        assert_ne!(tag(&early), tag(&late));
        assert_eq!(tag(&early), tag(&early.clone()));
        let unwanted = Job { cancel_requested: !early.cancel_requested, ..early.clone() };
        assert_ne!(tag(&early), tag(&unwanted));
    }

    #[test]
    fn a_known_tag_is_recognised_in_a_list_weak_or_as_a_star() {
        let with = |value: &str| HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().unwrap())]);
        for known in ["\"4\"", "W/\"4\"", "\"3\", \"4\"", "*"] {
            assert!(is_known(&with(known), "\"4\""), "{known}");
        }
        assert!(!is_known(&with("\"44\", 4"), "\"4\"") && !is_known(&HeaderMap::new(), "\"4\""));
    }
}
