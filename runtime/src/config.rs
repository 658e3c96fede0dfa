//! Temporary shape, replaced by the configuration proper.
#![expect(missing_docs, reason = "temporary")]
use std::net::SocketAddr;
use std::path::PathBuf;
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub database: Database,
    pub broker: BrokerConfig,
    pub worker: WorkerConfig,
    pub agents: AgentsConfig,
    pub storage: crate::storage::StorageSettings,
    pub api: crate::api::ApiSettings,
    pub csv_import: CsvConfig,
    pub transcode: longshore_executors::transcode::TranscodeSettings,
    pub resize: longshore_executors::resize::Limits,
}
#[derive(Debug, Clone)]
pub struct Database {
    pub url: Option<String>,
    pub connections: usize,
}
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    pub urls: Vec<String>,
    pub prefix: String,
}
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub kinds: Vec<String>,
    pub limits: crate::worker::WorkerSettings,
}
#[derive(Debug, Clone)]
pub struct AgentsConfig {
    pub crash_limit: u32,
}
#[derive(Debug, Clone)]
pub struct CsvConfig {
    pub database_url: Option<String>,
    pub schema: String,
    pub limits: longshore_executors::csv_import::Limits,
}
