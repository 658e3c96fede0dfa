//! The executor of the simulation: works a while, fails as often as it is told, and leaves one effect behind a fence of its own, as the
//! SDK asks of every executor with effects elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_sdk::prelude::*;
use longshore_sdk::{AnyExecutor, Backoff, JobId, erase};

use super::bug::Bug;
use super::process::Process;
use crate::ledger::Kind;
use crate::worker::registry::Registry;

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Deed {
    pub(super) work_ms: u64,
    /// How many runs fail before one succeeds.
    pub(super) fails: u32,
    /// Whether it gives up at once.
    pub(super) fatal: bool,
    /// Whether it hears neither drain nor cancel.
    pub(super) deaf: bool,
    /// Whether whatever comes of its first attempt is nothing that a ledger can store.
    pub(super) unstorable: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Did {
    pub(super) attempt: u32,
}

impl Payload for Deed {
    const KIND: &'static str = "deed";
    type Output = Did;
}

pub(super) const MAX_ATTEMPTS: u32 = 4;

/// The world outside, as far as executors change it.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) fences: BTreeMap<JobId, u32>,
    /// Who left an effect, by job.
    pub(super) left: BTreeMap<JobId, Vec<u32>>,
    pub(super) failed: BTreeMap<JobId, u32>,
    /// Who began which attempt.
    holders: BTreeMap<(JobId, u32), String>,
    /// Attempts that two processes have begun.
    pub(super) shared: Vec<(JobId, u32)>,
    /// Whoever leaves an effect does not look.
    unfenced: bool,
    /// Attempts that came too late and were refused.
    pub(super) stale: usize,
    /// Jobs of whose first attempt nothing can be stored.
    pub(super) unstorable: BTreeSet<JobId>,
}

impl Effects {
    pub(super) fn of(bug: Option<Bug>) -> Self {
        let unfenced = matches!(bug, Some(Bug::EffectWithoutFence | Bug::EffectBesideTheFence));
        Self { unfenced, ..Self::default() }
    }

    /// The newest attempt takes the fence.
    fn begin(&mut self, job: JobId, attempt: u32, who: &str) -> bool {
        if self.holders.entry((job, attempt)).or_insert_with(|| who.to_owned()) != who {
            self.shared.push((job, attempt));
        }
        let fence = self.fences.entry(job).or_default();
        *fence = (*fence).max(attempt);
        self.holds(job, attempt)
    }

    /// Fence and effect are one transaction.
    fn leave(&mut self, job: JobId, attempt: u32) -> bool {
        let left = self.left.entry(job).or_default();
        if self.unfenced || self.fences.get(&job) == Some(&attempt) && left.is_empty() {
            left.push(attempt);
        }
        self.holds(job, attempt)
    }

    fn fails_once_more(&mut self, job: JobId, times: u32) -> bool {
        let failed = self.failed.entry(job).or_default();
        *failed += 1;
        *failed <= times
    }

    fn holds(&mut self, job: JobId, attempt: u32) -> bool {
        let holds = self.fences.get(&job) == Some(&attempt);
        self.stale += usize::from(!holds);
        holds
    }
}

struct Doer(Arc<Process>);

impl Executor for Doer {
    type Payload = Deed;

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(30),
            max_attempts: MAX_ATTEMPTS,
            backoff: Backoff { initial: Duration::from_millis(500), factor: 2.0, max: Duration::from_secs(4) },
            cancel_grace: Duration::from_millis(500),
            ..Policy::default()
        }
    }

    async fn run(&self, deed: Deed, context: &Context) -> Result<Did> {
        let (job, attempt) = (context.job_id(), context.attempt());
        if deed.unstorable {
            self.0.world.effects.lock().unwrap().unstorable.insert(job);
        }
        self.until_answered("start", |effects| effects.begin(job, attempt, &self.0.name)).await?;
        self.look_at_the_checkpoint(context).await;
        self.work(&deed, context).await?;
        if deed.fatal {
            return Err(Fatal::new("told_so", "this deed gives up as it was told").into());
        }
        if self.0.world.effects.lock().unwrap().fails_once_more(job, deed.fails) {
            return Err(Failure::retry("told_so", "this deed fails as it was told"));
        }
        if self.0.world.bug == Some(Bug::EffectBesideTheFence) {
            self.until_answered("effect", |effects| effects.holds(job, attempt)).await?;
        }
        self.until_answered("effect", |effects| effects.leave(job, attempt)).await?;
        Ok(Did { attempt })
    }
}

impl Doer {
    /// Finds that of an attempt before, if any, and leaves its own. Without one the work begins anew, which is no failure.
    async fn look_at_the_checkpoint(&self, context: &Context) {
        let (job, attempt) = (context.job_id(), context.attempt());
        if let Some(left) = context.checkpoint::<u32>().filter(|left| *left >= attempt) {
            self.0.world.find("a checkpoint of an attempt to come", format!("{job}: {left} in {attempt}"));
        }
        let _ = context.save_checkpoint(&attempt).await;
    }

    async fn work(&self, deed: &Deed, context: &Context) -> Result<()> {
        let work = tokio::time::sleep(Duration::from_millis(deed.work_ms));
        if deed.deaf {
            work.await;
            return Ok(());
        }
        tokio::select! {
            biased;
            () = work => Ok(()),
            () = context.canceled() => context.cancellation().check(),
            () = context.cancellation().yield_requested() => Err(Failure::Yielded),
        }
    }

    /// Asks until somebody answers. A fence that is another's is a failure, which the ledger will refuse as well.
    async fn until_answered(&self, call: &'static str, ask: impl Fn(&mut Effects) -> bool) -> Result<()> {
        loop {
            let done = async { Ok::<_, Failure>(ask(&mut self.0.world.effects.lock().unwrap())) };
            match self.0.call(call, false, done).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Failure::retry("stale", "a newer attempt has the fence")),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

pub(super) fn registry(process: &Arc<Process>) -> Registry {
    Registry::new([erase(Doer(Arc::clone(process)))]).unwrap()
}

/// What the ledger knows of the kind.
pub(super) fn card() -> Kind {
    struct Paper;
    impl Executor for Paper {
        type Payload = Deed;
        async fn run(&self, _: Deed, context: &Context) -> Result<Did> {
            Ok(Did { attempt: context.attempt() })
        }
    }
    let executor: Arc<dyn AnyExecutor> = erase(Paper);
    let policy = Policy { max_attempts: MAX_ATTEMPTS, timeout: Duration::from_secs(30), ..executor.policy() };
    Kind {
        kind: Deed::KIND.into(),
        payload_schema: executor.payload_schema(),
        output_schema: executor.output_schema(),
        policy,
    }
}
