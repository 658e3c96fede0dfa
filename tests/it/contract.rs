//! What every implementation of a seam must do, told once and run against each: nothing is skipped for anyone.
//!
//! How a seam behaves when its server is harmed is told in `failures`.

mod broker;
