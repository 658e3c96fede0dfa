//! Uploads and the ends of files. Every condition is in the statement that acts on it, so that two API processes at once are one after
//! the other. What each call promises is [`crate::ledger::uploads`]'s.

use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::JobId;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Postgres;
use super::read::{self, long_ms, text};
use crate::ledger::uploads::{Dooming, Hold, NewUpload, Stand, Upload, Uploads};
use crate::ledger::{Answer, File};
use crate::tenant::Tenant;

const UPLOAD: &str = "id, tenant, name, content_type, metadata, bytes, received, place, hash, expires_at, \
     done_at is not null as done";

#[async_trait]
impl Uploads for Postgres {
    async fn begin_upload(&self, upload: &NewUpload, most: u64) -> Answer<bool> {
        let sql = "insert into uploads (id, tenant, name, content_type, metadata, bytes, place, hash, expires_at) \
             select $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::bigint, $7::text::json, $8::bytea, now() + $9::bigint * interval '1 ms' \
             where (select count(*) from uploads where tenant = $2 and done_at is null and id <> $1) < $10::bigint \
             on conflict (id) do update set name = excluded.name returning id";
        let NewUpload { id, tenant, name, content_type, metadata, bytes, place, hash, lives } = upload;
        let (bytes, most) = (whole(*bytes), whole(most));
        let (place, lives) = (text(place), long_ms(*lives));
        let params: super::Params<'_> =
            &[id, &tenant.as_str(), name, content_type, metadata, &bytes, &place, hash, &lives, &most];
        Ok(self.one(sql, params).await?.is_some())
    }

    async fn upload(&self, id: Uuid) -> Answer<Option<Upload>> {
        let row = self.one(&format!("select {UPLOAD} from uploads where id = $1 and not doomed"), &[&id]).await?;
        Ok(row.as_ref().map(upload))
    }

    async fn hold_upload(&self, id: Uuid, writer: Uuid, received: u64, lease: Duration) -> Answer<Hold> {
        let sql = format!(
            "update uploads set writer = $2, writer_until = now() + $4::bigint * interval '1 ms' \
             where id = $1 and received = $3 and done_at is null and not doomed \
                and (writer is null or writer = $2 or writer_until <= now()) returning {UPLOAD}"
        );
        match self.one(&sql, &[&id, &writer, &whole(received), &long_ms(lease)]).await? {
            Some(row) => Ok(Hold::Granted(upload(&row))),
            None => Ok(self.upload(id).await?.map_or(Hold::Unknown, Hold::Refused)),
        }
    }

    async fn save_upload(
        &self,
        id: Uuid,
        writer: Uuid,
        stand: &Stand,
        lease: Option<Duration>,
        lives: Duration,
    ) -> Answer<bool> {
        let sql = "update uploads set received = $3, place = $4::text::json, hash = $5, \
                writer = case when $6::bigint is null then null else writer end, \
                writer_until = now() + $6::bigint * interval '1 ms', expires_at = now() + $7::bigint * interval '1 ms' \
             where id = $1 and writer = $2 and done_at is null and not doomed returning id";
        let (received, place) = (whole(stand.received), text(&stand.place));
        let (lease, lives) = (lease.map(long_ms), long_ms(lives));
        let params: super::Params<'_> = &[&id, &writer, &received, &place, &stand.hash, &lease, &lives];
        Ok(self.one(sql, params).await?.is_some())
    }

    async fn finish_upload(&self, file: &File, shown: Duration) -> Answer<bool> {
        let sql = "with done as (update uploads set done_at = coalesce(done_at, now()), writer = null, \
                expires_at = now() + $7::bigint * interval '1 ms' where id = $1 and not doomed returning id), \
             kept as (insert into files (id, name, content_type, bytes, sha256, tenant) \
                select id, $2::text, $3::text, $4::bigint, $5::text, $6::text from done on conflict do nothing) \
             select id from done";
        let (bytes, shown) = (whole(file.bytes), long_ms(shown));
        let File { id, tenant, name, content_type, sha256, .. } = file;
        let params: super::Params<'_> = &[id, name, content_type, &bytes, sha256, &tenant.as_str(), &shown];
        Ok(self.one(sql, params).await?.is_some())
    }

    async fn doom_upload(&self, id: Uuid) -> Answer<Dooming> {
        let sql = format!(
            "with file as (update files set doomed = true where id = $1 and used_at is null and not doomed returning id) \
             update uploads set doomed = true, expires_at = now() where id = $1 and not doomed \
                and (done_at is null or exists (select from file)) returning {UPLOAD}"
        );
        match self.one(&sql, &[&id]).await? {
            Some(row) => Ok(Dooming::Doomed(Box::new(upload(&row)))),
            None => Ok(self.upload(id).await?.map_or(Dooming::Unknown, |_| Dooming::InUse)),
        }
    }

    async fn expired_uploads(&self, limit: usize) -> Answer<Vec<Upload>> {
        let sql = format!(
            "update uploads set doomed = true where id in (select id from uploads where expires_at <= now() \
                and (doomed or done_at is null and coalesce(writer_until <= now(), true)) \
                order by expires_at limit $1 for update) returning {UPLOAD}"
        );
        let rows = self.query(&sql, &[&i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
        Ok(rows.iter().map(upload).collect())
    }

    async fn finished_uploads(&self, limit: usize) -> Answer<Vec<Upload>> {
        let sql = format!(
            "select {UPLOAD} from uploads where expires_at <= now() and done_at is not null and not doomed order by expires_at limit $1"
        );
        let rows = self.query(&sql, &[&i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
        Ok(rows.iter().map(upload).collect())
    }

    async fn forget_upload(&self, id: Uuid) -> Answer<()> {
        let sql = "delete from uploads where id = $1 and (doomed or done_at is not null and expires_at <= now())";
        self.query(sql, &[&id]).await.map(drop)
    }

    async fn use_files(&self, of: &Tenant, job: JobId, files: &[Uuid]) -> Answer<()> {
        // Locked against the janitor alone: many jobs may name one file at once.
        let sql = "with named as (select id from files where id = any($1) and tenant = $2 and not doomed order by id for key share), \
             noted as (insert into file_uses (file, job) select id, $3 from named on conflict do nothing) \
             update files f set used_at = now() from named n where f.id = n.id and f.used_at is null and not f.doomed";
        self.query(sql, &[&files, &of.as_str(), &job.0]).await.map(drop)
    }

    async fn expired_files(&self, unused: Option<Duration>, limit: usize) -> Answer<Vec<(Tenant, Uuid)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        if let Some(unused) = unused {
            self.doom_unnamed(long_ms(unused), limit).await?;
        }
        let rows = self.query("select tenant, id from files where doomed order by id limit $1", &[&limit]).await?;
        Ok(rows.iter().map(|row| (read::tenant(row), row.get("id"))).collect())
    }

    async fn forget_file(&self, id: Uuid) -> Answer<()> {
        let sql = "with gone as (delete from files where id = $1 and doomed returning id) \
             delete from file_uses u using gone where u.file = gone.id";
        self.query(sql, &[&id]).await.map(drop)
    }
}

impl Postgres {
    /// First those that are old are locked, then it is seen who names them: whoever named one meanwhile is seen too.
    async fn doom_unnamed(&self, unused_ms: i64, limit: i64) -> Answer<()> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let old = "select id from files where not doomed and coalesce(used_at, created_at) <= now() - $1::bigint * interval '1 ms' \
             order by coalesce(used_at, created_at) limit $2 for update skip locked";
        let old = transaction.query(&transaction.prepare_cached(old).await?, &[&unused_ms, &limit]).await?;
        let old: Vec<Uuid> = old.iter().map(|row| row.get("id")).collect();
        // Of jobs that never came, or are gone.
        let idle = "delete from file_uses u where u.file = any($1) and u.noted_at <= now() - $2::bigint * interval '1 ms' \
             and not exists (select from jobs j where j.id = u.job)";
        transaction.execute(&transaction.prepare_cached(idle).await?, &[&old, &unused_ms]).await?;
        let doom = "update files f set used_at = now(), doomed = not exists (select from file_uses u where u.file = f.id) \
             where f.id = any($1)";
        transaction.execute(&transaction.prepare_cached(doom).await?, &[&old]).await?;
        Ok(transaction.commit().await?)
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn upload(row: &Row) -> Upload {
    let bytes = |name: &str| u64::try_from(row.get::<_, i64>(name)).unwrap_or(0);
    Upload {
        id: row.get("id"),
        tenant: read::tenant(row),
        name: row.get("name"),
        content_type: row.get("content_type"),
        metadata: row.get("metadata"),
        bytes: bytes("bytes"),
        stand: Stand {
            received: bytes("received"),
            place: read::json(row, "place").unwrap_or_default(),
            hash: row.get("hash"),
        },
        expires_at: row.get("expires_at"),
        done: row.get("done"),
    }
}
