//! The audit log. A statement that changes something has a part that notes it, so that both are one transaction.

use std::time::Duration;

use deadpool_postgres::Transaction;

use super::Postgres;
use super::read::{self, long_ms};
use crate::ledger::Answer;
use crate::ledger::trail::{Actor, DONE, Deed, Line, NewLine};
use crate::tenant::Tenant;

/// Part of a statement: a line for each row of `from`, which has `tenant` and this object, by the actor in the parameters from `at` on.
/// Of nobody there is none.
pub(super) fn noted(at: usize, deed: Deed, object: &str, from: &str) -> String {
    let (address, request) = (at + 1, at + 2);
    format!(
        ", trail as (insert into audit_log (tenant, actor, address, request_id, deed, object, outcome) \
         select tenant, ${at}::text, ${address}::text, ${request}::text, '{}', ({object})::text, '{DONE}' from {from} \
         where ${at}::text is not null) ",
        deed.word()
    )
}

/// The parameters of [`noted`].
pub(super) type By<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

impl Postgres {
    pub(super) fn actor(&self) -> By<'_> {
        let by = self.by.as_deref();
        (
            by.map(|by| by.name.as_str()),
            by.and_then(|by| by.address.as_deref()),
            by.and_then(|by| by.request_id.as_deref()),
        )
    }

    /// A line within a transaction of several statements.
    pub(super) async fn note_in(
        &self,
        transaction: &Transaction<'_>,
        tenant: &Tenant,
        deed: Deed,
        object: &str,
    ) -> Answer<()> {
        let Some(by) = self.by.as_deref() else { return Ok(()) };
        let Actor { name, address, request_id } = by;
        let params: super::Params<'_> = &[&tenant.as_str(), name, address, request_id, &deed.word(), &object, &DONE];
        transaction.execute(INSERT, params).await?;
        Ok(())
    }

    pub(super) async fn write_line(&self, line: &NewLine) -> Answer<()> {
        let Actor { name, address, request_id } = &line.by;
        let (tenant, deed) = (line.tenant.as_str(), line.deed.word());
        let params: super::Params<'_> = &[&tenant, name, address, request_id, &deed, &line.object, &line.outcome];
        self.query(INSERT, params).await.map(drop)
    }

    pub(super) async fn read_trail(&self, of: Option<&Tenant>, before: Option<i64>, limit: usize) -> Answer<Vec<Line>> {
        let sql = "select id, at, tenant, actor, address, request_id, deed, object, outcome from audit_log \
             where ($1::text is null or tenant = $1) and ($2::bigint is null or id < $2) order by id desc limit $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(sql, &[&of.map(Tenant::as_str), &before, &limit]).await?;
        let line = |row: &tokio_postgres::Row| Line {
            id: row.get("id"),
            at: row.get("at"),
            tenant: read::tenant(row),
            actor: row.get("actor"),
            address: row.get("address"),
            request_id: row.get("request_id"),
            deed: row.get("deed"),
            object: row.get("object"),
            outcome: row.get("outcome"),
        };
        Ok(rows.iter().map(line).collect())
    }

    pub(super) async fn remove_lines(&self, age: Duration, limit: usize) -> Answer<usize> {
        let sql = "delete from audit_log where id in (select id from audit_log \
             where at < now() - $1::bigint * interval '1 ms' order by at limit $2) returning id";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(self.query(sql, &[&long_ms(age), &limit]).await?.len())
    }
}

const INSERT: &str = "insert into audit_log (tenant, actor, address, request_id, deed, object, outcome) \
     values ($1, $2, $3, $4, $5, $6, $7)";
