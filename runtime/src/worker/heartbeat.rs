//! Keeps a worker's lease alive, from an OS thread and a ledger connection of its own: executors that block every thread of
//! the runtime must not cost a live lease. When the lease cannot be renewed it says so in time, by this machine's monotonic
//! clock counted from the moment a renewal was *sent*; what follows is [`super::shift`]'s.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longshore_sdk::CancelReason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::running::Running;
use super::slots::Slots;
use super::watermark::Watermark;
use crate::ledger::{Answer, Beat, Fence, Ledger};
#[cfg(test)]
use crate::stop::Stop;
use crate::{clock, metrics};

/// What a heartbeat reports and what it moves.
#[derive(Clone)]
pub(super) struct Pulse {
    /// The worker's present identity.
    pub(super) worker: Uuid,
    /// How long a lease lasts.
    pub(super) lease: Duration,
    /// A ledger over a connection that nothing else uses.
    pub(super) ledger: Arc<dyn Ledger>,
    /// For cancels, and to know which attempts really run.
    pub(super) running: Running,
    /// Carried by every beat.
    pub(super) watermark: Arc<Watermark>,
    /// For the busy slots.
    pub(super) slots: Arc<Slots>,
    /// A claim's reply was lost: the ledger may credit us with attempts that we don't run.
    pub(super) lost_reply: Arc<AtomicBool>,
    /// The worker takes no more.
    pub(super) draining: CancellationToken,
    /// Cancelled by the thread when the lease is over.
    pub(super) lapsed: CancellationToken,
    /// The most memory this process has had in use.
    pub(super) peak_memory: fn() -> Option<u64>,
    /// Cancelled by the shift when it is over.
    pub(super) done: CancellationToken,
}

/// A heartbeat a third of the lease apart: two may be lost before the lease is.
pub(super) fn interval(lease: Duration) -> Duration {
    lease / 3
}

/// Where a heart beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heart {
    /// On an OS thread with a runtime of its own.
    OwnThread,
    /// Among the tasks, where time is simulated and a thread would not be part of the simulation.
    #[cfg(test)]
    Simulated,
}

impl Heart {
    /// How it learns how much memory the process has had in use; simulated processes have none of their own.
    pub(super) fn peak_memory(self) -> fn() -> Option<u64> {
        match self {
            Self::OwnThread => peak_memory,
            #[cfg(test)]
            Self::Simulated => || None,
        }
    }
}

/// The kernel's own account, `VmHWM` of proc(5); none where there is no such file.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<u64>().ok()? * 1024)
}

/// A heart that beats until its pulse is done.
pub(super) enum Beating {
    Thread(std::thread::JoinHandle<()>),
    #[cfg(test)]
    Task(Stop),
}

impl Beating {
    /// Waits for its end. It comes at the next wake-up, which `done` causes.
    pub(super) async fn end(self) {
        match self {
            Self::Thread(heart) => drop(tokio::task::spawn_blocking(move || heart.join()).await),
            #[cfg(test)]
            Self::Task(task) => drop(task.finished(Duration::MAX).await),
        }
    }
}

/// Starts to beat. `enlisted` is when the request that entered the worker was sent.
pub(super) fn start(heart: Heart, pulse: Pulse, enlisted: Instant) -> std::io::Result<Beating> {
    match heart {
        Heart::OwnThread => on_a_thread(pulse, enlisted).map(Beating::Thread),
        #[cfg(test)]
        Heart::Simulated => {
            let task = Stop::new();
            task.spawn("heartbeat", beat_until_done(pulse, enlisted));
            Ok(Beating::Task(task))
        }
    }
}

fn on_a_thread(pulse: Pulse, enlisted: Instant) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(beat_until_done(pulse, enlisted)),
            Err(error) => {
                tracing::error!(%error, "no runtime for the heartbeat");
                pulse.lapsed.cancel();
            }
        }
    })
}

async fn beat_until_done(pulse: Pulse, enlisted: Instant) {
    let mut good_until = enlisted + pulse.lease;
    let mut suspects = HashSet::new();
    while !pulse.done.is_cancelled() {
        let pause = interval(pulse.lease).min(good_until.saturating_duration_since(Instant::now()));
        let _ = tokio::time::timeout(pause, pulse.done.cancelled()).await;
        let sent = Instant::now();
        // Looked at before asking: a process that was stopped for longer than its lease must not revive it.
        if sent >= good_until {
            return pulse.lapse("it could not be renewed in time");
        }
        match tokio::time::timeout(good_until - sent, pulse.beat(&mut suspects)).await {
            Ok(Ok(true)) => {
                metrics::ours().heartbeat(clock::now());
                good_until = sent + pulse.lease;
            }
            Ok(Ok(false)) => return pulse.lapse("the rescuer has taken it"),
            Ok(Err(error)) => tracing::warn!(%error, "a heartbeat failed; trying again"),
            Err(_) => return pulse.lapse("the ledger did not answer in time"),
        }
    }
}

impl Pulse {
    fn lapse(&self, why: &str) {
        tracing::error!(worker = %self.worker, why, "the lease is lost; stopping all attempts");
        metrics::ours().lease_lost();
        self.lapsed.cancel();
        self.running.cancel_all(CancelReason::LeaseLost);
    }

    async fn beat(&self, suspects: &mut HashSet<Fence>) -> Answer<bool> {
        let beat = Beat {
            worker: self.worker,
            busy: self.slots.busy(),
            announced_to: self.watermark.announced_to(),
            draining: self.draining.is_cancelled(),
            peak_memory: (self.peak_memory)(),
        };
        let Some(answer) = self.ledger.beat(&beat, self.lease).await? else { return Ok(false) };
        self.watermark.hear(answer.now);
        for job in answer.cancels {
            self.running.cancel(job, CancelReason::Requested);
        }
        self.hand_back_what_never_started(suspects).await?;
        Ok(true)
    }

    /// The first few by their names: each name is a question to the ledger, and a heartbeat may not be late.
    async fn tell(&self, handed_back: &[Fence]) {
        tracing::warn!(jobs = handed_back.len(), "handed back attempts whose claim was never heard");
        for Fence { job: id, attempt, .. } in handed_back.iter().take(NAMED) {
            let job = self.ledger.job(*id).await.ok().flatten();
            let kind = job.as_ref().map(|job| job.kind.as_str());
            let correlation_id = job.as_ref().and_then(|job| job.correlation_id.as_deref());
            tracing::warn!(job.id = %id, job.kind = kind, attempt, correlation_id, "an attempt was handed back: its claim was never heard");
        }
    }

    /// An attempt that the ledger credits to us and that we don't run, at two beats in a row (at one it may be on its way to its
    /// slot), was claimed in a commit whose reply was lost.
    async fn hand_back_what_never_started(&self, suspects: &mut HashSet<Fence>) -> Answer<()> {
        if suspects.is_empty() && !self.lost_reply.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let credited = self.ledger.credited(self.worker).await?;
        let idle: HashSet<Fence> = credited.into_iter().filter(|fence| !self.running.has(fence)).collect();
        let never_started: Vec<Fence> = idle.intersection(suspects).copied().collect();
        if !never_started.is_empty() {
            self.ledger.hand_back(&never_started).await?;
            self.tell(&never_started).await;
        }
        *suspects = idle.into_iter().filter(|fence| !never_started.contains(fence)).collect();
        Ok(())
    }
}

/// How many attempts that were handed back are named.
const NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_the_most_memory_it_had() {
        let before = peak_memory().unwrap();
        let hoard = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(peak_memory().unwrap() >= before.max(hoard.len() as u64));
    }
}
