//! How the faults of the broker, the database and the disk are injected, healed, and their recovery measured, and by what each shows:
//! a closed port, a mark that is gone, another leader, blocked connections. It decides nothing. Read `faults.rs` for who asks.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;

use super::chance::Chance;
use super::fault::Fault;
use super::faults::{FOR_A_WHILE, FOR_WORK, PATIENCE};
use super::world::{QUEUES, World};
use super::{mark, pass};
use crate::proxy::{Proxy, address};
use crate::rabbitmq::RabbitMq;
use crate::until::poll;

/// How soon a killed server's port is closed.
const FOR_REFUSAL: Duration = Duration::from_secs(5);
/// The priorities whose queue may lose its leader, and the queues.
const LED: [(&str, &str); 2] = [("normal", QUEUES[0]), ("high", QUEUES[1])];

impl World {
    /// Nobody answered at its port meanwhile.
    pub(super) async fn kill_broker(&self) -> Result<bool> {
        self.queues_stand().await?;
        self.brokers[0].kill9().await?;
        let refused = refuses(&self.brokers[0].url()).await;
        self.brokers[0].restart().await?;
        self.prove_life(Fault::BrokerKill).await?;
        Ok(refused)
    }

    /// What we had left there is gone with all the rest. The ears are told before, for their queue goes, too.
    pub(super) async fn wipe_broker(&self) -> Result<bool> {
        let url = self.brokers[0].url();
        mark::leave(&url).await?;
        self.ears.deafen();
        self.brokers[0].wipe_and_restart().await?;
        self.prove_life(Fault::BrokerWipe).await?;
        let wiped = !mark::stands(&url).await?;
        self.queues_stand().await?;
        Ok(wiped)
    }

    /// The recovery is from the kill and on the very queue that has lost its leader: the others elect a new one while the killed node is
    /// still away.
    pub(super) async fn kill_leader(&self, chance: &mut Chance) -> Result<bool> {
        let (priority, queue) = LED[chance.place(LED.len())];
        self.queues_stand().await?;
        let leader = self.leader(queue, &self.brokers[0]).await?;
        leader.kill9().await?;
        self.prove_life_in(priority, Fault::LeaderKill).await?;
        let elected = self.leads_another(queue, leader).await;
        leader.restart().await?;
        self.quorum_stands().await?;
        Ok(elected)
    }

    async fn leads_another(&self, queue: &str, killed: &RabbitMq) -> bool {
        let Some(survivor) = self.brokers.iter().find(|broker| broker.node() != killed.node()) else { return false };
        let another = || async {
            let leader = self.leader(queue, survivor).await.ok()?;
            (leader.node() != killed.node()).then_some(())
        };
        poll("another node to lead", FOR_WORK, another).await.is_ok()
    }

    /// The system's own connections are blocked, as the broker says.
    pub(super) async fn alarm_broker(&self) -> Result<bool> {
        self.brokers[0].ctl(&["set_vm_memory_high_watermark", "0.00001"]).await?;
        let some = || async { self.blocked().await.ok().filter(|blocked| *blocked > 0) };
        let blocked = poll("a connection to be blocked", FOR_WORK, some).await.unwrap_or(0);
        pass(FOR_A_WHILE).await;
        self.brokers[0].ctl(&["set_vm_memory_high_watermark", "0.4"]).await?;
        self.prove_life(Fault::MemoryAlarm).await?;
        self.tally.struck(Fault::MemoryAlarm, blocked);
        Ok(blocked > 0)
    }

    async fn blocked(&self) -> Result<usize> {
        let states = self.brokers[0].ctl(&["list_connections", "state", "--no-table-headers"]).await?;
        Ok(states.lines().filter(|state| state.trim() == "blocked").count())
    }

    /// A broker that waits a second for an acknowledgement, until it has closed a channel for it. A channel takes both settings when it
    /// is opened, so all are opened anew.
    pub(super) async fn hurry_acks(&self) -> Result<bool> {
        let before = self.ack_timeouts()?;
        self.set_patience("1000", "300").await?;
        let more = || async { self.ack_timeouts().is_ok_and(|now| now > before).then_some(()) };
        poll("a delivery that was held for too long", PATIENCE, more).await?;
        self.set_patience("1800000", "60000").await?;
        self.prove_life(Fault::AckTimeout).await?;
        let closed = self.ack_timeouts()?.saturating_sub(before);
        self.tally.struck(Fault::AckTimeout, closed);
        Ok(closed > 0)
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

    /// Of how many channels the brokers' logs say that they were closed for it.
    fn ack_timeouts(&self) -> Result<usize> {
        self.brokers.iter().map(|broker| logged(broker, "timed out waiting for delivery acknowledgement")).sum()
    }

    /// No room for artifacts, until an attempt has failed for it.
    pub(super) async fn fill_disk(&self) -> Result<bool> {
        let disk = self.disk.as_ref().context("no disk was planned to be filled")?;
        let sql = "select count(*) from attempts where error::text like '%No space left%'";
        // The database may be away right now; without a count an attempt of an earlier fault would pass for one of this.
        let counted = || async { self.eye.count(sql, &[]).await.ok() };
        let before = poll("a count of the attempts", PATIENCE, counted).await?;
        disk.fill()?;
        let more = || async { counted().await.filter(|now| *now > before) };
        let after = poll("an attempt to find no room for its artifact", PATIENCE, more).await?;
        disk.relieve()?;
        self.prove_life(Fault::DiskFull).await?;
        self.tally.struck(Fault::DiskFull, usize::try_from(after - before)?);
        Ok(after > before)
    }

    /// Nobody answered at its port when its time away was over, and it is another server that answers now.
    pub(super) async fn kill_database(&self, away: Duration, fault: Fault) -> Result<bool> {
        let before = self.eye.born(PATIENCE).await?;
        self.database.kill9().await?;
        pass(away).await;
        let refused = refuses(&self.database.url()).await;
        self.database.restart().await?;
        self.prove_life(fault).await?;
        Ok(refused && self.eye.born(PATIENCE).await? != before)
    }

    pub(super) async fn restart_database(&self) -> Result<bool> {
        let before = self.eye.born(PATIENCE).await?;
        self.database.restart().await?;
        self.prove_life(Fault::DatabaseRestart).await?;
        Ok(self.eye.born(PATIENCE).await? != before)
    }
}

/// How often a broker's log says so.
pub(super) fn logged(broker: &RabbitMq, what: &str) -> Result<usize> {
    Ok(String::from_utf8_lossy(&std::fs::read(broker.process().log())?).matches(what).count())
}

/// Whether nobody listens there.
async fn refuses(url: &str) -> bool {
    let closed = || async { TcpStream::connect(address(url).ok()?).await.is_err().then_some(()) };
    poll("a killed server's port to be closed", FOR_REFUSAL, closed).await.is_ok()
}
