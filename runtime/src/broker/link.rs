//! One connection to RabbitMQ, kept up: it connects, watches, and starts again, for as long as the process wants it.
//! It never repairs anything: after a loss all channels are dead and whoever had one opens another (lapin's own recovery is
//! off, because it hides outages and holds publishes). Every await ends in time. Read `rabbitmq.rs` for its two users.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::tcp::{AMQPUriTcpExt as _, RustlsConnector};
use lapin::types::{LongString, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connect as _, Connection, ConnectionProperties, Event};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::BrokerError;
use crate::job::retry::{Backoff, ceiling};
use crate::tls::trust::explain;

/// Doubling from 100 ms to 1 s, so that a broker that answers again is met within two: a broker's boot takes 4 to 14 s (measured), and its port should not be hammered meanwhile.
const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(100), factor: 2.0, max: Duration::from_secs(1) };
/// Notices of loss come as events; this look is for a loss that came without one.
const LOOK: Duration = Duration::from_secs(1);

/// Where the broker is and how long to wait for it.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// Tried in turn until one answers.
    pub(crate) uris: Vec<AMQPUri>,
    /// Whom to believe behind `amqps://`.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// A connection that takes longer is given up.
    pub(crate) connect_within: Duration,
    /// An answer that takes longer means the connection is of no use.
    pub(crate) answer_within: Duration,
}

/// What is known of the connection now.
#[derive(Debug, Clone, Default)]
struct Now {
    connection: Option<Arc<Connection>>,
    /// Counts connections, so that a stale one is recognised.
    generation: u64,
    /// Why the broker takes no messages.
    blocked: Option<Arc<str>>,
    /// Every URI was tried once: from now on a missing connection is an outage, not a start.
    tried: bool,
}

/// A handle to a connection that comes and goes.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    now: watch::Receiver<Now>,
    answer_within: Duration,
}

/// The wait before trying again, the `failed`-th time in a row (from 1): between half and all of the exponential step, so
/// that a fleet doesn't come back in step. `luck` is from 0 to 1.
pub(crate) fn pause(failed: u32, luck: f64) -> Duration {
    ceiling(&BACKOFF, failed).mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0)
}

/// Chance for [`pause`]; it needs to differ between processes, nothing more.
pub(crate) fn luck() -> f64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    f64::from((high >> 32) as u32) / f64::from(u32::MAX)
}

pub(crate) fn unavailable(why: impl std::fmt::Display) -> BrokerError {
    BrokerError::Unavailable(why.to_string())
}

impl Link {
    /// Starts to keep a connection up until `closing`. Returns at once.
    pub(crate) fn keep(name: String, reach: Reach, closing: CancellationToken, tasks: &TaskTracker) -> Self {
        let (announce, now) = watch::channel(Now::default());
        let answer_within = reach.answer_within;
        tasks.spawn(Keeper { name, reach, announce, closing }.keep());
        Self { now, answer_within }
    }

    pub(crate) fn connected(&self) -> bool {
        self.now.borrow().connection.is_some()
    }

    pub(crate) fn blocked(&self) -> bool {
        self.now.borrow().blocked.is_some()
    }

    /// Returns when the broker takes no messages on this connection, with its reason.
    pub(crate) async fn until_blocked(&self) -> Arc<str> {
        let mut now = self.now.clone();
        let blocked = now.wait_for(|now| now.blocked.is_some()).await.ok().and_then(|now| now.blocked.clone());
        match blocked {
            Some(reason) => reason,
            // The link was closed; whoever waits has better ways to learn it.
            None => std::future::pending().await,
        }
    }

    /// Returns when there is a connection; `false` if there will be none any more.
    pub(crate) async fn until_connected(&self) -> bool {
        self.now.clone().wait_for(|now| now.connection.is_some()).await.is_ok()
    }

    /// Returns when the connection of this generation is gone.
    pub(crate) async fn until_lost(&self, generation: u64) {
        let over = |now: &Now| now.connection.is_none() || now.generation != generation;
        // An error is the end of the link, and so of every connection it had.
        let _ = self.now.clone().wait_for(over).await;
    }

    /// A new channel, with the generation of its connection. At the start it waits for the first connection; in an outage
    /// it fails at once, for nobody knows how long that will be.
    pub(crate) async fn channel(&self) -> Result<(u64, Channel), BrokerError> {
        let tried = self.within("a connection", async {
            let mut now = self.now.clone();
            let now = now.wait_for(|now| now.connection.is_some() || now.tried).await.map_err(|_| "it was closed")?;
            let connection = now.connection.clone().ok_or("no connection")?;
            Ok::<_, &str>((now.generation, connection))
        });
        let (generation, connection) = tried.await?;
        Ok((generation, self.within("a channel", connection.create_channel()).await?))
    }

    /// Awaits an answer for no longer than is sensible.
    pub(crate) async fn within<T, E: std::fmt::Display>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BrokerError> {
        match timeout(self.answer_within, answer).await {
            Ok(answer) => answer.map_err(unavailable),
            Err(_) => Err(unavailable(format!("{what} took longer than {:?}", self.answer_within))),
        }
    }
}

struct Keeper {
    name: String,
    reach: Reach,
    announce: watch::Sender<Now>,
    closing: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let mut at = 0;
        let mut failed: u32 = 0;
        while !self.closing.is_cancelled() {
            match self.connect(at).await {
                Some(connection) => {
                    failed = 0;
                    self.serve(Arc::new(connection)).await;
                }
                None => {
                    failed = failed.saturating_add(1);
                    at = (at + 1) % self.reach.uris.len().max(1);
                    self.tried(failed);
                }
            }
            // A connection that was lost is tried again after a breath, too: the server may be accepting and dropping.
            self.unless_closing(sleep(pause(rounds(failed, self.reach.uris.len()), luck()))).await;
        }
    }

    async fn connect(&self, at: usize) -> Option<Connection> {
        let uri = self.reach.uris.get(at)?.clone();
        let place = format!("{}:{}", uri.authority.host, uri.authority.port);
        let name = LongString::from(self.name.clone());
        let properties = ConnectionProperties::default().with_connection_name(name);
        let connecting = dial(uri, properties, self.reach.tls.clone());
        match self.unless_closing(timeout(self.reach.connect_within, connecting)).await? {
            Ok(Ok(connection)) => {
                tracing::info!(broker.link = %self.name, broker.place = %place, "connected");
                return Some(connection);
            }
            Ok(Err(error)) => tracing::warn!(broker.link = %self.name, broker.place = %place, error, "cannot connect"),
            Err(_) => tracing::warn!(broker.link = %self.name, broker.place = %place, "no answer in time"),
        }
        None
    }

    fn tried(&self, failed: u32) {
        if failed as usize >= self.reach.uris.len() {
            self.announce.send_if_modified(|now| !std::mem::replace(&mut now.tried, true));
        }
    }

    /// Shows the connection to the world until it is lost or no longer wanted.
    async fn serve(&self, connection: Arc<Connection>) {
        // Before anything is published, or a notice could be missed: lapin keeps none for a listener to come.
        let events = connection.events_listener();
        self.announce.send_modify(|now| {
            let generation = now.generation + 1;
            *now = Now { connection: Some(Arc::clone(&connection)), generation, blocked: None, tried: true };
        });
        self.unless_closing(self.watch(&connection, events)).await;
        self.announce.send_modify(|now| (now.connection, now.blocked) = (None, None));
        let farewell = connection.close(200, ShortString::from("OK"));
        // Already gone, or too ill to say goodbye: dropping it does the rest.
        let _ = timeout(self.reach.answer_within, farewell).await;
    }

    async fn watch(&self, connection: &Connection, events: impl futures_util::Stream<Item = Event>) {
        let mut events = std::pin::pin!(events);
        while connection.status().connected() {
            match timeout(LOOK, events.next()).await {
                Ok(Some(Event::ConnectionBlocked(reason))) => self.block(Some(reason)),
                Ok(Some(Event::ConnectionUnblocked)) => self.block(None),
                Ok(Some(Event::Error(error))) => {
                    tracing::warn!(broker.link = %self.name, %error, "connection in trouble");
                }
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return,
            }
        }
    }

    fn block(&self, reason: Option<String>) {
        match &reason {
            Some(reason) => tracing::warn!(broker.link = %self.name, %reason, "the broker takes no messages"),
            None => tracing::info!(broker.link = %self.name, "the broker takes messages again"),
        }
        self.announce.send_modify(|now| now.blocked = reason.map(Arc::from));
    }

    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.closing.run_until_cancelled(work).await
    }
}

/// One connection, over TLS where the URI asks for it.
///
/// # Errors
/// Why there is none, with the setting at fault where it is one.
pub(crate) async fn dial(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Connection, String> {
    let connected = match (&uri.scheme, tls) {
        (AMQPScheme::AMQP, _) => uri.connect(properties).await,
        (AMQPScheme::AMQPS, Some(tls)) => encrypted(uri, properties, RustlsConnector::from(tls)).await,
        // Never in the clear, whatever the library would make of it.
        (AMQPScheme::AMQPS, None) => return Err("broker.urls asks for TLS, and nobody said whom to believe".to_owned()),
    };
    connected.map_err(|error| explain(&error.to_string(), "broker.tls_ca"))
}

async fn encrypted(
    uri: AMQPUri,
    properties: ConnectionProperties,
    connector: RustlsConnector,
) -> lapin::Result<Connection> {
    let open = async move |uri: AMQPUri, runtime| {
        let host = uri.authority.host.clone();
        let stream = AMQPUri { scheme: AMQPScheme::AMQP, ..uri }.connect_async(&runtime).await?;
        Ok(stream.into_rustls(&connector, &host).await?)
    };
    Connection::connector(uri, lapin::runtime::default_runtime()?, open, properties).await
}

/// The wait grows when the whole list was in vain, not with each entry: the next one may be well.
fn rounds(failed: u32, uris: usize) -> u32 {
    failed.saturating_sub(1) / u32::try_from(uris.max(1)).unwrap_or(u32::MAX) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_one_second_and_never_vanishes() {
        let ms = |failed, luck| pause(failed, luck).as_millis();
        assert_eq!([ms(1, 1.0), ms(2, 1.0), ms(3, 1.0), ms(9, 1.0)], [100, 200, 400, 1000]);
        assert_eq!([ms(1, 0.0), ms(9, 0.0), ms(9, 7.0)], [50, 500, 1000]);
        assert!((0..100).map(|_| luck()).all(|luck| (0.0..=1.0).contains(&luck)));
    }

    #[test]
    fn the_pause_grows_by_rounds_of_the_list() {
        assert_eq!([0, 1, 2, 3, 4].map(|failed| rounds(failed, 2)), [1, 1, 1, 2, 2]);
        assert_eq!([1, 2, 3].map(|failed| rounds(failed, 1)), [1, 2, 3]);
    }

    #[tokio::test]
    async fn an_outage_is_answered_at_once_and_a_start_is_waited_for() {
        let (announce, now) = watch::channel(Now::default());
        let link = Link { now, answer_within: Duration::from_secs(5) };
        let mut asked = std::pin::pin!(link.channel());
        assert!(timeout(Duration::ZERO, asked.as_mut()).await.is_err(), "nothing was tried yet");
        announce.send_modify(|now| now.tried = true);
        assert!(matches!(asked.await, Err(BrokerError::Unavailable(_))));
        assert!(matches!(link.channel().await, Err(BrokerError::Unavailable(_))));
    }
}
