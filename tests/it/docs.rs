//! The README and ARCHITECTURE.md, believed in nothing: their commands are run, their code is compiled, their names are looked up.
//!
//! Each check is a function that answers with what it found wrong, so that each can be seen to find something in a planted
//! page. Read `docs/sessions.rs` for the commands that are run, `docs/names.rs` for what is looked up.

mod code;
mod commands;
mod figures;
mod names;
mod page;
mod places;
mod producer;
mod security;
mod sessions;
mod storms;
mod tables;

/// Fails with everything that was found, not with the first thing only.
pub(crate) fn nothing_found(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
