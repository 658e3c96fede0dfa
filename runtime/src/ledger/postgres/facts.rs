//! Asks the server about itself, with a few cheap questions that any user may ask. It judges nothing and changes nothing.
//! Read `preflight/database.rs` for what follows from the answers.

use super::{Postgres, migrate};
use crate::clock;
use crate::ledger::{Answer, DatabaseFacts};

/// What we do to every table of ours, as far as an operator may know; a right more than a table's statements need today is one that
/// the next version may need.
const RIGHTS: [&str; 4] = ["select", "insert", "update", "delete"];
/// But the lines of the audit log are never changed, and whoever wants to may have the server see to it.
const NEVER: &str = "update on audit_log";

const SETTINGS: &str = "select current_setting('server_version_num')::int as version, current_setting('fsync') = 'on' as fsync, \
     current_setting('synchronous_commit') as synchronous_commit, current_setting('full_page_writes') = 'on' as full_page_writes, \
     pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as read_only, current_user::text as who, \
     current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint as most, \
     (select count(*) from pg_stat_activity where backend_type = 'client backend') as open, \
     to_regclass('longshore_schema') is not null as migrated, has_schema_privilege(current_schema(), 'create') as may_create";

impl Postgres {
    /// The server as it is now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn facts(&self) -> Answer<DatabaseFacts> {
        let asked_at = clock::now();
        let moment = self.one("select clock_timestamp() as clock", &[]).await?.expect("it answers one row");
        let answered_at = clock::now();
        let row = self.one(SETTINGS, &[]).await?.expect("select without from answers one row");
        let migrated: bool = row.get("migrated");
        // Without a table there is no right to it: who will migrate must be allowed to make them.
        let may_create = row.get::<_, Option<bool>>("may_create").unwrap_or(false);
        let forbidden = match migrated {
            true => self.forbidden().await?,
            false => (!may_create).then(|| "create in the schema".to_owned()).into_iter().collect(),
        };
        let readable = migrated && !forbidden.iter().any(|right| right == "select on longshore_schema");
        Ok(DatabaseFacts {
            version: row.get("version"),
            fsync: row.get("fsync"),
            synchronous_commit: row.get("synchronous_commit"),
            full_page_writes: row.get("full_page_writes"),
            read_only: row.get("read_only"),
            user: row.get("who"),
            forbidden,
            schema: if readable { Some(self.schema_version().await?) } else { None },
            known_schema: migrate::KNOWN,
            clock: moment.get("clock"),
            asked: (asked_at, answered_at),
            max_connections: row.get("most"),
            connections: row.get("open"),
        })
    }

    /// The version of the schema that is there.
    ///
    /// # Errors
    /// When the server does not answer, or has no schema of ours.
    pub async fn schema_version(&self) -> Answer<usize> {
        let row = self.one("select coalesce(max(version), 0) as version from longshore_schema", &[]).await?;
        let version: i32 = row.expect("an aggregate answers one row").get("version");
        Ok(usize::try_from(version).unwrap_or(0))
    }

    /// A table that a newer schema brings and an older one has not is no missing right.
    async fn forbidden(&self) -> Answer<Vec<String>> {
        let sql = "select r || ' on ' || t as missing from unnest($1::text[]) as t, unnest($2::text[]) as r \
             where to_regclass(t) is not null and not has_table_privilege(to_regclass(t), r) and r || ' on ' || t <> $3 \
             union all select 'select on longshore_schema' \
             where not has_table_privilege(to_regclass('longshore_schema'), 'select') order by missing";
        let (tables, rights) = (migrate::tables().collect::<Vec<_>>(), RIGHTS.to_vec());
        let rows = self.query(sql, &[&tables, &rights, &NEVER]).await?;
        Ok(rows.iter().map(|row| row.get("missing")).collect())
    }
}
