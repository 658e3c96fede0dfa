//! The bytes of an upload that comes in pieces, until it is whole and has its place among the files. In a directory they are one file that
//! grows, under a lock that ends with its process; in a bucket they are the parts of a multipart upload, and what is too little for a
//! part lies beside it. Nothing here knows how much is acknowledged: the ledger does, and says where to go on.

mod bucket;
mod directory;

use bytes::Bytes;
use object_store::path::Path as Key;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::bucket::Parts;
use self::directory::Growing;
use super::{Storage, StorageError, file_key};
use crate::tenant::Tenant;

/// Where the bytes of an unfinished upload lie, as the ledger keeps it. In a directory all fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The bucket's name of the multipart upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    multipart: Option<String>,
    /// Every part but the last has this size.
    #[serde(default, skip_serializing_if = "is_zero")]
    part_bytes: u64,
    /// The bucket's names of the parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    /// The object with the bytes behind the last part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tail: Option<Uuid>,
    /// It is not sent through us: [`super::direct`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    direct: bool,
}

impl Draft {
    /// Of bytes that go past us.
    pub fn direct() -> Self {
        Self { direct: true, ..Self::default() }
    }

    /// Whether its bytes go past us.
    pub fn is_direct(&self) -> bool {
        self.direct
    }
}

fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// Which upload, and whose.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// Its id, and its file's.
    pub id: Uuid,
    /// Its whole size.
    pub bytes: u64,
}

/// Somebody who appends.
#[derive(Debug)]
pub struct Writer(Kind);

#[derive(Debug)]
enum Kind {
    Directory(Growing),
    Bucket(Parts),
}

impl Storage {
    /// A place for the bytes of an upload.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn begin_draft(&self, which: Which<'_>) -> Result<Draft, StorageError> {
        match (&self.root, &self.bucket) {
            (None, Some(bucket)) => {
                bucket::begin(bucket.as_ref(), &file_key(which.tenant, which.id), which.bytes).await
            }
            (Some(root), _) => directory::begin(root, &draft_key(which.tenant, which.id)).await,
            (None, None) => Err(StorageError::Unavailable("the storage takes no uploads in pieces".to_owned())),
        }
    }

    /// Opens it to append behind its first `at` bytes; what lies behind those is nobody's and goes.
    ///
    /// # Errors
    /// [`StorageError::Busy`] while somebody else appends, [`StorageError::Missing`], [`StorageError::Unavailable`].
    pub async fn open_draft(&self, which: Which<'_>, draft: &Draft, at: u64) -> Result<Writer, StorageError> {
        let beside = draft_key(which.tenant, which.id);
        match (&self.root, &self.bucket) {
            (None, Some(bucket)) => {
                let key = file_key(which.tenant, which.id);
                Parts::open(bucket.clone(), key, beside, draft.clone(), at).await.map(Kind::Bucket).map(Writer)
            }
            (Some(root), _) => Growing::open(root.join(beside.as_ref()), at).await.map(Kind::Directory).map(Writer),
            (None, None) => Err(StorageError::Missing),
        }
    }

    /// Gives the whole upload its place among the files. A repeat finds it there.
    ///
    /// # Errors
    /// [`StorageError::Missing`] when it is in neither place with its size, [`StorageError::Unavailable`].
    pub async fn finish_draft(&self, which: Which<'_>, draft: &Draft) -> Result<(), StorageError> {
        let (key, beside) = (file_key(which.tenant, which.id), draft_key(which.tenant, which.id));
        match (&self.root, &self.bucket) {
            (None, Some(bucket)) => {
                bucket::finish(bucket.as_ref(), &key, draft, which.bytes).await?;
                self.delete_all(&beside).await
            }
            (Some(root), _) => directory::finish(root, &beside, &key, which.bytes).await,
            (None, None) => Err(StorageError::Missing),
        }
    }

    /// Removes the bytes of an upload that is no file. Nothing there is no error.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn drop_draft(&self, which: Which<'_>, draft: &Draft) -> Result<(), StorageError> {
        let beside = draft_key(which.tenant, which.id);
        match (&self.root, &self.bucket) {
            (None, Some(bucket)) => {
                bucket::abort(bucket.as_ref(), &file_key(which.tenant, which.id), draft).await?;
                self.delete_all(&beside).await
            }
            (Some(root), _) => directory::remove(&root.join(beside.as_ref())).await,
            (None, None) => Ok(()),
        }
    }
}

impl Writer {
    /// How many bytes the next piece may have, at most.
    pub fn room(&self) -> usize {
        match &self.0 {
            Kind::Directory(growing) => growing.room(),
            Kind::Bucket(parts) => parts.room(),
        }
    }

    /// Appends a piece. `Some`: all that was written is durable now, and lies there.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`]; then this writer is of no use any more.
    pub async fn write(&mut self, piece: Bytes) -> Result<Option<Draft>, StorageError> {
        match &mut self.0 {
            Kind::Directory(growing) => growing.write(&piece).await,
            Kind::Bucket(parts) => parts.write(&piece).await,
        }
    }

    /// Makes what was written durable where that costs little: in a bucket it waits for a part to be full.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn settle_cheaply(&mut self) -> Result<Option<Draft>, StorageError> {
        match &mut self.0 {
            Kind::Directory(growing) => growing.settle().await.map(Some),
            Kind::Bucket(_) => Ok(None),
        }
    }

    /// Makes all that was written durable; `last` says that no byte will follow.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn settle(&mut self, last: bool) -> Result<Draft, StorageError> {
        match &mut self.0 {
            Kind::Directory(growing) => growing.settle().await,
            Kind::Bucket(parts) => parts.settle(last).await,
        }
    }

    /// Forgets what was written since the upload stood at `at`, as far as that can be done at once.
    pub async fn take_back(&mut self, at: u64) {
        match &mut self.0 {
            Kind::Directory(growing) => growing.take_back(at).await,
            Kind::Bucket(parts) => parts.take_back().await,
        }
    }

    /// The ledger knows this draft: what an earlier one named goes.
    pub async fn tidy(&mut self, known: &Draft) {
        if let Kind::Bucket(parts) = &mut self.0 {
            parts.tidy(known.tail).await;
        }
    }
}

/// Found under its tenant's name alone, as its file will be.
pub(super) fn draft_key(whose: &Tenant, id: Uuid) -> Key {
    match whose.is_default() {
        true => Key::from_iter(["uploads".to_owned(), id.to_string()]),
        false => Key::from_iter(["tenants".to_owned(), whose.to_string(), "uploads".to_owned(), id.to_string()]),
    }
}
