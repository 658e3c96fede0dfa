//! Uploads and the ends of files. There is one writer, so a look and what follows it are one. What each call promises is
//! [`crate::ledger::uploads`]'s.

use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::JobId;
use rusqlite::{Connection, Params, Row};
use uuid::Uuid;

use super::Sqlite;
use super::columns::{self, Columns, Id, Json, later};
use super::jobs::count;
use super::registry;
use crate::ledger::uploads::{Dooming, Hold, NewUpload, Stand, Upload, Uploads};
use crate::ledger::{Answer, File};
use crate::tenant::Tenant;

const UPLOAD: &str =
    "id, tenant, name, content_type, metadata, bytes, received, place, hash, expires_at, done_at is not null";

fn begin(db: &Connection, now: i64, upload: &NewUpload, most: u64) -> Answer<bool> {
    let sql = "select count(*) from uploads where tenant = ?1 and done_at is null and id <> ?2";
    let open: i64 = db.query_row(sql, (&upload.tenant, Id(upload.id)), |row| row.get(0))?;
    if open.unsigned_abs() >= most {
        return Ok(false);
    }
    let sql = "insert into uploads (id, tenant, name, content_type, metadata, bytes, place, hash, created_at, expires_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) on conflict (id) do nothing";
    let NewUpload { id, tenant, name, content_type, metadata, bytes, place, hash, lives } = upload;
    let (bytes, expires_at) = (whole(*bytes), later(now, *lives));
    let params = (Id(*id), tenant, name, content_type, metadata, bytes, Json(place), hash, now, expires_at);
    db.prepare_cached(sql)?.execute(params)?;
    Ok(true)
}

fn of_id(db: &Connection, id: Uuid) -> Answer<Option<Upload>> {
    Ok(uploads(db, "where id = ?1 and doomed = 0", [Id(id)])?.pop())
}

fn hold(db: &Connection, now: i64, id: Uuid, writer: Uuid, received: u64, lease: Duration) -> Answer<Hold> {
    let Some(upload) = of_id(db, id)? else { return Ok(Hold::Unknown) };
    let sql = "update uploads set writer = ?2, writer_until = ?5 where id = ?1 and received = ?3 and done_at is null \
         and (writer is null or writer = ?2 or writer_until <= ?4)";
    let params = (Id(id), Id(writer), whole(received), now, later(now, lease));
    match db.prepare_cached(sql)?.execute(params)? {
        0 => Ok(Hold::Refused(upload)),
        _ => Ok(Hold::Granted(upload)),
    }
}

fn save(
    db: &Connection,
    now: i64,
    (id, writer): (Uuid, Uuid),
    stand: &Stand,
    lease: Option<Duration>,
    lives: Duration,
) -> Answer<bool> {
    let sql = "update uploads set received = ?3, place = ?4, hash = ?5, writer = ?6, writer_until = ?7, expires_at = ?8 \
         where id = ?1 and writer = ?2 and done_at is null and doomed = 0";
    let (holder, until) = (lease.map(|_| Id(writer)), lease.map(|lease| later(now, lease)));
    let Stand { received, place, hash } = stand;
    let params = (Id(id), Id(writer), whole(*received), Json(place), hash, holder, until, later(now, lives));
    Ok(db.prepare_cached(sql)?.execute(params)? == 1)
}

fn finish(db: &Connection, now: i64, file: &File, shown: Duration) -> Answer<bool> {
    let sql = "update uploads set done_at = coalesce(done_at, ?2), writer = null, expires_at = ?3 where id = ?1 and doomed = 0";
    let done = db.prepare_cached(sql)?.execute((Id(file.id), now, later(now, shown)))? == 1;
    if done {
        registry::add_file(db, now, file)?;
    }
    Ok(done)
}

fn doom(db: &Connection, now: i64, id: Uuid) -> Answer<Dooming> {
    let Some(upload) = of_id(db, id)? else { return Ok(Dooming::Unknown) };
    let sql = "update files set doomed = 1 where id = ?1 and used_at is null and doomed = 0";
    if upload.done && db.prepare_cached(sql)?.execute([Id(id)])? == 0 {
        return Ok(Dooming::InUse);
    }
    db.prepare_cached("update uploads set doomed = 1, expires_at = ?2 where id = ?1")?.execute((Id(id), now))?;
    Ok(Dooming::Doomed(Box::new(upload)))
}

fn expired(db: &Connection, now: i64, limit: usize) -> Answer<Vec<Upload>> {
    let which = "where expires_at <= ?1 and (doomed or done_at is null and coalesce(writer_until <= ?1, 1)) \
         order by expires_at limit ?2";
    let found = uploads(db, which, (now, count(limit)))?;
    for upload in &found {
        db.prepare_cached("update uploads set doomed = 1 where id = ?1")?.execute([Id(upload.id)])?;
    }
    Ok(found)
}

fn use_files(db: &Connection, now: i64, of: &Tenant, job: JobId, files: &[Uuid]) -> Answer<()> {
    let named = "update files set used_at = coalesce(used_at, ?3) where id = ?1 and tenant = ?2 and doomed = 0";
    let noted = "insert into file_uses (file, job, noted_at) values (?1, ?2, ?3) on conflict do nothing";
    for file in files {
        if db.prepare_cached(named)?.execute((Id(*file), of, now))? == 1 {
            db.prepare_cached(noted)?.execute((Id(*file), Id(job.0), now))?;
        }
    }
    Ok(())
}

fn expired_files(db: &Connection, now: i64, unused: Option<Duration>, limit: usize) -> Answer<Vec<(Tenant, Uuid)>> {
    if let Some(age) = unused {
        doom_unnamed(db, now, now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)), limit)?;
    }
    let sql = "select tenant, id from files where doomed = 1 order by id limit ?1";
    columns::rows(db, sql, [count(limit)], |row| {
        let Id(id) = row.get(1)?;
        Ok((row.get(0)?, id))
    })
}

fn doom_unnamed(db: &Connection, now: i64, before: i64, limit: usize) -> Answer<()> {
    let old = "select id from files where doomed = 0 and coalesce(used_at, created_at) <= ?1 \
         order by coalesce(used_at, created_at) limit ?2";
    let old: Vec<Id> = columns::rows(db, old, (before, count(limit)), |row| row.get(0))?;
    for id in &old {
        // Of jobs that never came, or are gone.
        let idle = "delete from file_uses where file = ?1 and noted_at <= ?2 \
             and not exists (select 1 from jobs j where j.id = file_uses.job)";
        db.prepare_cached(idle)?.execute((id, before))?;
        let doom = "update files set used_at = ?2, doomed = not exists (select 1 from file_uses u where u.file = ?1) where id = ?1";
        db.prepare_cached(doom)?.execute((id, now))?;
    }
    Ok(())
}

fn uploads(db: &Connection, which: &str, params: impl Params) -> Answer<Vec<Upload>> {
    columns::rows(db, &format!("select {UPLOAD} from uploads {which}"), params, upload)
}

fn upload(row: &Row<'_>) -> rusqlite::Result<Upload> {
    let mut row = Columns::of(row);
    let Id(id) = row.take()?;
    let (tenant, name, content_type, metadata) = (row.take()?, row.take()?, row.take()?, row.take()?);
    let (bytes, received) = (row.take::<i64>()?.unsigned_abs(), row.take::<i64>()?.unsigned_abs());
    let (Json(place), hash) = (row.take()?, row.take()?);
    let stand = Stand { received, place, hash };
    Ok(Upload { id, tenant, name, content_type, metadata, bytes, stand, expires_at: row.at()?, done: row.take()? })
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[async_trait]
impl Uploads for Sqlite {
    async fn begin_upload(&self, upload: &NewUpload, most: u64) -> Answer<bool> {
        let upload = upload.clone();
        self.write(move |db, now| begin(db, now, &upload, most)).await
    }

    async fn upload(&self, id: Uuid) -> Answer<Option<Upload>> {
        self.read(move |db, _| of_id(db, id)).await
    }

    async fn hold_upload(&self, id: Uuid, writer: Uuid, received: u64, lease: Duration) -> Answer<Hold> {
        self.write(move |db, now| hold(db, now, id, writer, received, lease)).await
    }

    async fn save_upload(
        &self,
        id: Uuid,
        writer: Uuid,
        stand: &Stand,
        lease: Option<Duration>,
        lives: Duration,
    ) -> Answer<bool> {
        let stand = stand.clone();
        self.write(move |db, now| save(db, now, (id, writer), &stand, lease, lives)).await
    }

    async fn finish_upload(&self, file: &File, shown: Duration) -> Answer<bool> {
        let file = file.clone();
        self.write(move |db, now| finish(db, now, &file, shown)).await
    }

    async fn doom_upload(&self, id: Uuid) -> Answer<Dooming> {
        self.write(move |db, now| doom(db, now, id)).await
    }

    async fn expired_uploads(&self, limit: usize) -> Answer<Vec<Upload>> {
        self.write(move |db, now| expired(db, now, limit)).await
    }

    async fn finished_uploads(&self, limit: usize) -> Answer<Vec<Upload>> {
        let which = "where expires_at <= ?1 and done_at is not null and doomed = 0 order by expires_at limit ?2";
        self.read(move |db, now| uploads(db, which, (now, count(limit)))).await
    }

    async fn forget_upload(&self, id: Uuid) -> Answer<()> {
        let sql = "delete from uploads where id = ?1 and (doomed or done_at is not null and expires_at <= ?2)";
        self.write(move |db, now| Ok(db.prepare_cached(sql)?.execute((Id(id), now)).map(drop)?)).await
    }

    async fn use_files(&self, of: &Tenant, job: JobId, files: &[Uuid]) -> Answer<()> {
        let (of, files) = (of.clone(), files.to_vec());
        self.write(move |db, now| use_files(db, now, &of, job, &files)).await
    }

    async fn expired_files(&self, unused: Option<Duration>, limit: usize) -> Answer<Vec<(Tenant, Uuid)>> {
        self.write(move |db, now| expired_files(db, now, unused, limit)).await
    }

    async fn forget_file(&self, id: Uuid) -> Answer<()> {
        let forget = move |db: &Connection, _| {
            if db.prepare_cached("delete from files where id = ?1 and doomed")?.execute([Id(id)])? == 1 {
                db.prepare_cached("delete from file_uses where file = ?1")?.execute([Id(id)])?;
            }
            Ok(())
        };
        self.write(forget).await
    }
}
