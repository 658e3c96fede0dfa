//! HTTP under the client: addresses, deadlines, sizes, and what an answer means. It knows no job and tries nothing
//! twice; read [`super::handle`] for who waits and tries again.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ClientError;
use crate::api::Problem;
use crate::outcome::chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than load balancers keep an idle connection (60 s is usual): one that they close as a submit goes out leaves
/// its caller in doubt.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);
/// How much of an answer that is no problem document is shown to people.
const MAX_DETAIL_CHARS: usize = 300;

#[derive(Debug, Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    limits: Limits,
}

/// What one call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// On top of the time that the server is asked to wait.
    pub(super) call_timeout: Duration,
    /// A larger answer is none of Longshore's: results are small, files are downloaded.
    pub(super) max_answer_bytes: usize,
}

impl Transport {
    pub(super) fn new(base_url: &str, limits: Limits) -> Result<Self, ClientError> {
        // An error means that the program has installed a provider of its own: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ClientError::Protocol(format!("no HTTP client can be made: {}", chain(&error))))?;
        Ok(Self { http, base: base(base_url)?, headers: HeaderMap::new(), limits })
    }

    pub(super) fn with_api_key(mut self, key: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| ClientError::Protocol("the API key has characters that no header can carry".into()))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        wait: Option<Duration>,
    ) -> Result<T, ClientError> {
        let mut url = self.url(path);
        if let Some(wait) = wait {
            url.query_pairs_mut().append_pair("wait", &whole_seconds(wait).to_string());
        }
        let limit = self.limits.call_timeout + Duration::from_secs(wait.map_or(0, whole_seconds));
        self.call(self.request(Method::GET, url).timeout(limit)).await
    }

    pub(super) async fn post_json<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
        headers: &[(&str, Option<&str>)],
    ) -> Result<T, ClientError> {
        let request = self.request(Method::POST, self.url(path)).timeout(self.limits.call_timeout).json(body);
        let given = headers.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        self.call(given.fold(request, |request, (name, value)| request.header(*name, value))).await
    }

    pub(super) async fn post_empty<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        self.call(self.request(Method::POST, self.url(path)).timeout(self.limits.call_timeout)).await
    }

    pub(super) async fn probe(&self, path: &[&str]) -> Result<(), ClientError> {
        self.send(self.request(Method::GET, self.url(path)).timeout(self.limits.call_timeout)).await.map(drop)
    }

    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("`base` refuses addresses without a path").pop_if_empty().extend(path);
        url
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).headers(self.headers.clone())
    }

    pub(super) async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let answer = self.send(request).await?;
        let body = self.body(answer).await?;
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Protocol(format!("the server's answer is not as agreed: {error}")))
    }

    /// Sends, and answers only with a success.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        if status.is_success() {
            Ok(answer)
        } else if status.is_redirection() {
            Err(redirected(&answer))
        } else {
            let typed = answer.headers().get(CONTENT_TYPE).cloned();
            Err(ClientError::Problem(Box::new(problem(status, typed.as_ref(), &self.body(answer).await?))))
        }
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + chunk.len() > self.limits.max_answer_bytes {
                let message = format!("the server's answer has more than {} bytes", self.limits.max_answer_bytes);
                return Err(ClientError::Protocol(message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn base(text: &str) -> Result<Url, ClientError> {
    let refused = |why: &str| ClientError::Protocol(format!("the server's address {text:?} {why}"));
    let mut url = Url::parse(text).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("is neither http:// nor https://"));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

pub(super) fn unreachable(error: &reqwest::Error) -> ClientError {
    if error.is_builder() {
        return ClientError::Protocol(format!("the call cannot be made: {}", chain(error)));
    }
    ClientError::Unreachable(chain(error))
}

fn redirected(answer: &Response) -> ClientError {
    let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("somewhere else");
    ClientError::Protocol(format!("the server sends {} on to {to}; use its real address", answer.url().path()))
}

/// The problem document, or one made of the status alone: a proxy in between speaks no RFC 9457.
fn problem(status: StatusCode, content_type: Option<&HeaderValue>, body: &[u8]) -> Problem {
    let media = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let ours = media.starts_with("application/problem+json").then(|| serde_json::from_slice(body).ok());
    ours.flatten().unwrap_or_else(|| Problem {
        problem_type: "about:blank".into(),
        title: status.canonical_reason().unwrap_or("Unknown").into(),
        status: status.as_u16(),
        detail: detail(status, body),
        instance: None,
        errors: Vec::new(),
        kinds: None,
    })
}

fn detail(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = if text.trim().is_empty() { "the server gave no reason" } else { text.trim() };
    format!("status {}: {}", status.as_u16(), text.chars().take(MAX_DETAIL_CHARS).collect::<String>())
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
