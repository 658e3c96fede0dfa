//! Reads what a job's events are rebuilt from: its row and its attempts, in one statement, so that they belong together.
//! How they are rebuilt is [`crate::ledger::history`]'s.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, number};
use crate::job::state::State;
use crate::ledger::history::{self, Line, Outline};
use crate::ledger::{Answer, Ended, Event, Unannounced};

const HISTORY: &str = "\
select j.id, j.tenant, j.kind, j.version, j.state, j.attempt, j.created_at, j.changed_at, j.started_at, j.started_version, j.progress, \
    j.replays, j.correlation_id, j.trace, a.attempt as line, a.ended, a.error, a.started_at as line_started_at, a.finished_at, \
    a.started_version as line_started_version, a.version as line_version, a.state as line_state \
from jobs j left join attempts a on a.job = j.id where j.id = any($1) order by j.id, a.attempt";

impl Postgres {
    pub(super) async fn read_history(&self, job: JobId) -> Answer<Option<Vec<Event>>> {
        Ok(self.histories(&[job.0]).await?.into_values().next().map(|owed| owed.events))
    }

    pub(super) async fn read_events_since(&self, since: Timestamp, limit: usize) -> Answer<Option<Vec<Event>>> {
        let enough = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let changed = self.query("select id from jobs where changed_at >= $1 limit $2", &[&since, &enough]).await?;
        if changed.len() > limit {
            return Ok(None);
        }
        let ids: Vec<Uuid> = changed.iter().map(|row| row.get("id")).collect();
        let jobs = self.histories(&ids).await?;
        Ok(history::of_all(jobs.into_values().collect(), limit))
    }

    /// The histories of these jobs.
    pub(super) async fn histories(&self, jobs: &[Uuid]) -> Answer<HashMap<JobId, Unannounced>> {
        let mut all: BTreeMap<Uuid, (Outline, Vec<Line>)> = BTreeMap::new();
        for row in &self.query(HISTORY, &[&jobs]).await? {
            let (_, lines) = all.entry(row.get("id")).or_insert_with(|| (outline(row), vec![]));
            lines.extend(line(row));
        }
        let told = all.into_values().map(|(outline, lines)| {
            let events = history::events(&outline, &lines);
            (outline.job, Unannounced { job: outline.job, version: outline.version, events })
        });
        Ok(told.collect())
    }
}

fn outline(row: &Row) -> Outline {
    Outline {
        job: JobId(row.get("id")),
        tenant: read::tenant(row),
        kind: row.get("kind"),
        version: row.get("version"),
        state: read::state(row),
        attempt: number(row, "attempt"),
        created_at: row.get("created_at"),
        changed_at: row.get("changed_at"),
        started_at: row.get("started_at"),
        started_version: row.get("started_version"),
        progress: read::json(row, "progress"),
        replays: read::json(row, "replays").unwrap_or_default(),
        correlation_id: row.get("correlation_id"),
        trace: read::trace(row),
    }
}

fn line(row: &Row) -> Option<Line> {
    Some(Line {
        attempt: row.get::<_, Option<i32>>("line").and_then(|number| u32::try_from(number).ok())?,
        ended: Ended::from_word(row.get("ended")),
        error: read::json(row, "error"),
        started_at: row.get("line_started_at"),
        finished_at: row.get("finished_at"),
        started_version: row.get("line_started_version"),
        version: row.get("line_version"),
        state: row.get::<_, Option<i16>>("line_state").and_then(State::from_code),
    })
}
