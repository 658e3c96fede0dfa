//! Where the storage itself lies: a directory, made if it is not there, or a bucket with its keys in the usual variables.
//! It refuses a location it cannot read rather than guessing a directory's name in it. Read [`super::Storage::open`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;

use super::{StorageError, source};

/// A bucket, or the part of one under a prefix.
pub(super) type Bucket = PrefixStore<AmazonS3>;

/// `AWS_*` variables: where buckets are and what opens them. They are shown to nobody.
#[derive(Clone)]
pub struct Variables(Vec<(String, String)>);

impl From<Vec<(String, String)>> for Variables {
    fn from(all: Vec<(String, String)>) -> Self {
        Self(all)
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A place that was opened.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The directory, when it is one.
    pub(super) root: Option<PathBuf>,
    /// The bucket, when it is one.
    pub(super) bucket: Option<Arc<Bucket>>,
}

/// Those of this process.
pub(super) fn of_the_environment() -> Variables {
    let all = std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    Variables(all.filter(|(name, _)| name.starts_with("AWS_")).collect())
}

pub(super) fn open(location: &str, variables: &Variables) -> Result<Opened, StorageError> {
    match directory(location)? {
        Some(directory) => local(&directory),
        None => {
            let bucket = Arc::new(bucket(location, variables)?);
            Ok(Opened { store: bucket.clone(), root: None, bucket: Some(bucket) })
        }
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
    for room in ["files", "artifacts", "uploads"] {
        std::fs::create_dir_all(directory.join(room)).map_err(|error| refused(&error))?;
    }
    let root = directory.canonicalize().map_err(|error| refused(&error))?;
    // An upload that was answered with 201 survives a power cut.
    let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| refused(&error))?.with_fsync(true);
    Ok(Opened { store: Arc::new(store), root: Some(root), bucket: None })
}

fn bucket(location: &str, variables: &Variables) -> Result<Bucket, StorageError> {
    let refused = |error: &dyn std::fmt::Display| StorageError::Settings(format!("`location` {location}: {error}"));
    let (bucket, prefix) = source::bucket_and_key(location).map_err(|error| refused(&error))?;
    Ok(PrefixStore::new(s3(&bucket, variables).map_err(|error| refused(&error))?, prefix))
}

/// A bucket, with address, region and keys from the variables.
pub(super) fn s3(bucket: &str, variables: &Variables) -> object_store::Result<AmazonS3> {
    install_tls();
    let named = variables.0.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)));
    let builder = named.fold(AmazonS3Builder::new(), |builder, (name, value)| builder.with_config(name, value));
    builder.with_bucket_name(bucket).build()
}

/// An error means that the program chose a provider of its own; then that one is used.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
