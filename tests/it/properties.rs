//! Rules that hold whatever comes: random inputs, and the smallest that breaks the rule is shown. Each property tries a fixed number
//! of cases, a multiple of proptest's 256, so that a run stays short; `PROPTEST_CASES=2560` tries ten times as many.
//!
//! Read `properties/model.rs` for the ledger as it should be.

mod backoff;
#[expect(clippy::unwrap_used, reason = "steps are told in functions beside their tests, and each must succeed")]
mod envelope;
#[expect(clippy::unwrap_used, reason = "steps are told in functions beside their tests, and each must succeed")]
mod ledger;
mod model;
mod moves;
mod webhook;

use proptest::test_runner::Config;

/// `share` hundredths of the usual number of cases. A failure is printed, not written into the tree.
fn cases(share: u32) -> Config {
    let usual = Config::default();
    Config { cases: (usual.cases * share / 100).max(1), failure_persistence: None, ..usual }
}
