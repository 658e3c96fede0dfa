//! Where the storage itself lies: a directory, made if it is not there, or a bucket with its keys in the environment.
//! It refuses a location it cannot read rather than guessing a directory's name in it. Read [`super::Storage::open`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;

use super::{StorageError, source};

/// The store, and its directory when it is one.
type Opened = (Arc<dyn ObjectStore>, Option<PathBuf>);

pub(super) fn open(location: &str) -> Result<Opened, StorageError> {
    match directory(location)? {
        Some(directory) => local(&directory),
        None => Ok((bucket(location)?, None)),
    }
}

/// The directory that `location` names, unless it names a bucket.
fn directory(location: &str) -> Result<Option<PathBuf>, StorageError> {
    let refused = |why: &str| StorageError::Settings(format!("`location` is {location:?}, {why}"));
    match location.split_once("://") {
        None if location.is_empty() => Err(refused("but must name a directory or s3://bucket/prefix")),
        None => Ok(Some(location.into())),
        Some(("file", path)) if path.starts_with('/') => Ok(Some(path.into())),
        Some(("file", _)) => Err(refused("but a file:// location is absolute: file:///var/lib/longshore")),
        Some(("s3", _)) => Ok(None),
        Some(_) => Err(refused("but only directories, file:// and s3:// are known")),
    }
}

fn local(directory: &Path) -> Result<Opened, StorageError> {
    let refused =
        |error: &dyn std::fmt::Display| StorageError::Settings(format!("`location` {}: {error}", directory.display()));
    for room in ["files", "artifacts"] {
        std::fs::create_dir_all(directory.join(room)).map_err(|error| refused(&error))?;
    }
    let root = directory.canonicalize().map_err(|error| refused(&error))?;
    // An upload that was answered with 201 survives a power cut.
    let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| refused(&error))?.with_fsync(true);
    Ok((Arc::new(store), Some(root)))
}

fn bucket(location: &str) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let refused = |error: &dyn std::fmt::Display| StorageError::Settings(format!("`location` {location}: {error}"));
    let (bucket, prefix) = source::bucket_and_key(location).map_err(|error| refused(&error))?;
    Ok(Arc::new(PrefixStore::new(s3(&bucket).map_err(|error| refused(&error))?, prefix)))
}

/// A bucket, with address, region and keys from the environment.
pub(super) fn s3(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    install_tls();
    Ok(Arc::new(AmazonS3Builder::from_env().with_bucket_name(bucket).build()?))
}

/// An error means that the program chose a provider of its own; then that one is used.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
