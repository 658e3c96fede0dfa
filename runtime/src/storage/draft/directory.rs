//! An upload in a directory: a file that grows, and is renamed when it is whole. Whoever appends holds the file's lock, which the kernel
//! takes from a process that dies and from no other: one that stands still for an hour and then goes on has met nobody.

use std::fs::File as StdFile;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use object_store::path::Path as Key;
use rustix::fs::{FlockOperation, flock};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::Draft;
use crate::storage::StorageError;

/// So much is lost to its sender when the process dies, at most.
const SETTLED_EVERY: u64 = 16 * 1024 * 1024;
/// A block on its way to the disk.
const BLOCK_BYTES: usize = 256 * 1024;

/// A file that grows.
#[derive(Debug)]
pub(super) struct Growing {
    file: BufWriter<File>,
    /// Written since the last time that all was durable.
    loose: u64,
}

pub(super) async fn begin(root: &Path, key: &Key) -> Result<Draft, StorageError> {
    let path = root.join(key.as_ref());
    blocking(move || {
        let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(directory)?;
        StdFile::create_new(&path)?;
        StdFile::open(directory)?.sync_all()
    })
    .await?;
    Ok(Draft::default())
}

impl Growing {
    pub(super) async fn open(path: PathBuf, at: u64) -> Result<Self, StorageError> {
        let opened = blocking(move || {
            let file = StdFile::options().write(true).open(path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            match file.metadata()?.len() >= at {
                true => file.set_len(at).map(|()| Some(file)),
                false => Ok(None),
            }
        });
        let file = match opened.await {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(StorageError::Busy),
            opened => opened?,
        };
        let file =
            file.ok_or_else(|| StorageError::Unavailable(format!("an upload has lost some of its {at} bytes")))?;
        let mut file = File::from_std(file);
        file.seek(std::io::SeekFrom::Start(at)).await?;
        Ok(Self { file: BufWriter::with_capacity(BLOCK_BYTES, file), loose: 0 })
    }

    pub(super) fn room(&self) -> usize {
        usize::try_from(SETTLED_EVERY - self.loose).unwrap_or(usize::MAX)
    }

    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<Option<Draft>, StorageError> {
        self.file.write_all(piece).await?;
        self.loose += piece.len() as u64;
        if self.loose < SETTLED_EVERY { Ok(None) } else { self.settle().await.map(Some) }
    }

    pub(super) async fn settle(&mut self) -> Result<Draft, StorageError> {
        self.file.flush().await?;
        self.file.get_ref().sync_data().await?;
        self.loose = 0;
        Ok(Draft::default())
    }

    /// What stays behind is cut off by whoever goes on.
    pub(super) async fn take_back(&mut self, at: u64) {
        let flushed = self.file.flush().await;
        let cut = self.file.get_ref().set_len(at).await;
        if let Err(error) = flushed.and(cut) {
            tracing::warn!(%error, "what was refused of an upload lies there until somebody goes on with it");
        }
    }
}

pub(super) async fn finish(root: &Path, from: &Key, to: &Key, bytes: u64) -> Result<(), StorageError> {
    let (from, to) = (root.join(from.as_ref()), root.join(to.as_ref()));
    let placed = blocking(move || {
        let directory = to.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(directory)?;
        match std::fs::metadata(&from) {
            Ok(facts) if facts.len() == bytes => std::fs::rename(&from, &to)?,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(std::fs::metadata(&to)?.len() == bytes),
            Err(error) => return Err(error),
        }
        StdFile::open(directory)?.sync_all()?;
        Ok(true)
    });
    if placed.await? { Ok(()) } else { Err(StorageError::Unavailable("an upload is not as long as it was".to_owned())) }
}

pub(super) async fn remove(path: &Path) -> Result<(), StorageError> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
