//! Where a webhook may go: to public machines over https, and to what an operator allows beside. A URL is judged when it is given and
//! before every try; a name is resolved once a connection, every answer is judged, and the connection goes to what was judged.
//! It sends nothing. Which addresses are public is [`crate::storage::address`]'s.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::WebhookSettings;
use crate::storage::address::is_public;

/// The longest URL.
pub const MAX_URL_BYTES: usize = 2048;

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none.
    #[error("is no URL: {0}")]
    NoUrl(String),
    /// It is too long.
    #[error("is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// It would be read on its way.
    #[error("must begin with https://; http:// is taken only where webhooks.allow_http is set")]
    Scheme,
    /// It holds a name or a password.
    #[error("must hold no user and no password: the signature says who sends")]
    Userinfo,
    /// It leads to a machine that is not public.
    #[error(
        "leads to {0}, which is no public address; webhooks.allow_private names the networks that may be reached beside"
    )]
    Private(IpAddr),
}

/// Judges a URL by itself: an address in it in whatever notation, but no name.
///
/// # Errors
/// [`Refused`]
pub fn check(text: &str, settings: &WebhookSettings) -> Result<Url, Refused> {
    if text.len() > MAX_URL_BYTES {
        return Err(Refused::TooLong);
    }
    let url = Url::parse(text).map_err(|error| Refused::NoUrl(error.to_string()))?;
    if !(url.scheme() == "https" || url.scheme() == "http" && settings.allow_http) {
        return Err(Refused::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Userinfo);
    }
    match literal(&url) {
        Some(address) if !may_reach(address, &settings.allow_private) => Err(Refused::Private(address)),
        _ => Ok(url),
    }
}

/// The address that a URL names without a resolver. The parser has turned octal, hexadecimal and short forms into the usual one.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?.trim_end_matches('.');
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.ends_with(".localhost");
    host.parse().ok().or(local.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

fn may_reach(address: IpAddr, allowed: &[IpNet]) -> bool {
    let address = address.to_canonical();
    is_public(address) || allowed.iter().any(|net| net.contains(&address))
}

/// Resolves names for the client, and judges every answer.
pub(super) struct Guard {
    pub(super) allowed: Vec<IpNet>,
}

impl Guard {
    /// One answer that must not be reached refuses them all: the name is not to be trusted.
    fn judge(&self, found: &[SocketAddr]) -> Result<(), Refused> {
        let private = found.iter().map(SocketAddr::ip).find(|address| !may_reach(*address, &self.allowed));
        private.map_or(Ok(()), |address| Err(Refused::Private(address)))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Self { allowed: self.allowed.clone() };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            guard.judge(&found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The refusal behind a client's error, if that is its cause.
pub(super) fn refusal(error: &(dyn std::error::Error + 'static)) -> Option<Refused> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused.clone());
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
