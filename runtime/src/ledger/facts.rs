//! What a ledger's database says of itself: its version, its durability, its clock, our rights. Shapes only; whether it will do
//! is judged in `preflight/database.rs`.

use jiff::Timestamp;

/// A PostgreSQL server as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its version as one number: 150008 is 15.8.
    pub version: i32,
    /// Whether a commit reaches the disk.
    pub fsync: bool,
    /// When a commit is answered: `on`, `off`, `local`, ...
    pub synchronous_commit: String,
    /// Whether a torn page can be repaired after a crash.
    pub full_page_writes: bool,
    /// A standby, or a database that is set to read only.
    pub read_only: bool,
    /// Who we are there.
    pub user: String,
    /// What we may not do, e.g. `insert on jobs`.
    pub forbidden: Vec<String>,
    /// The schema's version; `None` where nobody has migrated yet.
    pub schema: Option<usize>,
    /// The schema's version that this program has.
    pub known_schema: usize,
    /// The server's clock.
    pub clock: Timestamp,
    /// Our clock just before it was asked, and just after it had answered.
    pub asked: (Timestamp, Timestamp),
    /// Connections that the server takes from the likes of us.
    pub max_connections: i64,
    /// Those that are open now, of everybody.
    pub connections: i64,
}
