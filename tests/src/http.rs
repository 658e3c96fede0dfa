//! A small JSON client for the stories: says what was asked when the answer is not what was hoped for.
//!
//! On the loopback only: it trusts the one authority that a story names, so any other `https` fails. It never retries and never follows a
//! redirect, for a story wants to see what the server really said.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// A client for one server.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    base: String,
    key: Option<String>,
}

/// What the server said, read to the end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, if it was text.
    pub text: String,
    asked: String,
}

impl Http {
    /// A client for the server at this URL, such as `http://127.0.0.1:8080`.
    pub fn to(base: &str) -> Result<Http> {
        Http::of(base, rustls::RootCertStore::empty())
    }

    /// A client for the server at this `https` URL, which believes whom this authority (PEM) signed for.
    pub fn trusting(base: &str, authority: &str) -> Result<Http> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        Http::of(base, roots)
    }

    fn of(base: &str, roots: rustls::RootCertStore) -> Result<Http> {
        let client = believing(roots).timeout(Duration::from_secs(60)).build()?;
        Ok(Http { client, base: base.trim_end_matches('/').to_owned(), key: None })
    }

    /// The same, with this API key.
    #[must_use]
    pub fn with_key(self, key: &str) -> Http {
        Http { key: Some(key.to_owned()), ..self }
    }

    /// GETs a path.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        send(self.request(Method::GET, path)).await
    }

    /// POSTs JSON to a path.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// A request to add headers or another body to; hand it to [`send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(request: RequestBuilder) -> Result<Answer> {
    let (client, request) = request.build_split();
    let request = request?;
    let asked = format!("{} {}", request.method(), request.url());
    let response = client.execute(request).await.with_context(|| asked.clone())?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.with_context(|| asked.clone())?;
    Ok(Answer { status, headers, text, asked })
}

impl Answer {
    /// The body as JSON, whatever the status.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("no JSON: {self:?}"))
    }

    /// The answer if it has this status, else an error that shows it whole.
    pub fn expect(self, status: u16) -> Result<Answer> {
        anyhow::ensure!(
            self.status == status,
            "{} was answered {}, not {status}: {}",
            self.asked,
            self.status,
            self.text
        );
        Ok(self)
    }

    /// One header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A client that is its caller's to finish. reqwest is built without a default TLS provider; naming one here keeps the process-wide
/// default untouched.
pub fn plain() -> reqwest::ClientBuilder {
    believing(rustls::RootCertStore::empty())
}

fn believing(roots: rustls::RootCertStore) -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("ring speaks the default versions of TLS");
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().redirect(redirect::Policy::none())
}
