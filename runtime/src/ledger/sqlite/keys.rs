//! API keys: rows that are looked up by their id, and never removed. The house's operators act for every tenant: then `of` is `None`.

use std::time::Duration;

use rusqlite::Connection;

use super::columns::{self, Columns, later};
use super::trail;
use crate::keys::Scopes;
use crate::ledger::trail::{Actor, Deed};
use crate::ledger::{Answer, ApiKey, NewKey};
use crate::tenant::Tenant;

const MINUTE: i64 = 60_000_000;

pub(super) fn add(db: &Connection, now: i64, key: &NewKey, by: Option<&Actor>) -> Answer<()> {
    let sql = "insert into api_keys (id, tenant, name, scopes, hash, created_at, expires_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict (id) do nothing";
    let (scopes, expires_at) = (key.scopes.to_string(), key.lives.map(|lives| later(now, lives)));
    let params = (&key.id, &key.tenant, &key.name, scopes, key.hash, now, expires_at);
    if db.prepare_cached(sql)?.execute(params)? == 1 {
        trail::note(db, now, by, &key.tenant, Deed::KeyCreated, &key.id)?;
    }
    Ok(())
}

pub(super) fn of_id(db: &Connection, now: i64, id: &str) -> Answer<Option<ApiKey>> {
    Ok(keys(db, now, "where id = ?2", [id])?.pop())
}

pub(super) fn of_tenant(db: &Connection, now: i64, of: Option<&Tenant>) -> Answer<Vec<ApiKey>> {
    keys(db, now, "where ?2 is null or tenant = ?2 order by created_at, id", [of.map(Tenant::as_str)])
}

fn keys<T: rusqlite::ToSql>(db: &Connection, now: i64, which: &str, [of]: [T; 1]) -> Answer<Vec<ApiKey>> {
    let sql = format!(
        "select id, tenant, name, scopes, hash, created_at, expires_at, coalesce(expires_at <= ?1, 0), revoked_at, \
         last_used_at from api_keys {which}"
    );
    columns::rows(db, &sql, (now, of), |row| {
        let mut row = Columns::of(row);
        Ok(ApiKey {
            id: row.take()?,
            tenant: row.take()?,
            name: row.take()?,
            scopes: Scopes::known_of(row.take::<String>()?.split(' ')),
            hash: row.take()?,
            created_at: row.at()?,
            expires_at: row.maybe_at()?,
            expired: row.take()?,
            revoked_at: row.maybe_at()?,
            last_used_at: row.maybe_at()?,
        })
    })
}

pub(super) fn end(
    db: &Connection,
    now: i64,
    of: Option<&Tenant>,
    id: &str,
    within: Option<Duration>,
    by: Option<&Actor>,
) -> Answer<bool> {
    let whose = of.map(Tenant::as_str);
    let ended = match within {
        None => db
            .prepare_cached(
                "update api_keys set revoked_at = coalesce(revoked_at, ?3) where id = ?1 and (?2 is null or tenant = ?2)",
            )?
            .execute((id, whose, now))?,
        Some(within) => db
            .prepare_cached(
                "update api_keys set expires_at = min(coalesce(expires_at, ?3), ?3) \
                 where id = ?1 and (?2 is null or tenant = ?2)",
            )?
            .execute((id, whose, later(now, within)))?,
    };
    if let Some(key) = of_id(db, now, id)?.filter(|_| ended == 1) {
        let deed = if within.is_some() { Deed::KeyRotated } else { Deed::KeyRevoked };
        trail::note(db, now, by, &key.tenant, deed, id)?;
    }
    Ok(ended == 1)
}

pub(super) fn touch(db: &Connection, now: i64, id: &str) -> Answer<()> {
    let sql =
        "update api_keys set last_used_at = ?2 where id = ?1 and (last_used_at is null or last_used_at < ?2 - ?3)";
    Ok(db.prepare_cached(sql)?.execute((id, now, MINUTE)).map(drop)?)
}
