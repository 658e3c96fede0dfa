//! The key that `dev` makes at its first start, so that callers on other machines, and those who want to see how keys work, have one.
//! It is shown once, on a terminal, and kept beside the ledger for its owner's eyes alone. A ledger that has any key gets none.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::keys::{Minted, Scopes};
use crate::ledger::trail::Actor;
use crate::ledger::{Ledger, NewKey};
use crate::tenant::Tenant;

/// Its file in the data directory.
pub(super) const FILE: &str = "api-key";

pub(super) async fn make(ledger: &dyn Ledger, place: &Path) -> anyhow::Result<()> {
    if !ledger.keys(None).await?.is_empty() {
        return Ok(());
    }
    let minted = Minted::fresh().context("the machine gives no random bytes for a key")?;
    let path = place.join(FILE);
    // Before it is kept: a key that nobody can read would be the last one made here.
    write(&path, minted.reveal()).with_context(|| format!("cannot write {}", path.display()))?;
    let (id, hash) = (minted.id.clone(), minted.hash);
    let (tenant, name, scopes) = (Tenant::default(), "made at the first start".to_owned(), Scopes::all());
    let by = Actor { name: "cli:first start".to_owned(), address: None, request_id: None };
    ledger.by(by).add_key(&NewKey { id, tenant, name, scopes, hash, lives: None }).await?;
    tracing::info!(key = minted.id, path = %path.display(), "an API key was made for callers on other machines; it is in this file");
    let mut out = std::io::stdout();
    // For the person who started it alone: where nobody looks, output is kept as a log is.
    if out.is_terminal() {
        // Who has closed the terminal reads the file.
        let _ = writeln!(out, "API key: {}", minted.reveal());
    }
    Ok(())
}

fn write(path: &Path, key: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{key}")
}
