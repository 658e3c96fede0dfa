//! Clients that are slow, silent or too many, and a server that stops under them; all over real sockets.

mod tls;

use std::net::SocketAddr;
use std::time::Instant;

use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    entered: Arc<Notify>,
    answer: Arc<Notify>,
}

impl Server {
    /// `/now` answers at once; `/flood` never ends; `/held` says that it was entered and answers when it is told to.
    async fn with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        Self::speaking(None, change).await
    }

    async fn speaking(tls: Option<TlsAcceptor>, change: impl FnOnce(&mut ApiSettings)) -> Self {
        let mut settings = ApiSettings::default();
        change(&mut settings);
        let (entered, answer): (Arc<Notify>, Arc<Notify>) = Default::default();
        let (tell, told) = (entered.clone(), answer.clone());
        let held = async move || {
            tell.notify_one();
            told.notified().await;
            "late"
        };
        let router = Router::new().route("/now", get(async || "now")).route("/held", get(held));
        let flood = || {
            std::future::ready(Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(
                &[b'x'; 65_536],
            )))))
        };
        let router = router.route("/flood", get(flood));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let token = stop.clone();
        #[expect(clippy::disallowed_methods, reason = "a test's own task, awaited at its end")]
        let serving = tokio::spawn(async move { serve(listener, router, &settings, tls, token).await });
        Self { address, stop, serving, entered, answer }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until a seat is free again.
    async fn is_free_again(&self) {
        let end = Instant::now() + SOON;
        loop {
            let mut next = self.connect().await;
            send(&mut next, "GET /now HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await;
            if rest(&mut next).await.0.ends_with("now") {
                return;
            }
            assert!(Instant::now() < end, "the seat is never free again");
        }
    }

    async fn ended(self) {
        tokio::time::timeout(SOON, self.serving).await.expect("the server does not stop").unwrap().unwrap();
    }
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Everything up to the end of the connection, and how long that took.
async fn rest(stream: &mut TcpStream) -> (String, Duration) {
    let (began, mut bytes) = (Instant::now(), Vec::new());
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    let _ = read.expect("the connection stays open");
    (String::from_utf8_lossy(&bytes).into_owned(), began.elapsed())
}

/// One answer of a connection that stays open.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut byte = [0; 1];
    while !text.ends_with(end) {
        let read = tokio::time::timeout(SOON, stream.read_exact(&mut byte)).await;
        read.unwrap_or_else(|_| panic!("no more after {text:?}")).unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

const NOW: &str = "GET /now HTTP/1.1\r\nhost: here\r\n\r\n";
const LIMIT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_half_sent_head_is_closed_in_time_the_first_as_any_later_one() {
    let server = Server::with(|settings| settings.header_timeout = LIMIT).await;
    for before in [false, true] {
        let mut slow = server.connect().await;
        if before {
            send(&mut slow, NOW).await;
            answer(&mut slow, "\r\n\r\nnow").await;
        }
        send(&mut slow, "GET /now HTTP/1.1\r\nhost: h").await;
        let (text, took) = rest(&mut slow).await;
        assert!(!text.contains("200 OK") && took >= LIMIT / 2 && took < SOON / 2, "{before} {text:?} {took:?}");
    }
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await.0, "");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_heads_limit_and_is_closed_at_its_own() {
    let server = Server::with(|settings| {
        (settings.header_timeout, settings.idle_timeout) = (LIMIT / 3, LIMIT * 3);
    })
    .await;
    let mut client = server.connect().await;
    send(&mut client, NOW).await;
    answer(&mut client, "\r\n\r\nnow").await;
    let (text, took) = rest(&mut client).await;
    assert!(text.is_empty() && took >= LIMIT && took < SOON / 2, "{text:?} {took:?}");
}

#[tokio::test]
async fn a_call_may_take_longer_than_its_head() {
    let server = Server::with(|settings| settings.header_timeout = LIMIT / 3).await;
    let mut client = server.connect().await;
    send(&mut client, "GET /held HTTP/1.1\r\nhost: here\r\n\r\n").await;
    server.entered.notified().await;
    // The head's limit passes while nothing is sent.
    assert!(tokio::time::timeout(LIMIT, client.readable()).await.is_err(), "it was cut or answered");
    server.answer.notify_one();
    answer(&mut client, "\r\n\r\nlate").await;
}

#[tokio::test]
async fn a_head_past_its_size_is_refused() {
    let server = Server::with(|settings| settings.max_header_bytes = 8192).await;
    let mut client = server.connect().await;
    send(&mut client, &format!("GET /now HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(9000))).await;
    let (text, _) = rest(&mut client).await;
    assert!(text.starts_with("HTTP/1.1 431 "), "{text:?}");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_the_next_is_served_when_one_has_gone() {
    let server = Server::with(|settings| settings.max_connections = 1).await;
    let mut first = server.connect().await;
    send(&mut first, NOW).await;
    answer(&mut first, "\r\n\r\nnow").await;
    let mut second = server.connect().await;
    send(&mut second, NOW).await;
    let (text, _) = rest(&mut second).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 2"), "{text}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
    let problem: longshore_sdk::api::Problem = serde_json::from_str(body).unwrap();
    assert_eq!(problem.problem_type, longshore_sdk::api::problem::UNAVAILABLE);
    drop(first);
    server.is_free_again().await;
}

#[tokio::test]
async fn a_shutdown_lets_an_open_call_end_and_takes_no_other() {
    let server = Server::with(|_| ()).await;
    let (mut held, mut idle) = (server.connect().await, server.connect().await);
    send(&mut idle, NOW).await;
    answer(&mut idle, "\r\n\r\nnow").await;
    send(&mut held, "GET /held HTTP/1.1\r\nhost: here\r\n\r\n").await;
    server.entered.notified().await;
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await.0, "", "an idle connection is closed");
    assert!(TcpStream::connect(server.address).await.is_err(), "the door is shut");
    server.answer.notify_one();
    assert!(rest(&mut held).await.0.ends_with("late"));
    server.ended().await;
}

#[tokio::test]
async fn a_call_that_never_ends_is_cut_when_the_grace_is_over() {
    let server = Server::with(|settings| settings.shutdown_grace = LIMIT).await;
    let mut held = server.connect().await;
    send(&mut held, "GET /held HTTP/1.1\r\nhost: here\r\n\r\n").await;
    server.entered.notified().await;
    server.stop.cancel();
    let (text, took) = rest(&mut held).await;
    assert!(text.is_empty() && took >= LIMIT / 2, "{text:?} {took:?}");
    server.ended().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_one_that_goes_on_reading_is_not() {
    let server = Server::with(|settings| {
        settings.write_idle = LIMIT;
        settings.max_connections = 1;
    })
    .await;
    let mut reader = server.connect().await;
    send(&mut reader, "GET /flood HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let (began, mut buffer) = (Instant::now(), [0; 4096]);
    while began.elapsed() < LIMIT * 3 {
        tokio::time::timeout(SOON, reader.read_exact(&mut buffer)).await.expect("it is served").expect("it is not cut");
    }
    // From here on it takes nothing, and its seat is free again.
    server.is_free_again().await;
}
