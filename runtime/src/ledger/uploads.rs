//! Uploads that come in pieces, and when files and uploads are removed. The ledger says how much of an upload is acknowledged and who may
//! append to it; it never sees a byte. What is to be removed is doomed first, so that nobody is shown it, then the storage forgets
//! its bytes, then the ledger its row: whoever dies in between, the next one goes on. Read [`crate::storage::draft`] for the bytes.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_sdk::JobId;
use uuid::Uuid;

use super::{Answer, File};
use crate::storage::draft::Draft;
use crate::tenant::Tenant;

/// An upload to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewUpload {
    /// Its id, and its file's.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: Tenant,
    /// What the uploader calls it; never used as a path.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// The uploader's notes, as they came.
    pub metadata: Option<String>,
    /// Its whole size.
    pub bytes: u64,
    /// Where its bytes will lie.
    pub place: Draft,
    /// The checksum of no bytes yet.
    pub hash: Vec<u8>,
    /// It is removed when it stands still for so long.
    pub lives: Duration,
}

/// An upload as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// Its id, and its file's.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: Tenant,
    /// What the uploader calls it.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// The uploader's notes, as they came.
    pub metadata: Option<String>,
    /// Its whole size.
    pub bytes: u64,
    /// What is acknowledged.
    pub stand: Stand,
    /// When it is removed if it stands still.
    pub expires_at: Timestamp,
    /// Whether it is a file.
    pub done: bool,
}

impl Upload {
    /// Whether every byte is there; it becomes a file then.
    pub fn is_whole(&self) -> bool {
        self.stand.received == self.bytes
    }
}

/// How far an upload is: so many bytes, which lie there, and whose checksum is so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Stand {
    /// Bytes.
    pub received: u64,
    /// Where they lie.
    pub place: Draft,
    /// The state of their SHA-256.
    pub hash: Vec<u8>,
}

/// What became of asking to append.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// Nobody else may, for the length of the lease.
    Granted(Upload),
    /// It stands elsewhere, is done, or somebody else appends.
    Refused(Upload),
    /// There is no such upload.
    Unknown,
}

/// What became of asking to remove.
#[derive(Debug, Clone, PartialEq)]
pub enum Dooming {
    /// Nobody is shown it any more: its bytes are to be removed, then it is to be forgotten.
    Doomed(Box<Upload>),
    /// It is a file that a job has named.
    InUse,
    /// There is no such upload.
    Unknown,
}

/// The ledger's part in uploads.
#[async_trait]
pub trait Uploads: Send + Sync + 'static {
    /// Enters an upload, unless its tenant has `most` unfinished ones already: `false`. A repeat with the same id is one.
    async fn begin_upload(&self, upload: &NewUpload, most: u64) -> Answer<bool>;
    /// One that is not doomed.
    async fn upload(&self, id: Uuid) -> Answer<Option<Upload>>;
    /// Lets `writer` alone append for so long, if the upload stands at `received`, is not done, and nobody else's lease lives.
    async fn hold_upload(&self, id: Uuid, writer: Uuid, received: u64, lease: Duration) -> Answer<Hold>;
    /// Acknowledges what `writer` has stored, if it still holds the upload; says whether it does. It goes on for the length of the
    /// lease, or lets go. The upload's life begins anew.
    async fn save_upload(
        &self,
        id: Uuid,
        writer: Uuid,
        stand: &Stand,
        lease: Option<Duration>,
        lives: Duration,
    ) -> Answer<bool>;
    /// The upload with the file's id becomes this file, and is shown for so long; `false` when it was doomed meanwhile. A repeat
    /// is one.
    async fn finish_upload(&self, file: &File, shown: Duration) -> Answer<bool>;
    /// Dooms an upload, and its file if it is one that no job has named.
    async fn doom_upload(&self, id: Uuid) -> Answer<Dooming>;
    /// Dooms some uploads that stood still for too long, and answers them with those that were doomed before.
    async fn expired_uploads(&self, limit: usize) -> Answer<Vec<Upload>>;
    /// Some that have been files for so long that nobody asks for the upload any more: what may lie beside the file is to be removed,
    /// then the upload is to be forgotten.
    async fn finished_uploads(&self, limit: usize) -> Answer<Vec<Upload>>;
    /// Its bytes are gone, or it is a file and has been shown for long enough.
    async fn forget_upload(&self, id: Uuid) -> Answer<()>;

    /// This job of this tenant names these files: they are kept as long as it is, and for some time also if it never comes.
    async fn use_files(&self, of: &Tenant, job: JobId, files: &[Uuid]) -> Answer<()>;
    /// Dooms some files that no job has named for so long and none that is there names (`None`: none), and answers them with those that
    /// were doomed before. One that is named is looked at again after that time.
    async fn expired_files(&self, unused: Option<Duration>, limit: usize) -> Answer<Vec<(Tenant, Uuid)>>;
    /// Its bytes are gone.
    async fn forget_file(&self, id: Uuid) -> Answer<()>;
}
