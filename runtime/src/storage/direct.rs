//! Bytes that go past us, between a caller and the bucket, by links that the bucket's own keys have signed: a file to be is put beside its
//! place, and gets it by a copy when its sender says that it is there, so that whoever still has the link changes nothing of the
//! file. A directory signs nothing, and says so.

use std::time::Duration;

use futures_util::TryStreamExt;
use longshore_sdk::JobId;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;
use object_store::signer::{SignedUrlOptions, Signer};
use reqwest::Method;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::draft::{Which, draft_key};
use super::{Storage, StorageError, Stored, artifact_key, file_key, hex};
use crate::tenant::Tenant;

/// S3 takes no larger file in one request.
pub const MOST_AT_ONCE: u64 = 5 * 1024 * 1024 * 1024;

/// How a browser is to take what it downloads.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The header Content-Disposition, which says under which name it is saved.
    pub disposition: &'a str,
    /// Its media type.
    pub content_type: &'a str,
}

impl Storage {
    /// A link that its holder may PUT a file to.
    ///
    /// # Errors
    /// [`StorageError::NoLinks`] in a directory, [`StorageError::Unavailable`].
    pub async fn link_to_send(&self, which: Which<'_>) -> Result<String, StorageError> {
        // object_store signs no Content-Length; the size is looked at when the sender says that it is there.
        self.link(Method::PUT, &sent_key(which), SignedUrlOptions::default()).await
    }

    /// What was sent by a link becomes a file of this size: copied, measured and hashed. A repeat finds it there.
    ///
    /// # Errors
    /// [`StorageError::Missing`] when nothing was sent, [`StorageError::OtherSize`], [`StorageError::Unavailable`].
    pub async fn take_sent(&self, which: Which<'_>) -> Result<Stored, StorageError> {
        let (from, to) = (sent_key(which), file_key(which.tenant, which.id));
        let sent = self.store.head(&from).await?;
        if sent.size != which.bytes {
            return Err(StorageError::OtherSize { bytes: sent.size });
        }
        self.store.copy(&from, &to).await?;
        // Of the copy, which nobody else can write to.
        let mut body = self.store.get(&to).await?.into_stream();
        let (mut bytes, mut hash) = (0, Sha256::new());
        while let Some(chunk) = body.try_next().await? {
            bytes += chunk.len() as u64;
            hash.update(&chunk);
        }
        match bytes == which.bytes {
            true => Ok(Stored { bytes, sha256: hex(&hash.finalize()) }),
            false => Err(StorageError::OtherSize { bytes }),
        }
    }

    /// A link to an upload.
    ///
    /// # Errors
    /// As [`Storage::link_to_send`].
    pub async fn link_to_file(&self, whose: &Tenant, id: Uuid, shown: Shown<'_>) -> Result<String, StorageError> {
        self.link(Method::GET, &file_key(whose, id), shown.options()).await
    }

    /// A link to an artifact.
    ///
    /// # Errors
    /// As [`Storage::link_to_send`]; [`StorageError::Missing`] for what is no artifact's name.
    pub async fn link_to_artifact(
        &self,
        job: JobId,
        attempt: u32,
        name: &str,
        shown: Shown<'_>,
    ) -> Result<String, StorageError> {
        self.link(Method::GET, &artifact_key(job, attempt, name)?, shown.options()).await
    }

    /// How long a link is good.
    pub fn link_lifetime(&self) -> Duration {
        self.settings.link_lifetime
    }

    async fn link(&self, method: Method, key: &Key, options: SignedUrlOptions) -> Result<String, StorageError> {
        let bucket = self.bucket.as_ref().ok_or(StorageError::NoLinks)?;
        let link = bucket.signed_url_opts(method, key, self.settings.link_lifetime, &options).await?;
        Ok(link.into())
    }
}

impl Shown<'_> {
    /// Saved and believed, as our own downloads are.
    fn options(&self) -> SignedUrlOptions {
        SignedUrlOptions::default().with_query([
            ("response-content-disposition", self.disposition),
            ("response-content-type", self.content_type),
        ])
    }
}

fn sent_key(which: Which<'_>) -> Key {
    draft_key(which.tenant, which.id).join("sent")
}
