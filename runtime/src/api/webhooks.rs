//! `/v1/webhooks`: who is told of all jobs, what became of each telling, and a telling sent again. A secret is made here, shown in
//! the answer that made it and never again. Nothing is sent from here: a delivery is a job, which a worker runs.
//! Read [`crate::ledger::webhooks`] for when one is made, [`crate::notify::webhook`] for how it is sent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use longshore_sdk::JobId;
use longshore_sdk::api::{
    DeliveryList, DeliveryView, EventWord, FieldError, JobWebhook, TryView, WebhookList, WebhookRequest,
    WebhookRotation, WebhookView,
};
use longshore_sdk::executor::kind_is_valid;
use longshore_sdk::webhook::Secret;
use uuid::Uuid;

use super::auth::Caller;
use super::jobs::{narrowed, tell};
use super::params::{JobInPath, Params, WebhookInPath, nothing};
use super::problem::{Answer, Fault, Refusal};
use super::{Api, body, json};
use crate::broker::Control;
use crate::clock;
use crate::job::state::State as JobState;
use crate::ledger::Replaying;
use crate::ledger::webhooks::{Delivery, ENDS, HeldSecret, Hook, NewDelivery, TEST, Try, Webhook, is_internal};
use crate::notify::topic;
use crate::notify::webhook::{WebhookSettings, address};
use crate::tenant::Tenant;

/// The most kinds that one subscription names.
const MAX_KINDS: usize = 100;
/// The longest overlap of two secrets.
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let request: WebhookRequest =
        body::json(&headers, body, api.settings.max_body_bytes, api.settings.body_flow()).await?;
    refuse(request_errors(&request, &api.webhooks))?;
    let (webhook, secret) = subscription(request, caller.tenant.clone());
    let most = api.webhooks.max_subscriptions;
    if !api.ask(api.ledger.by(caller.actor()).subscribe(&webhook, most)).await? {
        let rule = format!(
            "is one subscription too many: there are {most} already, which is webhooks.max_subscriptions; delete one with \
             DELETE /v1/webhooks/{{id}}, or have the setting raised"
        );
        return Err(Refusal::of_field(Fault::Invalid, "/url", rule));
    }
    let mut answer = json(StatusCode::CREATED, &view(&webhook, Some(secret)))?;
    let place = HeaderValue::try_from(format!("/v1/webhooks/{}", webhook.id)).map_err(Refusal::internal)?;
    answer.headers_mut().insert(LOCATION, place);
    Ok(answer)
}

pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Answer<Response> {
    let webhooks = api.ask(api.ledger.webhooks(&caller.tenant)).await?;
    json(StatusCode::OK, &WebhookList { webhooks: webhooks.iter().map(|webhook| view(webhook, None)).collect() })
}

pub(super) async fn show(Own(webhook): Own) -> Answer<Response> {
    json(StatusCode::OK, &view(&webhook, None))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Own(webhook): Own,
    uri: Uri,
) -> Answer<Response> {
    let was_there = api.ask(api.ledger.by(caller.actor()).unsubscribe(webhook.id)).await?;
    if was_there { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(nothing("webhook", &uri)) }
}

pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Own(webhook): Own,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let request: WebhookRotation =
        body::json(&headers, body, api.settings.max_body_bytes, api.settings.body_flow()).await?;
    let asked = request.overlap_seconds.map(|seconds| {
        let overlap = Duration::try_from_secs_f64(seconds).ok().filter(|overlap| *overlap <= MAX_OVERLAP);
        let rule = format!("must be from 0 to {} seconds", MAX_OVERLAP.as_secs());
        overlap.ok_or_else(|| Refusal::of_field(Fault::Invalid, "/overlap_seconds", rule))
    });
    let overlap = asked.transpose()?.unwrap_or(api.webhooks.rotation_overlap);
    let secret = Secret::fresh();
    let webhook = found(api.ask(api.ledger.by(caller.actor()).rotate(webhook.id, &secret, overlap)).await?, &uri)?;
    json(StatusCode::OK, &view(&webhook, Some(secret)))
}

pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Own(webhook): Own,
    uri: Uri,
) -> Answer<Response> {
    switch(&api, &caller, &webhook, None, &uri).await
}

pub(super) async fn disable(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Own(webhook): Own,
    uri: Uri,
) -> Answer<Response> {
    switch(&api, &caller, &webhook, Some("it was disabled over the API"), &uri).await
}

async fn switch(api: &Api, caller: &Caller, webhook: &Webhook, off: Option<&str>, uri: &Uri) -> Answer<Response> {
    let switched = api.ask(api.ledger.by(caller.actor()).switch(webhook.id, off)).await?;
    let webhook = found(switched, uri)?;
    json(StatusCode::OK, &view(&webhook, None))
}

pub(super) async fn test(State(api): State<Arc<Api>>, caller: Caller, Own(webhook): Own) -> Answer<Response> {
    let new = NewDelivery {
        id: JobId::fresh(),
        tenant: webhook.tenant,
        webhook: Some(webhook.id),
        job: None,
        sequence: 0,
        progress: None,
        event: TEST.to_owned(),
        again: None,
    };
    send(&api, &caller, new).await
}

pub(super) async fn deliveries(State(api): State<Arc<Api>>, Own(webhook): Own, uri: Uri) -> Answer<Response> {
    let params = Params::read(&uri, &["limit", "before"])?;
    let page = narrowed(&params, None, api.settings.max_page)?;
    let deliveries = api.ask(api.ledger.deliveries(webhook.id, page.before, page.limit)).await?;
    listed(deliveries, page.limit)
}

/// What was sent to a job's own webhook. What subscriptions were sent is for their administrators.
pub(super) async fn of_job(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JobInPath(id): JobInPath,
    uri: Uri,
) -> Answer<Response> {
    let params = Params::read(&uri, &["limit", "before"])?;
    let page = narrowed(&params, None, api.settings.max_page)?;
    api.desk(&caller).job(id).await?.ok_or_else(|| nothing("job", &uri))?;
    let deliveries = api.ask(api.ledger.own_deliveries(id, page.before, page.limit)).await?;
    listed(deliveries, page.limit)
}

fn listed(deliveries: Vec<Delivery>, limit: usize) -> Answer<Response> {
    let next = deliveries.last().filter(|_| deliveries.len() == limit).map(|last| last.id);
    json(StatusCode::OK, &DeliveryList { deliveries: deliveries.into_iter().map(delivery).collect(), next })
}

/// A dead letter goes on as itself; of one that ended well or is gone another is made. The receiver sees the same id.
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    JobInPath(id): JobInPath,
    uri: Uri,
) -> Answer<Response> {
    let known = api.ask(api.ledger.delivery(id)).await?.filter(|known| known.tenant == caller.tenant);
    let known = known.ok_or_else(|| nothing("delivery", &uri))?;
    match known.state {
        Some(JobState::Failed) => match api.ask(api.ledger.by(caller.actor()).replay(id)).await? {
            Replaying::Ready(_) => shown(&api, id).await,
            Replaying::NotDead(_) | Replaying::Held(_) | Replaying::Unknown => Err(under_way(&uri)),
        },
        Some(JobState::Pending | JobState::Running) => Err(under_way(&uri)),
        Some(JobState::Completed | JobState::Canceled) | None => {
            let Delivery { tenant, webhook, job, sequence, progress, event, .. } = known;
            let (fresh, again) = (JobId::fresh(), Some(id));
            let new = NewDelivery { id: fresh, tenant, webhook, job, sequence, progress, event, again };
            send(&api, &caller, new).await
        }
    }
}

fn under_way(uri: &Uri) -> Refusal {
    let detail = "the delivery is under way and is tried again by itself; replay it when it has ended";
    Refusal::new(Fault::NotADeadLetter, detail).about(uri.path())
}

async fn send(api: &Api, caller: &Caller, new: NewDelivery) -> Answer<Response> {
    api.ask(api.ledger.by(caller.actor()).send(&new)).await?;
    shown(api, new.id).await
}

/// 202: it is on its way.
async fn shown(api: &Api, id: JobId) -> Answer<Response> {
    tell(api, Control::Wake).await;
    let made = api.ask(api.ledger.delivery(id)).await?;
    let made = made.ok_or_else(|| Refusal::internal(format!("delivery {id} is gone as soon as it is made")))?;
    json(StatusCode::ACCEPTED, &delivery(made))
}

/// The subscription in the path, of the caller's tenant: another's is not there. It never changes hands, so what is ours when it is
/// looked at is ours when it is changed.
pub(super) struct Own(Webhook);

impl FromRequestParts<Arc<Api>> for Own {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Answer<Self> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let WebhookInPath(id) = WebhookInPath::from_request_parts(parts, api).await?;
        let webhook = api.ask(api.ledger.webhook(id)).await?;
        found(webhook.filter(|webhook| webhook.tenant == caller.tenant), &parts.uri).map(Self)
    }
}

fn found(webhook: Option<Webhook>, uri: &Uri) -> Answer<Webhook> {
    webhook.ok_or_else(|| nothing("webhook", uri))
}

fn subscription(request: WebhookRequest, tenant: Tenant) -> (Webhook, Secret) {
    let secret = Secret::fresh();
    let webhook = Webhook {
        id: Uuid::now_v7(),
        tenant,
        url: request.url,
        kinds: request.kinds,
        events: chosen(request.events),
        secrets: vec![HeldSecret { secret: secret.clone(), until: None }],
        disabled: None,
        failing_since: None,
        created_at: clock::now(),
    };
    (webhook, secret)
}

/// A job's own webhook as the ledger keeps it.
pub(super) fn hook(asked: JobWebhook) -> Hook {
    Hook { url: asked.url, secret: asked.secret, events: chosen(asked.events), gone: None }
}

/// In our order, each once.
fn chosen(asked: Option<Vec<EventWord>>) -> Vec<EventWord> {
    let Some(asked) = asked else { return ENDS.to_vec() };
    EventWord::ALL.into_iter().filter(|word| asked.contains(word)).collect()
}

fn refuse(errors: Vec<FieldError>) -> Answer<()> {
    let Some(first) = errors.first() else { return Ok(()) };
    let detail = format!("{} {}", first.pointer, first.message);
    Err(Refusal::new(Fault::Invalid, detail).with_errors(errors))
}

fn request_errors(request: &WebhookRequest, settings: &WebhookSettings) -> Vec<FieldError> {
    let kinds = match &request.kinds {
        kinds if kinds.len() > MAX_KINDS => Some(wrong("/kinds", format!("has more than {MAX_KINDS} kinds"))),
        kinds => kinds.iter().enumerate().find_map(|(place, kind)| kind_error(place, kind)),
    };
    let url = url_error("/url", &request.url, settings);
    [url, events_error("/events", request.events.as_deref()), kinds].into_iter().flatten().collect()
}

fn kind_error(place: usize, kind: &str) -> Option<FieldError> {
    let bad = !kind_is_valid(kind) || is_internal(kind);
    bad.then(|| {
        wrong(&format!("/kinds/{place}"), "is no kind: lower-case words joined by dots, e.g. image.resize".into())
    })
}

/// What is wrong with a job's own webhook.
pub(super) fn hook_errors(asked: &JobWebhook, settings: &WebhookSettings) -> Vec<FieldError> {
    let url = url_error("/webhook/url", &asked.url, settings);
    url.into_iter().chain(events_error("/webhook/events", asked.events.as_deref())).collect()
}

fn url_error(pointer: &str, url: &str, settings: &WebhookSettings) -> Option<FieldError> {
    address::check(url, settings).err().map(|refused| wrong(pointer, refused.to_string()))
}

fn events_error(pointer: &str, asked: Option<&[EventWord]>) -> Option<FieldError> {
    let known = || EventWord::ALL.map(EventWord::word).join(", ");
    asked?.is_empty().then(|| wrong(pointer, format!("must name one of {}", known())))
}

fn wrong(pointer: &str, message: String) -> FieldError {
    FieldError { pointer: pointer.to_owned(), message }
}

fn view(webhook: &Webhook, secret: Option<Secret>) -> WebhookView {
    WebhookView {
        id: webhook.id.to_string(),
        url: webhook.url.clone(),
        kinds: webhook.kinds.clone(),
        events: webhook.events.clone(),
        enabled: webhook.disabled.is_none(),
        disabled_reason: webhook.disabled.clone(),
        failing_since: webhook.failing_since.map(micro),
        created_at: webhook.created_at,
        secret,
        old_secret_until: webhook.old_secret_until(clock::now()),
    }
}

fn delivery(delivery: Delivery) -> DeliveryView {
    DeliveryView {
        id: delivery.id,
        job: delivery.job,
        sequence: delivery.sequence,
        progress: delivery.progress.map(|report| report.n),
        event: delivery.event,
        // Purged: it was a dead letter.
        state: topic::state(delivery.state.unwrap_or(JobState::Failed)),
        created_at: delivery.created_at,
        due_at: delivery.due_at,
        tries: delivery.tries.into_iter().map(one_try).collect(),
    }
}

fn one_try(tried: Try) -> TryView {
    let Try { attempt, at, duration, status, error, answer } = tried;
    TryView { attempt, at: micro(at), duration_seconds: duration.as_secs_f64(), status, error, answer }
}

/// As both ledgers hold it.
fn micro(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(request: &str) -> Vec<String> {
        let request: WebhookRequest = serde_json::from_str(request).unwrap();
        let errors = request_errors(&request, &WebhookSettings::default());
        errors.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_subscription_that_cannot_be_names_every_field_at_fault() {
        assert_eq!(pointers(r#"{"url": "https://example.com/hook"}"#), Vec::<String>::new());
        assert_eq!(
            pointers(r#"{"url": "http://example.com", "events": [], "kinds": ["A"]}"#),
            ["/url", "/events", "/kinds/0"]
        );
        assert_eq!(pointers(r#"{"url": "https://10.0.0.1/", "events": []}"#), ["/url", "/events"]);
        let every = EventWord::ALL.map(|event| format!("\"{}\"", event.word())).join(",");
        assert!(pointers(&format!(r#"{{"url": "https://example.com", "events": [{every}]}}"#)).is_empty());
        assert_eq!(pointers(r#"{"url": "https://example.com", "kinds": ["a", "longshore.webhook"]}"#), ["/kinds/1"]);
        let many = vec!["\"a\""; MAX_KINDS + 1].join(",");
        assert_eq!(pointers(&format!(r#"{{"url": "https://example.com", "kinds": [{many}]}}"#)), ["/kinds"]);
    }

    #[test]
    fn who_asks_for_nothing_is_told_of_ends_and_nobody_twice() {
        assert_eq!(chosen(None), ENDS);
        let twice = vec![EventWord::Failed, EventWord::AttemptFailed, EventWord::Failed];
        assert_eq!(chosen(Some(twice)), [EventWord::AttemptFailed, EventWord::Failed]);
    }
}
