//! The same door with TLS on it: callers who never finish a handshake, who speak something else, and who take nothing of an answer.

use std::path::Path;

use rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::tls::certificates::Certificates;
use crate::tls::trust::{self, Checks};

/// A door with a certificate of its own, and a caller who believes it.
struct Secured {
    server: Server,
    caller: TlsConnector,
    _dir: tempfile::TempDir,
}

impl Secured {
    async fn with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let certificates = Certificates::of(&cert, &key).unwrap().unwrap();
        let server = Server::speaking(Some(certificates.acceptor().unwrap()), change).await;
        Self { server, caller: believing(&cert), _dir: dir }
    }

    async fn shake_hands(&self) -> client::TlsStream<TcpStream> {
        let stream = self.server.connect().await;
        self.caller.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
    }

    async fn is_free_again(&self) {
        let end = Instant::now() + SOON;
        loop {
            let mut next = self.shake_hands().await;
            next.write_all(b"GET /now HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await.unwrap();
            if read_all(&mut next).await.ends_with("now") {
                return;
            }
            assert!(Instant::now() < end, "the seat is never free again");
        }
    }
}

fn believing(ca: &Path) -> TlsConnector {
    TlsConnector::from(Arc::new(trust::client(Some(ca), Checks::All, "api.tls.cert").unwrap()))
}

async fn read_all(stream: &mut client::TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    // An end without TLS's own goodbye is an end, too.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_handshake_has_its_time_and_the_first_head_after_it_its_own() {
    let secured = Secured::with(|settings| {
        settings.tls.handshake_timeout = LIMIT;
        settings.header_timeout = LIMIT * 3;
    })
    .await;
    let (mut silent, mut half) = (secured.server.connect().await, secured.server.connect().await);
    half.write_all(&[HANDSHAKE, 3, 1, 2, 0]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let (text, took) = rest(stream).await;
        assert!(text.is_empty() && took < SOON / 2, "{text:?} {took:?}");
    }
    let (began, mut slow) = (Instant::now(), secured.shake_hands().await);
    slow.write_all(b"GET /now HTTP/1.1\r\nhost: h").await.unwrap();
    assert!(!read_all(&mut slow).await.contains("200 OK"));
    assert!((LIMIT..SOON / 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    secured.is_free_again().await;
}

#[tokio::test]
async fn who_speaks_plain_http_to_tls_is_told_so_at_once_and_what_is_no_tls_is_let_go() {
    let secured = Secured::with(|_| ()).await;
    let mut plain = secured.server.connect().await;
    send(&mut plain, NOW).await;
    // It is closed by who spoke, once it has read its answer.
    let told = answer(&mut plain, "}").await;
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("call it as https://"), "{told}");
    let body = told.split_once("\r\n\r\n").unwrap().1;
    let problem: longshore_sdk::api::Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.problem_type, longshore_sdk::api::problem::MALFORMED_REQUEST);
    let mut garbage = secured.server.connect().await;
    garbage.write_all(&[HANDSHAKE; 200]).await.unwrap();
    assert!(rest(&mut garbage).await.1 < SOON / 2);
    secured.is_free_again().await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_over_tls() {
    let secured = Secured::with(|settings| settings.max_connections = 1).await;
    let first = secured.shake_hands().await;
    let mut second = secured.shake_hands().await;
    second.write_all(NOW.as_bytes()).await.unwrap();
    let mut told = [0; 12];
    second.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 503");
    drop((first, second));
    secured.is_free_again().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_over_tls_is_cut() {
    let secured = Secured::with(|settings| {
        settings.write_idle = LIMIT;
        settings.max_connections = 1;
    })
    .await;
    let mut reader = secured.shake_hands().await;
    reader.write_all(b"GET /flood HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut buffer = [0; 4096];
    reader.read_exact(&mut buffer).await.unwrap();
    // From here on it takes nothing, and its seat is free again.
    secured.is_free_again().await;
}
