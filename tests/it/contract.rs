//! One contract per seam, and every implementation passes all of it.
//!
//! Nothing here looks behind a trait: what a caller cannot see is not part of a contract.

#![expect(clippy::unwrap_used, reason = "the stories are told in functions beside their tests, and each must succeed")]

mod ledger;
