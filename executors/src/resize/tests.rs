//! Outcomes of whole `image.resize` jobs, each run through the SDK's attempt against a host on the local disk.
//! No picture is shipped: inputs are drawn and encoded here (`tests/draw.rs`), so every pixel's right place is known.

mod bombs;
mod colors;
mod draw;
mod host;
mod orientation;
mod requests;
mod sizes;
