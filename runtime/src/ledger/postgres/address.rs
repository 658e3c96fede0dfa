//! Where a PostgreSQL is and how far it is believed: the URL with all words of `sslmode`, of which the driver knows three. Without one
//! of the words that ask for TLS nothing is encrypted, and an authority that is named for nothing is refused: whoever names one wants
//! to be sure. It connects nowhere.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::tls::trust::{self, Checks};

/// The settings that an address comes from, as mistakes name them.
#[derive(Debug)]
pub struct Place {
    /// The URL.
    pub url: &'static str,
    /// The authority.
    pub ca: &'static str,
}

/// The ledger's.
pub const LEDGER: Place = Place { url: "database.url", ca: "database.tls_ca" };
/// That of `csv.import`.
pub const IMPORTS: Place = Place { url: "csv_import.database_url", ca: "csv_import.tls_ca" };

/// How to connect.
#[derive(Debug)]
pub struct Address {
    /// To whom.
    pub config: Config,
    /// Whom to believe; `None`: no TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAddress(String);

impl Address {
    /// Reads a URL, or `key=value` words, with the file of the authority to believe.
    ///
    /// # Errors
    /// A sentence that names the setting at fault, without the URL: it may hold a password.
    pub fn read(url: &str, ca: Option<&Path>, place: &Place) -> Result<Self, NoAddress> {
        let (url, checks) = without_checks(url);
        let config: Config = url.parse().map_err(|error| {
            let form = "it looks like postgres://user:password@host:5432/database";
            NoAddress(format!("{} cannot be read ({error}); {form}", place.url))
        })?;
        let checks = match config.get_ssl_mode() {
            SslMode::Require => checks.unwrap_or(if ca.is_some() { Checks::Chain } else { Checks::Nothing }),
            _ if ca.is_some() => {
                let told = format!("{} is set, and {} does not ask for TLS", place.ca, place.url);
                return Err(NoAddress(format!("{told}: add sslmode=verify-full")));
            }
            _ => return Ok(Self { config, tls: None }),
        };
        let tls = trust::client(ca, checks, place.ca).map_err(|error| NoAddress(error.to_string()))?;
        Ok(Self { config, tls: Some(Arc::new(tls)) })
    }
}

/// The URL in words that the driver knows, and what it says about the server's certificate beyond them.
fn without_checks(url: &str) -> (String, Option<Checks>) {
    // Behind the question mark: before it, it would be part of a password.
    let from = if url.contains("://") { url.rfind('?').unwrap_or(url.len()) } else { 0 };
    for (word, checks) in [("sslmode=verify-full", Checks::All), ("sslmode=verify-ca", Checks::Chain)] {
        if let Some(at) = url[from..].find(word) {
            let (before, rest) = url.split_at(from + at);
            return (format!("{before}sslmode=require{}", &rest[word.len()..]), Some(checks));
        }
    }
    (url.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, ca: Option<&Path>) -> Result<Address, String> {
        Address::read(url, ca, &LEDGER).map_err(|error| error.to_string())
    }

    #[test]
    fn every_word_of_sslmode_means_what_postgresql_has_it_mean() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(vec!["db".to_owned()]).unwrap();
        std::fs::write(&ca, made.cert.pem()).unwrap();
        for plain in ["", "?sslmode=disable", "?sslmode=prefer"] {
            let url = format!("postgres://ann@db/l{plain}");
            assert!(read(&url, None).unwrap().tls.is_none(), "{url}");
            let refused = read(&url, Some(&ca)).unwrap_err();
            assert!(refused.contains("database.tls_ca") && refused.contains("sslmode=verify-full"), "{refused}");
        }
        for word in ["require", "verify-ca", "verify-full"] {
            let as_url = format!("postgres://ann@db/l?sslmode={word}&connect_timeout=3");
            for url in [as_url, format!("host=db user=ann sslmode={word}")] {
                let address = read(&url, Some(&ca)).unwrap();
                assert!(address.tls.is_some() && address.config.get_ssl_mode() == SslMode::Require, "{url}");
            }
        }
        assert!(read("postgres://ann@db/l?sslmode=require", None).unwrap().tls.is_some());
        assert!(read("postgres://ann@db/l?sslmode=no-such-word", None).is_err());
    }

    #[test]
    fn a_mistake_names_its_setting_and_shows_no_password() {
        let error = read("postgres://ann:hush@db:port/l", None).unwrap_err();
        assert!(error.starts_with("database.url cannot be read") && !error.contains("hush"), "{error}");
        let (url, checks) = without_checks("postgres://ann:sslmode=verify-ca@db/l");
        assert_eq!((url.as_str(), checks), ("postgres://ann:sslmode=verify-ca@db/l", None));
    }
}
