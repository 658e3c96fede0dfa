//! An input from an `http(s)` address, for operators who allow it. Every address its name resolves to must be public, and
//! the connection goes to an address that was checked, so that a name cannot change its mind in between.
//! It follows no redirect and uses no proxy: both would lead where nothing was checked.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use longshore_sdk::context::Input;
use longshore_sdk::{Failure, Result};
use reqwest::{Response, StatusCode, Url};

use super::location::install_tls;
use super::source::{forbidden, missing, save, too_large};
use super::{StorageSettings, address};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is silent for so long is given up; the whole is limited by the attempt's own timeout.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn fetch(settings: &StorageSettings, url: &Url, target: &Path) -> Result<Input> {
    let addresses = resolve(url).await?;
    if !settings.allow_private_addresses && !addresses.iter().all(|found| address::is_public(found.ip())) {
        return Err(forbidden("the address leads to a machine that is not public (`storage.allow_private_addresses`)"));
    }
    let answer = client(url, &addresses)?.get(url.clone()).send().await.map_err(silent)?;
    judge(&answer, settings.max_input_bytes)?;
    save(answer.bytes_stream(), target, settings.max_input_bytes).await
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or_default();
    let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| unavailable("its name does not resolve in time"))?;
    Ok(found.map_err(|error| unavailable(&error))?.collect())
}

fn client(url: &Url, addresses: &[SocketAddr]) -> Result<reqwest::Client> {
    install_tls();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .resolve_to_addrs(url.host_str().unwrap_or_default(), addresses)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build();
    client.map_err(|error| unavailable(&error))
}

fn judge(answer: &Response, limit: u64) -> Result<()> {
    match answer.status() {
        StatusCode::OK if answer.content_length().is_some_and(|bytes| bytes > limit) => Err(too_large(limit)),
        StatusCode::OK => Ok(()),
        status if status.is_redirection() => Err(forbidden("the server redirects; name the final address")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(forbidden("the server does not let us read it")),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(unavailable(&answer.status())),
        status if status.is_server_error() => Err(unavailable(&status)),
        status => Err(missing(&format!("the server answers {status}"))),
    }
}

fn silent(error: reqwest::Error) -> Failure {
    unavailable(&error.without_url())
}

fn unavailable(why: &(impl std::fmt::Display + ?Sized)) -> Failure {
    Failure::retry("source_unavailable", format!("the source does not answer: {why}"))
}

#[cfg(test)]
mod tests {
    use axum::response::Redirect;
    use axum::routing::get;
    use longshore_sdk::ErrorReport;

    use super::*;
    use crate::stop::Stop;

    struct Server {
        url: String,
        scratch: tempfile::TempDir,
        settings: StorageSettings,
    }

    async fn server() -> Server {
        let router = axum::Router::new()
            .route("/ten", get(|| async { "0123456789" }))
            .route("/endless", get(|| async { axum::body::Body::from_stream(endless()) }))
            .route("/moved", get(|| async { Redirect::temporary("/ten") }))
            .route("/ill", get(|| async { StatusCode::BAD_GATEWAY }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Stop::new().spawn("server", async move { drop(axum::serve(listener, router).await) });
        let settings =
            StorageSettings { allow_private_addresses: true, max_input_bytes: 10, ..StorageSettings::default() };
        Server { url, scratch: tempfile::tempdir().unwrap(), settings }
    }

    fn endless() -> impl futures_util::Stream<Item = std::result::Result<&'static str, std::io::Error>> {
        futures_util::stream::repeat_with(|| Ok("0123"))
    }

    impl Server {
        async fn fetch(&self, path: &str) -> Result<Input> {
            let url = format!("{}{path}", self.url).parse().unwrap();
            fetch(&self.settings, &url, &self.scratch.path().join("input")).await
        }

        async fn fatal(&self, path: &str) -> ErrorReport {
            match self.fetch(path).await {
                Err(Failure::Fatal(report)) => report,
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_input_is_fetched_to_the_scratch_directory() {
        let input = server().await.fetch("/ten").await.unwrap();
        assert_eq!(input.bytes, 10);
    }

    #[tokio::test]
    async fn a_larger_input_is_refused_whether_its_length_is_told_or_not() {
        let mut server = server().await;
        assert_eq!(server.fatal("/endless").await.code, "source_too_large");
        server.settings.max_input_bytes = 9;
        assert_eq!(server.fatal("/ten").await.code, "source_too_large");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_a_missing_file_is_not_waited_for() {
        let server = server().await;
        assert_eq!(server.fatal("/moved").await.code, "source_forbidden");
        assert_eq!(server.fatal("/none").await.code, "source_missing");
    }

    #[tokio::test]
    async fn a_server_that_is_ill_or_gone_is_worth_another_attempt() {
        let server = server().await;
        assert!(matches!(server.fetch("/ill").await, Err(Failure::Retry { .. })));
        let gone = "http://127.0.0.1:1/".parse().unwrap();
        let answer = fetch(&server.settings, &gone, &server.scratch.path().join("gone")).await;
        assert!(matches!(answer, Err(Failure::Retry { .. })));
    }

    #[tokio::test]
    async fn a_machine_that_is_not_public_is_refused_however_it_is_written() {
        let mut server = server().await;
        server.settings.allow_private_addresses = false;
        assert_eq!(server.fatal("/ten").await.code, "source_forbidden");
        let port = server.url.rsplit(':').next().unwrap().to_owned();
        for host in ["localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "017700000001"] {
            server.url = format!("http://{host}:{port}");
            assert_eq!(server.fatal("/ten").await.code, "source_forbidden", "{host}");
        }
    }
}
