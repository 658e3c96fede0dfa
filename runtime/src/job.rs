//! The life of a job as pure functions: no async, no I/O, no clock. Everything here is a table or an arithmetic.
//! It doesn't know how a job is stored or carried. Start with [`state`], then [`verdict`].

pub mod retry;
pub mod state;
pub mod verdict;
