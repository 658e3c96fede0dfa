//! Certificates for the stories: an authority of our own, and what it signs for a server on this machine.
//!
//! No file of them outlives a story, and no other program believes them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Who signs, and whom one may believe.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Where a server's certificate lies, and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A fresh one.
    pub fn new(name: &str) -> Result<Authority> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.as_ref().pem()
    }

    /// Writes its own certificate into a file of this directory.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join("authority.pem");
        std::fs::write(&path, self.pem())?;
        Ok(path)
    }

    /// Signs for a server with these names and addresses, and writes it into files of this directory, over those before.
    pub fn issue(&self, names: &[&str], dir: &Path) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let cert = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        let issued = Issued { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&issued.cert, cert.pem())?;
        std::fs::write(&issued.key, key.serialize_pem())?;
        Ok(issued)
    }
}
