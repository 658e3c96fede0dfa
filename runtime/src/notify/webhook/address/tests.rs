//! Every special block of IANA's registries, in every notation that a URL can hide an address in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

/// https://www.iana.org/assignments/iana-ipv4-special-registry, without the blocks that are reachable from everywhere, and multicast.
const V4: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
];

/// https://www.iana.org/assignments/iana-ipv6-special-registry, and site-local, multicast and what wraps an address of version 4.
const V6: [&str; 20] = [
    "::/128",
    "::1/128",
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

fn settings(allowed: &[&str]) -> WebhookSettings {
    let allow_private = allowed.iter().map(|net| net.parse().unwrap()).collect();
    WebhookSettings { allow_http: true, allow_private, ..WebhookSettings::default() }
}

/// The first, the middle and the last address of a block.
fn three(block: &str) -> [IpAddr; 3] {
    match block.parse::<IpNet>().unwrap() {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, first + (last - first) / 2, last].map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, first + (last - first) / 2, last].map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// Everything that a URL may write for an address of version 4.
fn notations(address: Ipv4Addr) -> Vec<String> {
    let bits = address.to_bits();
    let [a, b, c, d] = address.octets();
    let (high, low) = (bits >> 16, bits & 0xffff);
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{bits}"),
        format!("{bits:#x}"),
        format!("0{bits:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{b}.{low}"),
        format!("{a}.{}", bits & 0xff_ffff),
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[::{address}]"),
        format!("[64:ff9b::{address}]"),
        format!("[2002:{high:x}:{low:x}::]"),
        format!("[2001:0:{high:x}:{low:x}::1]"),
        format!("{address}:8443"),
    ]
}

#[test]
fn no_special_address_is_reached_in_whatever_notation() {
    let v4 = V4.iter().flat_map(|block| three(block)).filter_map(|address| match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let mut hosts: Vec<String> = v4.flat_map(notations).collect();
    hosts.extend(V6.iter().flat_map(|block| three(block)).map(|address| format!("[{address}]")));
    assert!(hosts.len() >= 400, "{}", hosts.len());
    for host in hosts {
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://{host}/hook");
            assert!(matches!(check(&url, &settings(&[])), Err(Refused::Private(_))), "{url}");
        }
    }
}

#[test]
fn what_looks_like_another_host_is_the_one_it_leads_to() {
    let hidden = [
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "https://127\u{3002}0\u{3002}0\u{3002}1/",
        "https://%31%32%37.0.0.1/",
        "https://127.0.0.1\\@example.com/",
        "https:127.0.0.1/",
        "https:\\\\127.0.0.1/",
        " https://127.0.0.1/",
        "https://127.1",
        "https://0/",
    ];
    for url in hidden {
        assert!(matches!(check(url, &settings(&[])), Err(Refused::Private(_))), "{url}");
    }
}

#[test]
fn what_is_no_plain_address_is_refused_with_the_reason() {
    let named = |url: &str| check(url, &WebhookSettings::default()).unwrap_err();
    for url in
        ["", "hook", "//example.com", "https://", "https://[fe80::1%25eth0]/", "https://256.1.1.1/", "https://a b/"]
    {
        assert!(matches!(named(url), Refused::NoUrl(_)), "{url}: {:?}", named(url));
    }
    for url in ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "data:,x"] {
        assert_eq!(named(url), Refused::Scheme, "{url}");
    }
    for url in ["https://user@example.com/", "https://user:word@example.com/", "https://:word@example.com/"] {
        assert_eq!(named(url), Refused::Userinfo, "{url}");
    }
    assert_eq!(named(&format!("https://example.com/{}", "a".repeat(MAX_URL_BYTES))), Refused::TooLong);
}

#[test]
fn a_public_address_is_taken() {
    let public =
        ["https://example.com/hook?a=b", "https://example.com:8443/", "https://1.1.1.1/", "https://[2606:4700::1111]/"];
    for url in public.into_iter().chain(["https://xn--bcher-kva.example/", "https://b\u{fc}cher.example/"]) {
        assert!(check(url, &WebhookSettings::default()).is_ok(), "{url}");
    }
}

#[test]
fn an_allowed_network_is_reached_and_no_other() {
    let settings = settings(&["127.0.0.0/8", "fd00::/8"]);
    for url in ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::ffff:127.0.0.1]/", "https://[fd12::1]/"] {
        assert!(check(url, &settings).is_ok(), "{url}");
    }
    for url in ["http://10.0.0.1/", "http://[::1]/", "http://[fc00::1]/", "http://169.254.169.254/latest/meta-data/"] {
        assert!(matches!(check(url, &settings), Err(Refused::Private(_))), "{url}");
    }
}

#[test]
fn one_answer_that_is_not_public_refuses_a_name() {
    let guard = Guard { allowed: vec!["10.1.0.0/16".parse().unwrap()] };
    let judge = |answers: &[&str]| {
        let answers: Vec<SocketAddr> = answers.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        guard.judge(&answers)
    };
    assert_eq!(judge(&["1.1.1.1", "10.1.2.3", "2606:4700::1111"]), Ok(()));
    assert_eq!(judge(&["1.1.1.1", "10.2.0.1"]), Err(Refused::Private("10.2.0.1".parse().unwrap())));
    assert_eq!(judge(&["2606:4700::1111", "::1"]), Err(Refused::Private("::1".parse().unwrap())));
}
