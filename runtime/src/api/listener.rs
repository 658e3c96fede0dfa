//! The accept loop: how many connections, how long a request's head may take, how long a connection may idle, and how all end.
//! A client that is slow, silent or too many costs a seat for a known time and never the server. Bodies have their own limits
//! in [`super::body`]. Read [`pace`] for the head's deadline, [`crate::tls::certificates`] for what is shown over TLS.

mod pace;
#[cfg(test)]
mod tests;
mod unread;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::pace::{Pace, Paced};
use self::unread::lend;
use super::ApiSettings;
use super::auth::anonymous::{Address, Peer};
use crate::stop::Stop;

/// After a failed accept: usually there is no file descriptor left, and one may be free in a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Connections that are being told that there are too many. One more is closed without a word.
const MAX_REFUSALS: usize = 64;
/// How long it may take to tell one.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// What it is told, before its request is read.
const FULL: &str = "{\"type\":\"urn:longshore:problem:unavailable\",\"title\":\"Longshore cannot do this now\",\"status\":503,\
     \"detail\":\"the server has all the connections it takes; try again in a moment\"}";

/// What somebody is told who speaks plain HTTP where TLS is spoken.
const PLAIN: &str = "{\"type\":\"urn:longshore:problem:malformed_request\",\"title\":\"The request cannot be read\",\"status\":400,\
     \"detail\":\"this port speaks TLS: call it as https://\"}";
/// Begins every connection of TLS: a record of the handshake.
const HANDSHAKE: u8 = 22;

/// Serves until `stop`, then takes no more connections and lets the open calls end, at most for the shutdown's grace. With `tls`
/// it speaks nothing else.
///
/// # Errors
/// When the listener has no address. An accept that fails is tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: &ApiSettings,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let door = Door {
        router,
        settings: settings.clone(),
        tls,
        seats: Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS))),
        refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        connections: Stop::new(),
        stop,
    };
    let local = listener.local_addr()?.ip().is_loopback();
    while let Some((stream, from)) = door.next(&listener).await {
        door.admit(stream, Peer { is_local: local && from.ip().is_loopback() }, Address(from.ip()));
    }
    drop(listener);
    if !door.connections.finished(settings.shutdown_grace).await {
        tracing::warn!(grace = ?settings.shutdown_grace, "connections are cut: their calls do not end");
        door.connections.ask();
    }
    Ok(())
}

/// What every connection needs. `stop` asks for their end, `connections` is asked when they are to end at once.
struct Door {
    router: Router,
    settings: ApiSettings,
    tls: Option<TlsAcceptor>,
    seats: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    connections: Stop,
    stop: CancellationToken,
}

impl Door {
    /// The next connection; `None` when the server stops.
    async fn next(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = self.stop.run_until_cancelled(listener.accept()).await?;
            match accepted {
                Ok((stream, from)) => return Some((stream, from)),
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: Peer, from: Address) {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            let visit = Visit { peer, from, router: self.router.clone(), stop: self.stop.clone() };
            let (settings, tls, cut) = (self.settings.clone(), self.tls.clone(), self.connections.token());
            self.connections.spawn_quiet(async move {
                cut.run_until_cancelled(welcome(stream, tls, visit, &settings)).await;
                drop(seat);
            });
        } else if let Ok(turn) = Arc::clone(&self.refusals).try_acquire_owned() {
            let tls = self.tls.clone();
            self.connections.spawn_quiet(async move {
                // Who does not listen is not told.
                let _ = tokio::time::timeout(REFUSAL_TIME, turn_away(stream, tls)).await;
                drop(turn);
            });
        }
    }
}

/// What a connection is let in with.
struct Visit {
    peer: Peer,
    from: Address,
    router: Router,
    stop: CancellationToken,
}

/// One connection from its accept to its end.
async fn welcome(stream: TcpStream, tls: Option<TlsAcceptor>, visit: Visit, settings: &ApiSettings) {
    // A small answer must not wait for the acknowledgement of the one before. One that is gone already shows at the read.
    let _ = stream.set_nodelay(true);
    let pace = Arc::new(Pace::default());
    let Some(tls) = tls else {
        let stream = Paced::new(stream, Arc::clone(&pace), settings.header_timeout, settings.write_idle);
        return converse(stream, pace, visit, settings).await;
    };
    match tokio::time::timeout(settings.tls.handshake_timeout, shake_hands(stream, &tls, &pace, settings)).await {
        Ok(Ok(stream)) => converse(stream, pace, visit, settings).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(after = ?settings.tls.handshake_timeout, "a TLS handshake was given up"),
    }
}

/// Paced below TLS, not above: above, what waits to be written would be in TLS's own buffer, and nobody would see that it waits.
async fn shake_hands(
    stream: TcpStream,
    tls: &TlsAcceptor,
    pace: &Arc<Pace>,
    settings: &ApiSettings,
) -> std::io::Result<TlsStream<Paced<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        refuse(stream, "400 Bad Request", PLAIN).await?;
        return Err(std::io::Error::other("the caller does not speak TLS"));
    }
    tls.accept(Paced::new(stream, Arc::clone(pace), settings.header_timeout, settings.write_idle)).await
}

/// One connection from its first request to its end.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    pace: Arc<Pace>,
    visit: Visit,
    settings: &ApiSettings,
) {
    let Visit { peer, from, router, stop } = visit;
    let body_idle = settings.body_idle;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(from);
        paced(router.clone(), request, Arc::clone(&pace), body_idle)
    });
    let mut http = http1::Builder::new();
    // hyper's own limit on a head runs from the last answer on: it is the limit on idleness.
    http.timer(TokioTimer::new()).header_read_timeout(settings.idle_timeout).max_buf_size(settings.max_header_bytes);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke or was closed");
    }
}

async fn paced(
    router: Router,
    request: Request<Incoming>,
    pace: Arc<Pace>,
    body_idle: Duration,
) -> Result<Response, Infallible> {
    let _turn = pace.begin();
    let (request, unread) = lend(request);
    let answer = TowerToHyperService::new(router).call(request).await;
    unread.pass_over(body_idle).await;
    answer
}

async fn turn_away(stream: TcpStream, tls: Option<TlsAcceptor>) -> std::io::Result<()> {
    let status = "503 Service Unavailable\r\nretry-after: 2";
    match tls {
        Some(tls) => refuse(tls.accept(stream).await?, status, FULL).await,
        None => refuse(stream, status, FULL).await,
    }
}

/// Reads what was sent before it closes: else the kernel would throw the answer away with it.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: &str, problem: &str) -> std::io::Result<()> {
    let typed = format!("content-type: application/problem+json\r\ncontent-length: {}", problem.len());
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{typed}");
    stream.write_all(format!("{head}\r\n\r\n{problem}").as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
