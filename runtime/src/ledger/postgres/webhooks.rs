//! Subscriptions, deliveries and tries. [`tell`] is the part of every statement that moves a job by which the deliveries of that move
//! are made in its own transaction. What is told and when is [`crate::ledger::webhooks`]'s.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::JobId;
use longshore_sdk::api::EventWord;
use longshore_sdk::webhook::Secret;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, int, long_ms, number, text};
use super::trail::noted;
use crate::job::state::State;
use crate::ledger::Answer;
use crate::ledger::trail::Deed;
use crate::ledger::webhooks::{
    ATTEMPTS, Delivery, Errand, HeldSecret, KIND, NewDelivery, TIMEOUT, Try, Webhook, Webhooks, event_of, rotated,
};
use crate::tenant::Tenant;

/// What the end of an attempt is called, by the row it left behind (`m`) and the error it ended with.
pub(super) fn ended(error: &str) -> String {
    format!(
        "case m.state when 2 then 'completed' when 3 then 'failed' when 4 then 'canceled' \
         when 0 then case when {error} then 'attempt_failed' else 'requeued' end end"
    )
}

/// Further common table expressions behind one called `moved` (id, tenant, kind, version, state, correlation_id, trace, webhook of each job
/// that was moved; here `m`): the deliveries of these moves, each with its job, due now. `word` is what happened, in SQL.
pub(super) fn tell(word: &str) -> String {
    deliveries("", word, "null")
}

/// The same where all of them were one move: who did not ask for it is left out before the moves are looked through.
pub(super) fn tell_of(event: EventWord) -> String {
    let word = format!("'{}'", event.word());
    // Of progress a row keeps the newest alone.
    let progress = if event == EventWord::Progressed { "m.progress" } else { "null" };
    deliveries(&format!(" and {word} = any(events)"), &word, progress)
}

/// Where nobody subscribed the moves are not even looked through: the count is asked once.
fn deliveries(asked: &str, word: &str, progress: &str) -> String {
    let (attempts, timeout) = (attempts(), timeout());
    format!(
        ", hooks as materialized (select id, tenant, kinds, events from webhooks where disabled is null{asked}), \
         targets as materialized (\
            select {FRESH_ID} as id, m.tenant, w.id as webhook, m.id as job, m.version, {progress}::json as progress, {word} as word, \
                m.correlation_id, m.trace \
                from moved m join hooks w on w.tenant = m.tenant and {word} = any(w.events) \
                and (w.kinds = '{{}}' or m.kind = any(w.kinds)) \
                where m.kind <> '{KIND}' and (select count(*) > 0 from hooks) \
            union all select {FRESH_ID}, m.tenant, null, m.id, m.version, {progress}::json, {word}, m.correlation_id, m.trace from moved m \
                where m.webhook is not null and m.kind <> '{KIND}' and m.webhook::jsonb->'events' ? ({word})), \
         noted as (insert into webhook_deliveries (id, tenant, webhook, job, sequence, progress, event) \
            select id, tenant, webhook, job, version, progress, word from targets), \
         posted as (insert into jobs (id, tenant, kind, payload, max_attempts, timeout_ms, correlation_id, trace, due_at) \
            select t.id, t.tenant, '{KIND}', json_build_object('job', t.job, 'event', t.word), {attempts}, {timeout}, t.correlation_id, t.trace, now() \
            from targets t) "
    )
}

/// An id of version 7, as our own are: their order is that of time.
const FRESH_ID: &str = "encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing \
     substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid";

/// As the kind's policy has it.
fn attempts() -> String {
    format!("coalesce((select (policy->>'max_attempts')::int from kinds where kind = '{KIND}'), {ATTEMPTS})")
}

fn timeout() -> String {
    let otherwise = TIMEOUT.as_millis();
    format!(
        "coalesce((select ((policy->>'timeout')::float8 * 1000)::bigint from kinds where kind = '{KIND}'), {otherwise})"
    )
}

const WEBHOOK: &str = "id, tenant, url, kinds, events, secrets, disabled, failing_since, created_at";
const DELIVERY: &str = "d.id, d.tenant, d.webhook, d.job, d.sequence, d.progress, d.event, d.created_at, j.state, j.due_at \
     from webhook_deliveries d left join jobs j on j.id = d.id";
/// A delivery, and what a try needs of the job that it tells of.
const ERRAND: &str = "select d.id, d.tenant, d.webhook, d.job, d.sequence, d.progress, d.event, d.created_at, null::smallint as state, \
     null::timestamptz as due_at, t.webhook as own, case when t.state = 2 then t.result end as result \
     from webhook_deliveries d left join jobs t on t.id = d.job where d.id = any($1)";

#[async_trait]
impl Webhooks for Postgres {
    async fn subscribe(&self, webhook: &Webhook, most: usize) -> Answer<bool> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        // Two that subscribe at once must not both be the last.
        transaction.execute("lock table webhooks in share row exclusive mode", &[]).await?;
        let sql = "select count(*), count(*) filter (where id = $1) from webhooks where tenant = $2";
        let row = transaction.query_one(sql, &[&webhook.id, &webhook.tenant.as_str()]).await?;
        let (there, same): (i64, i64) = (row.get(0), row.get(1));
        if same == 0 && usize::try_from(there).unwrap_or(usize::MAX) >= most {
            return Ok(false);
        }
        let sql = "insert into webhooks (id, tenant, url, kinds, events, secrets) \
             values ($1, $2, $3, $4, $5, $6::text::json) on conflict do nothing";
        let events = words(&webhook.events);
        let secrets = text(&webhook.secrets);
        let params: super::Params<'_> =
            &[&webhook.id, &webhook.tenant.as_str(), &webhook.url, &webhook.kinds, &events, &secrets];
        if transaction.execute(sql, params).await? == 1 {
            let made = webhook.id.to_string();
            self.note_in(&transaction, &webhook.tenant, Deed::WebhookCreated, &made).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn webhooks(&self, tenant: &Tenant) -> Answer<Vec<Webhook>> {
        let sql = format!("select {WEBHOOK} from webhooks where tenant = $1 order by created_at, id");
        let rows = self.query(&sql, &[&tenant.as_str()]).await?;
        Ok(rows.iter().map(webhook).collect())
    }

    async fn webhook(&self, id: Uuid) -> Answer<Option<Webhook>> {
        let row = self.one(&format!("select {WEBHOOK} from webhooks where id = $1"), &[&id]).await?;
        Ok(row.as_ref().map(webhook))
    }

    async fn unsubscribe(&self, id: Uuid) -> Answer<bool> {
        let sql = format!(
            "with gone as (delete from webhooks where id = $1 returning id, tenant){} select id from gone",
            noted(2, Deed::WebhookRemoved, "id", "gone")
        );
        let (name, address, request) = self.actor();
        Ok(self.one(&sql, &[&id, &name, &address, &request]).await?.is_some())
    }

    async fn rotate(&self, id: Uuid, secret: &Secret, overlap: Duration) -> Answer<Option<Webhook>> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let sql = format!("select {WEBHOOK}, now() as now from webhooks where id = $1 for update");
        let Some(row) = transaction.query_opt(&sql, &[&id]).await? else { return Ok(None) };
        let (mut found, now): (Webhook, jiff::Timestamp) = (webhook(&row), row.get("now"));
        if found.secrets.first().is_none_or(|held| held.secret != *secret) {
            let until = now.checked_add(overlap).unwrap_or(jiff::Timestamp::MAX);
            found.secrets = rotated(found.secrets, secret.clone(), now, until);
            let sql = "update webhooks set secrets = $2::text::json where id = $1";
            transaction.execute(sql, &[&id, &text(&found.secrets)]).await?;
            self.note_in(&transaction, &found.tenant, Deed::WebhookRotated, &id.to_string()).await?;
        }
        transaction.commit().await?;
        Ok(Some(found))
    }

    async fn switch(&self, id: Uuid, off: Option<&str>) -> Answer<Option<Webhook>> {
        let deed = if off.is_some() { Deed::WebhookDisabled } else { Deed::WebhookEnabled };
        let sql = format!(
            "with switched as (update webhooks set disabled = $2::text, \
                failing_since = case when $2::text is null then null else failing_since end where id = $1 returning *){} \
             select {WEBHOOK} from switched",
            noted(3, deed, "id", "switched")
        );
        let (name, address, request) = self.actor();
        Ok(self.one(&sql, &[&id, &off, &name, &address, &request]).await?.as_ref().map(webhook))
    }

    async fn end_hook(&self, job: JobId, why: &str) -> Answer<()> {
        let sql = "update jobs set webhook = (webhook::jsonb || jsonb_build_object('events', '[]'::jsonb, 'gone', $2::text))::json \
             where id = $1 and webhook is not null";
        self.query(sql, &[&job.0, &why]).await.map(drop)
    }

    async fn send(&self, delivery: &NewDelivery) -> Answer<()> {
        let (deed, object) = delivery.noted();
        let sql = format!(
            "with made as (insert into webhook_deliveries (id, tenant, webhook, job, sequence, event, progress) \
                values ($1, $6, $2, $3, $4, $5, $7::text::json) on conflict do nothing returning id, tenant, job, event){} \
             insert into jobs (id, tenant, kind, payload, max_attempts, timeout_ms, due_at) \
             select id, tenant, '{KIND}', json_build_object('job', job, 'event', event), {}, {}, now() from made",
            noted(9, deed, "$8", "made"),
            attempts(),
            timeout(),
        );
        let NewDelivery { id, tenant, webhook, job, sequence, progress, event, .. } = delivery;
        let (name, address, request) = self.actor();
        let job = job.map(|job| job.0);
        let progress = progress.as_ref().map(text);
        let made: super::Params<'_> =
            &[&id.0, webhook, &job, sequence, event, &tenant.as_str(), &progress, &object, &name, &address, &request];
        self.query(&sql, made).await.map(drop)
    }

    async fn errands(&self, deliveries: &[JobId]) -> Answer<Vec<Option<Errand>>> {
        let ids: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.0).collect();
        let rows = self.query(ERRAND, &[&ids]).await?;
        let (jobs, receivers) = (named(&rows, "job"), named(&rows, "webhook"));
        let (histories, webhooks) = tokio::try_join!(
            async { if jobs.is_empty() { Ok(HashMap::new()) } else { self.histories(&jobs).await } },
            self.receivers(&receivers),
        )?;
        let errand = |row: &Row| {
            let delivery = delivery(row, &mut HashMap::new());
            let history = delivery.job.and_then(|job| histories.get(&job));
            let event = history.and_then(|history| event_of(&delivery, &history.events));
            let webhook = delivery.webhook.and_then(|id| webhooks.get(&id).cloned());
            let (own, result) = (read::json(row, "own"), read::raw(row, "result"));
            (delivery.id, Errand { delivery, webhook, own, event, result })
        };
        let mut errands: HashMap<JobId, Errand> = rows.iter().map(errand).collect();
        Ok(deliveries.iter().map(|delivery| errands.remove(delivery)).collect())
    }

    async fn delivery(&self, id: JobId) -> Answer<Option<Delivery>> {
        let rows = self.query(&format!("select {DELIVERY} where d.id = $1"), &[&id.0]).await?;
        Ok(self.with_tries(&rows).await?.pop())
    }

    async fn deliveries(&self, webhook: Uuid, before: Option<JobId>, limit: usize) -> Answer<Vec<Delivery>> {
        let sql = format!(
            "select {DELIVERY} where d.webhook = $1 and ($2::uuid is null or d.id < $2) order by d.id desc limit $3"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(&sql, &[&webhook, &before.map(|job| job.0), &limit]).await?;
        self.with_tries(&rows).await
    }

    async fn own_deliveries(&self, job: JobId, before: Option<JobId>, limit: usize) -> Answer<Vec<Delivery>> {
        let sql = format!(
            "select {DELIVERY} where d.job = $1 and d.webhook is null and ($2::uuid is null or d.id < $2) \
             order by d.id desc limit $3"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(&sql, &[&job.0, &before.map(|job| job.0), &limit]).await?;
        self.with_tries(&rows).await
    }

    async fn note_tries(&self, tries: &[(JobId, Try)]) -> Answer<()> {
        // Subscriptions are written where something changes alone, for most tries succeed as the one before them; and in one order,
        // so that two who note at once do not wait for each other.
        let sql = "with noted as (insert into webhook_tries (delivery, attempt, at, duration_ms, status, error, answer) \
                select * from unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::bigint[], $5::int[], $6::text[], $7::text[]) \
                on conflict do nothing returning delivery, at, error), \
             came as (select d.webhook, bool_or(n.error is null) as good, min(n.at) as at from noted n \
                join webhook_deliveries d on d.id = n.delivery where d.webhook is not null group by d.webhook), \
             changed as (select w.id, case when not c.good then c.at end as since from webhooks w join came c on c.webhook = w.id \
                where (w.failing_since is null) <> c.good order by w.id for update of w) \
             update webhooks w set failing_since = c.since from changed c where w.id = c.id";
        let deliveries: Vec<Uuid> = tries.iter().map(|(delivery, _)| delivery.0).collect();
        let attempts: Vec<i32> = tries.iter().map(|(_, tried)| int(tried.attempt)).collect();
        let moments: Vec<jiff::Timestamp> = tries.iter().map(|(_, tried)| tried.at).collect();
        let durations: Vec<i64> = tries.iter().map(|(_, tried)| long_ms(tried.duration)).collect();
        let statuses: Vec<Option<i32>> = tries.iter().map(|(_, tried)| tried.status.map(i32::from)).collect();
        let errors: Vec<Option<&str>> = tries.iter().map(|(_, tried)| tried.error.as_deref()).collect();
        let answers: Vec<Option<&str>> = tries.iter().map(|(_, tried)| tried.answer.as_deref()).collect();
        let params: super::Params<'_> = &[&deliveries, &attempts, &moments, &durations, &statuses, &errors, &answers];
        self.query(sql, params).await.map(drop)
    }

    async fn remove_old_deliveries(&self, age: Duration, limit: usize) -> Answer<usize> {
        let sql = "with old as (select d.id from webhook_deliveries d where d.created_at < now() - $1 * interval '1 ms' \
                and not exists (select from jobs j where j.id = d.id and j.state in (0, 1, 3)) order by d.created_at limit $2), \
             tries as (delete from webhook_tries t using old where t.delivery = old.id), \
             jobs as (delete from jobs j using old where j.id = old.id and j.state in (2, 4)), \
             attempts as (delete from attempts a using old where a.job = old.id), \
             gone as (delete from webhook_deliveries d using old where d.id = old.id returning d.id) \
             select count(*) from gone";
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age")]
        let age_ms = long_ms(age) as f64;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let row = self.one(sql, &[&age_ms, &limit]).await?.expect("an aggregate answers one row");
        Ok(usize::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }
}

/// The things that these rows name, each once.
fn named(rows: &[Row], column: &str) -> Vec<Uuid> {
    let named: BTreeSet<Uuid> = rows.iter().filter_map(|row| row.get::<_, Option<Uuid>>(column)).collect();
    named.into_iter().collect()
}

impl Postgres {
    async fn receivers(&self, ids: &[Uuid]) -> Answer<HashMap<Uuid, Webhook>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.query(&format!("select {WEBHOOK} from webhooks where id = any($1)"), &[&ids]).await?;
        Ok(rows.iter().map(webhook).map(|webhook| (webhook.id, webhook)).collect())
    }

    async fn with_tries(&self, rows: &[Row]) -> Answer<Vec<Delivery>> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.get("id")).collect();
        let sql = "select delivery, attempt, at, duration_ms, status, error, answer from webhook_tries \
             where delivery = any($1) order by delivery, attempt";
        let mut tries: HashMap<Uuid, Vec<Try>> = HashMap::new();
        if !ids.is_empty() {
            for row in &self.query(sql, &[&ids]).await? {
                tries.entry(row.get("delivery")).or_default().push(one_try(row));
            }
        }
        Ok(rows.iter().map(|row| delivery(row, &mut tries)).collect())
    }
}

fn words(events: &[EventWord]) -> Vec<&'static str> {
    events.iter().map(|event| event.word()).collect()
}

fn webhook(row: &Row) -> Webhook {
    let named = |word: &String| EventWord::ALL.into_iter().find(|event| event.word() == word);
    Webhook {
        id: row.get("id"),
        tenant: read::tenant(row),
        url: row.get("url"),
        kinds: row.get("kinds"),
        events: row.get::<_, Vec<String>>("events").iter().filter_map(named).collect(),
        secrets: read::json::<Vec<HeldSecret>>(row, "secrets").unwrap_or_default(),
        disabled: row.get("disabled"),
        failing_since: row.get("failing_since"),
        created_at: row.get("created_at"),
    }
}

fn delivery(row: &Row, tries: &mut HashMap<Uuid, Vec<Try>>) -> Delivery {
    let id: Uuid = row.get("id");
    Delivery {
        id: JobId(id),
        tenant: read::tenant(row),
        webhook: row.get("webhook"),
        job: row.get::<_, Option<Uuid>>("job").map(JobId),
        sequence: row.get("sequence"),
        progress: read::json(row, "progress"),
        event: row.get("event"),
        created_at: row.get("created_at"),
        state: row.get::<_, Option<i16>>("state").and_then(State::from_code),
        due_at: row.get("due_at"),
        tries: tries.remove(&id).unwrap_or_default(),
    }
}

fn one_try(row: &Row) -> Try {
    Try {
        attempt: number(row, "attempt"),
        at: row.get("at"),
        duration: read::millis(row, "duration_ms"),
        status: row.get::<_, Option<i32>>("status").and_then(|status| u16::try_from(status).ok()),
        error: row.get("error"),
        answer: row.get("answer"),
    }
}
