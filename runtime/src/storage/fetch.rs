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
mod tests;
