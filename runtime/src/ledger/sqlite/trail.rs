//! The audit log. Whatever changes something notes it in the same transaction.

use std::time::Duration;

use rusqlite::Connection;

use super::columns::{self, Columns};
use super::jobs::count;
use crate::ledger::Answer;
use crate::ledger::trail::{Actor, DONE, Deed, Line, NewLine};
use crate::tenant::Tenant;

/// A line, if somebody did it.
pub(super) fn note(
    db: &Connection,
    now: i64,
    by: Option<&Actor>,
    tenant: &Tenant,
    deed: Deed,
    object: &str,
) -> Answer<()> {
    by.map_or(Ok(()), |by| insert(db, now, by, tenant, deed, object, DONE))
}

pub(super) fn write(db: &Connection, now: i64, line: &NewLine) -> Answer<()> {
    insert(db, now, &line.by, &line.tenant, line.deed, &line.object, line.outcome)
}

fn insert(
    db: &Connection,
    now: i64,
    by: &Actor,
    tenant: &Tenant,
    deed: Deed,
    object: &str,
    outcome: &str,
) -> Answer<()> {
    let sql = "insert into audit_log (at, tenant, actor, address, request_id, deed, object, outcome) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let params = (now, tenant, &by.name, &by.address, &by.request_id, deed.word(), object, outcome);
    Ok(db.prepare_cached(sql)?.execute(params).map(drop)?)
}

pub(super) fn read(db: &Connection, of: Option<&Tenant>, before: Option<i64>, limit: usize) -> Answer<Vec<Line>> {
    let sql = "select id, at, tenant, actor, address, request_id, deed, object, outcome from audit_log \
         where (?1 is null or tenant = ?1) and (?2 is null or id < ?2) order by id desc limit ?3";
    columns::rows(db, sql, (of.map(Tenant::as_str), before, count(limit)), |row| {
        let mut row = Columns::of(row);
        Ok(Line {
            id: row.take()?,
            at: row.at()?,
            tenant: row.take()?,
            actor: row.take()?,
            address: row.take()?,
            request_id: row.take()?,
            deed: row.take()?,
            object: row.take()?,
            outcome: row.take()?,
        })
    })
}

pub(super) fn remove(db: &Connection, now: i64, age: Duration, limit: usize) -> Answer<usize> {
    let sql = "delete from audit_log where id in (select id from audit_log where at < ?1 order by at limit ?2)";
    let before = now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    Ok(db.prepare_cached(sql)?.execute((before, count(limit)))?)
}
