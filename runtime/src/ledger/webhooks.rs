//! Who is told of events over HTTP, and what became of each telling. A delivery is a job of [`KIND`], inserted by the very statement
//! that makes the transition it tells of, so that no crash comes between the two; from then on it is retried, dead-lettered
//! and replayed as any job. It sends nothing: that is [`crate::notify::webhook`]'s.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_sdk::JobId;
use longshore_sdk::api::EventWord;
use longshore_sdk::webhook::Secret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::trail::Deed;
use super::{Answer, Event, Report};
use crate::job::state::State;
use crate::tenant::Tenant;

/// The kind of the jobs that deliver.
pub const KIND: &str = "longshore.webhook";

/// Whether jobs of this kind are made by Longshore alone.
pub fn is_internal(kind: &str) -> bool {
    kind.starts_with("longshore.")
}

/// What is told unless somebody asks for more or less: how the job ended. Whoever wants all of it says so, for a job that shows its
/// progress is told of twice a second.
pub const ENDS: [EventWord; 3] = [EventWord::Completed, EventWord::Failed, EventWord::Canceled];

/// The word of a delivery that tells of no job.
pub const TEST: &str = "test";

/// How often a delivery is tried, and how long a try may take, before any worker has entered the kind with its policy.
pub(super) const ATTEMPTS: u32 = 10;
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Who is told of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Where.
    pub url: String,
    /// What it is signed with, if at all.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// Of what.
    pub events: Vec<EventWord>,
    /// Why it is told nothing more; then there is nothing in `events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: Uuid,
    /// Whose it is: it is told of the tenant's own jobs.
    pub tenant: Tenant,
    /// Where.
    pub url: String,
    /// Of which kinds; empty: of all but internal ones.
    pub kinds: Vec<String>,
    /// Of what.
    pub events: Vec<EventWord>,
    /// What it is signed with, the newest first.
    pub secrets: Vec<HeldSecret>,
    /// Why nothing is sent.
    pub disabled: Option<String>,
    /// Since when every try has failed.
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A secret, and how long it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSecret {
    /// The secret.
    pub secret: Secret,
    /// Until then; `None`: until another takes its place.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// Secrets of one subscription at once, at most: each costs a signature in the header.
const MAX_SECRETS: usize = 5;

impl Webhook {
    /// The secrets that sign at this moment, the newest first.
    pub fn secrets_at(&self, now: Timestamp) -> Vec<Secret> {
        let valid = |held: &&HeldSecret| held.until.is_none_or(|until| until > now);
        self.secrets.iter().filter(valid).map(|held| held.secret.clone()).collect()
    }

    /// Until when an earlier secret signs too.
    pub fn old_secret_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.secrets.iter().filter_map(|held| held.until).filter(|until| *until > now).max()
    }

    /// Whether it is told of this.
    pub(super) fn is_told(&self, tenant: &Tenant, kind: &str, word: EventWord) -> bool {
        let of_kind = self.kinds.is_empty() || self.kinds.iter().any(|own| own == kind);
        self.tenant == *tenant && of_kind && self.events.contains(&word) && !is_internal(kind)
    }
}

/// The secrets after a new one was made: those before it sign until `until`, and no longer than they did.
pub(super) fn rotated(held: Vec<HeldSecret>, fresh: Secret, now: Timestamp, until: Timestamp) -> Vec<HeldSecret> {
    let ends = |one: HeldSecret| HeldSecret { until: Some(one.until.map_or(until, |end| end.min(until))), ..one };
    let old = held.into_iter().map(ends).filter(|one| one.until.is_some_and(|end| end > now));
    let newest = HeldSecret { secret: fresh, until: None };
    [newest].into_iter().chain(old).take(MAX_SECRETS).collect()
}

/// A delivery that is no transition's: a test, or one sent again.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id, made by the caller, so that a repeat is recognised.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// To which subscription; `None`: to the job's own.
    pub webhook: Option<Uuid>,
    /// Of which job; `None`: a test.
    pub job: Option<JobId>,
    /// Of which of its events.
    pub sequence: i64,
    /// Of which progress under it.
    pub progress: Option<Report>,
    /// The event's word, or [`TEST`].
    pub event: String,
    /// Of which delivery this is a repeat.
    pub again: Option<JobId>,
}

impl NewDelivery {
    /// How the audit log calls it when somebody sends it, and what it was done to.
    pub(super) fn noted(&self) -> (Deed, String) {
        match (self.again, self.webhook) {
            (Some(before), _) => (Deed::DeliveryReplayed, before.to_string()),
            (None, Some(webhook)) => (Deed::WebhookTested, webhook.to_string()),
            (None, None) => (Deed::WebhookTested, self.id.to_string()),
        }
    }
}

/// One event on its way to one receiver: a job of the same id.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its id and its job's.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// To which subscription; `None`: to the job's own.
    pub webhook: Option<Uuid>,
    /// Of which job; `None`: a test.
    pub job: Option<JobId>,
    /// Of which of its events.
    pub sequence: i64,
    /// Of which progress under it.
    pub progress: Option<Report>,
    /// The event's word, or [`TEST`].
    pub event: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where its own job is; `None`: purged.
    pub state: Option<State>,
    /// When its own job is tried next, if it waits.
    pub due_at: Option<Timestamp>,
    /// Every try, the first first.
    pub tries: Vec<Try>,
}

/// One try to deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// Its attempt.
    pub attempt: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// Why it was no delivery.
    pub error: Option<String>,
    /// How the answer's body begins.
    pub answer: Option<String>,
}

/// Everything that one try needs to know, as the ledger has it at this moment.
#[derive(Debug, Clone)]
pub struct Errand {
    /// What is to be delivered, without its tries.
    pub delivery: Delivery,
    /// The subscription it goes to; `None`: it goes to the job's own webhook, or the subscription was deleted.
    pub webhook: Option<Webhook>,
    /// The job's own webhook.
    pub own: Option<Hook>,
    /// What happened; `None`: it is a test, or the job is not in the ledger any more.
    pub event: Option<Event>,
    /// The job's output, if it is completed by now.
    pub result: Option<Box<RawValue>>,
}

/// The event that a delivery tells of, out of its job's history: a transition by its number, a progress by what the delivery brought,
/// under the start of its attempt.
pub(super) fn event_of(delivery: &Delivery, history: &[Event]) -> Option<Event> {
    let transition = |event: &&Event| event.version == delivery.sequence && event.progress.is_none();
    let event = history.iter().find(transition)?.clone();
    Some(match &delivery.progress {
        Some(report) => Event { at: report.at, progress: Some(report.clone()), ..event },
        None => event,
    })
}

/// The ledger's part in webhooks.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Enters a subscription, unless its tenant has `most` already: `false`. A repeat with the same id is one.
    async fn subscribe(&self, webhook: &Webhook, most: usize) -> Answer<bool>;
    /// A tenant's subscriptions, the oldest first.
    async fn webhooks(&self, tenant: &Tenant) -> Answer<Vec<Webhook>>;
    /// One of them.
    async fn webhook(&self, webhook: Uuid) -> Answer<Option<Webhook>>;
    /// Removes one; what is on its way to it ends as dead letters. Says whether it was there.
    async fn unsubscribe(&self, webhook: Uuid) -> Answer<bool>;
    /// From now on the new secret signs, and those before it for `overlap` more. A repeat with the same secret changes nothing.
    async fn rotate(&self, webhook: Uuid, secret: &Secret, overlap: Duration) -> Answer<Option<Webhook>>;
    /// Enables it, which forgets since when it failed, or disables it with the reason.
    async fn switch(&self, webhook: Uuid, off: Option<&str>) -> Answer<Option<Webhook>>;
    /// For this reason a job's own webhook is told nothing more of it.
    async fn end_hook(&self, job: JobId, why: &str) -> Answer<()>;
    /// Makes a delivery with its job, due now, and notes who sent it. One whose id exists is left as it is.
    async fn send(&self, delivery: &NewDelivery) -> Answer<()>;
    /// What is to be sent for each of these, in their order; `None`: there is no such delivery.
    async fn errands(&self, deliveries: &[JobId]) -> Answer<Vec<Option<Errand>>>;
    /// One delivery with its tries.
    async fn delivery(&self, delivery: JobId) -> Answer<Option<Delivery>>;
    /// A subscription's deliveries with their tries, the newest first.
    async fn deliveries(&self, webhook: Uuid, before: Option<JobId>, limit: usize) -> Answer<Vec<Delivery>>;
    /// What was sent to a job's own webhook, with the tries, the newest first.
    async fn own_deliveries(&self, job: JobId, before: Option<JobId>, limit: usize) -> Answer<Vec<Delivery>>;
    /// Keeps what became of tries, and since when a subscription fails; the first word about an attempt counts.
    async fn note_tries(&self, tries: &[(JobId, Try)]) -> Answer<()>;
    /// Removes some deliveries older than `age`, with their tries, that need no further try and are no dead letter; says how many.
    async fn remove_old_deliveries(&self, age: Duration, limit: usize) -> Answer<usize>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn held(until: Option<i64>) -> HeldSecret {
        HeldSecret { secret: Secret::fresh(), until: until.map(at) }
    }

    #[test]
    fn a_new_secret_stands_first_and_the_ones_before_it_sign_until_their_end() {
        let (current, leaving, gone) = (held(None), held(Some(15)), held(Some(9)));
        let fresh = Secret::fresh();
        let all = rotated(vec![current.clone(), leaving.clone(), gone], fresh.clone(), at(10), at(20));
        let ends: Vec<_> = all.iter().map(|one| (one.secret.clone(), one.until)).collect();
        assert_eq!(ends, [(fresh.clone(), None), (current.secret, Some(at(20))), (leaving.secret, Some(at(15)))]);
        // With no overlap the old ones are gone at once.
        assert_eq!(rotated(all, fresh, at(10), at(10)).len(), 1);
    }

    #[test]
    fn however_often_it_is_changed_few_secrets_sign() {
        let all = (0..20).fold(vec![held(None)], |all, _| rotated(all, Secret::fresh(), at(1), at(100)));
        assert_eq!(all.len(), MAX_SECRETS);
    }

    #[test]
    fn nobody_is_told_of_a_telling() {
        let webhook = Webhook {
            id: Uuid::nil(),
            tenant: Tenant::default(),
            url: String::new(),
            kinds: vec![],
            events: ENDS.to_vec(),
            secrets: vec![],
            disabled: None,
            failing_since: None,
            created_at: at(0),
        };
        let (ours, theirs): (Tenant, Tenant) = (Tenant::default(), "acme".parse().unwrap());
        assert!(webhook.is_told(&ours, "image.resize", EventWord::Completed));
        assert!(!webhook.is_told(&ours, "image.resize", EventWord::Requeued));
        assert!(!webhook.is_told(&theirs, "image.resize", EventWord::Completed));
        assert!(!webhook.is_told(&ours, KIND, EventWord::Completed));
        let some = Webhook { kinds: vec!["csv.import".into()], ..webhook };
        assert!(some.is_told(&ours, "csv.import", EventWord::Failed));
        assert!(!some.is_told(&ours, "image.resize", EventWord::Failed));
    }
}
