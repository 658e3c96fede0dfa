//! A platform team's own binary as the README shows it: every command of `longshore`, and one executor more.
//!
//! It decides nothing. Read `lib.rs` beside it for the executor.

use std::process::ExitCode;

use longshore_runtime::{app, config::Config};
use longshore_sdk::erase;
use wordcount::WordCounter;

fn main() -> ExitCode {
    longshore_runtime::run(async |config: &Config| {
        let mut executors = app::builtin_executors(config).await?;
        executors.push(erase(WordCounter));
        Ok(executors)
    })
}
