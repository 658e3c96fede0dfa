//! How an attempt ends, case by case, through the test kit and with a paused clock where time matters.
//! Nothing here sleeps or guesses. Read [`super`] for the rules under test.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::context::MAX_CHECKPOINT_BYTES;
use crate::testkit::{Report, TestRun};
use crate::{CancelReason, Context, Executor, Failure, Fatal, Outcome, Payload, Policy, Result, Seen};

/// What the executor under test does.
#[derive(Serialize, Deserialize, JsonSchema)]
enum Act {
    Answer,
    Fail,
    FailWith(String),
    GiveUp,
    Panic,
    PanicOnAThread,
    HangUntilCanceled,
    IgnoreCancel,
    PanicWhenDropped,
    FailOnceCanceled,
    AnswerOnceCanceled,
    GiveUpOnceCanceled,
    LoseLeaseWhileCleaningUp,
    StopUnasked,
    Yield,
    SaveCheckpointOf(usize),
    Publish(Vec<String>),
    PublishTwiceAtOnce,
    PublishAgainAfterFailure,
    LeaveScratch { then_panic: bool },
}

impl Payload for Act {
    const KIND: &'static str = "test.act";
    type Output = String;
}

/// Sets the flag when the attempt's future is gone, and panics then if told to.
struct Trace {
    gone: Arc<AtomicBool>,
    panics: bool,
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        assert!(!self.panics, "dropped badly");
    }
}

#[derive(Default)]
struct Actor {
    gone: Arc<AtomicBool>,
}

impl Executor for Actor {
    type Payload = Act;

    fn policy(&self) -> Policy {
        Policy { timeout: TIMEOUT, cancel_grace: GRACE, ..Policy::default() }
    }

    async fn run(&self, act: Act, context: &Context) -> Result<String> {
        let _trace = Trace { gone: self.gone.clone(), panics: matches!(act, Act::PanicWhenDropped) };
        context.progress("started");
        match act {
            Act::Answer => {}
            Act::Fail => drop("x".parse::<u32>()?),
            Act::FailWith(code) => return Err(Failure::retry(&code, "of its own")),
            Act::GiveUp => return Err(Fatal::new("hopeless", "no use").at("/n").into()),
            Act::Panic => panic!("boom"),
            Act::PanicOnAThread => context.blocking(|| panic!("boom {}", 2)).await?,
            Act::IgnoreCancel | Act::PanicWhenDropped => pending().await,
            Act::StopUnasked => return Err(Failure::Canceled),
            Act::Yield => return Err(Failure::Yielded),
            Act::SaveCheckpointOf(bytes) => context.save_checkpoint(&"x".repeat(bytes - 2)).await?,
            Act::Publish(names) => publish(&names, context).await?,
            Act::PublishTwiceAtOnce => publish_twice_at_once(context).await?,
            Act::PublishAgainAfterFailure => publish_again_after_failure(context).await?,
            Act::LeaveScratch { then_panic } => leave_scratch(then_panic, context)?,
            once_canceled => return clean_up(&once_canceled, context).await,
        }
        Ok(context.checkpoint().unwrap_or_else(|| "from the start".into()))
    }
}

async fn clean_up(act: &Act, context: &Context) -> Result<String> {
    context.canceled().await;
    match act {
        Act::FailOnceCanceled => Err(Failure::retry("child_died", "killed")),
        Act::GiveUpOnceCanceled => Err(Fatal::new("hopeless", "no use").into()),
        Act::AnswerOnceCanceled => Ok("done all the same".into()),
        Act::LoseLeaseWhileCleaningUp => {
            context.cancellation().cancel(CancelReason::LeaseLost);
            Ok("too late".into())
        }
        _ => Err(Failure::Canceled),
    }
}

async fn publish(names: &[String], context: &Context) -> Result<()> {
    for name in names {
        context.publish_bytes(name, "text/plain", b"x").await?;
    }
    Ok(())
}

async fn publish_twice_at_once(context: &Context) -> Result<()> {
    let once = || context.publish_bytes("a", "text/plain", b"x");
    let (first, second) = tokio::join!(once(), once());
    first.and(second).map(drop)
}

async fn publish_again_after_failure(context: &Context) -> Result<()> {
    assert!(context.publish("a", "text/plain", Path::new("/nowhere/at/all")).await.is_err());
    context.publish_bytes("a", "text/plain", b"x").await.map(drop)
}

fn leave_scratch(then_panic: bool, context: &Context) -> Result<()> {
    std::fs::write(context.scratch()?.join("left"), "x")?;
    assert_eq!(context.scratch()?, context.scratch()?);
    assert!(!then_panic, "with scratch left");
    Ok(())
}

const TIMEOUT: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(5);

fn run_of(act: &Act) -> TestRun {
    TestRun::of(Actor::default()).payload(act)
}

async fn report_of(act: Act) -> Report {
    run_of(&act).run().await
}

async fn stopped(act: Act, reason: CancelReason) -> Outcome {
    run_of(&act).stop_when(reason, |_| true).run().await.outcome
}

/// The outcome, and how long it took by the paused clock.
async fn timed(run: TestRun) -> (Report, Duration) {
    let start = Instant::now();
    (run.run().await, start.elapsed())
}

#[tokio::test]
async fn an_answer_is_done() {
    assert_eq!(report_of(Act::Answer).await.output::<String>(), "from the start");
}

#[tokio::test]
async fn an_error_means_try_again() {
    let report = report_of(Act::Fail).await;
    assert_eq!(report.expect_retry("error").message, "invalid digit found in string");
}

#[tokio::test]
async fn giving_up_is_fatal_and_names_the_field() {
    assert_eq!(report_of(Act::GiveUp).await.expect_fatal("hopeless").field.as_deref(), Some("/n"));
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_on_a_thread_as_well() {
    let text = report_of(Act::Panic).await.expect_retry("panic").message.clone();
    assert_eq!(text, "the executor panicked: boom");
    let text = report_of(Act::PanicOnAThread).await.expect_retry("panic").message.clone();
    assert_eq!(text, "the executor panicked: boom 2");
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_obeys_its_deadline_ends_with_it() {
    let (report, took) = timed(run_of(&Act::HangUntilCanceled)).await;
    report.expect_retry("timeout");
    assert!(took >= TIMEOUT && took < TIMEOUT + GRACE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_ignores_its_deadline_is_dropped_after_its_grace() {
    let actor = Actor::default();
    let gone = actor.gone.clone();
    let (report, took) = timed(TestRun::of(actor).payload(&Act::IgnoreCancel)).await;
    report.expect_retry("timeout");
    assert!(took >= TIMEOUT + GRACE && took < TIMEOUT + GRACE + Duration::from_millis(100), "{took:?}");
    assert!(gone.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_ignores_its_cancellation_is_dropped_after_its_grace() {
    let (report, took) = timed(run_of(&Act::IgnoreCancel).cancel_when(|_| true)).await;
    assert!(matches!(report.outcome, Outcome::Canceled), "{:?}", report.outcome);
    assert!(took >= GRACE && took < GRACE + Duration::from_millis(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_being_dropped_stops_at_the_fence() {
    report_of(Act::PanicWhenDropped).await.expect_retry("panic");
}

#[tokio::test]
async fn a_cancellation_that_is_obeyed_ends_as_canceled() {
    assert!(matches!(stopped(Act::HangUntilCanceled, CancelReason::Requested).await, Outcome::Canceled));
    let before_it_looked = run_of(&Act::HangUntilCanceled).canceled().run().await;
    assert!(matches!(before_it_looked.outcome, Outcome::Canceled));
}

#[tokio::test]
async fn an_error_that_the_cancellation_caused_is_no_failure() {
    assert!(matches!(stopped(Act::FailOnceCanceled, CancelReason::Requested).await, Outcome::Canceled));
}

#[tokio::test]
async fn work_that_is_done_or_hopeless_is_so_though_canceled() {
    assert!(matches!(stopped(Act::AnswerOnceCanceled, CancelReason::Requested).await, Outcome::Done { .. }));
    assert!(matches!(stopped(Act::GiveUpOnceCanceled, CancelReason::Requested).await, Outcome::Fatal(_)));
}

#[tokio::test]
async fn a_lost_lease_counts_whatever_the_executor_answers() {
    let acts = [Act::AnswerOnceCanceled, Act::FailOnceCanceled, Act::GiveUpOnceCanceled, Act::Panic, Act::Yield];
    for act in acts {
        let outcome = stopped(act, CancelReason::LeaseLost).await;
        assert!(matches!(outcome, Outcome::LeaseLost), "{outcome:?}");
    }
    let later = stopped(Act::LoseLeaseWhileCleaningUp, CancelReason::Requested).await;
    assert!(matches!(later, Outcome::LeaseLost), "{later:?}");
}

#[tokio::test]
async fn what_a_drain_takes_away_did_not_yield() {
    for act in [Act::HangUntilCanceled, Act::FailOnceCanceled] {
        let outcome = stopped(act, CancelReason::Drained).await;
        assert!(matches!(outcome, Outcome::Drained), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_error_that_calls_itself_a_timeout_or_a_panic_is_the_executors_own_word() {
    for code in ["timeout", "panic"] {
        let outcome = report_of(Act::FailWith(code.into())).await.outcome;
        assert!(matches!(&outcome, Outcome::Retry { seen: Seen::Failing, .. }), "{outcome:?}");
    }
    let panicked = report_of(Act::Panic).await.outcome;
    assert!(matches!(panicked, Outcome::Retry { seen: Seen::Panicking, .. }), "{panicked:?}");
    let late = stopped(Act::HangUntilCanceled, CancelReason::Timeout).await;
    assert!(matches!(late, Outcome::Retry { seen: Seen::TimingOut, .. }), "{late:?}");
}

#[tokio::test]
async fn only_a_drain_makes_yielding_free() {
    let drained = run_of(&Act::Yield).draining().run().await;
    assert!(matches!(drained.outcome, Outcome::Yielded), "{:?}", drained.outcome);
    report_of(Act::Yield).await.expect_retry("yielded_unasked");
    assert!(matches!(stopped(Act::Yield, CancelReason::Requested).await, Outcome::Canceled));
}

#[tokio::test]
async fn stopping_though_nobody_asked_is_a_failed_attempt() {
    report_of(Act::StopUnasked).await.expect_retry("stopped_unasked");
}

#[tokio::test]
async fn a_payload_that_does_not_fit_is_fatal_at_once() {
    let report = TestRun::of(Actor::default()).payload_json(r#"{"Sing":1}"#).run().await;
    let error = report.expect_fatal("invalid_payload");
    assert!(error.message.contains("Sing"), "{error}");
    assert_eq!((error.field.as_deref(), report.progress.len()), (Some("/payload"), 0));
}

#[tokio::test]
async fn a_checkpoint_is_resumed_and_one_of_another_form_starts_over() {
    let from = async |run: TestRun| run.run().await.output::<String>();
    assert_eq!(from(run_of(&Act::Answer).checkpoint(&"line 7")).await, "line 7");
    assert_eq!(from(run_of(&Act::Answer).checkpoint(&7)).await, "from the start");
}

#[tokio::test]
async fn a_checkpoint_may_be_as_large_as_its_limit_and_no_larger() {
    report_of(Act::SaveCheckpointOf(MAX_CHECKPOINT_BYTES)).await.expect_done();
    let report = report_of(Act::SaveCheckpointOf(MAX_CHECKPOINT_BYTES + 1)).await;
    report.expect_fatal("checkpoint_too_large");
    assert!(report.checkpoints.is_empty());
}

#[tokio::test]
async fn an_artifacts_name_must_be_plain_and_its_own() {
    let publish = |names: [&str; 2]| report_of(Act::Publish(names.map(String::from).to_vec()));
    publish(["a", "b"]).await.expect_done();
    assert!(publish(["a", "../b"]).await.expect_fatal("artifact_name").message.contains("../b"));
    publish(["a", "a"]).await.expect_fatal("artifact_name");
    let report = report_of(Act::PublishTwiceAtOnce).await;
    report.expect_fatal("artifact_name");
    assert_eq!(report.artifacts.len(), 1);
}

#[tokio::test]
async fn a_name_whose_staging_failed_is_free_again() {
    report_of(Act::PublishAgainAfterFailure).await.expect_done();
}

#[tokio::test]
async fn scratch_is_gone_with_the_attempt_however_it_ended() {
    for then_panic in [false, true] {
        let report = report_of(Act::LeaveScratch { then_panic }).await;
        assert!(report.scratch_left.is_empty(), "{:?}", report.scratch_left);
        assert_eq!(matches!(report.outcome, Outcome::Done { .. }), !then_panic);
    }
}
