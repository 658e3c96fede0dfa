//! Subscriptions, deliveries and tries. [`tell`] makes the deliveries of a move in the transaction of the move: whoever moves a job
//! calls it. What is told and when is [`crate::ledger::webhooks`]'s.

use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::api::EventWord;
use longshore_sdk::webhook::Secret;
use longshore_sdk::{JobId, Policy, Trace};
use rusqlite::{Connection, OptionalExtension as _, Params, Row};
use serde_json::json;
use uuid::Uuid;

use super::Sqlite;
use super::columns::{self, At, Columns, Id, Json, later, micros, millis, moment};
use super::history;
use super::jobs::{self, count};
use super::trail;
use crate::ledger::trail::{Actor, Deed};
use crate::ledger::webhooks::{
    ATTEMPTS, Delivery, Errand, HeldSecret, Hook, KIND, NewDelivery, TIMEOUT, Try, Webhook, Webhooks, event_of,
    is_internal, rotated,
};
use crate::ledger::{Answer, Event};
use crate::tenant::Tenant;

const WEBHOOK: &str = "id, tenant, url, kinds, events, secrets, disabled, failing_since, created_at";
const DELIVERY: &str = "d.id, d.tenant, d.webhook, d.job, d.sequence, d.progress, d.event, d.created_at, j.state, j.due_at \
     from webhook_deliveries d left join jobs j on j.id = d.id";

/// Whom a move is told: the job's own webhook, and who subscribed.
pub(super) fn tell(db: &Connection, now: i64, event: &Event, own: Option<&Hook>) -> Answer<()> {
    if is_internal(&event.kind) {
        return Ok(());
    }
    let word = event.word();
    let subscribed = webhooks(db, "where disabled is null", [])?;
    let subscribed = subscribed
        .iter()
        .filter(|webhook| webhook.is_told(&event.tenant, &event.kind, word))
        .map(|webhook| Some(webhook.id));
    let own = own.filter(|hook| hook.events.contains(&word)).map(|_| None);
    for webhook in subscribed.chain(own) {
        let delivery = NewDelivery {
            id: JobId::fresh(),
            tenant: event.tenant.clone(),
            webhook,
            job: Some(event.job),
            sequence: event.version,
            progress: event.progress.clone(),
            event: word.word().to_owned(),
            again: None,
        };
        post(db, now, &delivery, event.correlation_id.as_deref(), event.trace.as_ref())?;
    }
    Ok(())
}

/// A delivery with its job, due now; says whether there was none of its id.
fn post(
    db: &Connection,
    now: i64,
    delivery: &NewDelivery,
    correlation_id: Option<&str>,
    trace: Option<&Trace>,
) -> Answer<bool> {
    let NewDelivery { id, tenant, webhook, job, sequence, progress, event, .. } = delivery;
    let sql = "insert into webhook_deliveries (id, tenant, webhook, job, sequence, progress, event, created_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (id) do nothing";
    let progress = progress.as_ref().map(Json);
    let target = (Id(id.0), tenant, webhook.map(Id), job.map(|job| Id(job.0)), sequence, progress, event, now);
    if db.prepare_cached(sql)?.execute(target)? == 0 {
        return Ok(false);
    }
    let (attempts, timeout) = policy(db)?;
    db.prepare_cached(
        "insert into jobs (id, tenant, kind, priority, max_attempts, timeout_ms, correlation_id, trace, created_at, changed_at, \
         due_at) values (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?8, ?8)",
    )?
    .execute((Id(id.0), tenant, KIND, attempts, millis(timeout), correlation_id, trace.map(Trace::to_string), now))?;
    let payload = json!({"job": job, "event": event}).to_string();
    db.prepare_cached("insert into payloads (seq, payload) values (last_insert_rowid(), ?1)")?.execute([payload])?;
    Ok(true)
}

/// How often a delivery is tried and how long a try may take, as the kind's policy has it.
fn policy(db: &Connection) -> Answer<(u32, Duration)> {
    let mut find = db.prepare_cached("select policy from kinds where kind = ?1")?;
    let found = find.query_row([KIND], |row| row.get::<_, Json<Policy>>(0)).optional()?;
    Ok(found.map_or((ATTEMPTS, TIMEOUT), |Json(policy)| (policy.max_attempts, policy.timeout)))
}

fn webhooks(db: &Connection, which: &str, params: impl Params) -> Answer<Vec<Webhook>> {
    columns::rows(db, &format!("select {WEBHOOK} from webhooks {which}"), params, webhook)
}

fn webhook_of(db: &Connection, id: Uuid) -> Answer<Option<Webhook>> {
    let mut find = db.prepare_cached(&format!("select {WEBHOOK} from webhooks where id = ?1"))?;
    Ok(find.query_row([Id(id)], webhook).optional()?)
}

fn subscribe(db: &Connection, now: i64, webhook: &Webhook, most: usize, by: Option<&Actor>) -> Answer<bool> {
    let sql = "select count(*), count(*) filter (where id = ?1) from webhooks where tenant = ?2";
    let (there, same): (i64, i64) =
        db.query_row(sql, (Id(webhook.id), &webhook.tenant), |row| Ok((row.get(0)?, row.get(1)?)))?;
    if same == 0 && there >= count(most) {
        return Ok(false);
    }
    let sql = "insert into webhooks (id, tenant, url, kinds, events, secrets, created_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict (id) do nothing";
    let Webhook { id, tenant, url, kinds, events, secrets, .. } = webhook;
    if db.execute(sql, (Id(*id), tenant, url, Json(kinds), Json(events), Json(secrets), now))? == 1 {
        trail::note(db, now, by, tenant, Deed::WebhookCreated, &id.to_string())?;
    }
    Ok(true)
}

fn rotate(
    db: &Connection,
    now: i64,
    id: Uuid,
    secret: Secret,
    overlap: Duration,
    by: Option<&Actor>,
) -> Answer<Option<Webhook>> {
    let Some(mut found) = webhook_of(db, id)? else { return Ok(None) };
    if found.secrets.first().is_none_or(|held| held.secret != secret) {
        found.secrets = rotated(found.secrets, secret, moment(now)?, moment(later(now, overlap))?);
        db.execute("update webhooks set secrets = ?2 where id = ?1", (Id(id), Json(&found.secrets)))?;
        trail::note(db, now, by, &found.tenant, Deed::WebhookRotated, &id.to_string())?;
    }
    Ok(Some(found))
}

fn remove_old(db: &Connection, now: i64, age: Duration, limit: usize) -> Answer<usize> {
    let before = now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let sql = "delete from webhook_deliveries where id in (select d.id from webhook_deliveries d where d.created_at < ?1 \
         and not exists (select 1 from jobs j where j.id = d.id and j.state in (0, 1, 3)) order by d.created_at limit ?2) \
         returning id";
    let gone: Vec<Id> = columns::rows(db, sql, (before, count(limit)), |row| row.get(0))?;
    for id in &gone {
        db.prepare_cached("delete from webhook_tries where delivery = ?1")?.execute([id])?;
        let job = columns::rows(db, "delete from jobs where id = ?1 and state in (2, 4) returning seq", [id], |row| {
            row.get(0)
        })?;
        if let Some(seq) = job.first() {
            jobs::forget(db, *seq)?;
        }
    }
    Ok(gone.len())
}

fn errand(db: &Connection, id: JobId) -> Answer<Option<Errand>> {
    let find = format!("select {DELIVERY} where d.id = ?1");
    let Some(delivery) = columns::rows(db, &find, [Id(id.0)], delivery)?.pop() else { return Ok(None) };
    let webhook = delivery.webhook.map(|id| webhook_of(db, id)).transpose()?.flatten();
    let history = delivery.job.map(|job| history::of(db, job)).transpose()?.flatten().unwrap_or_default();
    let event = event_of(&delivery, &history);
    let sql = "select webhook, case when state = 2 then result end from jobs where id = ?1";
    let mut find = db.prepare_cached(sql)?;
    let kept = |row: &Row<'_>| {
        let mut row = Columns::of(row);
        Ok((row.json()?, row.maybe_raw()?))
    };
    let kept = find.query_row([delivery.job.map(|job| Id(job.0))], kept).optional()?;
    let (own, result) = kept.unwrap_or_default();
    Ok(Some(Errand { delivery, webhook, own, event, result }))
}

fn note(db: &Connection, delivery: JobId, tried: &Try) -> Answer<()> {
    let Try { attempt, at, duration, status, error, answer } = tried;
    let sql = "insert into webhook_tries (delivery, attempt, at, duration_ms, status, error, answer) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict do nothing";
    let line = (Id(delivery.0), attempt, micros(*at), millis(*duration), status, error, answer);
    if db.prepare_cached(sql)?.execute(line)? == 0 {
        return Ok(());
    }
    // Written where it changes alone: most tries succeed as the one before them.
    let sql = "update webhooks set failing_since = ?2 where id = (select webhook from webhook_deliveries where id = ?1) \
         and (failing_since is null) = (?2 is not null)";
    let since = error.is_some().then(|| micros(*at));
    Ok(db.prepare_cached(sql)?.execute((Id(delivery.0), since)).map(drop)?)
}

fn end_hook(db: &Connection, job: JobId, why: &str) -> Answer<()> {
    let sql = "update jobs set webhook = json_set(webhook, '$.events', json('[]'), '$.gone', ?2) \
         where id = ?1 and webhook is not null";
    Ok(db.prepare_cached(sql)?.execute((Id(job.0), why)).map(drop)?)
}

fn with_tries(db: &Connection, mut deliveries: Vec<Delivery>) -> Answer<Vec<Delivery>> {
    let sql = "select attempt, at, duration_ms, status, error, answer from webhook_tries where delivery = ?1 order by attempt";
    for delivery in &mut deliveries {
        delivery.tries = columns::rows(db, sql, [Id(delivery.id.0)], one_try)?;
    }
    Ok(deliveries)
}

#[async_trait]
impl Webhooks for Sqlite {
    async fn subscribe(&self, webhook: &Webhook, most: usize) -> Answer<bool> {
        let (webhook, by) = (webhook.clone(), self.by.clone());
        self.write(move |db, now| subscribe(db, now, &webhook, most, by.as_deref())).await
    }

    async fn webhooks(&self, tenant: &Tenant) -> Answer<Vec<Webhook>> {
        let tenant = tenant.clone();
        self.read(move |db, _| webhooks(db, "where tenant = ?1 order by created_at, id", [tenant])).await
    }

    async fn webhook(&self, id: Uuid) -> Answer<Option<Webhook>> {
        self.read(move |db, _| webhook_of(db, id)).await
    }

    async fn unsubscribe(&self, id: Uuid) -> Answer<bool> {
        let by = self.by.clone();
        let remove = move |db: &Connection, now| {
            let Some(webhook) = webhook_of(db, id)? else { return Ok(false) };
            db.execute("delete from webhooks where id = ?1", [Id(id)])?;
            trail::note(db, now, by.as_deref(), &webhook.tenant, Deed::WebhookRemoved, &id.to_string())?;
            Ok(true)
        };
        self.write(remove).await
    }

    async fn rotate(&self, id: Uuid, secret: &Secret, overlap: Duration) -> Answer<Option<Webhook>> {
        let (secret, by) = (secret.clone(), self.by.clone());
        self.write(move |db, now| rotate(db, now, id, secret, overlap, by.as_deref())).await
    }

    async fn switch(&self, id: Uuid, off: Option<&str>) -> Answer<Option<Webhook>> {
        let (off, by) = (off.map(str::to_owned), self.by.clone());
        let switch = move |db: &Connection, now| {
            let deed = if off.is_some() { Deed::WebhookDisabled } else { Deed::WebhookEnabled };
            let sql = "update webhooks set disabled = ?2, failing_since = case when ?2 is null then null else failing_since end \
                 where id = ?1";
            db.execute(sql, (Id(id), off))?;
            let switched = webhook_of(db, id)?;
            if let Some(webhook) = &switched {
                trail::note(db, now, by.as_deref(), &webhook.tenant, deed, &id.to_string())?;
            }
            Ok(switched)
        };
        self.write(switch).await
    }

    async fn end_hook(&self, job: JobId, why: &str) -> Answer<()> {
        let why = why.to_owned();
        self.write(move |db, _| end_hook(db, job, &why)).await
    }

    async fn send(&self, delivery: &NewDelivery) -> Answer<()> {
        let (delivery, by) = (delivery.clone(), self.by.clone());
        let send = move |db: &Connection, now| {
            if post(db, now, &delivery, None, None)? {
                let (deed, object) = delivery.noted();
                trail::note(db, now, by.as_deref(), &delivery.tenant, deed, &object)?;
            }
            Ok(())
        };
        self.write(send).await
    }

    async fn errands(&self, deliveries: &[JobId]) -> Answer<Vec<Option<Errand>>> {
        let deliveries = deliveries.to_vec();
        self.read(move |db, _| deliveries.into_iter().map(|id| errand(db, id)).collect()).await
    }

    async fn delivery(&self, id: JobId) -> Answer<Option<Delivery>> {
        let find = move |db: &Connection, _| {
            let sql = format!("select {DELIVERY} where d.id = ?1");
            let found = columns::rows(db, &sql, [Id(id.0)], delivery)?;
            Ok(with_tries(db, found)?.pop())
        };
        self.read(find).await
    }

    async fn deliveries(&self, webhook: Uuid, before: Option<JobId>, limit: usize) -> Answer<Vec<Delivery>> {
        let find = move |db: &Connection, _| {
            let sql = format!(
                "select {DELIVERY} where d.webhook = ?1 and (?2 is null or d.id < ?2) order by d.id desc limit ?3"
            );
            let which = (Id(webhook), before.map(|job| Id(job.0)), count(limit));
            with_tries(db, columns::rows(db, &sql, which, delivery)?)
        };
        self.read(find).await
    }

    async fn own_deliveries(&self, job: JobId, before: Option<JobId>, limit: usize) -> Answer<Vec<Delivery>> {
        let find = move |db: &Connection, _| {
            let sql = format!(
                "select {DELIVERY} where d.job = ?1 and d.webhook is null and (?2 is null or d.id < ?2) \
                 order by d.id desc limit ?3"
            );
            let which = (Id(job.0), before.map(|job| Id(job.0)), count(limit));
            with_tries(db, columns::rows(db, &sql, which, delivery)?)
        };
        self.read(find).await
    }

    async fn note_tries(&self, tries: &[(JobId, Try)]) -> Answer<()> {
        let tries = tries.to_vec();
        self.write(move |db, _| tries.iter().try_for_each(|(delivery, tried)| note(db, *delivery, tried))).await
    }

    async fn remove_old_deliveries(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.write(move |db, now| remove_old(db, now, age, limit)).await
    }
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let mut row = Columns::of(row);
    let (Id(id), tenant, url) = (row.take()?, row.take()?, row.take()?);
    let (Json(kinds), Json(events)) = (row.take()?, row.take::<Json<Vec<EventWord>>>()?);
    let Json(secrets) = row.take::<Json<Vec<HeldSecret>>>()?;
    let (disabled, failing_since, At(created_at)) = (row.take()?, row.maybe_at()?, row.take()?);
    Ok(Webhook { id, tenant, url, kinds, events, secrets, disabled, failing_since, created_at })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let mut row = Columns::of(row);
    Ok(Delivery {
        id: row.job()?,
        tenant: row.take()?,
        webhook: row.id()?,
        job: row.id()?.map(JobId),
        sequence: row.take()?,
        progress: row.json()?,
        event: row.take()?,
        created_at: row.at()?,
        state: row.take()?,
        due_at: row.maybe_at()?,
        tries: vec![],
    })
}

fn one_try(row: &Row<'_>) -> rusqlite::Result<Try> {
    let mut row = Columns::of(row);
    let (attempt, at, duration) = (row.take()?, row.at()?, row.millis()?);
    Ok(Try { attempt, at, duration, status: row.take()?, error: row.take()?, answer: row.take()? })
}
