//! Unique keys: at most one unfinished job per tenant, kind and key. There is one writer, so looking and taking cannot be torn apart.
//! A key whose job is finished is free; who takes it next overwrites the row.

use longshore_sdk::JobId;
use rusqlite::{Connection, OptionalExtension as _};

use super::columns::Id;
use crate::ledger::Answer;
use crate::tenant::Tenant;

/// The unfinished job that holds a key, if it is another than `asking`.
pub(super) fn other_holder(
    db: &Connection,
    tenant: &Tenant,
    kind: &str,
    key: &str,
    asking: JobId,
) -> Answer<Option<JobId>> {
    let sql = "select u.job from unique_keys u join jobs j on j.id = u.job \
         where u.tenant = ?1 and u.kind = ?2 and u.key = ?3 and j.state < 2 and u.job <> ?4";
    let mut find = db.prepare_cached(sql)?;
    Ok(find.query_row((tenant, kind, key, Id(asking.0)), |row| Ok(JobId(row.get::<_, Id>(0)?.0))).optional()?)
}

/// Gives a free key to a job.
pub(super) fn take(db: &Connection, tenant: &Tenant, kind: &str, key: &str, job: JobId) -> Answer<()> {
    let sql = "insert or replace into unique_keys (tenant, kind, key, job) values (?1, ?2, ?3, ?4)";
    Ok(db.prepare_cached(sql)?.execute((tenant, kind, key, Id(job.0))).map(drop)?)
}

/// Removes some keys whose jobs are finished or gone.
pub(super) fn remove_idle(db: &Connection, limit: usize) -> Answer<usize> {
    let sql = "delete from unique_keys where (tenant, kind, key) in (select tenant, kind, key from unique_keys u \
         where not exists (select 1 from jobs j where j.id = u.job and j.state < 2) limit ?1)";
    Ok(db.prepare_cached(sql)?.execute([super::jobs::count(limit)])?)
}
