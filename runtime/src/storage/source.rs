//! A job's input by reference, brought to a local path within the operator's rules. Uploads are always allowed, paths only
//! under the roots, object stores only under the listed prefixes, `http(s)` only when switched on.
//! What is refused is refused for good ([`Fatal`]); only a store that does not answer is worth another attempt.

use std::path::Path;

use futures_util::{Stream, StreamExt};
use longshore_sdk::context::Input;
use longshore_sdk::{Failure, Fatal, Result, Source};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use reqwest::Url;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::location::s3;
use super::roots::Ruling;
use super::{Storage, StorageError, StorageSettings, fetch, file_key};
use crate::tenant::Tenant;

/// What the rules say of an address, before anything is asked.
#[derive(Debug, PartialEq, Eq)]
enum Road {
    Http(Url),
    Bucket(String, Key),
}

impl Storage {
    /// Brings `source` to a local path for a job of `whose`: the file itself where that is possible, else a copy in `scratch`.
    ///
    /// # Errors
    /// Fatal with code `source_forbidden`, `source_missing` or `source_too_large`; a retry when it does not answer.
    pub async fn fetch_to(&self, whose: &Tenant, source: &Source, scratch: &Path) -> Result<Input> {
        match source {
            Source::File(id) => self.fetch_upload(whose, id, scratch).await,
            Source::Path(path) => self.fetch_path(path).await,
            Source::Url(address) => match road(&self.settings, address)? {
                Road::Http(url) => fetch::fetch(&self.settings, &url, &target(scratch)).await,
                Road::Bucket(bucket, key) => {
                    let store =
                        s3(&bucket, &self.variables).map_err(|error| StorageError::from(error).into_failure())?;
                    self.download(&store, &key, scratch).await
                }
            },
        }
    }

    async fn fetch_upload(&self, whose: &Tenant, id: &str, scratch: &Path) -> Result<Input> {
        let id: Uuid = id.parse().map_err(|_| missing("no uploaded file has this id"))?;
        let Some(root) = &self.root else { return self.download(&self.store, &file_key(whose, id), scratch).await };
        let path = root.join(file_key(whose, id).as_ref());
        let facts = tokio::fs::metadata(&path).await.map_err(|error| StorageError::from(error).into_failure())?;
        self.within_limit(Input { path, bytes: facts.len() })
    }

    async fn fetch_path(&self, path: &str) -> Result<Input> {
        let (roots, path) = (self.roots.clone(), path.to_owned());
        let judged = tokio::task::spawn_blocking(move || roots.judge(&path)).await;
        match judged.map_err(|stopped| Failure::retry("storage_unavailable", stopped))? {
            Ruling::Allowed(path, bytes) => self.within_limit(Input { path, bytes }),
            Ruling::Missing => Err(missing("there is no such file on the worker")),
            Ruling::Forbidden => Err(forbidden(
                "the path is no regular file under one of `storage.allowed_roots`; upload the file with POST /v1/files instead",
            )),
        }
    }

    fn within_limit(&self, input: Input) -> Result<Input> {
        if input.bytes > self.settings.max_input_bytes {
            Err(too_large(self.settings.max_input_bytes))
        } else {
            Ok(input)
        }
    }

    async fn download(&self, store: &dyn object_store::ObjectStore, key: &Key, scratch: &Path) -> Result<Input> {
        let limit = self.settings.max_input_bytes;
        let found = store.get(key).await.map_err(|error| StorageError::from(error).into_failure())?;
        if found.meta.size > limit {
            return Err(too_large(limit));
        }
        save(found.into_stream(), &target(scratch), limit).await
    }
}

/// Writes a stream to `path`, which is in an attempt's scratch directory and goes with it.
pub(super) async fn save<E: std::fmt::Display>(
    body: impl Stream<Item = std::result::Result<bytes::Bytes, E>> + Send,
    path: &Path,
    limit: u64,
) -> Result<Input> {
    let full = |error: std::io::Error| Failure::retry("scratch_unavailable", error);
    let mut file = tokio::fs::File::create_new(path).await.map_err(full)?;
    let (mut body, mut bytes) = (std::pin::pin!(body), 0);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Failure::retry("source_unavailable", error))?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(too_large(limit));
        }
        file.write_all(&chunk).await.map_err(full)?;
    }
    file.flush().await.map_err(full)?;
    Ok(Input { path: path.to_owned(), bytes })
}

/// Which road an address takes, if any.
fn road(settings: &StorageSettings, address: &str) -> Result<Road> {
    let url = Url::parse(address).map_err(|error| forbidden(&format!("the address cannot be read: {error}")))?;
    match url.scheme() {
        "http" | "https" => http_road(settings, url),
        "s3" => bucket_road(settings, address),
        other => Err(forbidden(&format!("{other}:// addresses are not read; use https://, s3:// or an upload"))),
    }
}

fn http_road(settings: &StorageSettings, url: Url) -> Result<Road> {
    if !settings.allow_http {
        return Err(forbidden("http(s) addresses are off (`storage.allow_http`); upload the file with POST /v1/files"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(forbidden("an address must not carry a user name or password"));
    }
    let port = url.port_or_known_default().unwrap_or_default();
    if !settings.http_ports.contains(&port) {
        return Err(forbidden(&format!("port {port} is none of `storage.http_ports`")));
    }
    Ok(Road::Http(url))
}

fn bucket_road(settings: &StorageSettings, address: &str) -> Result<Road> {
    let (bucket, key) = bucket_and_key(address).map_err(|error| forbidden(&error.to_string()))?;
    let allowed = settings.allow_object_stores.iter().filter_map(|listed| bucket_and_key(listed).ok());
    if !allowed.into_iter().any(|(listed, prefix)| listed == bucket && key.prefix_matches(&prefix)) {
        return Err(forbidden("the address is under none of `storage.allow_object_stores`"));
    }
    Ok(Road::Bucket(bucket, key))
}

/// The bucket and the key of an `s3://` address. Dots are resolved by the parser before anything is compared.
pub(super) fn bucket_and_key(address: &str) -> std::result::Result<(String, Key), StorageError> {
    let refused = |why: &dyn std::fmt::Display| StorageError::Settings(format!("{address:?} {why}"));
    let url = Url::parse(address).map_err(|error| refused(&error))?;
    let bucket = url.host_str().filter(|_| url.scheme() == "s3" && url.port().is_none());
    let bucket = bucket.ok_or_else(|| refused(&"is no s3://bucket/key"))?;
    let key = Key::from_url_path(url.path()).map_err(|error| refused(&error))?;
    Ok((bucket.to_owned(), key))
}

/// The lists in the settings, so that a typing error is told at start and not as a forbidden source.
pub(super) fn check(settings: &StorageSettings) -> std::result::Result<(), StorageError> {
    settings.allow_object_stores.iter().try_for_each(|listed| match bucket_and_key(listed) {
        Ok(_) => Ok(()),
        Err(error) => Err(StorageError::Settings(format!("`allow_object_stores`: {error}"))),
    })
}

fn target(scratch: &Path) -> std::path::PathBuf {
    scratch.join(format!("input-{}", Uuid::new_v4().simple()))
}

pub(super) fn forbidden(why: &str) -> Failure {
    Fatal::new("source_forbidden", why).into()
}

pub(super) fn missing(why: &str) -> Failure {
    Fatal::new("source_missing", why).into()
}

pub(super) fn too_large(limit: u64) -> Failure {
    Fatal::new("source_too_large", format!("the input has more than {limit} bytes (`storage.max_input_bytes`)")).into()
}

impl StorageError {
    /// What it means for an attempt: only a store that does not answer is worth another one.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Missing => missing("the storage has no such file"),
            Self::TooLarge { limit } => too_large(limit),
            Self::Settings(why) => forbidden(&why),
            Self::Unavailable(why) | Self::Interrupted(why) => Failure::retry("storage_unavailable", why),
            Self::NoLinks => forbidden("a directory has no links"),
            Self::OtherSize { .. } => missing("what was sent has another size"),
            Self::Busy => Failure::retry("storage_unavailable", "somebody else writes there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> StorageSettings {
        StorageSettings {
            allow_http: true,
            allow_object_stores: vec!["s3://inputs/".into(), "s3://shared/2026/".into()],
            ..StorageSettings::default()
        }
    }

    fn refused(settings: &StorageSettings, address: &str) -> String {
        match road(settings, address) {
            Err(Failure::Fatal(report)) if report.code == "source_forbidden" => report.message,
            other => panic!("{address}: {other:?}"),
        }
    }

    #[test]
    fn by_default_no_address_is_read() {
        for address in ["https://example.org/a", "http://example.org/a", "s3://inputs/a"] {
            assert!(refused(&StorageSettings::default(), address).contains("`storage.allow_"), "{address}");
        }
    }

    #[test]
    fn an_address_may_be_http_or_a_listed_bucket() {
        assert!(matches!(road(&settings(), "https://example.org/a").unwrap(), Road::Http(_)));
        let key = Key::from("2026/a.csv");
        assert_eq!(road(&settings(), "s3://shared/2026/a.csv").unwrap(), Road::Bucket("shared".into(), key));
        assert!(matches!(road(&settings(), "s3://inputs/deep/a.csv").unwrap(), Road::Bucket(..)));
    }

    #[test]
    fn no_spelling_reaches_an_unlisted_bucket_or_prefix() {
        let out = ["s3://inputs-evil/a", "s3://shared/a", "s3://shared/2026-evil/a", "s3://shared/2026/../a"];
        for address in out.into_iter().chain(["s3://shared/2026/%2e%2e/a", "s3://inputs:80/a", "s3:///a", "s3://"]) {
            refused(&settings(), address);
        }
    }

    #[test]
    fn other_schemes_credentials_and_ports_are_refused() {
        for address in ["file:///etc/passwd", "memory:///a", "gopher://a", "ftp://a/b", "/etc/passwd", "data:,x"] {
            refused(&settings(), address);
        }
        assert!(refused(&settings(), "https://user@example.org/").contains("user name"));
        assert!(refused(&settings(), "https://example.org:22/").contains("`storage.http_ports`"));
    }

    #[test]
    fn a_listed_store_that_cannot_be_read_is_told_at_start() {
        let settings = StorageSettings { allow_object_stores: vec!["inputs".into()], ..settings() };
        assert!(check(&settings).unwrap_err().to_string().contains("allow_object_stores"));
    }
}
