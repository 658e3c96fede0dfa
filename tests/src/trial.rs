//! An executor made to misbehave, so that stories can be told about failures, panics, crashes and stubbornness. It does as its
//! payload says, and writes a line to a file at each start and end, so that a story can count what really ran.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use longshore_sdk::prelude::*;
use longshore_sdk::{Backoff, CancelReason};

/// What to do, in this order. A number of attempts counts from the first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trial {
    /// Where to write a line at each start and end.
    pub log: Option<PathBuf>,
    /// Each attempt says once that it waits, and does until its number is a line of this file.
    pub gate: Option<PathBuf>,
    /// So many attempts end the whole process, as a bad C library would.
    pub abort_attempts: u32,
    /// So many attempts panic.
    pub panic_attempts: u32,
    /// So many attempts fail.
    pub fail_attempts: u32,
    /// How long a failed attempt wants the next to wait, in milliseconds; 0: as the policy has it.
    #[schemars(range(max = 600_000))]
    pub rest_ms: u64,
    /// Gives the job up.
    pub fatal: bool,
    /// Never ends, on a thread of its own, whatever it is told.
    pub hangs: bool,
    /// How long to work, in milliseconds.
    #[schemars(range(max = 600_000))]
    pub work_ms: u64,
    /// Ends the whole process when the work is done, of every attempt.
    pub aborts_at_last: bool,
    /// Work on though cancelled.
    pub stubborn: bool,
    /// Hand the job back when the worker drains.
    pub yields: bool,
}

/// What a trial answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// The attempt that completed.
    pub attempt: u32,
    /// The `traceparent` that it would have sent on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Payload for Trial {
    const KIND: &'static str = "trial.work";
    type Output = Tried;
}

/// Runs trials, with short waits.
pub struct TrialExecutor;

impl Executor for TrialExecutor {
    type Payload = Trial;

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(60),
            max_attempts: 3,
            backoff: Backoff { initial: Duration::from_millis(100), factor: 2.0, max: Duration::from_millis(400) },
            cancel_grace: Duration::from_millis(500),
            ..Policy::default()
        }
    }

    async fn run(&self, trial: Trial, context: &Context) -> Result<Tried> {
        trial.note("start", context)?;
        let attempt = context.attempt();
        trial.wait_at_the_gate(context).await?;
        trial.misbehave(attempt)?;
        trial.hang(context).await?;
        trial.work(context).await?;
        if trial.aborts_at_last {
            std::process::abort();
        }
        trial.note("end", context)?;
        context.publish_bytes("trial.txt", "text/plain", format!("attempt {attempt}").as_bytes()).await?;
        Ok(Tried { attempt, traceparent: context.traceparent().map(str::to_owned) })
    }
}

impl Trial {
    fn note(&self, what: &str, context: &Context) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        // One write of one short line: whole also when several processes append.
        file.write_all(format!("{what} {} {}\n", context.job_id(), context.attempt()).as_bytes())?;
        Ok(())
    }

    async fn wait_at_the_gate(&self, context: &Context) -> Result<()> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let number = context.attempt().to_string();
        context.progress(Progress::of(0, 1, format!("attempt {number} is at the gate")));
        while !std::fs::read_to_string(gate).is_ok_and(|open| open.lines().any(|line| line == number)) {
            tokio::select! {
                () = context.canceled() => return Err(Failure::Canceled),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        Ok(())
    }

    fn misbehave(&self, attempt: u32) -> Result<()> {
        if attempt <= self.abort_attempts {
            std::process::abort();
        }
        assert!(attempt > self.panic_attempts, "this trial panics as it was told");
        if self.fatal {
            return Err(Fatal::new("told_to_give_up", "this trial gives up as it was told").at("/fatal").into());
        }
        if attempt <= self.fail_attempts {
            let (code, message) = ("told_to_fail", "this trial fails as it was told");
            return Err(match self.rest_ms {
                0 => Failure::retry(code, message),
                rest => Failure::retry_after(Duration::from_millis(rest), code, message),
            });
        }
        Ok(())
    }

    async fn hang(&self, context: &Context) -> Result<()> {
        if !self.hangs {
            return Ok(());
        }
        context.progress(0.5);
        context
            .blocking(|| {
                loop {
                    std::thread::sleep(Duration::from_millis(20))
                }
            })
            .await
    }

    async fn work(&self, context: &Context) -> Result<()> {
        let step = Duration::from_millis(20);
        let steps = self.work_ms.div_ceil(20);
        for done in 0..steps {
            context.progress(Progress::of(done, steps, "working"));
            tokio::select! {
                () = context.canceled(), if !self.stubborn && !self.is_drained(context) => return Err(Failure::Canceled),
                () = context.cancellation().yield_requested(), if self.yields => return Err(Failure::Yielded),
                () = tokio::time::sleep(step) => {}
            }
        }
        Ok(())
    }

    fn is_drained(&self, context: &Context) -> bool {
        self.stubborn && context.cancellation().reason() == Some(CancelReason::Drained)
    }
}
