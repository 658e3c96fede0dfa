//! One contract per seam, told once and run against every implementation: nothing is skipped for anyone.
//!
//! Nothing here looks behind a trait: what a caller cannot see is not part of a contract. How a seam behaves when its server is
//! harmed is told in `failures`.

mod broker;
#[expect(clippy::unwrap_used, reason = "the stories are told in functions beside their tests, and each must succeed")]
mod ledger;
#[expect(clippy::unwrap_used, reason = "the stories are told in functions beside their tests, and each must succeed")]
mod storage;
