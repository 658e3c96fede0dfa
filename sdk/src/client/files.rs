//! Files to and from the server, streamed: no file is ever whole in memory, and a download appears under its name only
//! when it is complete. It checks no content; the job's view has the hash. Read [`super::Client`] for the other calls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, Response};
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::transport::unreachable;
use super::{Client, ClientError};
use crate::api::FileView;
use crate::wire::JobId;

/// A slower upload is given up.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;
const BLOCK_BYTES: usize = 64 * 1024;

impl Client {
    /// Uploads the file at `path` under its own name. Its id goes into a payload as [`crate::Source::File`].
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn upload(&self, path: impl AsRef<Path>) -> Result<FileView, ClientError> {
        let path = path.as_ref();
        let (file, bytes) = open(path).await.map_err(|error| at(path, error))?;
        let mut url = self.transport.url(&["v1", "files"]);
        url.query_pairs_mut().append_pair("name", &file_name(path)?);
        let request = self
            .transport
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes)
            .timeout(upload_timeout(self.transport.limits().call_timeout, bytes))
            .body(Body::wrap_stream(ReaderStream::with_capacity(file, BLOCK_BYTES)));
        self.transport.call(request).await
    }

    /// Downloads a completed job's artifact to the file `to`, replacing one that is there; answers its size.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn download(&self, id: JobId, name: &str, to: impl AsRef<Path>) -> Result<u64, ClientError> {
        let to = to.as_ref();
        let url = self.transport.url(&["v1", "jobs", &id.to_string(), "artifacts", name]);
        let limit = self.transport.limits().call_timeout;
        let answer = within_limit(limit, self.transport.send(self.transport.request(Method::GET, url))).await?;
        // Made before the first byte and removed by its drop, so that nothing half-written is left behind.
        let part = TempPath::try_from_path(part_path(to)?).map_err(|error| at(to, error))?;
        let bytes = write_all(answer, &part, limit).await?;
        part.persist(to).map_err(|refused| at(to, refused.error))?;
        Ok(bytes)
    }
}

async fn open(path: &Path) -> std::io::Result<(File, u64)> {
    let file = File::open(path).await?;
    let facts = file.metadata().await?;
    if facts.is_file() { Ok((file, facts.len())) } else { Err(std::io::Error::other("it is no file")) }
}

fn file_name(path: &Path) -> Result<String, ClientError> {
    let nameless = || at(path, std::io::Error::other("it has no file name"));
    Ok(path.file_name().ok_or_else(nameless)?.to_string_lossy().into_owned())
}

// Beside its target: a rename does not cross file systems.
fn part_path(to: &Path) -> Result<PathBuf, ClientError> {
    let absolute = std::path::absolute(to).map_err(|error| at(to, error))?;
    Ok(absolute.with_file_name(format!(".{}.{}.part", file_name(to)?, Uuid::new_v4().simple())))
}

async fn write_all(mut answer: Response, part: &Path, limit: Duration) -> Result<u64, ClientError> {
    let mut file = File::create_new(part).await.map_err(|error| at(part, error))?;
    let mut bytes = 0;
    loop {
        let next = async { answer.chunk().await.map_err(|error| unreachable(&error)) };
        let Some(chunk) = within_limit(limit, next).await? else { break };
        file.write_all(&chunk).await.map_err(|error| at(part, error))?;
        bytes += chunk.len() as u64;
    }
    file.sync_all().await.map_err(|error| at(part, error))?;
    Ok(bytes)
}

/// A download may take long as a whole, but not stand still.
async fn within_limit<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let stalled = || ClientError::Unreachable(format!("nothing came for {limit:?}"));
    tokio::time::timeout(limit, step).await.map_err(|_| stalled())?
}

fn upload_timeout(call_timeout: Duration, bytes: u64) -> Duration {
    call_timeout + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

fn at(path: &Path, error: std::io::Error) -> ClientError {
    ClientError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uploads_limit_grows_with_its_size() {
        let call = Duration::from_secs(30);
        assert_eq!(upload_timeout(call, 0), call);
        assert_eq!(upload_timeout(call, 64 * 1024 * 10), Duration::from_secs(40));
    }
}
