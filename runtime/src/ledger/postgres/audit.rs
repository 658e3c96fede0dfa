//! A page of jobs for the audit, by the server's clock. What is asked of it is [`crate::ledger::audit`]'s.

use longshore_sdk::JobId;
use uuid::Uuid;

use super::Postgres;
use crate::ledger::audit::{AuditPage, AuditPatience, questions};
use crate::ledger::{Answer, postgres::read::long_ms};

/// The attempts are counted per job, by their index: a page costs the same however large the ledger is.
const PAGE: &str = "\
with page as ( \
    select j.*, a.ended, a.last, a.done, a.done_at, \
        j.state = 1 and j.changed_at < now() - $3 * interval '1 ms' and not exists (select 1 from workers w \
            where w.id = j.worker and w.lease_until > now() - $3 * interval '1 ms') as forsaken, \
        j.unannounced and j.changed_at < now() - $4 * interval '1 ms' as owing \
    from jobs j cross join lateral ( \
        select count(*) as ended, coalesce(max(attempt), 0) as last, count(*) filter (where ended = 'done') as done, \
            coalesce(max(attempt) filter (where ended = 'done'), 0) as done_at \
        from attempts where job = j.id) a \
    where j.id > $1 order by j.id limit $2) ";

impl Postgres {
    pub(super) async fn audit_page(
        &self,
        after: Option<JobId>,
        limit: usize,
        patience: AuditPatience,
    ) -> Answer<AuditPage> {
        let sql = [PAGE, &questions("$1", "$2", "now()")].concat();
        let after = after.map_or(Uuid::nil(), |job| job.0);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a patience")]
        let (rescue, announce) = (long_ms(patience.rescue) as f64, long_ms(patience.announce) as f64);
        let rows = self.query(&sql, &[&after, &most, &rescue, &announce]).await?;
        Ok(AuditPage::of(rows.iter().map(|row| (row.get("word"), JobId(row.get("id")))), limit))
    }
}
