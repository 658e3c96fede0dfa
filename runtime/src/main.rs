//! The stock binary: the built-in executors, and nothing else of its own. It is what a platform team's own binary looks
//! like. Read `cli.rs` for the commands, `app.rs` for the parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore_runtime::run(longshore_runtime::app::builtin_executors)
}
