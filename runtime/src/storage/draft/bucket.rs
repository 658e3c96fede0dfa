//! An upload in a bucket: a multipart upload under its file's name, invisible until it is completed. Parts have one size, so that every
//! S3 takes them; the bytes behind the last full one lie in an object of their own, `uploads/<id>/<name>`, from one request to the next.
//! Two who write one part at once do not mix: the completion names each part's tag, and the bucket refuses one that is another's.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt};
use uuid::Uuid;

use super::Draft;
use crate::storage::StorageError;
use crate::storage::location::Bucket;

/// S3 takes parts from 5 MiB on, and 10,000 of them.
const PART_BYTES: u64 = 8 * 1024 * 1024;
const MOST_PARTS: u64 = 10_000;
const MIB: u64 = 1024 * 1024;

/// The size of the parts of an upload of so many bytes: no more of them than a bucket takes.
fn part_bytes(whole: u64) -> u64 {
    whole.div_ceil(MOST_PARTS).div_ceil(MIB).saturating_mul(MIB).max(PART_BYTES)
}

pub(super) async fn begin(bucket: &Bucket, key: &Key, bytes: u64) -> Result<Draft, StorageError> {
    let multipart = bucket.create_multipart(key).await?;
    Ok(Draft { multipart: Some(multipart), part_bytes: part_bytes(bytes), ..Draft::default() })
}

/// Somebody who appends parts.
#[derive(Debug)]
pub(super) struct Parts {
    bucket: Arc<Bucket>,
    key: Key,
    /// Where tails lie.
    beside: Key,
    draft: Draft,
    /// What fills no part yet.
    buffer: BytesMut,
    /// Tails that the draft names no longer; the ledger may, until it has heard of it.
    old: Vec<Uuid>,
    /// The tail that this writer has made and the ledger has not heard of.
    fresh: Option<Uuid>,
}

impl Parts {
    pub(super) async fn open(
        bucket: Arc<Bucket>,
        key: Key,
        beside: Key,
        draft: Draft,
        at: u64,
    ) -> Result<Self, StorageError> {
        let buffer = match draft.tail {
            Some(tail) => BytesMut::from(&bucket.get(&beside.clone().join(tail.to_string())).await?.bytes().await?[..]),
            None => BytesMut::new(),
        };
        let there = draft.parts.len() as u64 * draft.part_bytes + buffer.len() as u64;
        if there != at || draft.part_bytes == 0 {
            return Err(StorageError::Unavailable(format!("an upload has {there} bytes and not the {at} it should")));
        }
        Ok(Self { bucket, key, beside, draft, buffer, old: vec![], fresh: None })
    }

    pub(super) fn room(&self) -> usize {
        usize::try_from(self.draft.part_bytes).unwrap_or(usize::MAX) - self.buffer.len()
    }

    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<Option<Draft>, StorageError> {
        self.buffer.extend_from_slice(piece);
        match self.room() {
            0 => self.put_part().await.map(|()| Some(self.draft.clone())),
            _ => Ok(None),
        }
    }

    async fn put_part(&mut self) -> Result<(), StorageError> {
        let multipart = self.draft.multipart.clone().ok_or(StorageError::Missing)?;
        let part = self.buffer.split().freeze();
        let put = self.bucket.put_part(&self.key, &multipart, self.draft.parts.len(), part.into()).await?;
        self.draft.parts.push(put.content_id);
        self.leave_tail();
        Ok(())
    }

    /// The draft names no tail, or another one: the one before goes when the ledger knows.
    fn leave_tail(&mut self) {
        self.old.extend(self.draft.tail.take());
        self.fresh = None;
    }

    pub(super) async fn settle(&mut self, last: bool) -> Result<Draft, StorageError> {
        if self.buffer.is_empty() {
            return Ok(self.draft.clone());
        }
        if last {
            self.put_part().await?;
            return Ok(self.draft.clone());
        }
        let (tail, bytes) = (Uuid::now_v7(), Bytes::copy_from_slice(&self.buffer));
        self.bucket.put(&self.beside.clone().join(tail.to_string()), bytes.into()).await?;
        self.leave_tail();
        (self.draft.tail, self.fresh) = (Some(tail), Some(tail));
        Ok(self.draft.clone())
    }

    /// Parts that nobody names go with the upload; a part of the same number takes their place.
    pub(super) async fn take_back(&mut self) {
        if let Some(tail) = self.fresh.take() {
            self.remove(tail).await;
        }
    }

    pub(super) async fn tidy(&mut self, known: Option<Uuid>) {
        if self.fresh == known {
            self.fresh = None;
        }
        let (kept, gone) = std::mem::take(&mut self.old).into_iter().partition(|tail| Some(*tail) == known);
        self.old = kept;
        for tail in gone {
            self.remove(tail).await;
        }
    }

    async fn remove(&self, tail: Uuid) {
        match self.bucket.delete(&self.beside.clone().join(tail.to_string())).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(%error, "an upload's old tail goes with the upload"),
        }
    }
}

pub(super) async fn finish(bucket: &Bucket, key: &Key, draft: &Draft, bytes: u64) -> Result<(), StorageError> {
    let multipart = draft.multipart.clone().ok_or(StorageError::Missing)?;
    if draft.tail.is_some() || draft.parts.len() as u64 != bytes.div_ceil(draft.part_bytes.max(1)) {
        return Err(StorageError::Unavailable("an upload is not whole, and was to become a file".to_owned()));
    }
    let parts = draft.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
    let completed = bucket.complete_multipart(key, &multipart, parts).await;
    // Completed before, by somebody whose reply was lost: then it is there.
    match (bucket.head(key).await, completed) {
        (Ok(there), _) if there.size == bytes => Ok(()),
        (_, Err(error)) => Err(error.into()),
        (Err(error), Ok(_)) => Err(error.into()),
        (Ok(there), Ok(_)) => Err(StorageError::Unavailable(format!("an upload has {} of {bytes} bytes", there.size))),
    }
}

pub(super) async fn abort(bucket: &Bucket, key: &Key, draft: &Draft) -> Result<(), StorageError> {
    let Some(multipart) = &draft.multipart else { return Ok(()) };
    match bucket.abort_multipart(key, multipart).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_of_any_size_has_no_more_parts_than_a_bucket_takes() {
        for whole in [0, 1, PART_BYTES, PART_BYTES * MOST_PARTS, PART_BYTES * MOST_PARTS + 1, 5 << 40] {
            let part = part_bytes(whole);
            assert!(part >= PART_BYTES && whole.div_ceil(part) <= MOST_PARTS, "{whole}");
        }
        assert_eq!(part_bytes(1 << 30), PART_BYTES);
    }
}
