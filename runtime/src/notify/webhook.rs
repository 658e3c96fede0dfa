//! Tells receivers over HTTP what happened to jobs. A telling is a job of the kind `longshore.webhook`, and [`Messenger`] its
//! executor: one POST an attempt, signed, to an address that may be reached; whether and when it is tried again is decided here
//! and carried out as for any job. It chooses nobody who is told: that is the ledger's, in the transaction of the transition.
//! Read [`address`] for where it may go, [`body`] for what it says, [`post`] for how it is said, [`receivers`] for who has to wait.

pub mod address;
pub mod body;
mod post;
mod receivers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use longshore_sdk::executor::seconds;
use longshore_sdk::webhook::Secret;
use longshore_sdk::{Backoff, Context, Executor, Failure, Fatal, JobId, Payload, Policy, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::post::{Answered, Post, Trouble};
use self::receivers::{Place, Receivers};
use crate::ledger::batch::Group;
use crate::ledger::trail::Actor;
use crate::ledger::webhooks::{Delivery, KIND, TEST, Try};
use crate::ledger::{self, Event, Ledger};
use crate::stop::Stop;
use crate::{clock, metrics, traces};

/// How webhooks are delivered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// Whether this worker delivers them, whatever its kinds. Default true.
    pub deliver: bool,
    /// Deliveries of one worker at once; they take no slot. Default 32.
    pub concurrency: u32,
    /// A receiver that takes longer to answer has failed. Default 15 s.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// The seconds between one try and the next; after the last a delivery is a dead letter. Default: 10 tries in three days.
    pub schedule: Vec<u64>,
    /// A result that makes the body larger is left out, with a link in its place. Default 20 KiB.
    pub max_body_bytes: usize,
    /// Whether addresses may be http://. Default false.
    pub allow_http: bool,
    /// Networks that may be reached though they are not public. Default none.
    pub allow_private: Vec<IpNet>,
    /// A subscription that has failed every try for so long is disabled with the next dead letter; zero: never. Default 5 days.
    #[serde(with = "seconds")]
    pub disable_after: Duration,
    /// The most subscriptions. Default 100.
    pub max_subscriptions: usize,
    /// How long an old secret signs beside its successor. Default 24 h.
    #[serde(with = "seconds")]
    pub rotation_overlap: Duration,
    /// How long deliveries and their tries are kept. Default 30 days.
    #[serde(with = "seconds")]
    pub keep: Duration,
}

const HOUR: u64 = 3600;

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            deliver: true,
            concurrency: 32,
            timeout: Duration::from_secs(15),
            schedule: vec![5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR],
            max_body_bytes: 20 * 1024,
            allow_http: false,
            allow_private: vec![],
            disable_after: Duration::from_secs(5 * 24 * HOUR),
            max_subscriptions: 100,
            rotation_overlap: Duration::from_secs(24 * HOUR),
            keep: Duration::from_secs(30 * 24 * HOUR),
        }
    }
}

impl WebhookSettings {
    /// The wait after the `failed`-th failure (from 0): the schedule's, spread by a tenth either way by `luck` (0 to 1), so that
    /// what failed together does not come back together. A receiver's own word wins, within a second and a day.
    fn wait(&self, failed: u32, asked: Option<Duration>, luck: f64) -> Duration {
        if let Some(asked) = asked {
            return asked.clamp(Duration::from_secs(1), Duration::from_secs(24 * HOUR));
        }
        let place = usize::try_from(failed).unwrap_or(usize::MAX).min(self.schedule.len().saturating_sub(1));
        let seconds = self.schedule.get(place).copied().unwrap_or_default();
        Duration::from_secs(seconds).mul_f64(0.9 + 0.2 * luck.clamp(0.0, 1.0))
    }

    /// The wait of a delivery whose receiver keeps others waiting: as long as that may take, and longer with each time it was put off.
    fn put_off(&self, times: u32, luck: f64) -> Duration {
        self.timeout.saturating_mul(1 << times.min(5)).mul_f64(0.75 + 0.5 * luck.clamp(0.0, 1.0))
    }

    /// Whether a try after so many failed ones is the last.
    fn is_last(&self, failed: u32) -> bool {
        usize::try_from(failed).unwrap_or(usize::MAX) >= self.schedule.len()
    }

    /// Whether a receiver that has failed since then is given up.
    fn gives_up(&self, since: Timestamp, now: Timestamp) -> bool {
        let failing = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        !self.disable_after.is_zero() && failing >= self.disable_after
    }
}

/// A random number from 0 to 1 at every call.
type Luck = Arc<dyn Fn() -> f64 + Send + Sync>;

/// Delivers webhooks. What its many tries ask the ledger and leave there is gathered, as claims and records are.
pub struct Messenger {
    ledger: Arc<dyn Ledger>,
    errands: Group<JobId, Option<ledger::webhooks::Errand>>,
    tries: Group<(JobId, Try), ()>,
    settings: WebhookSettings,
    post: Post,
    receivers: Receivers,
    luck: Luck,
}

/// The payload of a delivery, for people: what counts is the ledger's line of the same id.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// Of which job it tells; none in a test.
    pub job: Option<JobId>,
    /// What happened.
    pub event: String,
}

/// What a delivery answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Delivered {
    /// The receiver's status.
    pub status: u16,
}

impl Payload for Notice {
    const KIND: &'static str = KIND;
    type Output = Delivered;
}

/// What is sent and to whom.
struct Errand {
    delivery: Delivery,
    url: String,
    secrets: Vec<Secret>,
    /// The same on every try, and whenever the event is sent again.
    id: String,
    body: Vec<u8>,
    /// The transition that it tells of; none in a test.
    event: Option<Event>,
}

impl Messenger {
    /// # Errors
    /// When this machine has no root certificates.
    pub fn new(ledger: Arc<dyn Ledger>, settings: WebhookSettings, luck: Luck) -> reqwest::Result<Self> {
        let post = Post::new(&settings)?;
        // Its two committers end with it.
        let (asking, noting) = (Arc::clone(&ledger), Arc::clone(&ledger));
        let errands = Group::start(&Stop::new(), move |ids: Vec<JobId>| {
            let ledger = Arc::clone(&asking);
            async move { ledger.errands(&ids).await }
        });
        let tries = Group::start(&Stop::new(), move |tries: Vec<(JobId, Try)>| {
            let ledger = Arc::clone(&noting);
            async move { ledger.note_tries(&tries).await.map(|()| vec![(); tries.len()]) }
        });
        let receivers = Receivers::new(settings.concurrency);
        Ok(Self { ledger, errands, tries, settings, post, receivers, luck })
    }

    async fn errand(&self, id: JobId, now: Timestamp) -> Result<Errand> {
        let none =
            || Fatal::new("no_such_delivery", "the ledger has no delivery of this id; only Longshore makes them");
        let found = self.errands.ask(id).await?.ok_or_else(none)?;
        let (url, secrets) = receiver(&found, now)?;
        let (id, body) = match (&found.event, found.delivery.job) {
            (Some(event), _) => {
                let body = body::of(event, found.result.as_deref(), self.settings.max_body_bytes);
                // The id is part of what is signed, where full stops separate.
                (event.id().to_string().replace('.', "_"), body)
            }
            (None, Some(_)) => return Err(gone().into()),
            (None, None) => (found.delivery.id.to_string(), body::test(&found.delivery)),
        };
        Ok(Errand { delivery: found.delivery, url, secrets, id, body, event: found.event })
    }

    /// One POST, as a span under its attempt and linked to the attempt that it tells of.
    async fn post(&self, context: &Context, errand: &Errand, at: Timestamp) -> std::result::Result<Answered, Trouble> {
        let told_of = errand.event.as_ref().map(|event| (event.job, event.attempt, event.trace.as_ref()));
        let span = traces::post(context, &errand.url, told_of);
        let here = span.here().or_else(|| context.trace().cloned());
        let Errand { url, secrets, id, body, .. } = errand;
        let answer = self.post.send(url, secrets, id, at, body.clone(), here.as_ref()).await;
        match &answer {
            Ok(answered) => span.posted(Some(answered.status), None),
            Err(trouble) => span.posted(trouble.answer().0, Some(trouble.code())),
        }
        answer
    }

    /// Keeps what became of a try. A ledger that does not take it costs a line of evidence, not a second delivery.
    async fn note(&self, context: &Context, tried: Try) {
        if let Err(error) = self.tries.ask((context.job_id(), tried)).await {
            let (attempt, correlation_id) = (context.attempt(), context.correlation_id());
            tracing::warn!(job.id = %context.job_id(), job.kind = KIND, attempt, correlation_id, %error, "a try is not noted");
        }
    }

    /// The receiver wants nothing any more: no further event is even made for it.
    async fn gone(&self, errand: &Errand, now: Timestamp) -> Result<Fatal> {
        let reason = format!("the receiver answered 410 Gone at {now:.0}");
        match (errand.delivery.webhook, errand.delivery.job) {
            (Some(webhook), _) => drop(self.ledger.by(ourselves()).switch(webhook, Some(&reason)).await?),
            (None, Some(job)) => self.ledger.end_hook(job, &reason).await?,
            (None, None) => {}
        }
        Ok(Fatal::new("gone", "the receiver answered 410 Gone: it wants nothing any more"))
    }

    fn not_now(&self, context: &Context) -> Failure {
        metrics::ours().webhook_put_off();
        let times = context.attempt().saturating_sub(1 + context.charged());
        Failure::postpone(self.settings.put_off(times, (self.luck)()))
    }

    /// A delivery is given up. So is its subscription when nothing has reached it for too long; a ledger that does not answer now is
    /// asked again with the next dead letter.
    async fn exhausted(&self, context: &Context, errand: &Errand, now: Timestamp) {
        if let Err(error) = self.disable_if_dead(errand, now).await {
            let (attempt, correlation_id) = (context.attempt(), context.correlation_id());
            tracing::warn!(job.id = %errand.delivery.id, job.kind = KIND, attempt, correlation_id, %error, "whether its receiver is dead is not known");
        }
    }

    async fn disable_if_dead(&self, errand: &Errand, now: Timestamp) -> ledger::Answer<()> {
        let Some(id) = errand.delivery.webhook else { return Ok(()) };
        // As it is now: another delivery may have got through meanwhile.
        let webhook = self.ledger.webhook(id).await?.filter(|webhook| webhook.disabled.is_none());
        let since = webhook.and_then(|webhook| webhook.failing_since);
        if let Some(since) = since.filter(|since| self.settings.gives_up(*since, now)) {
            let reason = format!("every try since {since:.0} failed, which is longer than webhooks.disable_after");
            self.ledger.by(ourselves()).switch(id, Some(&reason)).await?;
        }
        Ok(())
    }

    fn again(&self, context: &Context, trouble: &Trouble) -> Failure {
        let wait = self.settings.wait(context.charged(), trouble.after(), (self.luck)());
        Failure::retry_after(wait, trouble.code(), trouble)
    }
}

impl Executor for Messenger {
    type Payload = Notice;

    fn policy(&self) -> Policy {
        Policy {
            // The receiver's time is limited by itself; around it the ledger is asked.
            timeout: self.settings.timeout + Duration::from_secs(15),
            max_attempts: u32::try_from(self.settings.schedule.len()).unwrap_or(u32::MAX).saturating_add(1),
            // For trouble with the ledger alone.
            backoff: Backoff { initial: Duration::from_secs(5), ..Backoff::default() },
            concurrency: Some(self.settings.concurrency),
            // It waits; it does not work.
            cost: 0,
            ..Policy::default()
        }
    }

    async fn run(&self, _: Notice, context: &Context) -> Result<Delivered> {
        let (at, began) = (clock::now(), std::time::Instant::now());
        let errand = self.errand(context.job_id(), at).await?;
        let place = self.receivers.enter(&errand.url).ok_or_else(|| self.not_now(context))?;
        let answer = self.post(context, &errand, at).await;
        place.note(&answer);
        drop(place);
        let duration = began.elapsed();
        metrics::ours().webhook_tried(answer.as_ref().map_or_else(Trouble::outcome, |_| "delivered"), duration);
        let (status, text) = match &answer {
            Ok(answered) => (Some(answered.status), answered.text.clone()),
            Err(trouble) => trouble.answer(),
        };
        let error = answer.as_ref().err().map(ToString::to_string);
        self.note(context, Try { attempt: context.attempt(), at, duration, status, error, answer: text }).await;
        match answer {
            Ok(Answered { status, .. }) => Ok(Delivered { status }),
            Err(Trouble::Refused { status: 410, .. }) => Err(self.gone(&errand, at).await?.into()),
            Err(Trouble::Url(refused)) => {
                self.exhausted(context, &errand, at).await;
                Err(Fatal::new("address_refused", refused).into())
            }
            Err(trouble) => {
                if self.settings.is_last(context.charged()) {
                    self.exhausted(context, &errand, clock::now()).await;
                }
                Err(self.again(context, &trouble))
            }
        }
    }
}

impl Place {
    fn note(&self, answer: &std::result::Result<Answered, Trouble>) {
        match answer {
            Err(Trouble::Late(_)) => self.was_late(),
            Ok(_) | Err(Trouble::Refused { .. }) => self.answered(),
            Err(Trouble::Url(_) | Trouble::Name(_) | Trouble::Unreachable(_)) => {}
        }
    }
}

/// Where it goes, and what it is signed with at this moment.
fn receiver(errand: &ledger::webhooks::Errand, now: Timestamp) -> Result<(String, Vec<Secret>)> {
    if errand.delivery.webhook.is_none() {
        let own = errand.own.as_ref().ok_or_else(gone)?;
        if let Some(reason) = &own.gone {
            return Err(Fatal::new("webhook_disabled", format!("the job's own webhook is disabled: {reason}")).into());
        }
        return Ok((own.url.clone(), own.secret.clone().into_iter().collect()));
    }
    let deleted = || Fatal::new("webhook_deleted", "its subscription was deleted");
    let webhook = errand.webhook.as_ref().ok_or_else(deleted)?;
    if let Some(reason) = webhook.disabled.as_ref().filter(|_| errand.delivery.event != TEST) {
        return Err(Fatal::new("webhook_disabled", format!("its subscription is disabled: {reason}")).into());
    }
    Ok((webhook.url.clone(), webhook.secrets_at(now)))
}

/// As the audit log calls who does what nobody asked for.
fn ourselves() -> Actor {
    Actor { name: "longshore".to_owned(), address: None, request_id: None }
}

fn gone() -> Fatal {
    Fatal::new("event_gone", "the job that it tells of is not in the ledger any more")
}
