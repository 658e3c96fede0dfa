//! The loop at the centre of Longshore: one delivery from the broker's hand to its ack. It holds the order that nothing may
//! break: record before announce, announce before ack. How many run at once is [`super::slots`]', what an end means is
//! [`crate::job::verdict`]'s.

mod papers;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use longshore_sdk::{CancelReason, Cancellation, Context, JobId, Outcome, Seen, Trace, attempt};
use tracing::{Instrument, Span};

use self::papers::{info, new_job, without_what_it_cannot_store};
use super::host::AttemptHost;
use super::message::{self, Message};
use super::registry::backoff;
use super::shift::Shift;
use super::slots::Seat;
use super::watermark::Owed;
use crate::broker::{BrokerError, Delivery};
use crate::job::verdict::{Account, Ending, Verdict, decide};
use crate::ledger::{Claim, Claimed, Ended, Event, Granted, LedgerError, Record, Recorded, Settle, Submitted};
use crate::metrics;
use crate::metrics::events::AttemptEnd;
use crate::notify::topic;
use crate::traces::{self, Open};

/// Why a delivery goes back to its queue.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the worker's lease is over")]
    LeaseLost,
    #[error("the worker drains")]
    Draining,
}

impl Trouble {
    const fn word(&self) -> &'static str {
        match self {
            Self::Ledger(_) => "ledger",
            Self::Broker(_) => "broker",
            Self::LeaseLost => "lease_lost",
            Self::Draining => "draining",
        }
    }
}

/// An attempt's end, ready to be recorded.
struct Close {
    record: Record,
    owed: Owed,
}

impl Shift {
    /// One delivery, to its ack or back to its queue.
    pub(super) async fn deliver(&self, delivery: Delivery, seat: Seat) {
        let attempt = OnceLock::new();
        match self.work_on(&delivery, seat, &attempt).await {
            Ok(()) => delivery.ack(), // last
            Err(trouble) => {
                // Read again, for this is rare and every line about a job says which.
                let job = message::read(&delivery).ok().map(|message| tracing::field::display(message.job));
                let (kind, correlation_id) = (&delivery.kind, &delivery.correlation_id);
                let trace_id = delivery.trace.as_ref().map(Trace::trace_id);
                let attempt = attempt.get(); // nobody knows that of a job whose claim had no answer
                tracing::warn!(job.id = job, job.kind = kind, attempt, correlation_id, trace_id, %trouble, "a delivery goes back to its queue");
                self.pause(TROUBLE_PAUSE).await;
                drop(delivery); // a dropped delivery returns
            }
        }
    }

    /// From top to bottom. Any `?` gives the delivery back; it comes again, and its claim finds how far we came.
    /// `attempt` is filled in once there is one.
    async fn work_on(&self, delivery: &Delivery, seat: Seat, attempt: &OnceLock<u32>) -> Result<(), Trouble> {
        let message = match message::read(delivery) {
            Ok(message) => message,
            Err(reason) => return Ok(self.broker.bury(delivery, &reason).await?),
        };
        let job = match self.claim(message, delivery, &seat).await? {
            Claimed::Run(job) => job,
            Claimed::Suspect => return self.work_alone(delivery, seat, attempt).await,
            other => return self.pass(delivery, other).await,
        };
        attempt.get_or_init(|| job.fence.attempt);
        let traced = traces::attempt(&job, delivery.trace.as_ref());
        let here = traced.here().or_else(|| job.trace.clone());
        let lines = lines(here.as_ref());
        self.see_through(&job, here, seat, traced).instrument(lines).await
    }

    /// An attempt from its start to the announcement of its end.
    async fn see_through(&self, job: &Granted, here: Option<Trace>, seat: Seat, traced: Open) -> Result<(), Trouble> {
        // That it started is announced beside the attempt, which waits for no broker; and before its end is.
        let (told, recorded) = tokio::join!(self.say(job.started()), async {
            let recorded = self.run_and_record(job, here, seat).await;
            close_span(traced, &recorded);
            recorded
        });
        let Some((event, owed)) = recorded? else { return Ok(()) }; // fenced off: another attempt has the job
        told?; // its end comes after it
        self.forget_kept(job, &event).await;
        self.announce([event], owed).await
    }

    async fn run_and_record(
        &self,
        job: &Granted,
        here: Option<Trace>,
        seat: Seat,
    ) -> Result<Option<(Event, Owed)>, Trouble> {
        let cancellation = Cancellation::draining_with(self.draining.clone());
        // Kept until its end is recorded: the heartbeat hands back what has no place here.
        let place = self.running.enter(job.fence, job.started(), cancellation.clone());
        let outcome = self.run(job, here, cancellation).await?; // never panics, never outlives the lease
        drop(seat);
        place.fall_silent();
        let close = self.close(job, outcome); // pure decision: complete, retry, dead-letter, cancel, hand back
        let recorded = self.record(job, close).await;
        if recorded.is_err() {
            self.lost_reply.store(true, Ordering::Release); // else it would run on in the ledger for as long as we live
        }
        recorded
    }

    /// What the attempts of a settled job had put aside for each other. A failure here leaves files and harms nobody.
    async fn forget_kept(&self, job: &Granted, event: &Event) {
        if !event.state.is_terminal() || !(job.checkpoint.is_some() || self.shared.storage.keeps_for(event.job)) {
            return;
        }
        if let Err(error) = self.shared.storage.forget_kept(event.job).await {
            let (id, attempt, correlation_id) = named(job);
            tracing::warn!(job.id = %id, job.kind = job.kind, attempt, correlation_id, %error, "what was kept stays behind");
        }
    }

    /// A job that has been lost with its workers runs while nothing else does, so that a poison job convicts itself.
    async fn work_alone(&self, delivery: &Delivery, seat: Seat, attempt: &OnceLock<u32>) -> Result<(), Trouble> {
        drop(seat);
        tokio::select! {
            biased;
            () = self.draining.cancelled() => Err(Trouble::Draining),
            alone = self.slots.take_all() => Box::pin(self.work_on(delivery, alone, attempt)).await,
        }
    }

    /// A delivery whose job is not ours to run.
    async fn pass(&self, delivery: &Delivery, claimed: Claimed) -> Result<(), Trouble> {
        match claimed {
            Claimed::Settled(history) => self.announce(history, self.watermark.owe()).await,
            Claimed::Unknown => Ok(self.broker.bury(delivery, "the ledger has no such job").await?),
            Claimed::NoLease => Err(Trouble::LeaseLost),
            Claimed::Busy | Claimed::NotDue | Claimed::Suspect | Claimed::Run(_) => Ok(()),
        }
    }

    async fn claim(&self, message: Message, delivery: &Delivery, seat: &Seat) -> Result<Claimed, Trouble> {
        let Message { job, tenant, foreign } = message;
        let claim = Claim { job, alone: seat.alone };
        let claimed = self.ask_to_claim(claim).await?;
        let (Claimed::Unknown, Some(payload)) = (&claimed, foreign) else { return Ok(claimed) };
        let Some(entry) = self.registry.get(&delivery.kind) else { return Ok(claimed) };
        let made = self.ledger.adopt(&new_job(claim, delivery, tenant, payload, entry)).await?;
        // It was here, and all that it had to say was said.
        let Some(made) = made else { return Ok(Claimed::Settled(vec![])) };
        // Whoever puts a job on its way announces it first, and this one came without us. A mark that stays costs a repeat by the relay.
        if let Submitted::Created(job) = &made
            && self.say(job.accepted()).await?
        {
            self.ledger.mark_announced(&[(job.id, job.version)]).await?;
        }
        self.ask_to_claim(claim).await
    }

    async fn ask_to_claim(&self, claim: Claim) -> Result<Claimed, Trouble> {
        let answer = self.rounds.claim(claim).await;
        if answer.is_err() {
            // It may have been committed all the same: the heartbeat looks.
            self.lost_reply.store(true, Ordering::Release);
        }
        Ok(answer?)
    }

    /// `here` is where what the executor asks of others has its place in a trace.
    async fn run(&self, job: &Granted, here: Option<Trace>, cancellation: Cancellation) -> Result<Outcome, Trouble> {
        let Some(entry) = self.registry.get(&job.kind) else { return Ok(Outcome::Yielded) };
        // Looked at after entering the table: a lapse before it would not have found us.
        if self.lapsed.is_cancelled() {
            cancellation.cancel(CancelReason::LeaseLost);
        }
        let host = Arc::new(AttemptHost::new(Arc::clone(&self.shared), job.fence, job.tenant.clone()));
        let context = Context::new(info(job, here, entry), host, cancellation);
        metrics::ours().attempt_started(&job.kind, job.waited);
        let started = Instant::now();
        let outcome = attempt::run(entry.executor.as_ref(), &job.payload, &context).await;
        metrics::ours().executor_ran(&job.kind, started.elapsed());
        match outcome {
            Outcome::LeaseLost => Err(Trouble::LeaseLost),
            outcome => Ok(outcome),
        }
    }

    fn close(&self, job: &Granted, outcome: Outcome) -> Close {
        let account = Account { charged: job.charged, max_attempts: job.max_attempts };
        let backoff = self.registry.get(&job.kind).map(|entry| backoff(&entry.policy)).unwrap_or_default();
        let verdict = decide(ending(&outcome), account, &backoff, (self.luck)());
        let record = Record { fence: job.fence, ended: ended(&outcome), settle: settle(verdict, outcome) };
        Close { record, owed: self.watermark.owe() }
    }

    /// Records, again and again while the lease lives. `None`: the lease was lost and the outcome is dropped.
    async fn record(&self, job: &Granted, close: Close) -> Result<Option<(Event, Owed)>, Trouble> {
        let Close { mut record, owed } = close;
        let mut replaced = false;
        loop {
            match self.rounds.record(record.clone()).await {
                Ok(Recorded::Done(event) | Recorded::Before(event)) => {
                    metrics::ours().attempt_ended(&end(job, record.ended, &event));
                    tell(job, record.ended, &event);
                    return Ok(Some((event, owed)));
                }
                Ok(Recorded::Fenced) => {
                    let (id, attempt, correlation_id) = named(job);
                    tracing::warn!(job.id = %id, job.kind = job.kind, attempt, correlation_id, "fenced off: its outcome is dropped");
                    metrics::ours().fenced();
                    owed.announced(&self.watermark);
                    return Ok(None);
                }
                Err(LedgerError::Unstorable(error)) if !replaced => {
                    (record, replaced) = (without_what_it_cannot_store(record, &error), true);
                }
                Err(error @ LedgerError::Unstorable(_)) => return Err(error.into()), // our own words: nothing is left to try
                // A right that is missing says nothing of the output: it waits until somebody has seen to the ledger.
                Err(error) => self.wait_for_ledger(&job.started(), &error).await?,
            }
        }
    }

    async fn wait_for_ledger(&self, event: &Event, error: &LedgerError) -> Result<(), Trouble> {
        let Event { job, kind, attempt, correlation_id, .. } = event;
        tracing::warn!(job.id = %job, job.kind = kind, attempt, correlation_id, %error, "the ledger did not take it; trying again while the lease lives");
        let lapsed = tokio::time::timeout(RETRY_PAUSE, self.lapsed.cancelled()).await.is_ok();
        if lapsed { Err(Trouble::LeaseLost) } else { Ok(()) }
    }

    async fn announce(&self, events: impl IntoIterator<Item = Event>, owed: Owed) -> Result<(), Trouble> {
        for event in events {
            self.say(event).await?;
        }
        owed.announced(&self.watermark);
        self.hints.notify_one(); // a retry may be due before the relay looks next
        Ok(())
    }

    /// Tells the world, and if the broker does not take it, leaves it to the relay: then the delivery may be acked too. Says whether
    /// nothing is owed.
    async fn say(&self, event: Event) -> Result<bool, Trouble> {
        if !topic::is_announced(&event) {
            return Ok(true);
        }
        let Err(error) = self.broker.announce(&topic::announcement(&event)).await else { return Ok(true) };
        let Event { job, kind, attempt, correlation_id, .. } = &event;
        tracing::warn!(job.id = %job, job.kind = kind, attempt, correlation_id, %error, "announcing failed; leaving it to the relay");
        loop {
            let marked = self.ledger.mark_unannounced(&[(event.job, event.version)]).await;
            // Given up, it would be a hole in what is told: the delivery comes again, and a job that waits or runs is not told of then.
            let Err(error) = marked else { return Ok(false) };
            self.wait_for_ledger(&event, &error).await?;
        }
    }
}

/// A delivery that met trouble is held so long before it goes back, so that an ill ledger is not asked in a circle.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// Between two tries to record.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Around every line about an attempt that somebody traces, here or elsewhere.
fn lines(here: Option<&Trace>) -> Span {
    here.map_or_else(Span::none, |here| tracing::info_span!("delivery", trace_id = here.trace_id()))
}

fn close_span(traced: Open, recorded: &Result<Option<(Event, Owed)>, Trouble>) {
    match recorded {
        Ok(Some((event, _))) => traced.settled(event),
        Ok(None) => traced.failed("fenced"),
        Err(trouble) => traced.failed(trouble.word()),
    }
}

/// What every line about an attempt says.
fn named(job: &Granted) -> (JobId, u32, Option<&str>) {
    (job.fence.job, job.fence.attempt, job.correlation_id.as_deref())
}

/// A job that goes as it should costs no line, unless somebody looks closely: there are tens of thousands a second.
fn tell(job: &Granted, ended: Ended, event: &Event) {
    let (id, attempt, correlation_id) = named(job);
    let (kind, outcome, state) = (&job.kind, ended.word(), event.state.word());
    match &event.error {
        Some(error) => {
            tracing::info!(job.id = %id, job.kind = kind, attempt, correlation_id, outcome, state, error.code = error.code, error = error.message, "an attempt ended");
        }
        None => {
            tracing::debug!(job.id = %id, job.kind = kind, attempt, correlation_id, outcome, state, "an attempt ended")
        }
    }
}

fn end<'a>(job: &'a Granted, ended: Ended, event: &Event) -> AttemptEnd<'a> {
    // Both moments are of the ledger's clock, which may have stepped back.
    let age = Duration::try_from(event.at.duration_since(job.created_at)).unwrap_or_default();
    AttemptEnd { kind: &job.kind, ended, state: event.state, age }
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Done { .. } => Ending::Done,
        Outcome::Retry { after, .. } => Ending::Failed { after: *after },
        Outcome::Fatal(_) => Ending::Fatal,
        Outcome::Canceled => Ending::Canceled,
        Outcome::Postponed(wait) => Ending::Postponed(*wait),
        Outcome::Yielded | Outcome::Drained | Outcome::LeaseLost => Ending::Yielded,
    }
}

fn ended(outcome: &Outcome) -> Ended {
    match outcome {
        Outcome::Done { .. } => Ended::Done,
        Outcome::Retry { seen: Seen::TimingOut, .. } => Ended::Timeout,
        Outcome::Retry { seen: Seen::Panicking, .. } => Ended::Panic,
        Outcome::Retry { seen: Seen::Failing, .. } => Ended::Error,
        Outcome::Fatal(_) => Ended::Fatal,
        Outcome::Canceled => Ended::Canceled,
        Outcome::Drained => Ended::Drained,
        Outcome::Yielded | Outcome::Postponed(_) | Outcome::LeaseLost => Ended::Yielded,
    }
}

/// The verdict with what it carries.
fn settle(verdict: Verdict, outcome: Outcome) -> Settle {
    match (verdict, outcome) {
        (Verdict::Complete, Outcome::Done { result, artifacts }) => Settle::Complete { result, artifacts },
        (Verdict::RetryIn(wait), Outcome::Retry { error, .. }) => Settle::Retry { wait, error },
        (Verdict::DeadLetter, Outcome::Retry { error, .. } | Outcome::Fatal(error)) => Settle::DeadLetter { error },
        (Verdict::Cancel, _) => Settle::Cancel,
        (Verdict::HandBack(wait), _) => Settle::HandBack { wait },
        (verdict, outcome) => unreachable!("{verdict:?} does not follow from {outcome:?}"),
    }
}

#[cfg(test)]
mod tests {
    use longshore_sdk::Failure;

    use super::*;

    #[test]
    fn an_executor_cannot_call_its_error_a_timeout_or_a_panic_of_ours() {
        for code in ["timeout", "panic"] {
            assert_eq!(ended(&Failure::retry(code, "of its own").into()), Ended::Error, "{code}");
        }
    }
}
