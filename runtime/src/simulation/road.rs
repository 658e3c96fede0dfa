//! The broker as a process of the simulation sees it: every call through [`Process::call`], every consumer on the process's line.

use std::sync::Arc;

use async_trait::async_trait;

use super::bug::Bug;
use super::careless;
use super::hand;
use super::process::Process;
use crate::broker::{
    Announcement, Broker, BrokerError, Consumer, Control, Delivery, Depth, Feed, Health, JobMessage, Mark,
};

/// The world's broker in a process's hands.
pub(super) struct Road(pub(super) Arc<Process>);

impl Road {
    async fn pass<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        self.0.call(call, self.0.world.broker_is_away(), work).await
    }
}

#[async_trait]
impl Broker for Road {
    async fn declare(&self, kind: &str) -> Result<(), BrokerError> {
        self.pass("declare", self.0.world.broker.declare(kind)).await
    }

    async fn publish(&self, message: &JobMessage) -> Result<(), BrokerError> {
        let publish = async {
            if self.0.world.bug == Some(Bug::PublishWithoutConfirm) {
                careless::publish_unheard(&self.0, message);
                return Ok(());
            }
            self.0.world.broker.publish(message).await?;
            self.0.has_published(message.job);
            Ok(())
        };
        self.pass("publish", publish).await
    }

    async fn consume(&self, kind: &str, prefetch: u16) -> Result<Consumer, BrokerError> {
        let line = self.0.line();
        let consumer = self.pass("consume", self.0.world.broker.consume_on(&line, kind, prefetch)).await?;
        let consumer = hand::on(&self.0, consumer);
        match self.0.world.bug {
            Some(Bug::AckBeforeRecord) => Ok(careless::acked_when_it_comes(&self.0, consumer)),
            _ => Ok(consumer),
        }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), BrokerError> {
        let heard = async {
            match self.0.world.bug {
                Some(Bug::AnnouncementForgotten) if self.0.world.dice.in_thousand(300) => return Ok(()),
                Some(Bug::AnnounceAfterAck) => {
                    careless::announce_later(&self.0, announcement);
                    return Ok(());
                }
                _ => {}
            }
            self.0.world.hear(announcement);
            self.0.world.broker.announce(announcement).await
        };
        self.pass("announce", heard).await
    }

    async fn events(&self) -> Result<Feed<Announcement>, BrokerError> {
        self.pass("events", self.0.world.broker.events()).await
    }

    async fn tell(&self, control: &Control) -> Result<(), BrokerError> {
        self.pass("tell", self.0.world.broker.tell(control)).await
    }

    async fn told(&self) -> Result<Feed<Control>, BrokerError> {
        self.pass("told", self.0.world.broker.told()).await
    }

    async fn depth(&self, kind: &str) -> Result<Option<Depth>, BrokerError> {
        self.pass("depth", self.0.world.broker.depth(kind)).await
    }

    async fn mark(&self, mark: Mark) -> Result<(), BrokerError> {
        self.pass("mark", self.0.world.broker.mark(mark)).await
    }

    async fn is_marked(&self, mark: Mark) -> Result<bool, BrokerError> {
        self.pass("is_marked", self.0.world.broker.is_marked(mark)).await
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), BrokerError> {
        self.pass("bury", self.0.world.broker.bury(delivery, reason)).await
    }

    fn health(&self) -> Health {
        Health { connected: !self.0.world.broker_is_away(), blocked: false }
    }

    async fn close(&self) {
        self.0.cut();
    }
}
