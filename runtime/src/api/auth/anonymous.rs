//! Who may come without a key: by default who is on the server's own machine, as the person who started it is. A browser is on
//! that machine too, and acts for every page it shows, and so is a proxy, which acts for the world: both are known by what they send.
//! Pure. Read [`super`] for who asks.

use std::net::IpAddr;

use axum::http::header::{FORWARDED, HOST, HeaderName, ORIGIN, VIA};
use axum::http::{HeaderMap, Uri};

use super::Anonymous;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Peer {
    /// Both ends are on this machine, and the server listens to no other.
    pub(in crate::api) is_local: bool,
}

/// The other end's address.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Address(pub(in crate::api) IpAddr);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Whether a request without credentials is answered.
pub(in crate::api) fn is_welcome(rule: Anonymous, peer: Option<Peer>, headers: &HeaderMap) -> bool {
    match rule {
        Anonymous::Always => true,
        Anonymous::Never => false,
        Anonymous::Loopback => peer.is_some_and(|peer| peer.is_local) && !is_anothers(headers),
    }
}

/// Whether it was sent in the name of somebody elsewhere: by a proxy, by a page of another site, or by one whose name was made to
/// lead here.
fn is_anothers(headers: &HeaderMap) -> bool {
    let proxied = [FORWARDED, VIA, FORWARDED_FOR, FORWARDED_HOST, REAL_IP];
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(HOST);
    let foreign_page = text(ORIGIN).is_some_and(|origin| origin.split_once("://").map(|(_, host)| host) != host);
    proxied.iter().any(|name| headers.contains_key(name)) || foreign_page || !host.is_none_or(names_this_machine)
}

fn names_this_machine(host: &str) -> bool {
    let Some(name) = host.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)) else { return false };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<Peer> = Some(Peer { is_local: true });

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_caller_on_the_same_machine_needs_no_key_and_any_other_does() {
        let plain = headers(&[("host", "127.0.0.1:7070")]);
        assert!(is_welcome(Anonymous::Loopback, HERE, &plain));
        for elsewhere in [Some(Peer { is_local: false }), None] {
            assert!(!is_welcome(Anonymous::Loopback, elsewhere, &plain));
            assert!(is_welcome(Anonymous::Always, elsewhere, &plain));
        }
        assert!(!is_welcome(Anonymous::Never, HERE, &plain));
    }

    #[test]
    fn a_proxy_a_foreign_page_and_a_name_made_to_lead_here_need_a_key() {
        let host = ("host", "localhost:7070");
        for good in [
            vec![],
            vec![host],
            vec![("host", "[::1]:7070")],
            vec![("host", "a.localhost")],
            vec![host, ("origin", "http://localhost:7070")],
        ] {
            assert!(is_welcome(Anonymous::Loopback, HERE, &headers(&good)), "{good:?}");
        }
        for bad in [
            vec![host, ("x-forwarded-for", "203.0.113.7")],
            vec![host, ("forwarded", "for=203.0.113.7")],
            vec![host, ("via", "1.1 proxy")],
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "null")],
            vec![("host", "evil.example:7070")],
            vec![("host", "localhost.evil.example")],
            vec![("host", "192.0.2.7:7070")],
        ] {
            assert!(!is_welcome(Anonymous::Loopback, HERE, &headers(&bad)), "{bad:?}");
        }
    }
}
