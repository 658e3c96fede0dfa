//! Temporary directories that go away even when the test process is killed.
//!
//! A `TempDir` in a static is never dropped, and none is after a kill -9; a small shell outside of our process group sweeps
//! what is left once we are gone, however we went. It keeps nothing on failure: what matters is in the panic's message.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Waits for the end of its input, which is our end, then removes the directory. More than one try, because a
/// server that dies with us may still be writing.
const SWEEP: &str = r#"read -r _; n=0; until rm -rf "$0" 2>/dev/null || [ $((n += 1)) -gt 50 ]; do sleep 0.2; done"#;

/// This process's own root directory, and the one who sweeps it.
static ROOT: Mutex<Option<Root>> = Mutex::new(None);

struct Root {
    path: PathBuf,
    /// Holds the pipe whose closing tells the sweeper that we are gone.
    _sweeper: Child,
}

/// A fresh directory, removed when dropped or at the latest when this process is gone.
///
/// Anybody may look into it: PostgreSQL runs as another user when the tests run as root.
pub fn dir(name: &str) -> Result<TempDir> {
    open_to_all(tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(root()?)?)
}

fn root() -> Result<PathBuf> {
    let mut root = ROOT.lock().expect("no code panics while it holds the root");
    if root.is_none() {
        *root = Some(make_root()?);
    }
    Ok(root.as_ref().map(|root| root.path.clone()).expect("it was made on the line before"))
}

fn make_root() -> Result<Root> {
    let dir = open_to_all(tempfile::Builder::new().prefix("longshore-world-").tempdir()?)?;
    let _sweeper = sweeper(dir.path()).context("starting the sweeper of temporary directories")?;
    Ok(Root { path: dir.keep(), _sweeper })
}

fn open_to_all(dir: TempDir) -> Result<TempDir> {
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    Ok(dir)
}

fn sweeper(root: &Path) -> std::io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", SWEEP]).arg(root).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Its own group: a Ctrl-C meant for the tests must not take the sweeper with them.
    command.process_group(0).current_dir("/").spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_distinct_and_go_away_when_dropped() {
        let (one, other) = (dir("room").unwrap(), dir("room").unwrap());
        assert_ne!(one.path(), other.path());
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }
}
