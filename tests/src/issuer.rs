//! An identity provider of our own: a real server for its description and its public keys, and the private keys to sign with, well or ill.
//!
//! It knows nobody and asks for no password: a story signs whatever it likes.

use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Error, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// The provider. Dropping it ends its server.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    state: Arc<Mutex<State>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    keys: Vec<Value>,
    away: bool,
    asked: usize,
}

/// A private key with its public half.
pub struct Signer {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
}

impl Issuer {
    /// A provider with these keys.
    pub async fn start(signers: &[&Signer]) -> Result<Issuer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let serving = tokio::spawn(serve(listener, url.clone(), Arc::clone(&state)));
        let issuer = Issuer { url, state, _serving: AbortOnDropHandle::new(serving) };
        issuer.publish(signers);
        Ok(issuer)
    }

    /// Its name, and where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on these are its keys.
    pub fn publish(&self, signers: &[&Signer]) {
        self.state().keys = signers.iter().map(|signer| signer.jwk()).collect();
    }

    /// Whether it hangs up on whoever asks.
    pub fn be_away(&self, away: bool) {
        self.state().away = away;
    }

    /// How often its keys were asked for, or would have been.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// Good claims for this audience and tenant, for five minutes.
    pub fn claims(&self, audience: &str, tenant: &str, scope: &str) -> Value {
        json!({"iss": self.url, "aud": audience, "sub": "ann", "iat": now(), "exp": now() + 300, "tenant": tenant,
            "scope": scope})
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the state")
    }
}

/// Seconds, as tokens count them.
pub fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Text as tokens write it.
pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// A fresh RSA key of 2,048 bits. ring makes none.
    pub fn rsa(kid: &str) -> Result<Signer> {
        let args = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"];
        let made = Command::new("openssl").args(args).output().context("is openssl installed?")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        // In either form: which one it writes depends on its version.
        let read = RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
        let pair = read.map_err(Error::msg)?;
        Ok(Signer { kid: kid.to_owned(), pair: Pair::Rsa(Box::new(pair)) })
    }

    /// A fresh key on the curve P-256.
    pub fn ec(kid: &str) -> Result<Signer> {
        let (random, curve) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let made = EcdsaKeyPair::generate_pkcs8(curve, &random).map_err(Error::msg)?;
        let pair = EcdsaKeyPair::from_pkcs8(curve, made.as_ref(), &random).map_err(Error::msg)?;
        Ok(Signer { kid: kid.to_owned(), pair: Pair::Ec(Box::new(pair)) })
    }

    /// Its public half, as bytes that anybody may know.
    pub fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// Its public half, as the provider tells it.
    pub fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "use": "sig", "kid": self.kid, "n": encoded(n), "e": encoded(e)})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": encoded(x), "y": encoded(y)})
            }
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> Result<String> {
        self.token_as(json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid}), &claims.to_string())
    }

    /// How it signs.
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
        }
    }

    /// A token with this header, whatever it says, over this text.
    pub fn token_as(&self, header: Value, claims: &str) -> Result<String> {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims));
        Ok(format!("{message}.{}", encoded(self.sign(message.as_bytes())?)))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_key().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(Error::msg)?;
                Ok(signature)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, message).map_err(Error::msg)?.as_ref().to_vec()),
        }
    }
}

async fn serve(listener: TcpListener, url: String, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Who hangs up early is not answered.
        let _ = answer(stream, &url, &state).await;
    }
}

async fn answer(mut stream: TcpStream, url: &str, state: &Mutex<State>) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let keys = head.starts_with(b"GET /keys ");
    let told = {
        let mut state = state.lock().expect("no code panics while it holds the state");
        state.asked += usize::from(keys || state.away);
        (!state.away).then(|| json!({ "keys": state.keys }))
    };
    let Some(told) = told else { return Ok(()) };
    let described = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    let body = if keys { told } else { described }.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", body.len());
    stream.write_all(format!("{head}\r\ncontent-type: application/json\r\n\r\n{body}").as_bytes()).await?;
    Ok(stream.shutdown().await?)
}
