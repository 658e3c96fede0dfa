//! What a tested attempt left behind: how it ended and everything it sent to its world, files included.
//! It judges nothing by itself; the `expect_*` helpers panic with the whole outcome, so that a failed test explains
//! itself. Read [`super::TestRun`] for how an attempt is set up.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::context::Artifact;
use crate::outcome::{ErrorReport, Outcome};

/// How an attempt ended and what it left. Its files live as long as it does.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Every progress report, the first first.
    pub progress: Vec<crate::Progress>,
    /// Every checkpoint it saved, the first first.
    pub checkpoints: Vec<Box<RawValue>>,
    /// Every file it staged, also those of an attempt that did not complete and are never published.
    pub artifacts: Vec<Staged>,
    /// What is still there of its scratch directory: empty unless something writes on after the attempt's end.
    pub scratch_left: Vec<PathBuf>,
    pub(super) bench: Arc<TempDir>,
}

/// A staged file and its content.
#[derive(Debug, Clone)]
pub struct Staged {
    /// Its name, type, size and hash.
    pub artifact: Artifact,
    /// Where it lies while its [`Report`] lives.
    pub path: PathBuf,
}

impl Staged {
    /// Its content.
    ///
    /// # Panics
    /// When it is gone with its [`Report`].
    #[track_caller]
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("a staged file lives as long as its report")
    }

    /// Its content as text.
    ///
    /// # Panics
    /// When it is no UTF-8, or gone.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes()).expect("the artifact is text")
    }
}

impl Report {
    /// The result of an attempt that is done.
    ///
    /// # Panics
    /// When it ended otherwise, or its result is no `T`.
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self) -> T {
        let Outcome::Done { result, .. } = &self.outcome else { panic!("not done, but {:?}", self.outcome) };
        serde_json::from_str(result.get())
            .unwrap_or_else(|error| panic!("the result {result} is another type: {error}"))
    }

    /// # Panics
    /// When the attempt ended other than done.
    #[track_caller]
    pub fn expect_done(&self) -> &Self {
        assert!(matches!(self.outcome, Outcome::Done { .. }), "not done, but {:?}", self.outcome);
        self
    }

    /// # Panics
    /// When the executor did not give up with this code.
    #[track_caller]
    pub fn expect_fatal(&self, code: &str) -> &ErrorReport {
        match &self.outcome {
            Outcome::Fatal(error) if error.code == code => error,
            other => panic!("not fatal with {code:?}, but {other:?}"),
        }
    }

    /// # Panics
    /// When the attempt did not fail for now with this code.
    #[track_caller]
    pub fn expect_retry(&self, code: &str) -> &ErrorReport {
        match &self.outcome {
            Outcome::Retry { error, .. } if error.code == code => error,
            other => panic!("no retry with {code:?}, but {other:?}"),
        }
    }

    /// The staged file of this name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn artifact(&self, name: &str) -> &Staged {
        let names = || self.artifacts.iter().map(|staged| staged.artifact.name.as_str()).collect::<Vec<_>>();
        let found = self.artifacts.iter().find(|staged| staged.artifact.name == name);
        found.unwrap_or_else(|| panic!("no artifact {name:?} among {:?}", names()))
    }

    /// The last checkpoint, if one was saved.
    ///
    /// # Panics
    /// When it is no `T`.
    #[track_caller]
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        let saved = self.checkpoints.last()?;
        Some(serde_json::from_str(saved.get()).unwrap_or_else(|error| panic!("{saved} is another type: {error}")))
    }

    /// The directory that holds the run's files, for an error message.
    pub fn directory(&self) -> &std::path::Path {
        self.bench.path()
    }
}
