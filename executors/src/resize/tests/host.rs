//! A [`Host`] on a temporary directory, and what a test wants to know of one attempt.
//! It neither fetches from anywhere nor keeps checkpoints.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::context::{AttemptInfo, Host, Input, Kept};
use longshore_sdk::prelude::*;
use longshore_sdk::{Artifact, CancelReason, Cancellation, ErrorReport, JobId, Outcome, attempt, erase};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::resize::{Limits, Resized, Resizer};

struct Bench {
    root: tempfile::TempDir,
    input: PathBuf,
    staged: Mutex<Vec<(String, Vec<u8>)>>,
    progress: Mutex<Vec<Progress>>,
    cancel_at_progress: Option<Cancellation>,
}

#[async_trait]
impl Host for Bench {
    fn scratch_root(&self) -> &Path {
        self.root.path()
    }

    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
        if let Some(cancellation) = &self.cancel_at_progress {
            cancellation.cancel(CancelReason::Requested);
        }
    }

    async fn save_checkpoint(&self, _: Box<RawValue>) -> Result<()> {
        Err(Fatal::new("no_checkpoint", "resize has nothing to resume").into())
    }

    async fn fetch(&self, _: &Source, _: &Path) -> Result<Input> {
        Ok(Input { path: self.input.clone(), bytes: std::fs::metadata(&self.input)?.len() })
    }

    async fn keep(&self, name: &str, _: &Path) -> Result<()> {
        panic!("a resize keeps nothing: {name}");
    }

    async fn recall(&self, kept: &Kept, _: &Path) -> Result<Option<Input>> {
        panic!("a resize recalls nothing: {kept:?}");
    }

    async fn stage(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact> {
        let content = std::fs::read(file)?;
        let bytes = content.len() as u64;
        self.staged.lock().unwrap().push((name.to_owned(), content));
        // Nobody here compares content by its hash.
        Ok(Artifact { name: name.to_owned(), content_type: content_type.to_owned(), bytes, sha256: String::new() })
    }
}

/// How an attempt ended and what it left.
pub(super) struct Run {
    pub(super) outcome: Outcome,
    pub(super) staged: Vec<(String, Vec<u8>)>,
    pub(super) progress: Vec<Progress>,
}

impl Run {
    pub(super) fn done(&self) -> Resized {
        let Outcome::Done { result, .. } = &self.outcome else { panic!("not done: {:?}", self.outcome) };
        serde_json::from_str(result.get()).unwrap()
    }

    pub(super) fn fatal(&self) -> &ErrorReport {
        let Outcome::Fatal(error) = &self.outcome else { panic!("not fatal: {:?}", self.outcome) };
        assert!(self.staged.is_empty(), "a refused job left {} files", self.staged.len());
        error
    }

    /// The only rendition's file.
    pub(super) fn file(&self) -> &[u8] {
        let [(_, file)] = &self.staged[..] else { panic!("{} files: {:?}", self.staged.len(), self.outcome) };
        file
    }
}

/// Makes `renditions` of `image` within the default limits.
pub(super) fn resize(image: &[u8], renditions: Value) -> Run {
    resize_within(Limits::default(), image, renditions)
}

pub(super) fn resize_within(limits: Limits, image: &[u8], renditions: Value) -> Run {
    run(limits, image, renditions, false)
}

/// Cancels the job as soon as it reports progress.
pub(super) fn resize_cancelled_on_the_way(image: &[u8], renditions: Value) -> Run {
    run(Limits::default(), image, renditions, true)
}

fn run(limits: Limits, image: &[u8], renditions: Value, cancel: bool) -> Run {
    let root = tempfile::tempdir().unwrap();
    let input = root.path().join("input");
    std::fs::write(&input, image).unwrap();
    let cancellation = Cancellation::default();
    let cancel_at_progress = cancel.then(|| cancellation.clone());
    let bench = Bench { root, input, staged: Mutex::default(), progress: Mutex::default(), cancel_at_progress };
    let host = Arc::new(bench);
    let context = Context::new(info(), host.clone(), cancellation);
    let payload = to_raw_value(&json!({"source": {"file": "one"}, "renditions": renditions})).unwrap();
    let executor = erase(Resizer::new(limits));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(attempt::run(&*executor, &payload, &context));
    let staged = std::mem::take(&mut *host.staged.lock().unwrap());
    let progress = std::mem::take(&mut *host.progress.lock().unwrap());
    Run { outcome, staged, progress }
}

fn info() -> AttemptInfo {
    AttemptInfo {
        job: JobId::fresh(),
        kind: "image.resize".into(),
        attempt: 1,
        charged: 0,
        max_attempts: 1,
        timeout: Duration::from_secs(120),
        cancel_grace: Duration::from_secs(5),
        correlation_id: None,
        trace: None,
        checkpoint: None,
    }
}
