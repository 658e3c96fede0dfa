//! What we show to those who call us: a certificate and its key from two files, read again when they change, so that one that was
//! rotated is served without a restart. A pair that cannot be used (half of it is written, say) leaves the one before in its place.
//! It knows no connection; read `api/listener.rs` for those.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::{TlsError, provider, set};
use crate::stop::Stop;

const CERT: &str = "api.tls.cert";
const KEY: &str = "api.tls.key";
/// How often the files are read: they are small, and a watcher would have to follow the links that Kubernetes swaps.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate with its key, as the files had them when they were last good.
#[derive(Debug)]
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    shown: RwLock<Shown>,
}

#[derive(Debug)]
struct Shown {
    /// What the files held, good or not, so that the same mistake is told once.
    read: Read,
    certified: Arc<CertifiedKey>,
}

#[derive(PartialEq, Eq)]
struct Read {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Those of two PEM files: a chain that begins with the server's own certificate, and its private key. `None` when neither
    /// is set.
    ///
    /// # Errors
    /// [`TlsError`] with the setting's name: one of the two is missing, cannot be read, or does not belong to the other.
    pub fn of(cert: &Path, key: &Path) -> Result<Option<Arc<Self>>, TlsError> {
        let (cert, key) = match (set(cert), set(key)) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(TlsError::Settings(format!("{CERT} is set and {KEY} is not"))),
            (None, Some(_)) => return Err(TlsError::Settings(format!("{KEY} is set and {CERT} is not"))),
        };
        let read = Read::files(cert, key)?;
        let certified = Arc::new(read.certified(cert, key)?);
        let shown = RwLock::new(Shown { read, certified });
        Ok(Some(Arc::new(Self { cert: cert.to_owned(), key: key.to_owned(), shown })))
    }

    /// Takes calls with what is shown at that moment.
    ///
    /// # Errors
    /// When the crypto library has no version of TLS in common with rustls, which a test would notice.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let versions = versions.map_err(|error| TlsError::Settings(error.to_string()))?;
        let shown: Arc<Self> = Arc::clone(self);
        let mut config = versions.with_no_client_auth().with_cert_resolver(shown);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again now and then, until the end.
    pub fn watch(self: &Arc<Self>, stop: &Stop) {
        let (ours, until) = (Arc::clone(self), stop.clone());
        stop.spawn("certificates", async move {
            while until.sleep(LOOK).await {
                let looked = Arc::clone(&ours);
                // Files may lie on a network.
                if let Err(error) = tokio::task::spawn_blocking(move || looked.look_again()).await {
                    tracing::error!(%error, "the certificate files were not read again");
                }
            }
        });
    }

    fn look_again(&self) {
        match self.refresh() {
            Ok(true) => tracing::info!(file = %self.cert.display(), "a new certificate is served"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the certificate before it is served on"),
        }
    }

    /// Takes what the files hold if it is new and good; says whether it was. What is new and not good is told once.
    fn refresh(&self) -> Result<bool, TlsError> {
        let read = Read::files(&self.cert, &self.key)?;
        if self.shown.read().expect("no panic while held").read == read {
            return Ok(false);
        }
        let certified = read.certified(&self.cert, &self.key);
        let mut shown = self.shown.write().expect("no panic while held");
        shown.read = read;
        shown.certified = Arc::new(certified?);
        Ok(true)
    }
}

impl Read {
    fn files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |setting, path: &Path| std::fs::read(path).map_err(|error| TlsError::file(setting, path, error));
        Ok(Self { cert: read(CERT, cert)?, key: read(KEY, key)? })
    }

    fn certified(&self, cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.cert).collect();
        let chain = chain.map_err(|error| TlsError::file(CERT, cert, error))?;
        if chain.is_empty() {
            return Err(TlsError::file(CERT, cert, "there is no certificate in it (PEM)"));
        }
        // Why a key cannot be read says nothing of what is in it.
        let private = PrivateKeyDer::from_pem_slice(&self.key);
        let private = private.map_err(|_| TlsError::file(KEY, key, "there is no private key in it (PEM)"))?;
        let signing = provider().key_provider.load_private_key(private);
        let signing = signing.map_err(|error| TlsError::file(KEY, key, error))?;
        let certified = CertifiedKey::new(chain, signing);
        let foreign = |error| TlsError::file(KEY, key, format!("it does not belong to {CERT} ({error})"));
        certified.keys_match().map_err(foreign)?;
        Ok(certified)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().expect("no panic while held").certified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn certificates(&self) -> Result<Option<Arc<Certificates>>, TlsError> {
            Certificates::of(&self.path("cert"), &self.path("key"))
        }
    }

    /// A certificate and its key, as PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn shown(certificates: &Certificates) -> Vec<u8> {
        certificates.shown.read().unwrap().certified.cert[0].to_vec()
    }

    #[test]
    fn what_cannot_be_shown_is_refused_with_its_setting() {
        let ((cert, key), (_, foreign), files) = (pair(), pair(), Files::new());
        let refused = |cert: &str, key: &str| {
            files.write("cert", cert);
            files.write("key", key);
            files.certificates().unwrap_err().to_string()
        };
        assert!(refused("", &key).starts_with("api.tls.cert: "));
        assert!(refused(&cert, "").starts_with("api.tls.key: "));
        assert!(refused(&cert, &cert).contains("no private key"));
        assert!(refused(&cert, &foreign).contains("does not belong to api.tls.cert"));
        std::fs::remove_file(files.path("cert")).unwrap();
        assert!(files.certificates().unwrap_err().to_string().starts_with("api.tls.cert: "));
        let half = Certificates::of(&files.path("cert"), Path::new("")).unwrap_err().to_string();
        assert_eq!(half, "api.tls.cert is set and api.tls.key is not");
        let half = Certificates::of(Path::new(""), &files.path("key")).unwrap_err().to_string();
        assert_eq!(half, "api.tls.key is set and api.tls.cert is not");
        assert!(Certificates::of(Path::new(""), Path::new("")).unwrap().is_none());
    }

    #[test]
    fn a_rotated_pair_is_taken_and_half_of_one_is_not() {
        let ((cert, key), (new_cert, new_key), files) = (pair(), pair(), Files::new());
        files.write("cert", &cert);
        files.write("key", &key);
        let certificates = files.certificates().unwrap().unwrap();
        let old = shown(&certificates);
        assert!(!certificates.refresh().unwrap(), "nothing changed");
        files.write("cert", &new_cert);
        assert!(certificates.refresh().unwrap_err().to_string().contains("does not belong"));
        assert!(!certificates.refresh().unwrap(), "the same mistake is told once");
        assert_eq!(shown(&certificates), old);
        files.write("key", &new_key);
        assert!(certificates.refresh().unwrap());
        assert_ne!(shown(&certificates), old);
        std::fs::remove_file(files.path("key")).unwrap();
        assert!(certificates.refresh().is_err());
        assert_ne!(shown(&certificates), old, "what cannot be read takes nothing away");
    }
}
