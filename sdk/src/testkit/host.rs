//! The world of a tested attempt: a temporary directory in place of a store, a list in place of a ledger.
//! It refuses what a worker with no network would refuse, under the same kinds of failure, and keeps everything the
//! executor sent it. Read [`super::report`] for what becomes of that.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::kill::Kill;
use super::report::{Report, Staged};
use crate::context::{Artifact, CancelReason, Cancellation, Host, Input, Kept, Progress};
use crate::outcome::{Failure, Fatal, Outcome, Result};
use crate::source::Source;

/// What happens at the first progress report that it accepts.
pub(super) struct Moment {
    pub(super) when: Box<dyn FnMut(&Progress) -> bool + Send>,
    pub(super) then: Then,
}

#[derive(Clone, Copy)]
pub(super) enum Then {
    Stop(CancelReason),
    Drain,
}

/// What the executor may fetch.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) roots: Vec<PathBuf>,
    pub(super) files: HashMap<String, PathBuf>,
}

#[derive(Default)]
struct Seen {
    progress: Vec<Progress>,
    checkpoints: Vec<Box<RawValue>>,
    artifacts: Vec<Staged>,
}

pub(super) struct TestHost {
    scratch_root: PathBuf,
    staging: PathBuf,
    kept: PathBuf,
    attempt: u32,
    inputs: Inputs,
    moments: Mutex<Vec<Moment>>,
    cancellation: Cancellation,
    drain: CancellationToken,
    kill: Kill,
    seen: Mutex<Seen>,
}

impl TestHost {
    pub(super) fn new(
        bench: &TempDir,
        attempt: u32,
        kill: Kill,
        inputs: Inputs,
        moments: Vec<Moment>,
        cancellation: Cancellation,
        drain: CancellationToken,
    ) -> Arc<Self> {
        let scratch_root = bench.path().join("scratch");
        // Under the attempt's number, so that a second attempt never sees or overwrites the first one's files.
        let staging = bench.path().join("staged").join(attempt.to_string());
        let kept = bench.path().join("kept");
        for made in [&scratch_root, &staging, &kept.join(attempt.to_string())] {
            std::fs::create_dir_all(made).expect("a directory can be made in a directory just made");
        }
        let (moments, seen) = (Mutex::new(moments), Mutex::default());
        Arc::new(Self { scratch_root, staging, kept, attempt, inputs, moments, cancellation, drain, kill, seen })
    }

    /// Completes when the attempt is killed.
    pub(super) async fn killed(&self) {
        self.kill.killed.cancelled().await;
    }

    pub(super) fn report(&self, outcome: Outcome, bench: Arc<TempDir>) -> Report {
        let seen = std::mem::take(&mut *self.seen.lock().expect("no panic while held"));
        Report {
            outcome,
            progress: seen.progress,
            checkpoints: seen.checkpoints,
            artifacts: seen.artifacts,
            scratch_left: listed(&self.scratch_root),
            bench,
        }
    }

    fn local_path(&self, source: &Source) -> Result<PathBuf> {
        match source {
            Source::Path(path) => self.allowed(Path::new(path)),
            Source::File(id) => Ok(self.inputs.files.get(id).cloned().ok_or_else(|| unknown_file(id))?),
            Source::Url(url) => {
                Err(Fatal::new("source_forbidden", format!("the test kit fetches no address such as {url:?}")).into())
            }
        }
    }

    // Both sides resolved, so that neither `..` nor a link leads out of a root.
    fn allowed(&self, path: &Path) -> Result<PathBuf> {
        let real = path.canonicalize().map_err(|error| missing(path, &error))?;
        let roots = self.inputs.roots.iter().filter_map(|root| root.canonicalize().ok());
        if roots.into_iter().any(|root| real.starts_with(root)) {
            return Ok(real);
        }
        let message = format!("{} lies under no allowed root; name one with `allow_paths`", path.display());
        Err(Fatal::new("source_forbidden", message).into())
    }
}

#[async_trait]
impl Host for TestHost {
    fn scratch_root(&self) -> &Path {
        &self.scratch_root
    }

    fn progress(&self, progress: Progress) {
        if self.kill.count() {
            return;
        }
        let mut moments = self.moments.lock().expect("a moment does not panic");
        for moment in moments.extract_if(.., |moment| (moment.when)(&progress)) {
            match moment.then {
                Then::Stop(reason) => self.cancellation.cancel(reason),
                Then::Drain => self.drain.cancel(),
            }
        }
        self.seen.lock().expect("no panic while held").progress.push(progress);
    }

    async fn step(&self) {
        self.kill.pass().await;
    }

    async fn save_checkpoint(&self, checkpoint: Box<RawValue>) -> Result<()> {
        if self.cancellation.reason() == Some(CancelReason::LeaseLost) {
            return Err(Failure::Canceled);
        }
        self.seen.lock().expect("no panic while held").checkpoints.push(checkpoint);
        Ok(())
    }

    async fn fetch(&self, source: &Source, _scratch: &Path) -> Result<Input> {
        let path = self.local_path(source)?;
        let facts = tokio::fs::metadata(&path).await.map_err(|error| missing(&path, &error))?;
        if facts.is_file() {
            return Ok(Input { path, bytes: facts.len() });
        }
        Err(Fatal::new("source_missing", format!("{} is no file", path.display())).into())
    }

    async fn keep(&self, name: &str, file: &Path) -> Result<()> {
        let (from, to) = (file.to_owned(), self.kept.join(self.attempt.to_string()).join(name));
        let moved = tokio::task::spawn_blocking(move || move_and_measure(&from, &to)).await?;
        moved
            .map(drop)
            .map_err(|error| Failure::retry("not_kept", format!("{} cannot be kept: {error}", file.display())))
    }

    async fn recall(&self, kept: &Kept, _scratch: &Path) -> Result<Option<Input>> {
        let path = self.kept.join(kept.attempt.to_string()).join(&kept.name);
        match tokio::fs::metadata(&path).await {
            Ok(facts) => Ok(Some(Input { path, bytes: facts.len() })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn stage(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact> {
        let path = self.staging.join(name);
        let (from, to) = (file.to_owned(), path.clone());
        let moved = tokio::task::spawn_blocking(move || move_and_measure(&from, &to)).await?;
        let (bytes, sha256) = moved.map_err(|error| {
            Failure::retry("artifact_not_stored", format!("{} cannot be staged: {error}", file.display()))
        })?;
        let artifact = Artifact { name: name.to_owned(), content_type: content_type.to_owned(), bytes, sha256 };
        self.seen.lock().expect("no panic while held").artifacts.push(Staged { artifact: artifact.clone(), path });
        Ok(artifact)
    }
}

fn unknown_file(id: &str) -> Fatal {
    Fatal::new("source_missing", format!("no upload has the id {id:?}; give it one with `file`"))
}

fn missing(path: &Path, error: &std::io::Error) -> Fatal {
    Fatal::new("source_missing", format!("{} cannot be read: {error}", path.display()))
}

fn move_and_measure(from: &Path, to: &Path) -> std::io::Result<(u64, String)> {
    if !std::fs::metadata(from)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    // A rename does not cross file systems, and an executor may write where it likes.
    if std::fs::rename(from, to).is_err() {
        std::fs::copy(from, to)?;
        std::fs::remove_file(from)?;
    }
    measure(to)
}

fn measure(path: &Path) -> std::io::Result<(u64, String)> {
    let (mut file, mut hash, mut bytes) = (std::fs::File::open(path)?, Sha256::new(), 0);
    let mut block = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            let digest = hash.finalize();
            return Ok((bytes, digest.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
        hash.update(&block[..read]);
        bytes += read as u64;
    }
}

fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the scratch root was made at the start");
    entries.map(|entry| entry.expect("a temporary directory can be listed").path()).collect()
}
