//! The built-in kinds of Longshore: `image.resize`, `media.transcode`, `csv.import`.
//! They know the SDK and nothing of the runtime; this list is the whole of what a worker can be given.

#[cfg(feature = "transcode")]
pub mod child;
#[cfg(feature = "csv-import")]
pub mod csv_import;
#[cfg(feature = "resize")]
pub mod resize;
#[cfg(feature = "transcode")]
pub mod transcode;
