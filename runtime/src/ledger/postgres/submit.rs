//! How jobs come in: one statement for those without a key, one transaction with the keys for the rest.
//! It checks nothing of what a job asks for; that is the API's. Unique keys are in [`super::unique`]; what
//! becomes of the rows is in [`super::jobs`] and [`super::round`].

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use deadpool_postgres::GenericClient;
use jiff::Timestamp;
use longshore_sdk::api::EventWord;
use longshore_sdk::{JobId, Trace};
use serde_json::value::RawValue;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, JOB, int, long_ms, text};
use super::unique::{self, Held};
use super::webhooks::tell_of;
use crate::ledger::{Answer, Idempotency, Job, LedgerError, NewJob, RunAt, Submitted};
use crate::tenant::Tenant;

// A job that is due already goes on the road at once (queued_at), a later one waits for the relay (due_at).
const INSERT: &str = "insert into jobs (id, tenant, kind, payload, priority, max_attempts, timeout_ms, metadata, correlation_id, trace, unique_key, webhook, due_at, queued_at) \
     select id, tenant, kind, payload::json, priority, max_attempts, timeout_ms, metadata::json, correlation_id, trace, unique_key, webhook::json, \
        case when due > now() then due end, case when due > now() then null else now() end \
     from (select *, coalesce(run_at, now() + delay_ms * interval '1 ms') as due from unnest($1::uuid[], $2::text[], $3::text[], \
        $4::smallint[], $5::int[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::bigint[], \
        $13::text[], $14::text[]) \
        as t(id, kind, payload, priority, max_attempts, timeout_ms, metadata, correlation_id, trace, unique_key, run_at, delay_ms, tenant, webhook)) as t \
     on conflict (id) do nothing returning *";

/// The same, with whom its acceptance is to be told.
static ACCEPT: LazyLock<String> =
    LazyLock::new(|| format!("with moved as ({INSERT}){}select {JOB} from moved", tell_of(EventWord::Accepted)));

/// The unique index decides between callers with one key: the later insert waits for the earlier commit and then finds a
/// living key. A key whose time is over is taken over. Rows come in the order of keys, as from everybody, against deadlocks.
const TAKE_KEYS: &str = "\
insert into idempotency as i (tenant, key, fingerprint, job, expires_at) \
select tenant, key, fingerprint, job, now() + lives_ms * interval '1 ms' \
from unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::bigint[]) as t(tenant, key, fingerprint, job, lives_ms) \
order by tenant, key on conflict (tenant, key) do update set fingerprint = excluded.fingerprint, job = excluded.job, expires_at = excluded.expires_at \
where i.expires_at <= now() returning job";

const HOLDERS: &str = "select i.tenant, i.key, i.job, i.fingerprint from idempotency i \
    join unnest($1::text[], $2::text[]) as t(tenant, key) on i.tenant = t.tenant and i.key = t.key";

/// Expired keys, a few more than the submit brought, so that the table shrinks to what lives. It waits for nobody.
const SWEEP: &str = "delete from idempotency where (tenant, key) in \
    (select tenant, key from idempotency where expires_at <= now() order by expires_at limit $1 for update skip locked)";

/// A tenant's key: who holds it, since which request.
type Holders = HashMap<(Tenant, String), (JobId, Vec<u8>)>;

/// Who has the keys that were asked for.
#[derive(Default)]
pub(super) struct Keys {
    idempotency: Holders,
    unique: Held,
}

impl Postgres {
    pub(super) async fn accept(&self, jobs: &[NewJob]) -> Answer<Vec<Submitted>> {
        let keyed = jobs.iter().filter(|job| job.idempotency.is_some()).count();
        let mut client = self.client().await?;
        if keyed == 0 && jobs.iter().all(|job| job.unique_key.is_none()) {
            let made = insert(&client, &jobs.iter().collect::<Vec<_>>()).await?;
            return answers(&client, jobs, made, &Keys::default()).await;
        }
        let transaction = client.transaction().await?;
        let (keys, wanted) = take_all(&transaction, jobs).await?;
        let made = insert(&transaction, &wanted).await?;
        let answers = answers(&transaction, jobs, made, &keys).await?;
        transaction.commit().await?;
        if keyed == 0 {
            return Ok(answers);
        }
        // After the commit: it locks keys, and who waits for this one's must not hold what it wants.
        let swept = i64::try_from(4 * keyed).unwrap_or(i64::MAX);
        if let Err(error) = client.execute(&client.prepare_cached(SWEEP).await?, &[&swept]).await {
            tracing::debug!(%error, "expired idempotency keys stay until the next keyed submit");
        }
        Ok(answers)
    }
}

/// Takes the free keys of both sorts, and tells which jobs are to be made.
async fn take_all<'a>(client: &impl GenericClient, jobs: &'a [NewJob]) -> Answer<(Keys, Vec<&'a NewJob>)> {
    let mut holders = take_keys(client, jobs).await?;
    let ours = |job: &&NewJob| holder(job, &holders).is_none_or(|(by, _)| *by == job.id);
    let mut wanted: Vec<&NewJob> = jobs.iter().filter(ours).collect();
    let unique = unique::take_for_new(client, &wanted).await?;
    wanted.retain(|job| !unique.contains_key(&job.id));
    repoint(client, &unique, &mut holders).await?;
    Ok((Keys { idempotency: holders, unique }, wanted))
}

/// An idempotency key taken for a job that its unique key kept out stands for the job that is there instead.
async fn repoint(client: &impl GenericClient, unique: &Held, holders: &mut Holders) -> Answer<()> {
    let (mut tenants, mut keys, mut jobs): (Vec<&str>, Vec<&str>, Vec<Uuid>) = (vec![], vec![], vec![]);
    for ((tenant, key), (by, _)) in holders.iter_mut() {
        if let Some(other) = unique.get(by) {
            *by = *other;
            tenants.push(tenant.as_str());
            keys.push(key);
            jobs.push(other.0);
        }
    }
    if !keys.is_empty() {
        let sql = "update idempotency i set job = t.job from unnest($1::text[], $2::text[], $3::uuid[]) as t(tenant, key, job) \
             where i.tenant = t.tenant and i.key = t.key";
        client.execute(&client.prepare_cached(sql).await?, &[&tenants, &keys, &jobs]).await?;
    }
    Ok(())
}

fn holder<'a>(job: &NewJob, holders: &'a Holders) -> Option<&'a (JobId, Vec<u8>)> {
    holders.get(&(job.tenant.clone(), job.idempotency.as_ref()?.key.clone()))
}

/// Takes the free keys for their jobs, and tells who holds each.
async fn take_keys(client: &impl GenericClient, jobs: &[NewJob]) -> Answer<Holders> {
    // The first of a batch with a key stands for the key: one statement cannot take it twice.
    let mut first: BTreeMap<(&str, &str), (&Idempotency, Uuid)> = BTreeMap::new();
    for job in jobs {
        if let Some(asked) = &job.idempotency {
            first.entry((job.tenant.as_str(), &asked.key)).or_insert((asked, job.id.0));
        }
    }
    if first.is_empty() {
        return Ok(Holders::new());
    }
    let (tenants, keys): (Vec<&str>, Vec<&str>) = first.keys().copied().unzip();
    let prints: Vec<&[u8]> = first.values().map(|(asked, _)| &asked.fingerprint[..]).collect();
    let ids: Vec<Uuid> = first.values().map(|(_, job)| *job).collect();
    let lives: Vec<i64> = first.values().map(|(asked, _)| long_ms(asked.lives)).collect();
    client.query(&client.prepare_cached(TAKE_KEYS).await?, &[&tenants, &keys, &prints, &ids, &lives]).await?;
    // A second statement sees what the first had to wait for.
    let find = client.prepare_cached(HOLDERS).await?;
    let held = client.query(&find, &[&tenants, &keys]).await?;
    let entry = |row: &Row| ((read::tenant(row), row.get("key")), (JobId(row.get("job")), row.get("fingerprint")));
    Ok(held.iter().map(entry).collect())
}

/// Inserts those whose id is new.
pub(super) async fn insert(client: &impl GenericClient, jobs: &[&NewJob]) -> Answer<HashMap<JobId, Job>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id.0).collect();
    let kinds: Vec<&str> = jobs.iter().map(|job| job.kind.as_str()).collect();
    let tenants: Vec<&str> = jobs.iter().map(|job| job.tenant.as_str()).collect();
    let payloads: Vec<&str> = jobs.iter().map(|job| job.payload.get()).collect();
    let priorities: Vec<i16> = jobs.iter().map(|job| job.priority.code()).collect();
    let attempts: Vec<i32> = jobs.iter().map(|job| int(job.max_attempts)).collect();
    let timeouts: Vec<i64> = jobs.iter().map(|job| long_ms(job.timeout)).collect();
    let metadata: Vec<Option<&str>> = jobs.iter().map(|job| job.metadata.as_deref().map(RawValue::get)).collect();
    let correlations: Vec<Option<&str>> = jobs.iter().map(|job| job.correlation_id.as_deref()).collect();
    let traces: Vec<Option<String>> = jobs.iter().map(|job| job.trace.as_ref().map(Trace::to_string)).collect();
    let uniques: Vec<Option<&str>> = jobs.iter().map(|job| job.unique_key.as_deref()).collect();
    let run_ats: Vec<_> = jobs.iter().map(|job| at(job.run_at)).collect();
    let delays: Vec<i64> = jobs.iter().map(|job| delay_ms(job.run_at)).collect();
    let hooks: Vec<Option<String>> = jobs.iter().map(|job| job.webhook.as_ref().map(text)).collect();
    let statement = client.prepare_cached(&ACCEPT).await?;
    let rows = client
        .query(
            &statement,
            &[
                &ids,
                &kinds,
                &payloads,
                &priorities,
                &attempts,
                &timeouts,
                &metadata,
                &correlations,
                &traces,
                &uniques,
                &run_ats,
                &delays,
                &tenants,
                &hooks,
            ],
        )
        .await?;
    Ok(rows.iter().map(read::job).map(|job| (job.id, job)).collect())
}

/// What each is told, in their order.
pub(super) async fn answers(
    client: &impl GenericClient,
    jobs: &[NewJob],
    mut made: HashMap<JobId, Job>,
    keys: &Keys,
) -> Answer<Vec<Submitted>> {
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (id, same) = match (holder(job, &keys.idempotency), &job.idempotency) {
            (Some((by, print)), Some(asked)) => (*by, print[..] == asked.fingerprint),
            _ => (job.id, true),
        };
        answers.push(match made.remove(&job.id) {
            Some(row) => Submitted::Created(row),
            None if !same => Submitted::Conflict(id),
            None if keys.unique.contains_key(&job.id) => Submitted::Held(present(client, keys.unique[&job.id]).await?),
            None => Submitted::Repeated(present(client, id).await?),
        });
    }
    Ok(answers)
}

async fn present(client: &impl GenericClient, job: JobId) -> Answer<Job> {
    let find = client.prepare_cached(&format!("select {JOB} from jobs where id = $1")).await?;
    let row = client.query_opt(&find, &[&job.0]).await?;
    let gone = || LedgerError::Unavailable(format!("job {job} was removed while it was submitted"));
    row.as_ref().map(read::job).ok_or_else(gone)
}

fn at(run_at: Option<RunAt>) -> Option<Timestamp> {
    match run_at {
        Some(RunAt::At(moment)) => Some(moment),
        Some(RunAt::After(_)) | None => None,
    }
}

fn delay_ms(run_at: Option<RunAt>) -> i64 {
    match run_at {
        Some(RunAt::After(delay)) => long_ms(delay),
        Some(RunAt::At(_)) | None => 0,
    }
}
