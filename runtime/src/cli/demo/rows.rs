//! Counts the rows of an imported table with SQLite itself, behind the importer's back.
//! It reads only. The one place outside the ledger and the importer that speaks SQL.

use std::path::Path;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};

/// How many customers the file has.
pub(super) fn customers(file: &Path) -> anyhow::Result<u64> {
    let open = || Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count =
        open().and_then(|file| file.query_row("select count(distinct id) from customers", [], |row| row.get(0)));
    let count: i64 = count.with_context(|| file.display().to_string())?;
    Ok(u64::try_from(count)?)
}
