//! What an operator may say about RabbitMQ, with its defaults and limits.
//! A wrong URI is refused here, by field and without showing its password, so that connecting itself cannot fail on it.
//! Read `link.rs` for what the times mean.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::ClientConfig;

use crate::broker::link::Reach;
use crate::broker::topology::Topology;
use crate::tls::trust::{self, Checks};

/// Where RabbitMQ is and how to treat it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) uris: Vec<AMQPUri>,
    tls: Option<Arc<ClientConfig>>,
    /// The names of exchanges and queues.
    pub topology: Topology,
    /// A connection that takes longer is given up.
    pub connect_within: Duration,
    /// A confirm or answer that takes longer is unknown.
    pub answer_within: Duration,
    /// A silent connection is lost after two to three of these (measured: a frozen worker's deliveries return after three).
    pub heartbeat: Duration,
    /// So many publishes may await their confirm at once; more wait in line.
    pub window: usize,
    /// How long a delivery may stay unsettled, where RabbitMQ lets a consumer say so.
    pub consumer_timeout: Duration,
}

/// Why RabbitMQ can't be reached as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// There is no URI.
    #[error("broker.urls is empty; give at least one, such as amqp://guest:guest@127.0.0.1:5672/%2f")]
    NoUri,
    /// One of them is not an AMQP URI. The URI itself is not shown, for it may hold a password.
    #[error("broker.urls[{0}] is no AMQP URI ({1}); it looks like amqps://user:password@host:5671/vhost")]
    BadUri(usize, String),
    /// Nobody to believe, or nothing to believe him for.
    #[error("{0}")]
    Tls(String),
}

impl Settings {
    /// The defaults, for a broker at one of these URIs.
    ///
    /// # Errors
    /// [`SettingsError`] if there is none or one is not an AMQP URI.
    pub fn new<U: AsRef<str>>(uris: &[U]) -> Result<Self, SettingsError> {
        if uris.is_empty() {
            return Err(SettingsError::NoUri);
        }
        let parsed = uris.iter().enumerate().map(|(at, uri)| parse(at, uri.as_ref()));
        Ok(Self {
            uris: parsed.collect::<Result<_, _>>()?,
            tls: None,
            topology: Topology::default(),
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            window: 1_000,
            consumer_timeout: Duration::from_secs(3 * 60 * 60),
        })
    }

    /// The same, believing a server behind `amqps://` if the authority in the file `ca` signed for it, else by this machine's
    /// authorities.
    ///
    /// # Errors
    /// [`SettingsError::Tls`] if the file cannot be used, or if it is named and no URI asks for TLS.
    pub fn trusting(self, ca: Option<&Path>) -> Result<Self, SettingsError> {
        if !self.uris.iter().any(|uri| uri.scheme == AMQPScheme::AMQPS) {
            let idle = "broker.tls_ca is set, and no URL of broker.urls asks for TLS: write amqps://";
            return if ca.is_some() { Err(SettingsError::Tls(idle.to_owned())) } else { Ok(self) };
        }
        let tls = trust::client(ca, Checks::All, "broker.tls_ca");
        let tls = tls.map_err(|error| SettingsError::Tls(error.to_string()))?;
        Ok(Self { tls: Some(Arc::new(tls)), ..self })
    }

    pub(super) fn reach(&self) -> Reach {
        let uris = self.uris.iter().map(|uri| self.timed(uri.clone())).collect();
        let tls = self.tls.clone();
        Reach { uris, tls, connect_within: self.connect_within, answer_within: self.answer_within }
    }

    /// What the URI says for itself wins.
    fn timed(&self, mut uri: AMQPUri) -> AMQPUri {
        let seconds = u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
        let ms = u64::try_from(self.connect_within.as_millis()).unwrap_or(u64::MAX);
        uri.query.heartbeat.get_or_insert(seconds);
        uri.query.connection_timeout.get_or_insert(ms);
        uri
    }
}

fn parse(at: usize, uri: &str) -> Result<AMQPUri, SettingsError> {
    uri.parse().map_err(|error: String| SettingsError::BadUri(at, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_uri_is_named_by_its_place_and_not_shown() {
        let error = Settings::new(&["amqp://localhost", "http://ann:hush@host"]).unwrap_err().to_string();
        assert!(error.contains("broker.urls[1]") && !error.contains("hush"), "{error}");
        assert_eq!(Settings::new::<&str>(&[]).unwrap_err(), SettingsError::NoUri);
    }

    #[test]
    fn an_authority_is_named_for_amqps_alone_and_must_be_there() {
        let nowhere = Some(Path::new("nowhere.pem"));
        let told = |uri: &str| Settings::new(&[uri]).unwrap().trusting(nowhere).unwrap_err().to_string();
        assert!(told("amqp://localhost").contains("write amqps://"));
        assert!(told("amqps://localhost").starts_with("broker.tls_ca: nowhere.pem"));
        assert!(Settings::new(&["amqp://localhost"]).unwrap().trusting(None).is_ok());
    }

    #[test]
    fn heartbeat_and_timeout_are_set_unless_the_uri_says_otherwise() {
        let uris = Settings::new(&["amqp://localhost", "amqp://localhost?heartbeat=3"]).unwrap().reach().uris;
        let said: Vec<_> = uris.iter().map(|uri| (uri.query.heartbeat, uri.query.connection_timeout)).collect();
        assert_eq!(said, [(Some(10), Some(5_000)), (Some(3), Some(5_000))]);
    }
}
