//! What an operator decides, in one value: the documented defaults, then a file, then `LONGSHORE_*` (and OpenTelemetry's own
//! variables), then flags.
//! It refuses keys and variables it does not know (with a guess) and tells all mistakes at once; it opens nothing and
//! connects to nothing. Read `config.default.toml` for the settings, [`layers`] for how they are laid over each other.

mod check;
mod environment;
mod guess;
mod layers;
mod otel;
mod shown;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use longshore_executors::csv_import::Limits as CsvImportLimits;
use longshore_executors::resize::Limits as ResizeSettings;
use longshore_executors::transcode::TranscodeSettings;
use serde::{Deserialize, Deserializer, Serialize};

use crate::agents::Kept;
use crate::api::{ApiSettings, AuthSettings, LimitSettings};
use crate::ledger::retention::Keep;
use crate::notify::webhook::WebhookSettings;
use crate::preflight::PreflightSettings;
use crate::storage::StorageSettings;
use crate::traces::TraceSettings;
use crate::worker::WorkerSettings;
pub(crate) use guess::guess;
pub use layers::{Given, Mistakes, Sources};
pub use shown::{Origin, Setting, settings};

/// The defaults, as the operator reads them.
pub const DEFAULT_TOML: &str = include_str!("config.default.toml");

/// Whatever is kept for longer is kept for ever: no calendar goes further back.
const MILLENNIUM: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

/// Every setting of a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Where the API listens, or a worker for its probes.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Where `dev` keeps everything, and workers their scratch files.
    pub data_dir: PathBuf,
    /// The ledger.
    pub database: DatabaseConfig,
    /// RabbitMQ.
    pub broker: BrokerConfig,
    /// The worker.
    pub worker: WorkerConfig,
    /// Relay, rescuer, reconciler.
    pub agents: AgentsConfig,
    /// Uploads, outputs, and which inputs jobs may name.
    pub storage: StorageSettings,
    /// The API.
    pub api: ApiSettings,
    /// Who may call it.
    pub auth: AuthSettings,
    /// What a tenant may take of it.
    pub limits: LimitSettings,
    /// How webhooks are delivered.
    pub webhooks: WebhookSettings,
    /// `image.resize`.
    pub resize: ResizeSettings,
    /// `media.transcode`.
    pub transcode: TranscodeSettings,
    /// `csv.import`.
    pub csv_import: CsvImportConfig,
    /// What is looked at before a worker starts.
    pub preflight: PreflightSettings,
    /// Traces, for a collector.
    pub traces: TraceSettings,
    /// What is told to operators.
    pub log: LogConfig,
}

/// The ledger's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseConfig {
    /// PostgreSQL; `None` where none is needed: in `dev`.
    #[serde(deserialize_with = "empty_is_none")]
    pub url: Option<String>,
    /// The most connections of one process.
    pub connections: usize,
    /// The authority to believe; empty: this machine's.
    pub tls_ca: PathBuf,
}

/// Where RabbitMQ is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerConfig {
    /// Tried in turn.
    pub urls: Vec<String>,
    /// Begins the name of every exchange and queue.
    pub prefix: String,
    /// The authority to believe; empty: this machine's.
    pub tls_ca: PathBuf,
}

/// The worker: its limits, and what it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// The kinds it runs; empty means all.
    pub kinds: Vec<String>,
    /// Where it answers probes; `None`: nowhere.
    #[serde(deserialize_with = "address_or_none")]
    pub listen: Option<SocketAddr>,
    /// Whether a parent process looks after it.
    pub guard: bool,
    /// Its limits.
    #[serde(flatten)]
    pub limits: WorkerSettings,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self { kinds: Vec::new(), listen: None, guard: true, limits: WorkerSettings::default() }
    }
}

/// The agents' settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentsConfig {
    /// Crashes alone after which a job is poison.
    pub crash_limit: u32,
    /// How often the auditor looks at the ledger.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub audit_interval: Duration,
    /// At most so many jobs at a time.
    pub audit_jobs: usize,
    /// How long completed and canceled jobs are kept; zero: for ever.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub keep_finished: Duration,
    /// How long dead letters are kept; zero: for ever.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub keep_failed: Duration,
    /// How long the ids are known of removed jobs whose producers published by themselves; zero: for ever.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub keep_foreign_ids: Duration,
    /// How long lines of the audit log are kept.
    #[serde(with = "longshore_sdk::executor::seconds")]
    pub keep_audit_log: Duration,
}

/// Where imports write and what one may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvImportConfig {
    /// PostgreSQL; `None` for the ledger's, or in `dev` for a file in the data directory.
    #[serde(deserialize_with = "empty_is_none")]
    pub database_url: Option<String>,
    /// The PostgreSQL schema of all imported tables.
    pub schema: String,
    /// The authority to believe; empty: this machine's.
    pub tls_ca: PathBuf,
    /// What one import may take.
    pub limits: CsvImportLimits,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// For whom.
    pub format: LogFormat,
    /// How much: a level, or directives of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Lays the sources over the defaults.
    ///
    /// # Errors
    /// [`Mistakes`]: every one there is, each with its place.
    pub fn load(sources: &Sources) -> Result<Self, Mistakes> {
        layers::lay(sources).map(|laid| laid.config.resolved())
    }

    /// What the janitor goes by.
    pub(crate) fn kept(&self) -> Kept {
        let limit = |keep: Duration| Some(keep).filter(|keep| !keep.is_zero() && *keep < MILLENNIUM);
        let AgentsConfig { keep_finished, keep_failed, keep_foreign_ids, keep_audit_log, .. } = self.agents;
        Kept {
            jobs: Keep { finished: limit(keep_finished), failed: limit(keep_failed) },
            foreign_ids: limit(keep_foreign_ids),
            deliveries: self.webhooks.keep.min(MILLENNIUM),
            audit_log: keep_audit_log.min(MILLENNIUM),
        }
    }

    /// Settings whose default follows from this machine or from another setting, and those that TOML has no word for.
    fn resolved(mut self) -> Self {
        if self.worker.limits.slots == 0 {
            self.worker.limits.slots = WorkerSettings::default().slots;
        }
        if self.storage.location.is_empty() {
            self.storage.location = self.data_dir.join("storage").to_string_lossy().into_owned();
        }
        let memory = &mut self.transcode.limits.max_memory_bytes;
        *memory = memory.filter(|bytes| *bytes > 0);
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            data_dir: ".longshore".into(),
            database: DatabaseConfig { url: None, connections: 8, tls_ca: PathBuf::new() },
            broker: BrokerConfig { urls: Vec::new(), prefix: "longshore".into(), tls_ca: PathBuf::new() },
            worker: WorkerConfig::default(),
            agents: AgentsConfig {
                crash_limit: 3,
                audit_interval: Duration::from_secs(60),
                audit_jobs: 5_000,
                keep_finished: Duration::from_secs(30 * 24 * 3600),
                keep_failed: Duration::ZERO,
                keep_foreign_ids: Duration::from_secs(365 * 24 * 3600),
                keep_audit_log: Duration::from_secs(365 * 24 * 3600),
            },
            storage: StorageSettings::default(),
            api: ApiSettings::default(),
            auth: AuthSettings::default(),
            limits: LimitSettings::default(),
            webhooks: WebhookSettings::default(),
            resize: ResizeSettings::default(),
            transcode: TranscodeSettings::default(),
            csv_import: CsvImportConfig {
                database_url: None,
                schema: "imports".into(),
                tls_ca: PathBuf::new(),
                limits: CsvImportLimits::default(),
            },
            preflight: PreflightSettings::default(),
            traces: TraceSettings::default(),
            log: LogConfig { format: LogFormat::Text, level: "info".into() },
        }
    }
}

// TOML has no null.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    address_or_none(from)?.ok_or_else(|| serde::de::Error::custom(NO_ADDRESS))
}

fn address_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    let address = (!text.is_empty()).then(|| text.parse());
    address.transpose().map_err(|_| serde::de::Error::custom(NO_ADDRESS))
}

const NO_ADDRESS: &str = "write an IP address and a port, e.g. 127.0.0.1:7070";

fn empty_is_none<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(from: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}
