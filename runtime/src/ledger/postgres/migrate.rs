//! Brings the schema up to date, once, however many processes start together. A newer schema than this program's is
//! refused: an old program must not write into it.

use deadpool_postgres::ClientWrapper;

use crate::ledger::{Answer, LedgerError};

const MIGRATIONS: [&str; 15] = [
    include_str!("../../../migrations/postgres/0001_ledger.sql"),
    include_str!("../../../migrations/postgres/0002_idempotency.sql"),
    include_str!("../../../migrations/postgres/0003_unique_keys.sql"),
    include_str!("../../../migrations/postgres/0004_history.sql"),
    include_str!("../../../migrations/postgres/0005_evidence.sql"),
    include_str!("../../../migrations/postgres/0006_trace.sql"),
    include_str!("../../../migrations/postgres/0007_tenants.sql"),
    include_str!("../../../migrations/postgres/0008_keys.sql"),
    include_str!("../../../migrations/postgres/0009_ending.sql"),
    include_str!("../../../migrations/postgres/0010_webhooks.sql"),
    include_str!("../../../migrations/postgres/0011_uploads.sql"),
    include_str!("../../../migrations/postgres/0012_audit_log.sql"),
    include_str!("../../../migrations/postgres/0013_told_progress.sql"),
    include_str!("../../../migrations/postgres/0014_webhook_ends.sql"),
    include_str!("../../../migrations/postgres/0015_retention.sql"),
];

/// The version of the schema that this program works with.
pub(super) const KNOWN: usize = MIGRATIONS.len();

/// Any number that no other program of this database locks by; ours spells "longshor".
const LOCK: i64 = 0x6c6f_6e67_7368_6f72;

/// Every table that the migrations make, by their own words.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    let lines = MIGRATIONS.iter().flat_map(|sql| sql.lines());
    lines.filter_map(|line| line.strip_prefix("create table ")?.split([' ', '(']).next())
}

pub(super) async fn migrate(client: &mut ClientWrapper) -> Answer<()> {
    let transaction = client.transaction().await?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction.batch_execute("create table if not exists longshore_schema (version integer not null)").await?;
    let row = transaction.query_one("select coalesce(max(version), 0) from longshore_schema", &[]).await?;
    let present = usize::try_from(row.get::<_, i32>(0)).unwrap_or(0);
    if present > MIGRATIONS.len() {
        let ours = MIGRATIONS.len();
        return Err(LedgerError::Refused(format!(
            "the database has schema version {present}, this program knows {ours}; run the newer longshore"
        )));
    }
    for (index, sql) in MIGRATIONS.iter().enumerate().skip(present) {
        transaction.batch_execute(sql).await?;
        let version = i32::try_from(index + 1).expect("few migrations");
        transaction.execute("insert into longshore_schema (version) values ($1)", &[&version]).await?;
    }
    Ok(transaction.commit().await?)
}
