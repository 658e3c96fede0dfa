//! An attempt's output files on their way into the storage. Staged means written and durable, not published: the commit
//! that completes the job publishes them. It refuses what is no regular file, because a hijacked executor could offer a
//! symlink to somebody's secrets. Read [`super::Storage::open_artifact`] for the way out.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use longshore_sdk::{Failure, Fatal, JobId, Result};
use object_store::path::Path as Key;
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;

use super::{READ_BYTES, Storage, StorageError, Stored, artifact_key, hex};

impl Storage {
    /// Stages `file` as `name` of this attempt. In a directory on the same file system it is linked, not copied; it may
    /// be removed from its old place afterwards but must not be written to. Staging a name again replaces it.
    ///
    /// # Errors
    /// Fatal for what is no regular file or no artifact's name; a retry when the store does not take it.
    pub async fn stage_artifact(&self, job: JobId, attempt: u32, name: &str, file: &Path) -> Result<Stored> {
        let key = artifact_key(job, attempt, name).map_err(|_| bad_name(name))?;
        self.stage_at(&key, file).await
    }

    /// Makes `file` durable at `key`.
    pub(super) async fn stage_at(&self, key: &Key, file: &Path) -> Result<Stored> {
        let opened = open(file)?;
        let Some(root) = &self.root else {
            let body = ReaderStream::with_capacity(tokio::fs::File::from_std(opened), READ_BYTES);
            return self.put(key, body, u64::MAX).await.map_err(StorageError::into_failure);
        };
        let target = root.join(key.as_ref());
        // A file of the operator's may change after this; only a copy keeps what was hashed.
        let copy = file.canonicalize().is_ok_and(|real| self.roots.holds(&real));
        let from = file.to_owned();
        let staged = tokio::task::spawn_blocking(move || place(&from, opened, &target, copy)).await;
        staged.map_err(|stopped| Failure::retry("storage_unavailable", stopped))?.map_err(unavailable)
    }
}

fn bad_name(name: &str) -> Failure {
    Fatal::new("artifact_name", format!("{name:?} is no plain file name of 1 to 128 bytes")).into()
}

fn unavailable(error: std::io::Error) -> Failure {
    Failure::retry("storage_unavailable", format!("the artifact cannot be stored: {error}"))
}

/// Opens without following a symlink and without waiting at a pipe.
fn open(file: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(file);
    let regular = opened.and_then(|file| Ok((file.metadata()?.is_file(), file)));
    match regular {
        Ok((true, file)) => Ok(file),
        Ok((false, _)) => Err(Fatal::new("artifact_not_a_file", "an artifact must be a regular file").into()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Err(Fatal::new("artifact_not_a_file", "an artifact must be a regular file, not a symlink").into())
        }
        Err(error) => Err(Failure::retry("artifact_unreadable", error)),
    }
}

fn place(from: &Path, opened: File, target: &Path, copy: bool) -> std::io::Result<Stored> {
    let directory = target.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(directory)?;
    remove_old(target)?;
    if copy || std::fs::hard_link(from, target).is_err() {
        copy_to(opened, target)?;
    }
    let stored = seal(target)?;
    // The entries that lead to the file must be as durable as the file: attempt, job, and all jobs.
    for level in directory.ancestors().take(3) {
        File::open(level)?.sync_all()?;
    }
    Ok(stored)
}

fn remove_old(target: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The link crossed a file system or was not permitted.
fn copy_to(mut opened: File, target: &Path) -> std::io::Result<()> {
    let part = PathBuf::from(format!("{}#part", target.display()));
    std::io::copy(&mut opened, &mut File::create(&part)?)?;
    std::fs::rename(part, target)
}

/// Hashes what lies at its place, not what was offered, and makes it durable.
fn seal(target: &Path) -> std::io::Result<Stored> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(flags).open(target)?;
    let (mut bytes, mut hash, mut block) = (0, Sha256::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => {
                bytes += read as u64;
                hash.update(&block[..read]);
            }
        }
    }
    file.sync_all()?;
    Ok(Stored { bytes, sha256: hex(&hash.finalize()) })
}
