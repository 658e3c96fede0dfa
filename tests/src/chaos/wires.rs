//! How the faults of the network are injected, healed, and their recovery measured, on the proxies; and the deliveries that nobody sent.
//! Each waits until there is something to strike, and shows by what was struck: connections, bytes, heartbeats. It decides nothing.
//! Read `faults.rs` for who asks, `proxy.rs` for what a proxy does.

use std::time::Duration;

use anyhow::Result;

use super::chance::Chance;
use super::fault::Fault;
use super::faults::{FOR_A_WHILE, FOR_WORK, PATIENCE};
use super::servers::logged;
use super::world::World;
use super::{duplicates, pass};
use crate::proxy::Proxy;
use crate::until::poll;

/// How late a slow network delivers each byte.
const LATE: Duration = Duration::from_millis(80);
/// What a throttled network carries a second, of each connection.
const FEW_BYTES: usize = 4_000;
/// Ids published again at once.
const REPEATED: usize = 40;
/// A broker waits two of the heartbeats that the system asks for, of 10 s, and looks now and then.
const FOR_HEARTBEATS: Duration = Duration::from_secs(35);
/// What it says then.
const MISSED: &str = "missed heartbeats from client";

impl World {
    fn any_proxy(&self, chance: &mut Chance) -> &Proxy {
        if chance.below(2) == 0 { &self.sql } else { &self.amqp[chance.place(self.amqp.len())] }
    }

    pub(super) async fn cut(&self, chance: &mut Chance) -> Result<bool> {
        let proxy = self.any_proxy(chance);
        carries(proxy).await?;
        let before = proxy.has_cut();
        proxy.cut();
        self.prove_life(Fault::Cut).await?;
        Ok(self.struck(Fault::Cut, proxy.has_cut() - before))
    }

    /// Nothing gets through and nobody is told, until the connections are reset.
    pub(super) async fn half_open(&self, chance: &mut Chance) -> Result<bool> {
        let proxy = self.any_proxy(chance);
        carries(proxy).await?;
        let before = (proxy.has_cut(), proxy.has_hindered());
        proxy.pause();
        pass(FOR_A_WHILE).await;
        let held = hindered_since(proxy, before.1).await;
        proxy.cut();
        proxy.resume();
        self.prove_life(Fault::HalfOpen).await?;
        Ok(self.struck(Fault::HalfOpen, proxy.has_cut() - before.0) && held > 0)
    }

    /// The same for so long that the broker gives up who says nothing, which it tells in its log.
    pub(super) async fn silence(&self, chance: &mut Chance) -> Result<bool> {
        let node = chance.place(self.amqp.len());
        let (proxy, broker) = (&self.amqp[node], &self.brokers[node]);
        carries(proxy).await?;
        let before = logged(broker, MISSED)?;
        proxy.pause();
        let more = || async { logged(broker, MISSED).ok().filter(|now| *now > before) };
        let missed = poll("the broker to miss heartbeats", FOR_HEARTBEATS, more).await.map_or(0, |now| now - before);
        proxy.cut();
        proxy.resume();
        self.prove_life(Fault::Silence).await?;
        Ok(self.struck(Fault::Silence, missed))
    }

    pub(super) async fn delay(&self, chance: &mut Chance) -> Result<bool> {
        let proxy = self.any_proxy(chance);
        let before = proxy.has_hindered();
        proxy.delay(LATE);
        pass(FOR_A_WHILE).await;
        let late = hindered_since(proxy, before).await;
        proxy.delay(Duration::ZERO);
        self.prove_life(Fault::Delay).await?;
        Ok(self.struck(Fault::Delay, late))
    }

    pub(super) async fn throttle(&self, chance: &mut Chance) -> Result<bool> {
        let proxy = self.any_proxy(chance);
        let before = proxy.has_hindered();
        proxy.throttle(FEW_BYTES);
        pass(FOR_A_WHILE).await;
        let dripped = hindered_since(proxy, before).await;
        proxy.throttle(0);
        self.prove_life(Fault::Throttle).await?;
        Ok(self.struck(Fault::Throttle, dripped))
    }

    /// Some of what the clients have been promised, each twice; the broker confirms every one.
    pub(super) async fn repeat_deliveries(&self, chance: &mut Chance) -> Result<bool> {
        let promised = || async { Some(self.history.ids()).filter(|ids| ids.len() >= REPEATED) };
        let mut ids = poll("jobs to repeat", PATIENCE, promised).await?;
        chance.shuffle(&mut ids);
        ids.truncate(REPEATED);
        ids.extend_from_within(..);
        chance.shuffle(&mut ids);
        // The broker may be away right now; what is planned is done when it is back.
        let published = || async { duplicates::publish(&self.brokers[0].url(), &ids).await.ok() };
        poll("the broker to take repeated deliveries", PATIENCE, published).await?;
        Ok(self.struck(Fault::Duplicates, ids.len()))
    }

    fn struck(&self, fault: Fault, amount: usize) -> bool {
        self.tally.struck(fault, amount);
        amount > 0
    }
}

/// Waits until there is a connection to strike.
async fn carries(proxy: &Proxy) -> Result<()> {
    let some = || async { (proxy.connections() > 0).then_some(()) };
    poll("a connection through the proxy", PATIENCE, some).await
}

/// How many bytes have met the hindrance; it waits a while for the first.
async fn hindered_since(proxy: &Proxy, before: usize) -> usize {
    let some = || async { Some(proxy.has_hindered() - before).filter(|bytes| *bytes > 0) };
    poll("bytes through the proxy", FOR_WORK, some).await.unwrap_or(0)
}
