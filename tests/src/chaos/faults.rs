//! How each fault is injected, healed, and its recovery measured, on the real processes and servers. It decides nothing: which fault
//! comes when is the plan's. A fault that cannot be injected is an error, not a shrug.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use longshore_sdk::JobId;
use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

use super::chance::Chance;
use super::crew::Seat;
use super::fault::Fault;
use super::world::World;
use super::{duplicates, pass};
use crate::proxy::Proxy;
use crate::rabbitmq::RabbitMq;
use crate::until::poll;

/// The longest that anything here may take to come back.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long a network fault or an alarm lasts.
const FOR_A_WHILE: Duration = Duration::from_secs(4);
/// How late a slow network delivers each byte.
const LATE: Duration = Duration::from_millis(80);
/// What a throttled network carries a second, of each connection.
const FEW_BYTES: usize = 4_000;
/// Work that is sure to be unfinished when its worker is frozen, within the executor's timeout.
const LONG_WORK: Duration = Duration::from_secs(8);
/// How long a pause waits for its worker to begin such work before it submits more.
const FOR_WORK: Duration = Duration::from_secs(15);
/// A thawed attempt writes at once, or its database is away.
const FOR_REFUSAL: Duration = Duration::from_secs(15);
/// How often a pause is tried until it shows.
const PAUSES: usize = 4;
/// A drain may take its grace period and what follows.
const DRAIN: Duration = Duration::from_secs(60);
/// Ids published again at once.
const REPEATED: usize = 40;

impl World {
    /// Injects it and heals it. What may be measured while the next one comes is measured by a task of its own.
    pub async fn inject(self: &Arc<Self>, fault: Fault, chance: &mut Chance) -> Result<()> {
        if fault.takes_away() {
            self.tally.gone(fault);
        }
        self.harm(fault, chance).await?;
        self.tally.back(fault);
        self.tally.count(fault);
        Ok(())
    }

    async fn harm(self: &Arc<Self>, fault: Fault, chance: &mut Chance) -> Result<()> {
        match fault {
            Fault::WorkerKill => self.kill_worker(chance).await,
            Fault::WorkerPause => self.pause_worker(chance).await,
            Fault::WorkerRoll => self.roll_worker(chance).await,
            Fault::ApiKill => self.kill_api(chance).await,
            Fault::ApiRoll => self.roll_api(chance).await,
            Fault::BrokerKill => self.kill_broker().await,
            Fault::BrokerWipe => self.wipe_broker().await,
            Fault::LeaderKill => self.kill_leader().await,
            Fault::MemoryAlarm => self.alarm_broker().await,
            Fault::AckTimeout => self.hurry_acks().await,
            Fault::DiskFull => self.fill_disk().await,
            Fault::DatabaseKill => self.kill_database(Duration::ZERO, fault).await,
            Fault::DatabaseOutage => self.kill_database(self.plan.outage, fault).await,
            Fault::DatabaseRestart => self.restart_database().await,
            Fault::Cut => self.cut(chance).await,
            Fault::HalfOpen => self.half_open(chance).await,
            Fault::Delay => self.delay(chance).await,
            Fault::Throttle => self.throttle(chance).await,
            Fault::Duplicates => self.repeat_deliveries(chance).await,
        }
    }

    async fn kill_worker(self: &Arc<Self>, chance: &mut Chance) -> Result<()> {
        let mut seat = self.crew.worker(chance.place(self.plan.workers)).await;
        let worker = self.crew.working(&mut seat).await?;
        let killed = Instant::now();
        seat.process().kill_9().await?;
        self.crew.refill(&mut seat).await?;
        self.watch_rescue(worker, killed, Fault::WorkerKill);
        Ok(())
    }

    /// A pause that nobody came too late from proves nothing, so it is tried again; who else was struck just then is chance.
    async fn pause_worker(self: &Arc<Self>, chance: &mut Chance) -> Result<()> {
        for _ in 0..PAUSES {
            let mut seat = self.crew.worker(chance.place(self.plan.workers)).await;
            if self.pause(&mut seat).await? {
                return Ok(());
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
            let worker = self.crew.working(seat).await?;
            for _ in 0..2 * self.plan.workers {
                let key = format!("long-{}", Uuid::now_v7());
                self.submit(&key, &json!({"work_ms": LONG_WORK.as_millis()}), "high").await?;
            }
            match self.eye.long_work_of(seat.process().process().pid(), LONG_WORK, FOR_WORK).await {
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => {}
                Ok((job, attempt)) => return Ok((worker, job, attempt)),
            }
        }
    }

    async fn roll_worker(&self, chance: &mut Chance) -> Result<()> {
        let mut seat = self.crew.worker(chance.place(self.plan.workers)).await;
        self.crew.working(&mut seat).await?;
        let asked = Instant::now();
        seat.process().process().signal(Signal::TERM);
        seat.process().process().wait(DRAIN).await?;
        self.tally.recovered(Fault::WorkerRoll, asked);
        self.crew.refill(&mut seat).await
    }

    async fn kill_api(&self, chance: &mut Chance) -> Result<()> {
        let mut seat = self.crew.api(chance.place(self.plan.apis)).await;
        seat.answers().await?;
        let killed = Instant::now();
        seat.process().kill_9().await?;
        self.crew.refill(&mut seat).await?;
        seat.answers().await?;
        self.tally.recovered(Fault::ApiKill, killed);
        Ok(())
    }

    async fn roll_api(&self, chance: &mut Chance) -> Result<()> {
        let mut seat = self.crew.api(chance.place(self.plan.apis)).await;
        seat.answers().await?;
        let asked = Instant::now();
        seat.process().process().signal(Signal::TERM);
        seat.process().process().wait(DRAIN).await?;
        self.crew.refill(&mut seat).await?;
        seat.answers().await?;
        self.tally.recovered(Fault::ApiRoll, asked);
        Ok(())
    }

    async fn kill_broker(&self) -> Result<()> {
        self.queues_stand().await?;
        self.brokers[0].kill9().await?;
        self.brokers[0].restart().await?;
        self.prove_life(Fault::BrokerKill).await
    }

    async fn wipe_broker(&self) -> Result<()> {
        self.brokers[0].wipe_and_restart().await?;
        self.prove_life(Fault::BrokerWipe).await?;
        self.queues_stand().await
    }

    /// The recovery is from the kill: the others elect a new leader while the killed node is still away.
    async fn kill_leader(&self) -> Result<()> {
        self.queues_stand().await?;
        let leader = self.leader().await?;
        leader.kill9().await?;
        self.prove_life(Fault::LeaderKill).await?;
        leader.restart().await?;
        self.quorum_stands().await
    }

    async fn alarm_broker(&self) -> Result<()> {
        self.brokers[0].ctl(&["set_vm_memory_high_watermark", "0.00001"]).await?;
        pass(FOR_A_WHILE).await;
        self.brokers[0].ctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
        self.prove_life(Fault::MemoryAlarm).await
    }

    /// A broker that waits a second for an acknowledgement, until it has closed a channel for it. A channel takes both settings when it
    /// is opened, so all are opened anew.
    async fn hurry_acks(&self) -> Result<()> {
        let before = self.ack_timeouts()?;
        self.set_patience("1000", "300").await?;
        let more = || async { self.ack_timeouts().is_ok_and(|now| now > before).then_some(()) };
        poll("a delivery that was held for too long", PATIENCE, more).await?;
        self.set_patience("1800000", "60000").await?;
        self.prove_life(Fault::AckTimeout).await
    }

    async fn set_patience(&self, timeout_ms: &str, tick_ms: &str) -> Result<()> {
        let set = format!(
            "application:set_env(rabbit, consumer_timeout, {timeout_ms}), application:set_env(rabbit, channel_tick_interval, {tick_ms})."
        );
        for broker in &self.brokers {
            broker.ctl(&["eval", &set]).await?;
        }
        self.amqp.iter().for_each(Proxy::cut);
        Ok(())
    }

    /// Of how many channels a broker's log says that they were closed for it.
    fn ack_timeouts(&self) -> Result<usize> {
        let count = |broker: &RabbitMq| {
            let log = std::fs::read_to_string(broker.process().log())?;
            anyhow::Ok(log.matches("timed out waiting for delivery acknowledgement").count())
        };
        self.brokers.iter().map(count).sum()
    }

    /// No room for artifacts, until an attempt has failed for it.
    async fn fill_disk(&self) -> Result<()> {
        let disk = self.disk.as_ref().context("no disk was planned to be filled")?;
        let sql = "select count(*) from attempts where error::text like '%No space left%'";
        // The database may be away right now; without a count an attempt of an earlier fault would pass for one of this.
        let counted = || async { self.eye.count(sql, &[]).await.ok() };
        let before = poll("a count of the attempts", PATIENCE, counted).await?;
        disk.fill()?;
        let more = || async { counted().await.filter(|now| *now > before) };
        poll("an attempt to find no room for its artifact", PATIENCE, more).await?;
        disk.relieve()?;
        self.prove_life(Fault::DiskFull).await
    }

    async fn kill_database(&self, away: Duration, fault: Fault) -> Result<()> {
        self.database.kill9().await?;
        pass(away).await;
        self.database.restart().await?;
        self.prove_life(fault).await
    }

    async fn restart_database(&self) -> Result<()> {
        self.database.restart().await?;
        self.prove_life(Fault::DatabaseRestart).await
    }

    fn any_proxy(&self, chance: &mut Chance) -> &Proxy {
        if chance.below(2) == 0 { &self.sql } else { &self.amqp[chance.place(self.amqp.len())] }
    }

    async fn cut(&self, chance: &mut Chance) -> Result<()> {
        let proxy = self.any_proxy(chance);
        self.tally.hit(Fault::Cut, proxy.connections());
        proxy.cut();
        self.prove_life(Fault::Cut).await
    }

    /// Nothing gets through and nobody is told, until the connections are reset.
    async fn half_open(&self, chance: &mut Chance) -> Result<()> {
        let proxy = self.any_proxy(chance);
        self.tally.hit(Fault::HalfOpen, proxy.connections());
        proxy.pause();
        pass(FOR_A_WHILE).await;
        proxy.cut();
        proxy.resume();
        self.prove_life(Fault::HalfOpen).await
    }

    async fn delay(&self, chance: &mut Chance) -> Result<()> {
        let proxy = self.any_proxy(chance);
        proxy.delay(LATE);
        pass(FOR_A_WHILE).await;
        proxy.delay(Duration::ZERO);
        self.prove_life(Fault::Delay).await
    }

    async fn throttle(&self, chance: &mut Chance) -> Result<()> {
        let proxy = self.any_proxy(chance);
        proxy.throttle(FEW_BYTES);
        pass(FOR_A_WHILE).await;
        proxy.throttle(0);
        self.prove_life(Fault::Throttle).await
    }

    async fn repeat_deliveries(&self, chance: &mut Chance) -> Result<()> {
        let mut ids = self.history.ids();
        chance.shuffle(&mut ids);
        ids.truncate(REPEATED);
        ids.extend_from_within(..);
        chance.shuffle(&mut ids);
        // The broker may be away right now; what is planned is done when it is back.
        let published = || async { duplicates::publish(&self.brokers[0].url(), &ids).await.ok() };
        poll("the broker to take repeated deliveries", PATIENCE, published).await
    }

    /// The recovery from what has just been healed: until a job that a client submits now is accepted and has begun.
    async fn prove_life(&self, fault: Fault) -> Result<()> {
        let healed = Instant::now();
        let job = self.submit(&format!("probe-{}", Uuid::now_v7()), &serde_json::json!({}), "high").await?;
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
