//! Insert, publish: once the insert is committed the job is accepted, whatever the broker does. A publish that fails leaves the
//! job to the relay. It checks nothing: what comes here can run. Read [`crate::ledger::Ledger::submit`] for what a repeat finds.

use std::time::Duration;

use crate::api::problem::{Answer, Fault, Refusal};
use crate::api::{Api, view};
use crate::broker::{BrokerError, JobMessage};
use crate::job::state::State;
use crate::ledger::{Job, LedgerError, NewJob, Submitted};
use crate::notify::{road, topic};
use crate::traces;

/// A job that is written down.
pub(super) struct Accepted {
    pub(super) job: Job,
    pub(super) by: By,
}

/// Which request made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// This one.
    This,
    /// An earlier one with the same idempotency key.
    Earlier,
    /// Another one with the same unique key; the job is not finished yet.
    Other,
}

/// Inserts the job and puts it on the road. From the commit on it ends well.
pub(super) async fn accept(api: &Api, new: NewJob) -> Answer<Accepted> {
    let id = new.id;
    let job = match insert(api, new).await? {
        Submitted::Created(job) | Submitted::Repeated(job) => job,
        // Another request's job, whose maker sees to it. Callers may ask for one key all the time: they publish nothing.
        Submitted::Held(job) => return Ok(Accepted { job, by: By::Other }),
        Submitted::Conflict(first) => return Err(reused().about(view::address(first))),
    };
    if belongs_on_the_road(&job)
        && let Err(error) = publish(api, &job).await
    {
        let (attempt, correlation_id) = named(&job);
        tracing::warn!(job.id = %job.id, job.kind = %job.kind, attempt, correlation_id, %error, "not published or not announced; the relay will do it");
        hand_to_relay(api, &job).await;
    } else if waits_for_its_time(&job) {
        announce_or_owe(api, &job).await;
    }
    let by = if job.id == id { By::This } else { By::Earlier };
    Ok(Accepted { job, by })
}

/// A repeat publishes again what nobody has started yet: the process that made the job may have died before its publish.
/// One that is not queued is scheduled or left to the relay, which publishes it at its time.
fn belongs_on_the_road(job: &Job) -> bool {
    job.state == State::Pending && job.attempt == 0 && job.queued_at.is_some()
}

fn waits_for_its_time(job: &Job) -> bool {
    job.state == State::Pending && job.attempt == 0 && job.due_at.is_some()
}

fn reused() -> Refusal {
    let message = "came before with another body; use a new key for another request";
    Refusal::of_field(Fault::KeyReused, super::idempotency::HEADER, message)
}

/// A second try finds the row of the first if that was committed and only its reply was lost.
async fn insert(api: &Api, job: NewJob) -> Answer<Submitted> {
    let twice = async {
        match api.submits.ask(job.clone()).await {
            Err(LedgerError::Unavailable(error)) => {
                let (kind, correlation_id) = (&job.kind, job.correlation_id.as_deref());
                tracing::warn!(job.id = %job.id, job.kind = kind, attempt = 0, correlation_id, error, "the insert has no answer; trying once more");
                api.submits.ask(job).await
            }
            answer => answer,
        }
    };
    Ok(api.ask(twice).await?)
}

async fn publish(api: &Api, job: &Job) -> Result<(), BrokerError> {
    // Its acceptance goes first, and both are on their way before either is confirmed.
    tokio::try_join!(announce(api, job), put(api, job)).map(drop)
}

async fn announce(api: &Api, job: &Job) -> Result<(), BrokerError> {
    is_there(api)?;
    within(api.settings.publish_timeout, api.broker.announce(&topic::announcement(&job.accepted()))).await
}

/// It goes on the road later, so its acceptance is announced alone.
async fn announce_or_owe(api: &Api, job: &Job) {
    if announce(api, job).await.is_ok() {
        return;
    }
    if let Err(error) = api.ask(api.ledger.mark_unannounced(&[(job.id, job.version)])).await {
        let (attempt, correlation_id) = named(job);
        tracing::warn!(job.id = %job.id, job.kind = job.kind, attempt, correlation_id, %error, "announced only when it is published");
    }
}

fn is_there(api: &Api) -> Result<(), BrokerError> {
    let health = api.broker.health();
    if !health.connected || health.blocked {
        // Waiting for a broker that is known to be away would hold up every caller for nothing.
        return Err(BrokerError::Unavailable("not connected, or it takes no messages".into()));
    }
    Ok(())
}

async fn put(api: &Api, job: &Job) -> Result<(), BrokerError> {
    is_there(api)?;
    let mut message = road::message(&job.into());
    let span = traces::publish(&mut message);
    let put = publish_or_declare(api, &message).await;
    span.published(&put);
    put
}

async fn publish_or_declare(api: &Api, message: &JobMessage) -> Result<(), BrokerError> {
    match within(api.settings.publish_timeout, api.broker.publish(message)).await {
        Err(BrokerError::Unroutable(_)) => {
            within(api.settings.publish_timeout, api.broker.declare(&message.kind)).await?;
            within(api.settings.publish_timeout, api.broker.publish(message)).await
        }
        answer => answer,
    }
}

async fn within(limit: Duration, step: impl Future<Output = Result<(), BrokerError>>) -> Result<(), BrokerError> {
    let late = || BrokerError::Unavailable(format!("no confirm in {limit:?}"));
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(late()))
}

async fn hand_to_relay(api: &Api, job: &Job) {
    if let Err(error) = api.ask(api.ledger.unqueue(job.id, job.version)).await {
        let (attempt, correlation_id) = named(job);
        tracing::warn!(job.id = %job.id, job.kind = job.kind, attempt, correlation_id, %error, "not handed to the relay either; the reconciler will find it");
    }
}

/// What every line about a job says beside its id and kind.
pub(super) fn named(job: &Job) -> (u32, Option<&str>) {
    (job.attempt, job.correlation_id.as_deref())
}
