//! What the API allows, as an operator says it: limits, times and its port's certificate. Shapes and defaults; what a limit does stands
//! where it is met.

use std::path::PathBuf;
use std::time::Duration;

use longshore_sdk::executor::seconds;
use serde::{Deserialize, Serialize};

use super::body::Flow;

/// What the API allows. Every one of these is a limit that a caller can meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSettings {
    /// A larger JSON body is refused. Default 1 MiB.
    pub max_body_bytes: u64,
    /// A larger upload is refused. Default 5 GiB.
    pub max_upload_bytes: u64,
    /// A body is given up when nothing comes for so long. Default 10 s.
    #[serde(with = "seconds")]
    pub body_idle: Duration,
    /// A body that is older than that is given up when it has come slower than so many bytes a second; 0: never. Default 240.
    pub min_body_rate: u32,
    /// The longest long-poll; a longer `wait` is cut to it. Default 30 s.
    #[serde(with = "seconds")]
    pub max_wait: Duration,
    /// A long-poll asks the ledger so often even when nothing was announced. Default 1 s.
    #[serde(with = "seconds")]
    pub recheck: Duration,
    /// Long-polls at once; one more is answered without waiting. Default 5,000.
    pub max_waiters: usize,
    /// Streams of events at once; one more is answered 503. Default 5,000.
    pub max_streams: usize,
    /// A stream says so often that it lives, and asks the ledger even when nothing was announced. Default 15 s.
    #[serde(with = "seconds")]
    pub stream_heartbeat: Duration,
    /// The latest events that are kept for whoever follows all jobs, with what each costs. Default 32 MiB.
    pub event_ring_bytes: usize,
    /// The most jobs that the ledger is asked about to fill a gap in those events. Default 10,000.
    pub event_fill_jobs: usize,
    /// The most attempts a caller may ask for. Default 100.
    pub max_attempts: u32,
    /// The longest attempt a caller may ask for. Default 24 h.
    #[serde(with = "seconds")]
    pub max_timeout: Duration,
    /// The longest delay a caller may ask for. Default 366 days.
    #[serde(with = "seconds")]
    pub max_delay: Duration,
    /// The largest `metadata`, as JSON text. Default 16 KiB.
    pub max_metadata_bytes: usize,
    /// The largest page of a listing. Default 200.
    pub max_page: usize,
    /// How long an idempotency key is remembered. Default 24 h.
    #[serde(with = "seconds")]
    pub idempotency_ttl: Duration,
    /// The most jobs of one batch. Default 1,000.
    pub max_batch: usize,
    /// A larger batch body is refused. Default 8 MiB.
    pub max_batch_bytes: u64,
    /// The most dead letters that one call replays or purges. Default 1,000.
    pub max_bulk: usize,
    /// How long a submit waits for the broker's confirm before it leaves the job to the relay. Default 5 s.
    #[serde(with = "seconds")]
    pub publish_timeout: Duration,
    /// How long a call waits for the ledger before it answers 503. Default 10 s.
    #[serde(with = "seconds")]
    pub ledger_timeout: Duration,
    /// How long `/readyz` waits for the ledger. Default 2 s.
    #[serde(with = "seconds")]
    pub probe_timeout: Duration,
    /// Connections at once; one more is told so and closed. Default 10,000.
    pub max_connections: usize,
    /// A request's head that takes longer, from its first byte, is given up with its connection. Default 10 s.
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// A connection is closed when it brings no further request for so long. Default 75 s.
    #[serde(with = "seconds")]
    pub idle_timeout: Duration,
    /// A connection is cut when its reader takes nothing of an answer for so long. Default 30 s.
    #[serde(with = "seconds")]
    pub write_idle: Duration,
    /// A longer head is refused. Default 64 KiB.
    pub max_header_bytes: usize,
    /// Origins of sites whose pages may call from a browser, e.g. `https://app.example.org`. Default: none.
    pub cors_origins: Vec<String>,
    /// TLS on its port. Default: none.
    pub tls: ApiTlsSettings,
    /// How long open calls may go on when the server stops. Default 20 s.
    #[serde(with = "seconds")]
    pub shutdown_grace: Duration,
}

impl ApiSettings {
    /// How a body has to come.
    pub(super) fn body_flow(&self) -> Flow {
        Flow { idle: self.body_idle, rate: self.min_body_rate }
    }
}

/// TLS on the API's own port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiTlsSettings {
    /// The file (PEM) of the certificate, its chain after it; empty: plain HTTP. Read again when it changes.
    pub cert: PathBuf,
    /// The file (PEM) of its private key.
    pub key: PathBuf,
    /// A handshake that takes longer, from the accept, is given up with its connection. Default 10 s.
    #[serde(with = "seconds")]
    pub handshake_timeout: Duration,
}

impl Default for ApiTlsSettings {
    fn default() -> Self {
        Self { cert: PathBuf::new(), key: PathBuf::new(), handshake_timeout: Duration::from_secs(10) }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            max_upload_bytes: 5 * 1024 * 1024 * 1024,
            body_idle: Duration::from_secs(10),
            min_body_rate: 240,
            max_wait: Duration::from_secs(30),
            recheck: Duration::from_secs(1),
            max_waiters: 5_000,
            max_streams: 5_000,
            stream_heartbeat: Duration::from_secs(15),
            event_ring_bytes: 32 * 1024 * 1024,
            event_fill_jobs: 10_000,
            max_attempts: 100,
            max_timeout: Duration::from_secs(24 * 3600),
            max_delay: Duration::from_secs(366 * 24 * 3600),
            max_metadata_bytes: 16 * 1024,
            max_page: 200,
            idempotency_ttl: Duration::from_secs(24 * 3600),
            max_batch: 1_000,
            max_batch_bytes: 8 * 1024 * 1024,
            max_bulk: 1_000,
            publish_timeout: Duration::from_secs(5),
            ledger_timeout: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(2),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_idle: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            cors_origins: Vec::new(),
            tls: ApiTlsSettings::default(),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}
