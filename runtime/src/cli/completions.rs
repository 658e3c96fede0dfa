//! `completions`: a script for the shell, on stdout. It knows the commands and flags of this very binary and nothing else.
//! Read `cli.rs` for the commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Done, tell};

/// `longshore completions`
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell, e.g. bash: `longshore completions bash > ~/.local/share/bash-completion/completions/longshore`
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), program(), &mut script);
        Ok(tell(String::from_utf8_lossy(&script).trim_end())?)
    }
}

/// A binary of somebody's own is called by its own name.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&called).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "longshore".to_owned())
}
