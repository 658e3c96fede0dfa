//! How much one import may take of the machine. Set by the operator, never by a caller.
//! No limit is enforced here: bytes and records in `records.rs`, cells in `plan.rs`, chunks in `chunk.rs`, waiting in
//! `target/`.

use std::time::Duration;

use longshore_sdk::executor::seconds;
use serde::{Deserialize, Serialize};

/// The operator's limits; [`Limits::default`] suits a small worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest file. Default 64 GiB.
    pub max_input_bytes: u64,
    /// The largest record, quotes and line ends included: what one row may take of memory. Default 1 MiB.
    pub max_record_bytes: u64,
    /// The largest cell; a larger one rejects its row. Default 256 KiB.
    pub max_field_bytes: usize,
    /// The most cells in the header. Default 10,000.
    pub max_fields: usize,
    /// The most columns of a payload; PostgreSQL itself ends at 1600. Default 1600.
    pub max_columns: usize,
    /// A chunk ends at so many rows, imported and rejected. Default 50,000 (measured best: 50,000 to 200,000).
    pub chunk_rows: usize,
    /// A chunk ends at so many bytes, whatever its rows; three chunks are in memory at most. Default 16 MiB.
    pub chunk_bytes: usize,
    /// How long to wait for a lock that an earlier attempt may hold before its connection is ended. Default 10 s.
    #[serde(with = "seconds")]
    pub lock_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_input_bytes: 64 << 30,
            max_record_bytes: 1 << 20,
            max_field_bytes: 256 << 10,
            max_fields: 10_000,
            max_columns: 1600,
            chunk_rows: 50_000,
            chunk_bytes: 16 << 20,
            lock_wait: Duration::from_secs(10),
        }
    }
}
