//! TLS on our wires: what we show to those who call us ([`certificates`]), and whom we believe when we call a server ([`trust`]).
//! It opens no connection and picks no cipher: that is rustls's, with the one crypto library that is compiled. A setting that cannot
//! be used is refused with its name, at the start.

pub mod certificates;
pub mod trust;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Why TLS cannot be had as it is set.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of that sort.
    #[error("{setting}: {}: {why}", path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The files are well, and do not go together.
    #[error("{0}")]
    Settings(String),
}

impl TlsError {
    fn file(setting: &'static str, path: &Path, why: impl std::fmt::Display) -> Self {
        Self::File { setting, path: path.to_owned(), why: why.to_string() }
    }
}

/// The path of a setting, unless it is empty, which means "not set".
pub fn set(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
