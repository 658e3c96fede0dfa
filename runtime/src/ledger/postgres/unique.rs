//! Unique keys: at most one unfinished job per tenant, kind and key. Whoever wants a key locks its row first and looks afterwards, so
//! that what it sees of the holder is no older than its lock; a holder that finishes meanwhile is simply found unfinished.
//! Keys are locked before any job's row and in their own order, as by everybody, against deadlocks.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::GenericClient;
use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read;
use crate::ledger::{Answer, Job, NewJob, Replaying};

const LOCK: &str = "insert into unique_keys (tenant, kind, key, job) select tenant, kind, key, job \
     from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) as t(tenant, kind, key, job) order by tenant, kind, key \
     on conflict (tenant, kind, key) do update set key = excluded.key";

/// Its snapshot is younger than the locks, which the one before could not promise.
const TAKE_OVER: &str = "update unique_keys u set job = t.job \
     from unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) as t(tenant, kind, key, job) \
     where u.tenant = t.tenant and u.kind = t.kind and u.key = t.key and u.job <> t.job \
     and not exists (select from jobs j where j.id = u.job and j.state in (0, 1))";

const HOLDERS: &str = "select u.tenant, u.kind, u.key, u.job from unique_keys u \
     join unnest($1::text[], $2::text[], $3::text[]) as t(tenant, kind, key) \
     on u.tenant = t.tenant and u.kind = t.kind and u.key = t.key";

/// A submit that adds a key meanwhile has its row locked, or finds it gone and makes it again.
const IDLE: &str = "select tenant, kind, key from unique_keys u \
     where not exists (select from jobs j where j.id = u.job and j.state in (0, 1)) limit $1 for update skip locked";

/// Looks again, with the rows locked and a younger snapshot: a key may have found a new holder between the two.
const REMOVE: &str = "delete from unique_keys u using unnest($1::text[], $2::text[], $3::text[]) as t(tenant, kind, key) \
     where u.tenant = t.tenant and u.kind = t.kind and u.key = t.key and not exists (select from jobs j where j.id = u.job and j.state in (0, 1))";

/// A key: whose, of which kind, and itself.
type Key<'a> = (&'a str, &'a str, &'a str);
/// One wish for a key, and the job that wants it.
type Wish<'a> = (Key<'a>, JobId);

/// The jobs that don't get their key, with the unfinished ones that hold it.
pub(super) type Held = HashMap<JobId, JobId>;

/// Takes the free keys of new jobs. One that is here already (its reply was lost) is as it was, whoever has its key now.
pub(super) async fn take_for_new<'a>(client: &impl GenericClient, jobs: &[&'a NewJob]) -> Answer<Held> {
    let wish = |job: &&'a NewJob| Some(((job.tenant.as_str(), job.kind.as_str(), job.unique_key.as_deref()?), job.id));
    let wishes: Vec<Wish<'_>> = jobs.iter().filter_map(wish).collect();
    let mut held = take(client, &wishes).await?;
    if held.is_empty() {
        return Ok(held);
    }
    let ids: Vec<Uuid> = held.keys().map(|job| job.0).collect();
    let find = client.prepare_cached("select id from jobs where id = any($1)").await?;
    for row in client.query(&find, &[&ids]).await? {
        held.remove(&JobId(row.get("id")));
    }
    Ok(held)
}

async fn take(client: &impl GenericClient, wishes: &[Wish<'_>]) -> Answer<Held> {
    if wishes.is_empty() {
        return Ok(Held::new());
    }
    // The first of a batch with a key stands for the key: one statement cannot take it twice.
    let mut first: BTreeMap<Key<'_>, Uuid> = BTreeMap::new();
    for (key, job) in wishes {
        first.entry(*key).or_insert(job.0);
    }
    let (tenants, kinds, keys): (Vec<&str>, Vec<&str>, Vec<&str>) = first.keys().copied().collect();
    let jobs: Vec<Uuid> = first.values().copied().collect();
    for step in [LOCK, TAKE_OVER] {
        client.execute(&client.prepare_cached(step).await?, &[&tenants, &kinds, &keys, &jobs]).await?;
    }
    let rows = client.query(&client.prepare_cached(HOLDERS).await?, &[&tenants, &kinds, &keys]).await?;
    let entry = |row: &'_ Row| ((row.get("tenant"), row.get("kind"), row.get("key")), JobId(row.get("job")));
    let holders: HashMap<(String, String, String), JobId> = rows.iter().map(entry).collect();
    let other = |((tenant, kind, key), job): &Wish<'_>| {
        let holder = *holders.get(&((*tenant).to_owned(), (*kind).to_owned(), (*key).to_owned()))?;
        (holder != *job).then_some((*job, holder))
    };
    Ok(wishes.iter().filter_map(other).collect())
}

impl Postgres {
    /// A dead letter is unfinished again only if nobody else has its key.
    pub(super) async fn replay_unique(&self, dead: &Job, key: &str) -> Answer<Replaying> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        if let Some(holder) =
            take(&transaction, &[((dead.tenant.as_str(), &dead.kind, key), dead.id)]).await?.remove(&dead.id)
        {
            return Ok(Replaying::Held(holder));
        }
        let raise = transaction.prepare_cached(&super::jobs::raise()).await?;
        let (name, address, request) = self.actor();
        let raised = transaction.query_opt(&raise, &[&dead.id.0, &name, &address, &request]).await?;
        transaction.commit().await?;
        Ok(match raised {
            Some(row) => Replaying::Ready(read::job(&row)),
            None => self.read_job(dead.id).await?.map_or(Replaying::Unknown, Replaying::NotDead),
        })
    }

    pub(super) async fn remove_idle_unique_keys(&self, limit: usize) -> Answer<usize> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let idle = transaction.query(&transaction.prepare_cached(IDLE).await?, &[&limit]).await?;
        let key = |row: &Row| (row.get("tenant"), row.get("kind"), row.get("key"));
        let (tenants, kinds, keys): (Vec<String>, Vec<String>, Vec<String>) = idle.iter().map(key).collect();
        let removed =
            transaction.execute(&transaction.prepare_cached(REMOVE).await?, &[&tenants, &kinds, &keys]).await?;
        transaction.commit().await?;
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }
}
