//! Where uploads and artifacts lie: a directory of this machine, or a bucket. Uploads are `files/<id>`
//! (`tenants/<tenant>/files/<id>` where the tenant is not the house itself), outputs `artifacts/<job>/<attempt>/<name>`, so that a dead attempt's files are never taken for a living one's,
//! and what is still coming `uploads/<id>`.
//! It never makes a path of anything a caller wrote. Read [`source`] for the rules on inputs, [`stage`] for outputs, [`draft`] for uploads in pieces.

pub mod address;
pub mod direct;
pub mod draft;
mod fetch;
mod kept;
mod location;
mod roots;
pub mod source;
mod stage;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use longshore_sdk::JobId;
use longshore_sdk::executor::seconds;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt, WriteMultipart};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use uuid::Uuid;

use crate::tenant::Tenant;
pub use location::Variables;
pub(crate) use location::install_tls;
use location::{Bucket, Opened};
use roots::Roots;

/// Parts of one upload on their way to the store at once: bounds its memory to five times 5 MiB.
const PARTS_IN_FLIGHT: usize = 4;
const READ_BYTES: usize = 128 * 1024;

/// Where files lie and which inputs jobs may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSettings {
    /// A directory, `file:///directory`, or `s3://bucket/prefix` with its keys in the usual `AWS_*` variables.
    pub location: String,
    /// Directories on the worker's machine whose files a job may name. Default: none.
    pub allowed_roots: Vec<PathBuf>,
    /// Whether a job may name `http(s)://` addresses. Default: no.
    pub allow_http: bool,
    /// The ports such an address may have. Default: 80 and 443.
    pub http_ports: Vec<u16>,
    /// Whether such an address may lead to private, link-local or loopback machines. Default: no.
    pub allow_private_addresses: bool,
    /// Buckets or prefixes that a job may name, e.g. `s3://inputs/` or `s3://inputs/2026/`. Default: none.
    pub allow_object_stores: Vec<String>,
    /// A larger input is refused. Default 5 GiB.
    pub max_input_bytes: u64,
    /// An upload that is not whole and stands still for so long is removed. Default 24 h.
    #[serde(with = "seconds")]
    pub keep_unfinished: Duration,
    /// A file that no job has named for so long, and none that is kept names, is removed; 0: never. Default 7 days.
    #[serde(with = "seconds")]
    pub keep_unused: Duration,
    /// How long a link to a bucket is good. Default 15 minutes.
    #[serde(with = "seconds")]
    pub link_lifetime: Duration,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            location: ".longshore/storage".into(),
            allowed_roots: Vec::new(),
            allow_http: false,
            http_ports: vec![80, 443],
            allow_private_addresses: false,
            allow_object_stores: Vec::new(),
            max_input_bytes: 5 * 1024 * 1024 * 1024,
            keep_unfinished: Duration::from_secs(24 * 3600),
            keep_unused: Duration::from_secs(7 * 24 * 3600),
            link_lifetime: Duration::from_secs(15 * 60),
        }
    }
}

/// Why the storage did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory or the bucket does not answer, or is full.
    #[error("the storage does not answer: {0}")]
    Unavailable(String),
    /// No such file.
    #[error("the storage has no such file")]
    Missing,
    /// More bytes than allowed.
    #[error("the file has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The other end stopped sending before the end.
    #[error("the file did not come to its end: {0}")]
    Interrupted(String),
    /// It lies in a directory, which signs no links.
    #[error("a directory has no links")]
    NoLinks,
    /// What was sent has another size than was told.
    #[error("what was sent has {bytes} bytes")]
    OtherSize {
        /// Its size.
        bytes: u64,
    },
    /// Somebody else appends to it.
    #[error("somebody else appends to this upload")]
    Busy,
    /// The settings cannot be used.
    #[error("the storage's settings: {0}")]
    Settings(String),
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// The bytes of a stored file.
pub type Content = BoxStream<'static, Result<Bytes, StorageError>>;

/// Uploads and artifacts.
#[derive(Debug)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    /// The directory, when it is one.
    root: Option<PathBuf>,
    /// The bucket, when it is one.
    bucket: Option<Arc<Bucket>>,
    /// What opens buckets.
    variables: Variables,
    roots: Arc<Roots>,
    settings: StorageSettings,
    keeping: kept::Keeping,
}

impl Storage {
    /// Opens the storage; a directory is made if it is not there.
    ///
    /// # Errors
    /// [`StorageError::Settings`] naming the setting at fault.
    pub fn open(settings: StorageSettings) -> Result<Self, StorageError> {
        Self::open_with(settings, location::of_the_environment())
    }

    /// The same, with these `AWS_*` variables in the place of the process's own.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_with(settings: StorageSettings, variables: Variables) -> Result<Self, StorageError> {
        let Opened { store, root, bucket } = location::open(&settings.location, &variables)?;
        let roots = Arc::new(Roots::new(&settings.allowed_roots, root.as_deref())?);
        source::check(&settings)?;
        Ok(Self { store, root, bucket, variables, roots, settings, keeping: kept::Keeping::default() })
    }

    /// One that is asked of nobody, for simulated time: a file takes real time.
    #[cfg(test)]
    pub(crate) fn simulated() -> Self {
        let (settings, variables) = (StorageSettings::default(), location::of_the_environment());
        let roots = Arc::new(Roots::new(&[], None).expect("no root is as good as any"));
        let store = Arc::new(object_store::memory::InMemory::new());
        Self { store, root: None, bucket: None, variables, roots, settings, keeping: kept::Keeping::default() }
    }

    /// Stores a tenant's upload. Nothing is visible under `id` unless the whole body came and was within `limit`.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`], [`StorageError::Interrupted`] when `body` fails, [`StorageError::Unavailable`].
    pub async fn put_file<E: std::fmt::Display>(
        &self,
        whose: &Tenant,
        id: Uuid,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
        limit: u64,
    ) -> Result<Stored, StorageError> {
        self.put(&file_key(whose, id), body, limit).await
    }

    /// Writes, reads and removes a few bytes, as an upload would be.
    ///
    /// # Errors
    /// What an upload would meet.
    pub async fn try_out(&self) -> Result<(), StorageError> {
        const WORDS: &[u8] = b"longshore was here";
        let key = Key::from_iter(["files".to_owned(), format!("preflight-{}", Uuid::now_v7())]);
        let body = futures_util::stream::iter([Ok::<_, StorageError>(Bytes::from_static(WORDS))]);
        self.put(&key, body, WORDS.len() as u64).await?;
        let read = async { self.store.get(&key).await?.bytes().await }.await;
        let removed = self.store.delete(&key).await;
        match read? {
            read if read == WORDS => Ok(removed?),
            _ => Err(StorageError::Unavailable("what was written is not what is read".to_owned())),
        }
    }

    /// Forgets an upload, because the ledger did not take it.
    ///
    /// # Errors
    /// [`StorageError::Missing`], [`StorageError::Unavailable`].
    pub async fn delete_file(&self, whose: &Tenant, id: Uuid) -> Result<(), StorageError> {
        self.store.delete(&file_key(whose, id)).await.map_err(StorageError::from)
    }

    /// Opens an upload, or the given part of it.
    ///
    /// # Errors
    /// [`StorageError::Missing`], [`StorageError::Unavailable`].
    pub async fn open_file(
        &self,
        whose: &Tenant,
        id: Uuid,
        range: Option<Range<u64>>,
    ) -> Result<Content, StorageError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        content(self.store.get_opts(&file_key(whose, id), options).await?).await
    }

    /// Opens an artifact, or the given part of it.
    ///
    /// # Errors
    /// [`StorageError::Missing`], [`StorageError::Unavailable`].
    pub async fn open_artifact(
        &self,
        job: JobId,
        attempt: u32,
        name: &str,
        range: Option<Range<u64>>,
    ) -> Result<Content, StorageError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        content(self.store.get_opts(&artifact_key(job, attempt, name)?, options).await?).await
    }

    /// Removes what a dead attempt staged. Nothing staged is no error.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn delete_attempt(&self, job: JobId, attempt: u32) -> Result<(), StorageError> {
        self.delete_all(&attempt_key(job, attempt)).await
    }

    /// Removes all that the attempts of a job have left. Nothing left is no error.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn delete_job(&self, job: JobId) -> Result<(), StorageError> {
        self.delete_all(&outputs_key(job)).await?;
        self.forget_kept(job).await
    }

    /// How long what nobody finishes and what nobody uses is kept.
    pub fn patience(&self) -> (Duration, Option<Duration>) {
        let StorageSettings { keep_unfinished, keep_unused, .. } = self.settings;
        (keep_unfinished, Some(keep_unused).filter(|keep| !keep.is_zero()))
    }

    async fn delete_all(&self, prefix: &Key) -> Result<(), StorageError> {
        let staged = self.store.list(Some(prefix)).map_ok(|found| found.location).boxed();
        self.store.delete_stream(staged).try_for_each(|_| std::future::ready(Ok(()))).await?;
        let Some(root) = &self.root else { return Ok(()) };
        match tokio::fs::remove_dir_all(root.join(prefix.as_ref())).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Streams `body` to `key`, hashing on the way. The store shows it only when it is complete.
    async fn put<E: std::fmt::Display>(
        &self,
        key: &Key,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
        limit: u64,
    ) -> Result<Stored, StorageError> {
        let mut writer = WriteMultipart::new(self.store.put_multipart(key).await?);
        match pour(body, &mut writer, limit).await {
            Ok(stored) => writer.finish().await.map(|_| stored).map_err(StorageError::from),
            Err(error) => {
                // The first error is the one to tell; parts that stay behind are the bucket's lifecycle rule's.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }
}

async fn pour<E: std::fmt::Display>(
    body: impl Stream<Item = Result<Bytes, E>> + Send,
    writer: &mut WriteMultipart,
    limit: u64,
) -> Result<Stored, StorageError> {
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut hash) = (0, Sha256::new());
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| StorageError::Interrupted(error.to_string()))?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(StorageError::TooLarge { limit });
        }
        hash.update(&chunk);
        writer.wait_for_capacity(PARTS_IN_FLIGHT).await?;
        writer.put(chunk);
    }
    Ok(Stored { bytes, sha256: hex(&hash.finalize()) })
}

/// Local files are read in large blocks: the store's own stream reads 8 KiB per hop to the blocking pool.
async fn content(found: object_store::GetResult) -> Result<Content, StorageError> {
    let range = found.range.clone();
    match found.payload {
        GetResultPayload::File(file, _) => {
            let mut file = tokio::fs::File::from_std(file);
            file.seek(std::io::SeekFrom::Start(range.start)).await?;
            let part = file.take(range.end - range.start);
            Ok(tokio_util::io::ReaderStream::with_capacity(part, READ_BYTES).map_err(StorageError::from).boxed())
        }
        GetResultPayload::Stream(stream) => Ok(stream.map_err(StorageError::from).boxed()),
    }
}

/// An upload is found under its tenant's name alone, so that nobody's job reads another's, whatever it names.
fn file_key(whose: &Tenant, id: Uuid) -> Key {
    match whose.is_default() {
        true => Key::from_iter(["files".to_owned(), id.to_string()]),
        false => Key::from_iter(["tenants".to_owned(), whose.to_string(), "files".to_owned(), id.to_string()]),
    }
}

fn outputs_key(job: JobId) -> Key {
    Key::from_iter(["artifacts".to_owned(), job.to_string()])
}

fn attempt_key(job: JobId, attempt: u32) -> Key {
    outputs_key(job).join(attempt.to_string())
}

fn artifact_key(job: JobId, attempt: u32, name: &str) -> Result<Key, StorageError> {
    let plain = longshore_sdk::context::artifact_name_is_valid(name);
    plain.then(|| attempt_key(job, attempt).join(name)).ok_or(StorageError::Missing)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<std::io::Error> for StorageError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
