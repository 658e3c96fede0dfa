//! A page of jobs for the audit. What is asked of it is [`crate::ledger::audit`]'s.

use longshore_sdk::JobId;
use rusqlite::Connection;
use uuid::Uuid;

use super::columns::{self, Columns, Id};
use super::jobs::count;
use crate::ledger::Answer;
use crate::ledger::audit::{AuditPage, AuditPatience, questions};

const PAGE: &str = "\
with page as ( \
    select j.*, count(a.attempt) as ended, coalesce(max(a.attempt), 0) as last, \
        count(a.attempt) filter (where a.ended = 'done') as done, \
        coalesce(max(a.attempt) filter (where a.ended = 'done'), 0) as done_at, \
        j.state = 1 and j.changed_at < ?4 and not exists (select 1 from workers w \
            where w.id = j.worker and w.lease_until > ?4) as forsaken, \
        j.unannounced and j.changed_at < ?5 as owing \
    from (select * from jobs where id > ?1 order by id limit ?2) j left join attempts a on a.seq = j.seq \
    group by j.seq) ";

pub(super) fn page(
    db: &Connection,
    now: i64,
    after: Option<JobId>,
    limit: usize,
    patience: AuditPatience,
) -> Answer<AuditPage> {
    let sql = [PAGE, &questions("?1", "?2", "?3")].concat();
    let before = |wait: std::time::Duration| now.saturating_sub(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
    let after = Id(after.map_or(Uuid::nil(), |job| job.0));
    let params = (after, count(limit), now, before(patience.rescue), before(patience.announce));
    let rows = columns::rows(db, &sql, params, |row| {
        let mut row = Columns::of(row);
        let word: String = row.take()?;
        Ok((word, JobId(row.take::<Id>()?.0)))
    })?;
    Ok(AuditPage::of(rows, limit))
}
