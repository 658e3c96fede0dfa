//! The demo's directory: inputs, outputs, the server's data and its log, side by side.
//! It makes directories and removes nothing, not even its own. Read [`super::process`] for who works in `data`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::clock;

/// Where the demo works.
pub(super) struct Home {
    pub(super) inputs: PathBuf,
    pub(super) outputs: PathBuf,
    /// The server's.
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
}

impl Home {
    /// In `dir`, or in a new directory named by the time.
    pub(super) fn make(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let now = || Path::new(".longshore/demo").join(clock::now().strftime("%Y%m%d-%H%M%S").to_string());
        let dir = std::path::absolute(dir.unwrap_or_else(now))?;
        let home = Self {
            inputs: dir.join("inputs"),
            outputs: dir.join("outputs"),
            data: dir.join("data"),
            log: dir.join("dev.log"),
        };
        for place in [&home.inputs, &home.outputs, &home.data] {
            std::fs::create_dir_all(place)
                .with_context(|| format!("cannot make {}; name another directory with --data-dir", place.display()))?;
        }
        Ok(home)
    }

    /// The SQLite file that `csv.import` writes to in `dev`.
    pub(super) fn imports_db(&self) -> PathBuf {
        self.data.join("imports.db")
    }
}
