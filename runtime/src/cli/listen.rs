//! `longshore listen`: a receiver of webhooks on this machine, which says what came and whether it was signed with the secret.
//! It is for people who build a receiver; it keeps nothing and acts on nothing. What it verifies with is
//! [`longshore_sdk::webhook`], as a receiver of theirs would.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use longshore_sdk::webhook::{self, Secret, TOLERANCE};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{Done, given, tell};
use crate::clock;

/// More than any webhook of ours has.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// `longshore listen`
#[derive(Debug, Args)]
pub(super) struct Listen {
    /// The secret of the subscription or job; may be repeated. Without one nothing is verified
    #[arg(long, env = "LONGSHORE_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET", value_parser = given::secret)]
    secret: Vec<Secret>,
    /// The port, on this machine alone
    #[arg(long, default_value_t = 7074, value_name = "PORT")]
    port: u16,
    /// Answer in JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Listen {
    pub(super) async fn run(self) -> Done {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
        let url = format!("http://{}/", listener.local_addr()?);
        tell(&if self.json { json!({"listening": url}).to_string() } else { self.welcome(&url) })?;
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                came = listener.accept() => {
                    let (stream, _) = came.context("no connection can be taken any more")?;
                    open.push(self.serve(stream));
                }
                Some(()) = open.next() => {}
            }
        }
    }

    fn welcome(&self, url: &str) -> String {
        let verified =
            if self.secret.is_empty() { "nothing is verified: no --secret" } else { "signatures are verified" };
        format!(
            "listening on {url} ({verified})\n  a server takes this address with --set webhooks.allow_http=true --set webhooks.allow_private=127.0.0.0/8"
        )
    }

    async fn serve(&self, stream: TcpStream) {
        let service = service_fn(|request| self.answer(request));
        // A connection that breaks off said nothing.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let status = match Limited::new(body, MAX_BODY_BYTES).collect().await {
            Ok(body) => self.judge(&head.headers, &body.to_bytes()),
            Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let mut answer = Response::new(Empty::new());
        *answer.status_mut() = status;
        Ok(answer)
    }

    /// Tells what came, and what it is answered.
    fn judge(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let verdict = (!self.secret.is_empty())
            .then(|| webhook::verify(&self.secret, header, body, clock::now(), TOLERANCE).map(drop));
        let error = verdict.as_ref().and_then(|verdict| verdict.as_ref().err()).map(ToString::to_string);
        let said = Message { id: header(webhook::ID), verified: verdict.as_ref().map(Result::is_ok), error, body };
        // Nobody is left to tell when the terminal is gone.
        let _ = tell(&if self.json { said.json().to_string() } else { said.words() });
        if said.verified == Some(false) { StatusCode::UNAUTHORIZED } else { StatusCode::NO_CONTENT }
    }
}

/// What came.
struct Message<'a> {
    id: Option<&'a str>,
    verified: Option<bool>,
    error: Option<String>,
    body: &'a [u8],
}

impl Message<'_> {
    fn read(&self) -> Value {
        let text = || Value::String(String::from_utf8_lossy(self.body).into_owned());
        serde_json::from_slice(self.body).unwrap_or_else(|_| text())
    }

    fn json(&self) -> Value {
        json!({"id": self.id, "verified": self.verified, "error": self.error, "body": self.read()})
    }

    fn words(&self) -> String {
        let body = self.read();
        let what = body["type"].as_str().unwrap_or("no event");
        let judged = match (self.verified, &self.error) {
            (None, _) => "not verified".to_owned(),
            (Some(true), _) => "verified".to_owned(),
            (Some(false), error) => format!("REFUSED: {}", error.as_deref().unwrap_or_default()),
        };
        format!("{}  {what}  {judged}\n  {body}", self.id.unwrap_or("without webhook-id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(verified: Option<bool>, error: Option<&str>, body: &'static [u8]) -> Message<'static> {
        Message { id: Some("j_5"), verified, error: error.map(str::to_owned), body }
    }

    #[test]
    fn what_came_is_told_with_its_judgement() {
        let body = br#"{"type": "longshore.job.completed"}"#;
        let told = |verified, error| message(verified, error, body).words();
        assert!(told(Some(true), None).starts_with("j_5  longshore.job.completed  verified\n  {"));
        assert!(told(None, None).contains("  not verified\n"));
        assert!(told(Some(false), Some("none of its")).contains("  REFUSED: none of its\n"));
    }

    #[test]
    fn what_is_no_json_is_told_as_text() {
        let odd = message(Some(true), None, b"hello");
        assert_eq!(odd.json(), json!({"id": "j_5", "verified": true, "error": null, "body": "hello"}));
        assert!(odd.words().contains("no event"));
    }
}
