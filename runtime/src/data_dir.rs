//! The data directory of the embedded default: one process at a time may have it. The lock is the kernel's and ends with the
//! process however it ends, so a held lock proves that every earlier process is gone.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// When another process has it, or it cannot be made.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| {
            format!("cannot make the data directory {}; name another with --data-dir", path.display())
        })?;
        let file = path.join("lock");
        let lock = File::create(&file).with_context(|| format!("cannot open {}", file.display()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            anyhow::anyhow!(
                "{} is in use by another longshore; stop that one, or choose another directory with --data-dir",
                path.display()
            )
        })?;
        // Attempts of earlier processes left these behind; they are gone, or the lock would not be ours.
        let _ = std::fs::remove_dir_all(path.join("scratch"));
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Whether another process has it. Makes nothing, and leaves it as it is.
    pub fn is_taken(path: &Path) -> bool {
        // A directory that nobody has made, or that we may not look into, is nobody's.
        let Ok(file) = File::open(path.join("lock")) else { return false };
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!DataDir::is_taken(dir.path()));
        let first = DataDir::lock(dir.path()).unwrap();
        assert!(DataDir::is_taken(dir.path()));
        let refused = DataDir::lock(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        assert!(!DataDir::is_taken(dir.path()));
        DataDir::lock(dir.path()).unwrap();
    }
}
