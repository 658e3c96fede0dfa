//! A platform team's own binary, as the SDK's guide shows it: the built-in executors and one of its own, which misbehaves.

use std::process::ExitCode;

use longshore_runtime::app;
use longshore_sdk::erase;
use longshore_tests::trial::TrialExecutor;

fn main() -> ExitCode {
    longshore_runtime::run(async |config: &longshore_runtime::config::Config| {
        let mut executors = app::builtin_executors(config).await?;
        executors.push(erase(TrialExecutor));
        Ok(executors)
    })
}
