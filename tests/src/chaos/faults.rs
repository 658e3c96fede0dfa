//! How the faults of processes are injected, healed, and their recovery measured; those of servers are in `servers.rs`, those of the
//! network in `wires.rs`. It decides nothing: which fault comes when is the plan's. Each says whether its effect was seen, and one that
//! showed nothing is tried again and does not count. A fault that cannot be injected is an error, not a shrug.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use longshore_sdk::JobId;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::chance::Chance;
use super::crew::Seat;
use super::fault::Fault;
use super::pass;
use super::world::World;
use crate::process::Ending;
use crate::until::poll;

/// The longest that anything here may take to come back.
pub(super) const PATIENCE: Duration = Duration::from_secs(150);
/// How long a network fault or an alarm lasts.
pub(super) const FOR_A_WHILE: Duration = Duration::from_secs(4);
/// How often a fault is injected until it shows.
const TRIES: usize = 4;
/// Work that is sure to be unfinished when its worker is frozen, within the executor's timeout.
const LONG_WORK: Duration = Duration::from_secs(8);
/// How long a fault waits for something to strike: for work, for connections, for bytes.
pub(super) const FOR_WORK: Duration = Duration::from_secs(15);
/// From look to look for a worker at work.
const LOOK: Duration = Duration::from_millis(20);
/// A thawed attempt writes at once, or its database is away.
const FOR_REFUSAL: Duration = Duration::from_secs(15);
/// How often a pause is tried until it shows.
const PAUSES: usize = 4;
/// A drain may take its grace period and what follows.
const DRAIN: Duration = Duration::from_secs(60);
/// How soon one API answers while another is gone.
const FOR_ANOTHER: Duration = Duration::from_secs(15);
/// Where a process says that it lives, whatever its servers do.
const ALIVE: &str = "/healthz";
/// The end of what was killed.
const KILLED: Ending = Ending::Signal(Signal::KILL.as_raw());

impl World {
    /// Injects it until it shows, and heals it. What may be measured while the next one comes is measured by a task of its own.
    pub async fn inject(self: &Arc<Self>, fault: Fault, chance: &mut Chance) -> Result<()> {
        for _ in 0..TRIES {
            if fault.takes_away() {
                self.tally.gone(fault);
            }
            let seen = self.harm(fault, chance).await?;
            self.tally.back(fault);
            self.tally.count(fault, seen);
            if seen {
                return Ok(());
            }
        }
        // It was never seen, and the truth will say so.
        Ok(())
    }

    /// Whether its effect was seen.
    async fn harm(self: &Arc<Self>, fault: Fault, chance: &mut Chance) -> Result<bool> {
        match fault {
            Fault::WorkerKill => self.kill_worker(chance).await,
            Fault::WorkerPause => self.pause_worker(chance).await,
            Fault::WorkerRoll => self.roll_worker(chance).await,
            Fault::ApiKill => self.kill_api(chance).await,
            Fault::ApiRoll => self.roll_api(chance).await,
            Fault::BrokerKill => self.kill_broker().await,
            Fault::BrokerWipe => self.wipe_broker().await,
            Fault::LeaderKill => self.kill_leader(chance).await,
            Fault::MemoryAlarm => self.alarm_broker().await,
            Fault::AckTimeout => self.hurry_acks().await,
            Fault::DiskFull => self.fill_disk().await,
            Fault::DatabaseKill => self.kill_database(Duration::ZERO, fault).await,
            Fault::DatabaseOutage => self.kill_database(self.plan.outage, fault).await,
            Fault::DatabaseRestart => self.restart_database().await,
            Fault::Cut => self.cut(chance).await,
            Fault::HalfOpen => self.half_open(chance).await,
            Fault::Silence => self.silence(chance).await,
            Fault::Delay => self.delay(chance).await,
            Fault::Throttle => self.throttle(chance).await,
            Fault::Duplicates => self.repeat_deliveries(chance).await,
        }
    }

    /// The process is gone by our signal; what was lost with it is counted when it has been rescued.
    async fn kill_worker(self: &Arc<Self>, chance: &mut Chance) -> Result<bool> {
        let (mut seat, worker) = self.worker_at_work(chance).await?;
        let killed = Instant::now();
        seat.process().kill_9().await?;
        let gone = seat.process().process().ended() == Some(KILLED);
        if !gone {
            self.crew.note_deserter(&seat);
        }
        self.crew.refill(&mut seat).await?;
        self.watch_rescue(worker, killed, Fault::WorkerKill);
        Ok(gone)
    }

    /// A worker with an attempt in hand. After a while whichever it is: while a server is away none may have one, and a kill is one all
    /// the same. Of all kills the truth asks how many struck an attempt.
    async fn worker_at_work(&self, chance: &mut Chance) -> Result<(OwnedMutexGuard<Seat>, Uuid)> {
        let until = Instant::now() + FOR_WORK;
        let mut place = chance.place(self.plan.workers);
        loop {
            let mut seat = self.crew.worker(place).await;
            let worker = self.crew.working(&mut seat).await?;
            let at_work = self.eye.runs(seat.process().process().pid(), worker).await;
            if Instant::now() > until || at_work.is_ok_and(|runs| runs > 0) {
                return Ok((seat, worker));
            }
            drop(seat);
            place += 1;
            pass(LOOK).await;
        }
    }

    /// A pause that nobody came too late from proves nothing, so it is tried again; who else was struck just then is chance.
    async fn pause_worker(self: &Arc<Self>, chance: &mut Chance) -> Result<bool> {
        for _ in 0..PAUSES {
            let mut seat = self.crew.worker(chance.place(self.plan.workers)).await;
            if self.pause(&mut seat).await? {
                return Ok(true);
            }
        }
        bail!("no attempt of a paused worker came too late, in {PAUSES} pauses")
    }

    /// Frozen in the midst of long work until another has begun the same job, then thawed: it believes that it still has its lease, and
    /// so does its attempt. Whether that came too late with its effect, and was refused.
    async fn pause(self: &Arc<Self>, seat: &mut Seat) -> Result<bool> {
        let (worker, job, attempt) = self.long_work_of(seat).await?;
        let process = seat.process().process();
        let frozen = Instant::now();
        process.sigstop();
        let rescued = self.eye.gone(worker, PATIENCE).await;
        self.tally.recovered(Fault::WorkerPause, frozen);
        let again = self.eye.begun_again(job, attempt, PATIENCE).await;
        process.sigcont();
        rescued.and(again)?;
        Ok(self.eye.refused(job, attempt, FOR_REFUSAL).await.is_ok())
    }

    /// Long work that the worker in the seat has just begun; there is so much of it submitted that each worker gets some.
    async fn long_work_of(&self, seat: &mut Seat) -> Result<(Uuid, JobId, i32)> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Each time anew: an executor may take the process with it.
            self.crew.working(seat).await?;
            for _ in 0..2 * self.plan.workers {
                let key = format!("long-{}", Uuid::now_v7());
                self.submit(&key, &json!({"work_ms": LONG_WORK.as_millis()}), "high").await?;
            }
            match self.eye.long_work_of(seat.process().process().pid(), LONG_WORK, FOR_WORK).await {
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => {}
                // Asked only now: a worker that lost its lease meanwhile goes on under another identity.
                Ok((job, attempt)) => return Ok((seat.working().await?, job, attempt)),
            }
        }
    }

    /// It left by itself when it was asked to.
    async fn roll_worker(&self, chance: &mut Chance) -> Result<bool> {
        let mut seat = self.crew.worker(chance.place(self.plan.workers)).await;
        self.crew.working(&mut seat).await?;
        let asked = Instant::now();
        seat.process().process().signal(Signal::TERM);
        let ending = seat.process().process().wait(DRAIN).await?;
        self.tally.recovered(Fault::WorkerRoll, asked);
        let by_itself = matches!(ending, Ending::Exit(_));
        if !by_itself {
            self.crew.note_deserter(&seat);
        }
        self.crew.refill(&mut seat).await?;
        Ok(by_itself)
    }

    /// The process was gone, nobody answered at its door, and another API did meanwhile.
    async fn kill_api(&self, chance: &mut Chance) -> Result<bool> {
        let number = chance.place(self.plan.apis);
        let mut seat = self.crew.api(number).await;
        seat.answers().await?;
        let killed = Instant::now();
        seat.process().kill_9().await?;
        let gone = seat.process().process().ended() == Some(KILLED);
        let silent = seat.process().http()?.get(ALIVE).await.is_err();
        let another = self.another_answers(number).await;
        self.crew.refill(&mut seat).await?;
        seat.answers().await?;
        self.tally.recovered(Fault::ApiKill, killed);
        Ok(gone && silent && another)
    }

    async fn another_answers(&self, number: usize) -> bool {
        let answers = || async {
            let mut others = (0..self.plan.apis).filter(|other| *other != number);
            let answer = self.crew.door(others.next()?).get(ALIVE).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        };
        poll("another API to answer", FOR_ANOTHER, answers).await.is_ok()
    }

    /// It left by itself when it was asked to, and its successor answers.
    async fn roll_api(&self, chance: &mut Chance) -> Result<bool> {
        let mut seat = self.crew.api(chance.place(self.plan.apis)).await;
        seat.answers().await?;
        let asked = Instant::now();
        seat.process().process().signal(Signal::TERM);
        let ending = seat.process().process().wait(DRAIN).await?;
        self.crew.refill(&mut seat).await?;
        seat.answers().await?;
        self.tally.recovered(Fault::ApiRoll, asked);
        Ok(matches!(ending, Ending::Exit(_)))
    }

    /// The recovery from what has just been healed: until a job that a client submits now is accepted and has begun.
    pub(super) async fn prove_life(&self, fault: Fault) -> Result<()> {
        self.prove_life_in("high", fault).await
    }

    /// The same on the road of this priority.
    pub(super) async fn prove_life_in(&self, priority: &str, fault: Fault) -> Result<()> {
        let healed = Instant::now();
        let job = self.submit(&format!("probe-{}", Uuid::now_v7()), &json!({}), priority).await?;
        let sql = "select count(*) from jobs where id = $1 and started_at is not null";
        let begun = || async { self.eye.count(sql, &[&job.0]).await.is_ok_and(|n| n == 1).then_some(()) };
        poll("a job that was submitted after the fault to begin", PATIENCE, begun).await?;
        self.tally.recovered(fault, healed);
        Ok(())
    }

    fn watch_rescue(self: &Arc<Self>, worker: Uuid, since: Instant, fault: Fault) {
        let world = Arc::clone(self);
        let watch = tokio::spawn(async move {
            world.eye.gone(worker, PATIENCE).await?;
            world.tally.recovered(fault, since);
            world.tally.struck(fault, world.eye.lost_with(worker, PATIENCE).await?);
            anyhow::Ok(())
        });
        self.watches.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(watch);
    }

    /// Waits until every measurement is done.
    pub async fn watched(&self) -> Result<()> {
        let watches = std::mem::take(&mut *self.watches.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for watch in watches {
            watch.await??;
        }
        Ok(())
    }
}
