//! The binary of the chaos suite's workers and APIs: the shipped program with one executor, which leaves effects to be counted.

use std::process::ExitCode;

use longshore_sdk::erase;
use longshore_tests::chaos::deed::Doer;

fn main() -> ExitCode {
    longshore_runtime::run(async |_: &longshore_runtime::config::Config| Ok(vec![erase(Doer)]))
}
