//! Uploads and the ends of files. Every condition is in the statement that acts on it, so that two API processes at once are one after
//! the other. What each call promises is [`crate::ledger::uploads`]'s.

use std::time::Duration;

use async_trait::async_trait;
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

    async fn use_files(&self, of: &Tenant, files: &[Uuid]) -> Answer<()> {
        let sql =
            "update files set used_at = now() where id = any($1) and tenant = $2 and used_at is null and not doomed";
        self.query(sql, &[&files, &of.as_str()]).await.map(drop)
    }

    async fn expired_files(&self, unused: Option<Duration>, limit: usize) -> Answer<Vec<(Tenant, Uuid)>> {
        let sql = "update files set doomed = true where id in (select id from files where used_at is null \
                and (doomed or created_at <= now() - $1::bigint * interval '1 ms') order by created_at limit $2 for update) \
             returning tenant, id";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.query(sql, &[&unused.map(long_ms), &limit]).await?;
        Ok(rows.iter().map(|row| (read::tenant(row), row.get("id"))).collect())
    }

    async fn forget_file(&self, id: Uuid) -> Answer<()> {
        self.query("delete from files where id = $1 and doomed", &[&id]).await.map(drop)
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
