//! An S3 server of our own: moto, which others wrote against Amazon's documents, on a port of ours and with its data in memory.
//!
//! It stands for every server that speaks S3; what only Amazon's does is not seen here. It takes any keys.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::http::{Http, send};
use crate::process::Process;
use crate::tools::beside;
use crate::until::poll;
use crate::{ports, scratch};

/// It starts in a second; Python has much to load on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running server. Dropping it kills it, and its buckets are gone.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    http: Http,
    url: String,
    buckets: AtomicUsize,
    _home: TempDir,
}

impl S3 {
    /// The server that all the stories of this process share. It dies with the process.
    pub async fn shared() -> Result<&'static S3> {
        static SHARED: OnceCell<S3> = OnceCell::const_new();
        SHARED.get_or_try_init(S3::start).await
    }

    /// A server, answering.
    pub async fn start() -> Result<S3> {
        let (home, port) = (scratch::dir("s3")?, ports::free()?);
        let mut command = Command::new(beside("python-tools/bin/moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(home.path());
        let process = Process::spawn("s3", command, home.path())?;
        let url = format!("http://127.0.0.1:{port}");
        let http = Http::to(&url)?;
        let answers = || async { http.get("/moto-api/").await.ok().map(drop) };
        poll("the S3 server to answer", START, answers).await.with_context(|| process.log_tail())?;
        Ok(S3 { process, http, url, buckets: AtomicUsize::new(0), _home: home })
    }

    /// A fresh bucket's name.
    pub async fn bucket(&self) -> Result<String> {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let made = send(self.http.request(Method::PUT, &format!("/{name}"))).await?;
        ensure!(made.status == 200, "{made:?}; {}", self.process.log_tail());
        Ok(name)
    }

    /// What a program must have in its environment to use it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let all = [
            ("AWS_ENDPOINT", self.url.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "tests"),
            ("AWS_SECRET_ACCESS_KEY", "tests"),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// The same with its storage in this bucket, under `jobs`.
    pub fn storage_in(&self, bucket: &str) -> Vec<(String, String)> {
        let location = ("LONGSHORE_STORAGE_LOCATION".to_owned(), format!("s3://{bucket}/jobs"));
        self.variables().into_iter().chain([location]).collect()
    }

    /// All that lies in a bucket, whole or still coming.
    pub async fn everything(&self, bucket: &str) -> Result<Vec<String>> {
        let (objects, open) = self.names(bucket).await?;
        Ok(objects.into_iter().chain(open).collect())
    }

    /// The names in a bucket, those of objects first, then those of multipart uploads that are still open.
    pub async fn names(&self, bucket: &str) -> Result<(Vec<String>, Vec<String>)> {
        let objects = self.http.get(&format!("/{bucket}?list-type=2")).await?.expect(200)?;
        let open = self.http.get(&format!("/{bucket}?uploads")).await?.expect(200)?;
        Ok((keys(&objects.text), keys(&open.text)))
    }
}

/// What stands between `<Key>` and `</Key>`.
fn keys(xml: &str) -> Vec<String> {
    let after = xml.split("<Key>").skip(1);
    after.filter_map(|rest| rest.split("</Key>").next()).map(str::to_owned).collect()
}
