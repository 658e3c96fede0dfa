//! Opens the file and brings its schema up to date. It refuses a schema newer than this program's: an old program must not
//! write into it. The schema itself is in `migrations/sqlite/`.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::ledger::{Answer, LedgerError};

const MIGRATIONS: [&str; 15] = [
    include_str!("../../../migrations/sqlite/0001_ledger.sql"),
    include_str!("../../../migrations/sqlite/0002_idempotency.sql"),
    include_str!("../../../migrations/sqlite/0003_unique_keys.sql"),
    include_str!("../../../migrations/sqlite/0004_history.sql"),
    include_str!("../../../migrations/sqlite/0005_evidence.sql"),
    include_str!("../../../migrations/sqlite/0006_trace.sql"),
    include_str!("../../../migrations/sqlite/0007_tenants.sql"),
    include_str!("../../../migrations/sqlite/0008_keys.sql"),
    include_str!("../../../migrations/sqlite/0009_ending.sql"),
    include_str!("../../../migrations/sqlite/0010_webhooks.sql"),
    include_str!("../../../migrations/sqlite/0011_uploads.sql"),
    include_str!("../../../migrations/sqlite/0012_audit_log.sql"),
    include_str!("../../../migrations/sqlite/0013_told_progress.sql"),
    include_str!("../../../migrations/sqlite/0014_webhook_ends.sql"),
    include_str!("../../../migrations/sqlite/0015_retention.sql"),
];

/// How long a call waits for another process that writes the same file (a migration, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; there are about fifty.
const STATEMENTS: usize = 128;

/// WAL, so that readers and the writer don't wait for each other; a commit that is answered is on the disk. The log is cut
/// back after a burst.
const WRITING: &str = "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = off; \
     pragma temp_store = memory; pragma cache_size = -16384; pragma wal_autocheckpoint = 4000; \
     pragma journal_size_limit = 67108864;";

/// The connection that writes. Makes the file if there is none.
pub(super) fn open_writer(path: &Path) -> Answer<Connection> {
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    db.execute_batch(WRITING).map_err(|error| unopened(path, &error))?;
    Ok(db)
}

/// One that reads; the writer must have been opened before.
pub(super) fn open_reader(path: &Path) -> Answer<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, flags: OpenFlags) -> Answer<Connection> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let db = db.map_err(|error| unopened(path, &error))?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

fn unopened(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let hint = "its directory must exist and be writable, and the file must be a ledger";
    LedgerError::Refused(format!("cannot open the ledger {}: {error}; {hint}", path.display()))
}

/// Runs in the caller's transaction: a migration is whole or not at all.
pub(super) fn migrate(db: &Connection, now: i64) -> Answer<()> {
    db.execute_batch(
        "create table if not exists schema_version (version integer primary key, applied_at integer not null)",
    )?;
    let present: u32 = db.query_row("select coalesce(max(version), 0) from schema_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len();
    let present = usize::try_from(present).unwrap_or(usize::MAX);
    if present > known {
        return Err(LedgerError::Refused(format!(
            "the ledger has schema version {present}, this program knows {known}; run the newer longshore"
        )));
    }
    for (version, sql) in (1_u32..).zip(MIGRATIONS).skip(present) {
        db.execute_batch(sql)?;
        db.execute("insert into schema_version (version, applied_at) values (?1, ?2)", (version, now))?;
    }
    Ok(())
}
