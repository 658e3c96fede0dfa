//! An issuer's public keys (a JWKS), and whether one of them signed. Only what a key says it is for is done with it, and only by public
//! keys: there is no secret among them, so that nobody can sign with what everybody may read. Read [`super::token`] for what is signed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// No issuer has more; a longer list is read so far.
const MAX_KEYS: usize = 100;

/// How a token may be signed. There is no other: none with a shared secret, and not none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    Rs512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// ECDSA, P-384, SHA-384.
    Es384,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// As a token names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// With keys of at least 2,048 bits.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// The keys of one issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    /// The one algorithm it is for, if it says so.
    alg: Option<String>,
    public: Public,
}

enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa { .. } => "RSA",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
        })
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of a JWKS that can be used; others are passed over, for an issuer may have keys for other purposes.
    ///
    /// # Errors
    /// When it is no JWKS.
    pub(super) fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        let Document { keys } = serde_json::from_slice(text)?;
        let jwk = |value| serde_json::from_value::<Jwk>(value).ok().and_then(Key::of);
        Ok(Self { keys: keys.into_iter().take(MAX_KEYS).filter_map(jwk).collect() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a token names and that its algorithm is for; of one that names none, the only one that could have signed it.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.is_for(algorithm));
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let public = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Public::Rsa { n: number(jwk.n.as_deref())?, e: number(jwk.e.as_deref())? },
            ("EC", Some("P-256")) => Public::P256(point(&jwk, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(&jwk, 48)?),
            ("OKP", Some("Ed25519")) => Public::Ed25519(coordinate(jwk.x.as_deref(), 32)?),
            _ => return None,
        };
        (signs && verifies).then_some(Self { kid: jwk.kid, alg: jwk.alg, public })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let its_own = self.alg.as_deref().is_none_or(|alg| alg == algorithm.name());
        let its_sort = match self.public {
            Public::Rsa { .. } => algorithm.rsa().is_some(),
            Public::P256(_) => algorithm == Algorithm::Es256,
            Public::P384(_) => algorithm == Algorithm::Es384,
            Public::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        its_own && its_sort
    }

    /// Whether it signed this message so.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        let checked = match (&self.public, algorithm.rsa()) {
            (Public::Rsa { n, e }, Some(rsa)) => RsaPublicKeyComponents { n, e }.verify(rsa, message, signature),
            (Public::Rsa { .. }, None) => return false,
            (Public::P256(key), _) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            (Public::P384(key), _) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key).verify(message, signature)
            }
            (Public::Ed25519(key), _) => UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature),
        };
        checked.is_ok()
    }
}

/// Big-endian, without zeros before it, which some issuers write.
fn number(text: Option<&str>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
    let from = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[from..].to_vec())
}

fn coordinate(text: Option<&str>, bytes: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok().filter(|found| found.len() == bytes)
}

fn point(jwk: &Jwk, bytes: usize) -> Option<Vec<u8>> {
    let (x, y) = (coordinate(jwk.x.as_deref(), bytes)?, coordinate(jwk.y.as_deref(), bytes)?);
    Some([vec![4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515, appendix A.2.
    const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RS256: (&str, &str) = (
        "eyJhbGciOiJSUzI1NiJ9",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    /// RFC 7515, appendix A.3.
    const EC: (&str, &str) =
        ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    const ES256: (&str, &str) = (
        "eyJhbGciOiJFUzI1NiJ9",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );

    fn set(keys: &[Value]) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn rsa() -> Value {
        json!({"kty": "RSA", "kid": "r", "n": RSA_N, "e": "AQAB"})
    }

    fn ec() -> Value {
        json!({"kty": "EC", "kid": "e", "crv": "P-256", "x": EC.0, "y": EC.1})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn the_examples_of_the_standard_are_verified_and_nothing_near_them() {
        let keys = set(&[rsa(), ec()]);
        for (algorithm, (header, signature)) in [(Algorithm::Rs256, RS256), (Algorithm::Es256, ES256)] {
            let key = keys.find(None, algorithm).unwrap();
            let message = format!("{header}.{CLAIMS}").into_bytes();
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            assert!(key.has_signed(algorithm, &message, &signature), "{algorithm:?}");
            for at in [0, message.len() / 2, message.len() - 1] {
                let mut other = message.clone();
                other[at] ^= 1;
                assert!(!key.has_signed(algorithm, &other, &signature), "{algorithm:?} {at}");
            }
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut other = signature.clone();
                other[at] ^= 1;
                assert!(!key.has_signed(algorithm, &message, &other), "{algorithm:?} {at}");
            }
            for short in [&[][..], &signature[1..], &[0; 64], &[0; 256]] {
                assert!(!key.has_signed(algorithm, &message, short));
            }
            for other in [Algorithm::Rs384, Algorithm::Ps256, Algorithm::Es384, Algorithm::EdDsa] {
                assert!(!key.has_signed(other, &message, &signature), "{algorithm:?} as {other:?}");
            }
        }
    }

    #[test]
    fn a_key_is_for_what_it_says_and_its_sort_can() {
        let keys = set(&[rsa(), ec()]);
        assert!(keys.find(Some("r"), Algorithm::Rs256).is_some() && keys.find(Some("r"), Algorithm::Ps512).is_some());
        assert!(keys.find(Some("r"), Algorithm::Es256).is_none() && keys.find(Some("e"), Algorithm::Rs256).is_none());
        assert!(keys.find(Some("other"), Algorithm::Rs256).is_none());
        let only = set(&[with(rsa(), "alg", json!("RS256"))]);
        assert!(only.find(None, Algorithm::Rs256).is_some() && only.find(None, Algorithm::Rs512).is_none());
        let two = set(&[rsa(), with(rsa(), "kid", json!("s"))]);
        assert!(two.find(None, Algorithm::Rs256).is_none(), "nobody says which");
        assert!(two.find(Some("s"), Algorithm::Rs256).is_some());
    }

    #[test]
    fn what_is_no_public_key_for_signatures_is_passed_over() {
        let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"});
        let odd = [
            secret,
            with(rsa(), "use", json!("enc")),
            with(rsa(), "key_ops", json!(["sign"])),
            with(rsa(), "n", json!("!")),
            with(rsa(), "n", json!("AAAA")),
            with(ec(), "x", json!("AAAA")),
            with(ec(), "crv", json!("secp256k1")),
            json!({"kty": "OKP", "crv": "X25519", "x": EC.0}),
            json!(7),
        ];
        assert!(set(&odd).is_empty());
        assert!(KeySet::read(b"{}").is_err() && KeySet::read(b"<html>").is_err());
    }
}
