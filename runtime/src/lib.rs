//! The Longshore runtime: ledger, broker, workers, agents, HTTP API, and the `longshore` command line.
//! Executors are named only in `app.rs`. Read ARCHITECTURE.md for the walk of a job through these rooms.

pub mod agents;
pub mod api;
pub mod app;
pub mod broker;
mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod guard;
pub mod job;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod notify;
pub mod preflight;
#[cfg(test)]
mod simulation;
pub mod stop;
pub mod storage;
mod sweep;
pub mod telemetry;
pub mod tenant;
pub mod tls;
pub mod traces;
pub mod worker;

pub use cli::main_with as run;
