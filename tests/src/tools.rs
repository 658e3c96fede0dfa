//! Programs that others wrote, where `.ci/install` put them: beside what cargo built. It installs nothing itself.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// A tool that `.ci/install` brought, such as `python-tools/bin/python`.
pub fn beside(path: &str) -> Result<PathBuf> {
    let us = std::env::current_exe()?;
    let found = us.ancestors().map(|dir| dir.join(path)).find(|tool| tool.exists());
    found.with_context(|| format!("no {path}: run `.ci/install test`, or `make test`, which does"))
}
