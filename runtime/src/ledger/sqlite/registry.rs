//! Kinds and uploaded files: small tables that no decision about a job reads. The files' bytes are not here.

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::columns::{self, Columns, Id, Json};
use crate::ledger::{Answer, File, Kind, LedgerError};

pub(super) fn register_kinds(db: &Connection, kinds: &[Kind]) -> Answer<()> {
    let mut register = db.prepare_cached(
        "insert into kinds (kind, payload_schema, output_schema, policy) values (?1, ?2, ?3, ?4) on conflict (kind) do update \
         set payload_schema = excluded.payload_schema, output_schema = excluded.output_schema, policy = excluded.policy",
    )?;
    for kind in kinds {
        register.execute((&kind.kind, Json(&kind.payload_schema), Json(&kind.output_schema), Json(&kind.policy)))?;
    }
    Ok(())
}

pub(super) fn kinds(db: &Connection) -> Answer<Vec<Kind>> {
    let sql = "select kind, payload_schema, output_schema, policy from kinds order by kind";
    columns::rows(db, sql, [], |row| {
        let mut row = Columns::of(row);
        let (kind, Json(payload_schema)) = (row.take()?, row.take()?);
        let (Json(output_schema), Json(policy)) = (row.take()?, row.take()?);
        Ok(Kind { kind, payload_schema, output_schema, policy })
    })
}

pub(super) fn add_file(db: &Connection, now: i64, file: &File) -> Answer<()> {
    let bytes = i64::try_from(file.bytes)
        .map_err(|_| LedgerError::Refused(format!("a file of {} bytes is past what a ledger counts", file.bytes)))?;
    db.prepare_cached(
        "insert into files (id, tenant, name, content_type, bytes, sha256, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         on conflict (id) do nothing",
    )?
    .execute((Id(file.id), &file.tenant, &file.name, &file.content_type, bytes, &file.sha256, now))?;
    Ok(())
}

pub(super) fn file(db: &Connection, id: Uuid) -> Answer<Option<File>> {
    let mut found =
        db.prepare_cached("select tenant, name, content_type, bytes, sha256 from files where id = ?1 and doomed = 0")?;
    let found = found.query_row([Id(id)], |row| {
        let mut row = Columns::of(row);
        let (tenant, name, content_type) = (row.take()?, row.take()?, row.take()?);
        Ok(File { id, tenant, name, content_type, bytes: row.take::<i64>()?.unsigned_abs(), sha256: row.take()? })
    });
    Ok(found.optional()?)
}
