//! Whom we believe when we call a server: the authorities of one file if a setting names it, and then no others, else those of this
//! machine. It never falls back: a server that is not believed is not talked to. Read [`super::certificates`] for the other side.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{TlsError, provider};

/// How much of a server's certificate is looked at, as PostgreSQL's `sslmode` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Nothing: whoever only listens is kept out, whoever stands in between is not (`require` without an authority).
    Nothing,
    /// Who signed it (`verify-ca`).
    Chain,
    /// Who signed it, and that it is the server's that was called (`verify-full`).
    All,
}

/// A client's half of TLS, which believes the authorities in the file `ca`, else this machine's.
///
/// # Errors
/// [`TlsError`] when there is no authority to believe; it names `setting`.
pub fn client(ca: Option<&Path>, checks: Checks, setting: &'static str) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError::Settings(format!("{setting}: {error}")))?;
    let builder = match checks {
        Checks::All => builder.with_root_certificates(roots(ca, setting)?),
        Checks::Chain => dangerously(builder, Some(verifier(roots(ca, setting)?, setting)?)),
        Checks::Nothing => dangerously(builder, None),
    };
    Ok(builder.with_no_client_auth())
}

/// What went wrong with a connection, and where to say whom to believe if that is what went wrong.
pub fn explain(error: &str, setting: &str) -> String {
    // How rustls begins what it has to say about a certificate.
    if error.contains("invalid peer certificate") {
        format!("{error} ({setting} names the file of the authority to trust)")
    } else {
        error.to_owned()
    }
}

fn roots(ca: Option<&Path>, setting: &'static str) -> Result<RootCertStore, TlsError> {
    let (mut roots, certificates) = (RootCertStore::empty(), authorities(ca, setting)?);
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        let place = ca.map_or_else(|| "this machine's store".to_owned(), |path| path.display().to_string());
        return Err(TlsError::Settings(format!("{setting}: {place} has no certificate of an authority")));
    }
    Ok(roots)
}

fn authorities(ca: Option<&Path>, setting: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let Some(path) = ca else { return Ok(rustls_native_certs::load_native_certs().certs) };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(|error| TlsError::file(setting, path, error))
}

fn verifier(roots: RootCertStore, setting: &'static str) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    built.map_err(|error| TlsError::Settings(format!("{setting}: {error}")))
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn dangerously(
    builder: Builder,
    chain: Option<Arc<WebPkiServerVerifier>>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { chain }))
}

/// Looks at who signed a certificate, or not even that, and never at whose it is. That its holder has the key is always looked at.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end, between, name, ocsp, now) {
            // The name is looked at last, so that all else was well.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_that_cannot_be_used_is_refused_with_its_setting() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, missing) = (dir.path().join("empty.pem"), dir.path().join("missing.pem"));
        std::fs::write(&empty, "no certificate is in here\n").unwrap();
        for path in [&empty, &missing] {
            for checks in [Checks::Chain, Checks::All] {
                let error = client(Some(path), checks, "database.tls_ca").unwrap_err().to_string();
                let named = error.starts_with("database.tls_ca: ") && error.contains(&path.display().to_string());
                assert!(named, "{error}");
            }
        }
    }

    #[test]
    fn only_what_is_about_trust_names_the_setting() {
        assert_eq!(explain("connection refused", "broker.tls_ca"), "connection refused");
        let told = explain("IO error: invalid peer certificate: UnknownIssuer", "broker.tls_ca");
        assert!(told.ends_with("(broker.tls_ca names the file of the authority to trust)"), "{told}");
    }
}
