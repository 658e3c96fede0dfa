//! Claims and records of many slots, committed together: the two statements every job passes through. They are pipelined on
//! one connection (begin, record, claim, commit in one write), so a round costs one round trip and one fsync. The conditions in
//! them are the protocol; the walks in ARCHITECTURE.md name each.

use std::collections::HashMap;
use std::sync::LazyLock;

use futures_util::future::try_join4;
use longshore_sdk::JobId;
use longshore_sdk::api::EventWord;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, int, number, text};
use super::webhooks::{ended, tell, tell_of};
use crate::job::state::State;
use crate::job::verdict::ALONE_AFTER;
use crate::ledger::{Answer, Claim, Claimed, Event, Granted, Record, Recorded, Round, Settle};

// One statement with whom its start is to be told.
static CLAIM: LazyLock<String> =
    LazyLock::new(|| format!("with moved as ({TAKE}){}select * from moved", tell_of(EventWord::Started)));
const TAKE: &str = "\
update jobs j set state = 1, attempt = j.attempt + 1, worker = $1, alone = t.alone, started_at = now(), changed_at = now(), \
    ready_at = coalesce(j.due_at, j.ready_at, j.changed_at), \
    due_at = null, queued_at = null, progress = null, publishes = 0, version = j.version + 1, started_version = j.version + 1 \
from unnest($2::uuid[], $3::bool[]) as t(id, alone) \
where j.id = t.id and j.state = 0 and (j.due_at is null or j.due_at <= now()) and (j.crashes < $4 or t.alone) \
    and exists (select from workers w where w.id = $1 and w.lease_until > now()) \
returning j.id, j.tenant, j.kind, j.attempt, j.payload, j.checkpoint, j.charged, j.max_attempts, j.timeout_ms, j.correlation_id, j.trace, \
    j.created_at, j.ready_at, j.started_at, j.version, j.webhook";

// One statement: the fenced update, then from what it returned the history and whom it is to be told. A retry or hand-back of a
// job whose cancel was accepted becomes the cancel (0 = pending, 4 = canceled).
static RECORD: LazyLock<String> =
    LazyLock::new(|| format!("{MOVE}{}select * from moved", tell(&ended("m.error is not null"))));
const MOVE: &str = "\
with v as (select * from unnest($2::uuid[], $3::int[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[], \
        $9::bigint[], $10::int[]) as v(id, attempt, state, ended, result, artifacts, error, wait_ms, charge)), \
moved as ( \
    update jobs j set \
        state = case when v.state = 0 and j.cancel_requested then 4 else v.state end, \
        version = j.version + 1, charged = j.charged + v.charge, crashes = 0, crashed_alone = 0, \
        result = v.result::json, artifacts = v.artifacts::json, \
        error = coalesce(v.error::json, case when v.state = 0 then j.error end), \
        checkpoint = case when v.state = 0 and not j.cancel_requested then j.checkpoint end, \
        due_at = case when v.state = 0 and not j.cancel_requested then now() + v.wait_ms * interval '1 ms' end, \
        queued_at = null, cancel_requested = false, changed_at = now(), \
        finished_at = case when v.state <> 0 or j.cancel_requested then now() end, \
        worker = case when v.state <> 0 or j.cancel_requested then j.worker end \
    from v where j.id = v.id and j.attempt = v.attempt and j.worker = $1 and j.state = 1 \
    returning j.id, j.tenant, j.kind, j.version, j.state, j.attempt, v.error::json as error, j.correlation_id, j.trace, j.changed_at, \
        j.started_at, j.started_version, v.ended, j.webhook), \
history as ( \
    insert into attempts (job, attempt, worker, ended, error, started_at, started_version, version, state) \
    select id, attempt, $1, ended, error, started_at, started_version, version, state from moved on conflict do nothing)";

/// The sorted ids must also be locked in that order, or two workers that hold the same deliveries deadlock (seen on a small
/// table, where one connection's plan scanned the table and another's looked up the ids). So each id is looked up.
const BEGIN: &str =
    "begin; set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off";

/// A round that claims keeps its worker's row from being removed until it has committed: the rescuer that removes it has then either
/// seen what was claimed, or been seen by the claim. It comes before the records, because the rescuer locks in that order too. A
/// heartbeat is not hindered.
fn begin(worker: Uuid, claims: &[Claim]) -> String {
    if claims.is_empty() {
        BEGIN.to_owned()
    } else {
        format!("{BEGIN}; select from workers where id = '{worker}' for key share")
    }
}

impl Postgres {
    pub(super) async fn commit_round(&self, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round> {
        let client = self.client().await?;
        let (claim, record) = (client.prepare_cached(&CLAIM).await?, client.prepare_cached(&RECORD).await?);
        let (asks, writes) = (Asks::of(claims), Writes::of(records));
        let alone_after = int(ALONE_AFTER);
        let claim_params = asks.params(&worker, &alone_after);
        let record_params = writes.params(&worker);
        let begin = begin(worker, claims);
        // The four are sent in this order because they are polled in it; a failure of one aborts the transaction, and the
        // commit then rolls back.
        let (_, moved, granted, _) = try_join4(
            client.batch_execute(&begin),
            async { if records.is_empty() { Ok(vec![]) } else { client.query(&record, &record_params).await } },
            async { if claims.is_empty() { Ok(vec![]) } else { client.query(&claim, &claim_params).await } },
            client.batch_execute("commit"),
        )
        .await?;
        drop(client);
        let claims = self.answer_claims(worker, claims, &granted).await?;
        let records = self.answer_records(worker, records, &moved).await?;
        Ok(Round { claims, records })
    }

    async fn answer_claims(&self, worker: Uuid, claims: &[Claim], granted: &[Row]) -> Answer<Vec<Claimed>> {
        let mut granted: HashMap<JobId, Claimed> = granted.iter().map(|row| grant(row, worker)).collect();
        let missing: Vec<Uuid> =
            claims.iter().map(|claim| claim.job).filter(|job| !granted.contains_key(job)).map(|job| job.0).collect();
        let mut refused = if missing.is_empty() { HashMap::new() } else { self.why_not(worker, &missing).await? };
        let answers = claims.iter().map(|claim| match granted.remove(&claim.job) {
            Some(run) => {
                // A second claim of the same job in this round finds it running.
                refused.insert(claim.job, Claimed::Busy);
                run
            }
            None => refused.get(&claim.job).cloned().unwrap_or(Claimed::Unknown),
        });
        Ok(answers.collect())
    }

    /// Why claims came back empty. A job that is not due stays the relay's, which publishes it when its time comes.
    async fn why_not(&self, worker: Uuid, missing: &[Uuid]) -> Answer<HashMap<JobId, Claimed>> {
        let sql = "select id, state, coalesce(due_at > now(), false) as early, \
                crashes >= $3 as suspect, exists (select from workers w where w.id = $2 and w.lease_until > now()) as leased \
             from jobs where id = any($1)";
        let rows = self.query(sql, &[&missing, &worker, &int(ALONE_AFTER)]).await?;
        let settled: Vec<Uuid> =
            rows.iter().filter(|row| read::state(row).is_terminal()).map(|row| row.get("id")).collect();
        let mut told = if settled.is_empty() { HashMap::new() } else { self.histories(&settled).await? };
        let reasons = rows.iter().map(|row| (JobId(row.get("id")), row)).map(|(job, row)| {
            let events = told.remove(&job).map(|owed| owed.events);
            (job, reason(row, events))
        });
        Ok(reasons.collect())
    }

    async fn answer_records(&self, worker: Uuid, records: &[Record], moved: &[Row]) -> Answer<Vec<Recorded>> {
        let mut done: HashMap<(JobId, u32), Event> =
            moved.iter().map(read::moved).map(|event| ((event.job, event.attempt), event)).collect();
        let keys = records.iter().map(|record| (record.fence.job, record.fence.attempt));
        let missing: Vec<_> = keys.filter(|key| !done.contains_key(key)).collect();
        let mut before =
            if missing.is_empty() { HashMap::new() } else { self.recorded_before(worker, &missing).await? };
        let answers = records.iter().map(|record| {
            let key = (record.fence.job, record.fence.attempt);
            match done.remove(&key) {
                Some(event) => {
                    // A second record of the same attempt in this round comes after the first.
                    before.insert(key, event.clone());
                    Recorded::Done(event)
                }
                None => before.remove(&key).map_or(Recorded::Fenced, Recorded::Before),
            }
        });
        Ok(answers.collect())
    }

    /// Which of these attempts have a line of their own that says so, wherever their jobs are by now: the reply was lost, and nothing
    /// is left to write. One that was lost or handed back was ended by others, who see to its announcement.
    async fn recorded_before(&self, worker: Uuid, missing: &[(JobId, u32)]) -> Answer<HashMap<(JobId, u32), Event>> {
        let sql = "select job as id, attempt from unnest($1::uuid[], $2::int[]) as v(job, attempt) join attempts using (job, attempt) \
             where worker = $3 and ended not in ('lost', 'crashed', 'handed_back')";
        let (jobs, attempts): (Vec<Uuid>, Vec<i32>) =
            missing.iter().map(|(job, attempt)| (job.0, int(*attempt))).unzip();
        let rows = self.query(sql, &[&jobs, &attempts, &worker]).await?;
        let jobs: Vec<Uuid> = rows.iter().map(|row| row.get("id")).collect();
        let told = if jobs.is_empty() { HashMap::new() } else { self.histories(&jobs).await? };
        let ends = rows.iter().filter_map(|row| {
            let key = (JobId(row.get("id")), number(row, "attempt"));
            let ends = |event: &&Event| event.attempt == key.1 && event.ended.is_some();
            Some((key, told.get(&key.0)?.events.iter().find(ends)?.clone()))
        });
        Ok(ends.collect())
    }
}

fn grant(row: &Row, worker: Uuid) -> (JobId, Claimed) {
    let fence = read::fence(row, worker);
    let granted = Granted {
        fence,
        version: row.get("version"),
        started_at: row.get("started_at"),
        tenant: read::tenant(row),
        kind: row.get("kind"),
        payload: read::raw(row, "payload").unwrap_or_default(),
        checkpoint: read::raw(row, "checkpoint"),
        charged: number(row, "charged"),
        max_attempts: number(row, "max_attempts"),
        timeout: read::millis(row, "timeout_ms"),
        correlation_id: row.get("correlation_id"),
        trace: read::trace(row),
        created_at: row.get("created_at"),
        waited: read::between(row, "ready_at", "started_at"),
    };
    (fence.job, Claimed::Run(Box::new(granted)))
}

fn reason(row: &Row, told: Option<Vec<Event>>) -> Claimed {
    match read::state(row) {
        State::Running => Claimed::Busy,
        State::Pending if row.get("early") => Claimed::NotDue,
        State::Pending if !row.get::<_, bool>("leased") => Claimed::NoLease,
        State::Pending if row.get("suspect") => Claimed::Suspect,
        // It became ready, or our lease came back, between the two statements: let the delivery come again.
        State::Pending => Claimed::NoLease,
        State::Completed | State::Failed | State::Canceled => Claimed::Settled(told.unwrap_or_default()),
    }
}

struct Asks {
    jobs: Vec<Uuid>,
    alone: Vec<bool>,
}

impl Asks {
    /// Sorted by id, so that rounds of several workers lock rows in one order.
    fn of(claims: &[Claim]) -> Self {
        let mut sorted: Vec<_> = claims.iter().map(|claim| (claim.job.0, claim.alone)).collect();
        sorted.sort_unstable();
        let (jobs, alone) = sorted.into_iter().unzip();
        Self { jobs, alone }
    }

    fn params<'a>(&'a self, worker: &'a Uuid, alone_after: &'a i32) -> [&'a (dyn super::ToSql + Sync); 4] {
        [worker, &self.jobs, &self.alone, alone_after]
    }
}

#[derive(Default)]
struct Writes {
    jobs: Vec<Uuid>,
    attempts: Vec<i32>,
    states: Vec<i16>,
    ended: Vec<&'static str>,
    results: Vec<Option<String>>,
    artifacts: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    waits_ms: Vec<i64>,
    charges: Vec<i32>,
}

impl Writes {
    fn of(records: &[Record]) -> Self {
        let mut sorted: Vec<&Record> = records.iter().collect();
        sorted.sort_unstable_by_key(|record| record.fence.job);
        sorted.into_iter().fold(Self::default(), Self::with)
    }

    fn with(mut self, record: &Record) -> Self {
        self.jobs.push(record.fence.job.0);
        self.attempts.push(int(record.fence.attempt));
        self.ended.push(record.ended.word());
        let (state, charge) = match &record.settle {
            Settle::Complete { .. } => (State::Completed, 0),
            Settle::Retry { .. } => (State::Pending, 1),
            Settle::DeadLetter { .. } => (State::Failed, 1),
            Settle::Cancel => (State::Canceled, 0),
            Settle::HandBack { .. } => (State::Pending, 0),
        };
        self.states.push(state.code());
        self.charges.push(charge);
        let (mut result, mut files, mut failure, mut wait) = (None, None, None, 0);
        match &record.settle {
            Settle::Complete { result: output, artifacts } => {
                result = Some(output.get().to_owned());
                files = (!artifacts.is_empty()).then(|| text(artifacts));
            }
            Settle::Retry { wait: backoff, error } => {
                failure = Some(text(error));
                wait = read::long_ms(*backoff);
            }
            Settle::DeadLetter { error } => failure = Some(text(error)),
            Settle::HandBack { wait: asked } => wait = read::long_ms(*asked),
            Settle::Cancel => {}
        }
        self.results.push(result);
        self.artifacts.push(files);
        self.errors.push(failure);
        self.waits_ms.push(wait);
        self
    }

    fn params<'a>(&'a self, worker: &'a Uuid) -> [&'a (dyn super::ToSql + Sync); 10] {
        [
            worker,
            &self.jobs,
            &self.attempts,
            &self.states,
            &self.ended,
            &self.results,
            &self.artifacts,
            &self.errors,
            &self.waits_ms,
            &self.charges,
        ]
    }
}
