//! Callers whom an identity provider (OpenID Connect) vouches for: a token (JWT) signed by one of the issuer's keys, which are
//! fetched from it and kept. An issuer that is away stops nobody whose key is known, and a token with a key that nobody knows makes us
//! ask it again, but not more often than is set. It makes no token and keeps none. Read [`token`] for what one must say, [`keys`] for
//! how it must be signed.

pub(super) mod keys;
pub(super) mod token;

use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use longshore_sdk::executor::seconds;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::keys::{Algorithm, KeySet};
use self::token::{Denied, Identity, Token};
use crate::clock;
use crate::keys::{Scope, Scopes};
use crate::stop::Stop;
use crate::storage::install_tls;

/// Keys and a description are some kilobytes.
const MAX_BYTES: usize = 1024 * 1024;
/// How long the issuer may take to answer.
const FETCH_TIME: Duration = Duration::from_secs(5);
const DISCOVERY: &str = ".well-known/openid-configuration";

/// Whose tokens are taken beside API keys, and what they grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcSettings {
    /// The provider, exactly as its tokens name it (`iss`); empty: no tokens are taken.
    pub issuer: String,
    /// What its tokens must be for (`aud`).
    pub audience: String,
    /// Where its keys are; empty: where its own description says.
    pub jwks_url: String,
    /// The claim with the tenant's name, or the path to it.
    pub tenant_claim: String,
    /// The claim with the scopes, or the path to it: words in one text, or a list.
    pub scope_claim: String,
    /// What its words grant, as `word=scope`. Empty: our own words grant themselves.
    pub scopes: Vec<String>,
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the issuer's clock may be from ours. Default 60 s.
    #[serde(with = "seconds")]
    pub leeway: Duration,
    /// Its keys are fetched again after so long. Default 10 min.
    #[serde(with = "seconds")]
    pub refresh: Duration,
    /// A token with an unknown key makes us fetch them again, at most so often. Default 30 s.
    #[serde(with = "seconds")]
    pub refetch: Duration,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            tenant_claim: "tenant".to_owned(),
            scope_claim: "scope".to_owned(),
            scopes: Vec::new(),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            leeway: Duration::from_secs(60),
            refresh: Duration::from_secs(600),
            refetch: Duration::from_secs(30),
        }
    }
}

impl OidcSettings {
    /// What these words grant.
    fn granted(&self, words: &[&str]) -> Scopes {
        if self.scopes.is_empty() {
            return Scopes::known_of(words.iter().copied());
        }
        let grants = self.scopes.iter().filter_map(|grant| grant_of(grant));
        grants.filter(|(word, _)| words.contains(word)).map(|(_, scope)| scope).collect()
    }

    /// Whether an address of the issuer can be trusted to be its own: over TLS, or on this machine.
    pub(crate) fn is_secure(url: &str) -> bool {
        let Ok(url) = url.parse::<Url>() else { return false };
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        url.scheme() == "https" || (url.scheme() == "http" && here)
    }
}

/// A word of the issuer's and the scope it grants.
pub(crate) fn grant_of(text: &str) -> Option<(&str, Scope)> {
    // The last sign: words may be addresses.
    let (word, scope) = text.rsplit_once('=')?;
    let scope = Scope::ALL.into_iter().find(|known| known.word() == scope)?;
    (!word.is_empty()).then_some((word, scope))
}

/// Why a caller with a token is not let in.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is not taken.
    Token(Denied),
    /// No key of the issuer is known, and it does not answer.
    Away,
}

/// Why an issuer cannot be had as it is set, or does not tell its keys.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoIssuer(String);

impl From<reqwest::Error> for NoIssuer {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Self(format!("{error}{}", cause.unwrap_or_default()))
    }
}

impl From<serde_json::Error> for NoIssuer {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("its answer cannot be read: {error}"))
    }
}

/// The issuer, as far as it is known.
pub struct Issuer {
    settings: OidcSettings,
    http: reqwest::Client,
    kept: RwLock<Kept>,
    /// When it was last asked. Held while it is, so that it is asked by one.
    asked: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Kept {
    keys: Arc<KeySet>,
    since: Option<Instant>,
}

/// The issuer's description of itself, as far as it is needed.
#[derive(Deserialize)]
struct Described {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// The issuer of these settings; `None` when none is set.
    ///
    /// # Errors
    /// When a setting that goes with it is missing.
    pub fn of(settings: &OidcSettings) -> Result<Option<Arc<Self>>, NoIssuer> {
        if settings.issuer.is_empty() {
            return Ok(None);
        }
        if settings.audience.is_empty() {
            let told =
                "auth.oidc.issuer is set and auth.oidc.audience is not: it must say whom the issuer's tokens are for";
            return Err(NoIssuer(told.to_owned()));
        }
        install_tls();
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(FETCH_TIME).build()?;
        let (kept, asked) = (RwLock::default(), Mutex::default());
        Ok(Some(Arc::new(Self { settings: settings.clone(), http, kept, asked })))
    }

    /// For whom a token lets its bearer act. What may take long goes on after `stop` is asked only as long as the issuer may take.
    pub(super) async fn judge(self: &Arc<Self>, text: &str, stop: &Stop) -> Result<Identity, Refused> {
        let token = Token::read(text, &self.settings.algorithms).map_err(Refused::Token)?;
        if !self.knows(&token) {
            // In a task of its own: a caller who hangs up must not keep everybody else's keys from coming.
            let issuer = Arc::clone(self);
            let (asked, answered) = tokio::sync::oneshot::channel::<()>();
            stop.spawn_quiet(async move {
                issuer.ask_again().await;
                drop(asked);
            });
            let _ended = answered.await;
        } else if self.is_old() {
            let issuer = Arc::clone(self);
            stop.spawn_quiet(async move { issuer.ask_again().await });
        }
        let keys = self.keys();
        if keys.is_empty() {
            return Err(Refused::Away);
        }
        let key = keys.find(token.kid.as_deref(), token.algorithm).ok_or(Refused::Token(Denied::UnknownKey))?;
        if !key.has_signed(token.algorithm, token.message, &token.signature) {
            return Err(Refused::Token(Denied::Forged));
        }
        token.identity(&self.settings, clock::now()).map_err(Refused::Token)
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.kept.read().expect("no panic while held").keys)
    }

    fn knows(&self, token: &Token<'_>) -> bool {
        self.keys().find(token.kid.as_deref(), token.algorithm).is_some()
    }

    fn is_old(&self) -> bool {
        let since = self.kept.read().expect("no panic while held").since;
        since.is_none_or(|since| since.elapsed() >= self.settings.refresh)
    }

    /// Fetches the keys, unless that was tried a moment ago. Who asks while another does waits for what he gets.
    async fn ask_again(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|last| last.elapsed() < self.settings.refetch) {
            return;
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                let (keys, since) = (Arc::new(keys), Some(Instant::now()));
                *self.kept.write().expect("no panic while held") = Kept { keys, since };
            }
            Err(error) => {
                let issuer = &self.settings.issuer;
                tracing::warn!(issuer, %error, "the keys of auth.oidc.issuer cannot be read");
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, NoIssuer> {
        let keys = match self.settings.jwks_url.as_str() {
            "" => self.get(&self.discover().await?).await?,
            place => self.get(place).await?,
        };
        let keys = KeySet::read(&keys)?;
        if keys.is_empty() { Err(NoIssuer("there is no public key for signatures".to_owned())) } else { Ok(keys) }
    }

    async fn discover(&self) -> Result<String, NoIssuer> {
        let place = format!("{}/{DISCOVERY}", self.settings.issuer.trim_end_matches('/'));
        let described: Described = serde_json::from_slice(&self.get(&place).await?)?;
        if described.issuer != self.settings.issuer {
            return Err(NoIssuer(format!("it calls itself {:?}", described.issuer)));
        }
        if !OidcSettings::is_secure(&described.jwks_uri) {
            return Err(NoIssuer("its keys are not at an https address".to_owned()));
        }
        Ok(described.jwks_uri)
    }

    async fn get(&self, place: &str) -> Result<Vec<u8>, NoIssuer> {
        let mut answer = self.http.get(place).send().await?.error_for_status()?;
        if !answer.status().is_success() {
            return Err(NoIssuer(format!("it answers {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            if body.len() + part.len() > MAX_BYTES {
                return Err(NoIssuer(format!("it answers more than {MAX_BYTES} bytes")));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn an_issuer_is_asked_over_tls_or_on_this_machine() {
        for good in ["https://id.example", "http://localhost:1/a", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(OidcSettings::is_secure(good), "{good}");
        }
        for bad in ["http://id.example", "ftp://localhost", "id.example", "", "http://localhost.id.example"] {
            assert!(!OidcSettings::is_secure(bad), "{bad}");
        }
    }

    #[test]
    fn words_grant_what_the_list_says_and_nothing_else() {
        let mapped =
            OidcSettings { scopes: vec!["urn:a=b=read".into(), "ops=admin".into()], ..OidcSettings::default() };
        assert_eq!(mapped.granted(&["urn:a=b", "submit"]).to_string(), "read");
        assert_eq!(OidcSettings::default().granted(&["submit", "openid"]).to_string(), "submit");
        assert!(grant_of("=read").is_none() && grant_of("read").is_none() && grant_of("a=everything").is_none());
    }

    /// An issuer that says when it is asked, and answers with a key once it is let.
    async fn slow_issuer(stop: &Stop) -> (Arc<Issuer>, oneshot::Receiver<()>, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = format!("http://{}", listener.local_addr().unwrap());
        let ((asked, is_asked), (answer, may_answer)) = (oneshot::channel(), oneshot::channel());
        stop.spawn("issuer", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let _ = asked.send(());
            may_answer.await.unwrap();
            let jwks =
                format!(r#"{{"keys": [{{"kty": "RSA", "kid": "k", "n": "{}", "e": "AQAB"}}]}}"#, "q".repeat(340));
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", jwks.len());
            stream.write_all((head + &jwks).as_bytes()).await.unwrap();
        });
        let (issuer, audience) = (place.clone(), "us".to_owned());
        let settings = OidcSettings { issuer, audience, jwks_url: place, ..OidcSettings::default() };
        (Issuer::of(&settings).unwrap().unwrap(), is_asked, answer)
    }

    #[tokio::test]
    async fn a_caller_who_hangs_up_keeps_no_keys_from_coming() {
        let stop = Stop::new();
        let (issuer, is_asked, answer) = slow_issuer(&stop).await;
        // {"alg":"RS256","kid":"k"}.{}.
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.e30.";
        tokio::select! {
            judged = issuer.judge(token, &stop) => panic!("judged without a key: {judged:?}"),
            asked = is_asked => asked.unwrap(),
        }
        answer.send(()).unwrap();
        let keys = async {
            while issuer.keys().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(FETCH_TIME, keys).await.expect("the keys come though nobody waits for them");
    }

    #[test]
    fn an_issuer_without_an_audience_is_refused() {
        let half = OidcSettings { issuer: "https://id.example".into(), ..OidcSettings::default() };
        assert!(Issuer::of(&half).err().unwrap().to_string().contains("auth.oidc.audience"));
        assert!(Issuer::of(&OidcSettings::default()).unwrap().is_none());
    }
}
