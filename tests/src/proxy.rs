//! A wire that can be cut: a TCP proxy between the system and a server of ours.
//!
//! It knows nothing of what it carries and never changes a byte. It can reset every connection, refuse new ones, hold what
//! is under way (the half-open connection no one notices), delay it, let it through by drips, and lead to another server from now on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Error, ReadHalf, Result as IoResult, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ports;

/// How many pieces of 16 KiB may be on the wire: enough for a delayed stream, little enough that a held one backs up.
const WIRE: usize = 64;

/// A proxy on a port of its own. Dropping it resets its connections and closes the port.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    controls: watch::Sender<Controls>,
    listening: watch::Receiver<bool>,
    connections: Arc<AtomicUsize>,
    marks: Arc<Marks>,
    task: JoinHandle<()>,
}

/// What became of what it carried.
#[derive(Debug, Default)]
struct Marks {
    /// Connections that were cut.
    cut: AtomicUsize,
    /// Bytes that were held, delayed, or let through by drips.
    hindered: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Controls {
    /// Connections made under another number are reset.
    cuts: u64,
    refuse: bool,
    hold: bool,
    delay: Duration,
    /// Where new connections lead, if not to the server it was made for.
    elsewhere: Option<SocketAddr>,
    /// At most so many bytes at once, with a pause after each; 0: no limit.
    drip: usize,
}

impl Controls {
    fn hinders(self) -> bool {
        self.hold || !self.delay.is_zero() || self.drip > 0
    }
}

/// The pause between two drips.
const DRIP_EVERY: Duration = Duration::from_millis(10);

impl Proxy {
    /// A proxy before the server that a URL names.
    pub async fn before(url: &str) -> Result<Proxy> {
        let server = address(url)?;
        let port = ports::free()?;
        let (controls, watched) = watch::channel(Controls::default());
        let (up, mut listening) = watch::channel(false);
        let connections = Arc::new(AtomicUsize::new(0));
        let marks = Arc::new(Marks::default());
        let (counted, marked) = (Arc::clone(&connections), Arc::clone(&marks));
        let door = Door { port, server, controls: watched, up, connections: counted, marks: marked };
        let task = tokio::spawn(door.keep());
        listening.wait_for(|up| *up).await.context("the proxy can't listen on its port")?;
        Ok(Proxy { url: through(url, port)?, controls, listening, connections, marks, task })
    }

    /// The server's URL by way of this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many connections it carries now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections it has cut so far.
    pub fn has_cut(&self) -> usize {
        self.marks.cut.load(Ordering::SeqCst)
    }

    /// How many bytes so far met it while it held, delayed or throttled.
    pub fn has_hindered(&self) -> usize {
        self.marks.hindered.load(Ordering::SeqCst)
    }

    /// Resets every connection there is; new ones get through.
    pub fn cut(&self) {
        self.controls.send_modify(|controls| controls.cuts += 1);
    }

    /// Refuses new connections, or takes them again. The port has been closed or opened when this returns.
    pub async fn refuse(&self, refuse: bool) -> Result<()> {
        self.controls.send_modify(|controls| controls.refuse = refuse);
        self.listening.clone().wait_for(|up| *up != refuse).await.context("the proxy has stopped")?;
        Ok(())
    }

    /// Holds everything under way, in both directions, without a word to either side.
    pub fn pause(&self) {
        self.controls.send_modify(|controls| controls.hold = true);
    }

    /// Lets what was held go on.
    pub fn resume(&self) {
        self.controls.send_modify(|controls| controls.hold = false);
    }

    /// Delays every byte from now on, each direction by itself.
    pub fn delay(&self, delay: Duration) {
        self.controls.send_modify(|controls| controls.delay = delay);
    }

    /// Leads new connections to another server, as a balancer does that gives one up; those that there are stay where they are.
    pub fn lead_to(&self, url: &str) -> Result<()> {
        let elsewhere = Some(address(url)?);
        self.controls.send_modify(|controls| controls.elsewhere = elsewhere);
        Ok(())
    }

    /// Lets through so many bytes a second from now on, in each direction of each connection; 0: as many as come.
    pub fn throttle(&self, bytes_a_second: usize) {
        let drip = bytes_a_second.div_ceil(1000 / usize::try_from(DRIP_EVERY.as_millis()).unwrap_or(1));
        self.controls.send_modify(|controls| controls.drip = drip);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections end by themselves when `controls` is dropped with us.
        self.task.abort();
    }
}

/// The listening side.
struct Door {
    port: u16,
    server: SocketAddr,
    controls: watch::Receiver<Controls>,
    up: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
    marks: Arc<Marks>,
}

impl Door {
    /// Listens unless told to refuse, until the proxy is dropped.
    async fn keep(mut self) {
        while self.controls.wait_for(|controls| !controls.refuse).await.is_ok() {
            // The port is ours alone (see `ports.rs`); should it fail all the same, whoever waits for `up` learns it.
            let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await else { return };
            self.up.send_replace(true);
            self.serve(listener).await;
            self.up.send_replace(false);
        }
    }

    async fn serve(&self, listener: TcpListener) {
        let mut controls = self.controls.clone();
        loop {
            tokio::select! {
                // A closed port is what refuses: taking a connection and dropping it would be another failure.
                _ = controls.wait_for(|controls| controls.refuse) => return,
                Ok((client, _)) = listener.accept() => self.carry(client),
            }
        }
    }

    fn carry(&self, client: TcpStream) {
        let server = self.controls.borrow().elsewhere.unwrap_or(self.server);
        let (controls, connections) = (self.controls.clone(), Arc::clone(&self.connections));
        let marks = Arc::clone(&self.marks);
        connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            // Whatever ends a connection, both sides see it end, and that is all there is to tell.
            let _ = connection(client, server, controls, &marks).await;
            connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn connection(
    client: TcpStream,
    server: SocketAddr,
    controls: watch::Receiver<Controls>,
    marks: &Marks,
) -> IoResult<()> {
    let cuts = controls.borrow().cuts;
    let Ok(server) = TcpStream::connect(server).await else { return client.set_zero_linger() };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let carried = async {
        let there = pump(&mut from_client, &mut to_server, controls.clone(), marks);
        let back = pump(&mut from_server, &mut to_client, controls.clone(), marks);
        tokio::try_join!(there, back).is_ok()
    };
    let mut knife = controls.clone();
    let orderly = tokio::select! {
        _ = knife.wait_for(|controls| controls.cuts != cuts) => {
            marks.cut.fetch_add(1, Ordering::SeqCst);
            false
        }
        orderly = carried => orderly,
    };
    if !orderly {
        // Closing with zero linger is a reset, as from a cut cable or a dead machine.
        from_client.unsplit(to_client).set_zero_linger()?;
        from_server.unsplit(to_server).set_zero_linger()?;
    }
    Ok(())
}

/// One direction, in two halves so that a delay adds to the way and not to every piece.
async fn pump(from: &mut From, to: &mut To, controls: watch::Receiver<Controls>, marks: &Marks) -> IoResult<()> {
    let (wire, end) = mpsc::channel(WIRE);
    tokio::try_join!(take(from, wire, controls.clone(), marks), give(end, to, controls)).map(|_| ())
}

type From = ReadHalf<TcpStream>;
type To = WriteHalf<TcpStream>;
type Piece = (Instant, Vec<u8>);

async fn take(
    from: &mut From,
    wire: mpsc::Sender<Piece>,
    controls: watch::Receiver<Controls>,
    marks: &Marks,
) -> IoResult<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        let now = *controls.borrow();
        if now.hinders() {
            marks.hindered.fetch_add(length, Ordering::SeqCst);
        }
        let due = Instant::now() + now.delay;
        // An empty piece is the orderly end of the stream: it takes its turn behind the bytes.
        wire.send((due, buffer[..length].to_vec())).await.map_err(Error::other)?;
        if length == 0 {
            return Ok(());
        }
    }
}

async fn give(mut end: mpsc::Receiver<Piece>, to: &mut To, mut controls: watch::Receiver<Controls>) -> IoResult<()> {
    while let Some((due, piece)) = end.recv().await {
        tokio::time::sleep_until(due).await;
        controls.wait_for(|controls| !controls.hold).await.map_err(Error::other)?;
        match piece.is_empty() {
            true => to.shutdown().await?,
            false => pour(to, &piece, &controls).await?,
        }
    }
    Ok(())
}

async fn pour(to: &mut To, mut piece: &[u8], controls: &watch::Receiver<Controls>) -> IoResult<()> {
    while !piece.is_empty() {
        let drip = controls.borrow().drip;
        if drip == 0 {
            return to.write_all(piece).await;
        }
        let (now, later) = piece.split_at(drip.min(piece.len()));
        to.write_all(now).await?;
        tokio::time::sleep(DRIP_EVERY).await;
        piece = later;
    }
    Ok(())
}

/// Where the server that a URL names listens.
pub(crate) fn address(url: &str) -> Result<SocketAddr> {
    let (_, authority, _) = parts(url)?;
    authority.parse().with_context(|| format!("{authority} is no address: our servers are named by number"))
}

fn through(url: &str, port: u16) -> Result<String> {
    let (before, _, after) = parts(url)?;
    Ok(format!("{before}127.0.0.1:{port}{after}"))
}

/// Splits a URL around its `host:port`.
fn parts(url: &str) -> Result<(&str, &str, &str)> {
    let start = url.find("://").with_context(|| format!("{url} is no URL"))? + "://".len();
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    Ok((&url[..start], &url[start..end], &url[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_through_the_proxy_differs_in_its_address_alone() {
        let url = "postgres://me:secret@127.0.0.1:5432/jobs?sslmode=disable";
        assert_eq!(through(url, 7).unwrap(), "postgres://me:secret@127.0.0.1:7/jobs?sslmode=disable");
        assert_eq!(through("http://127.0.0.1:80", 7).unwrap(), "http://127.0.0.1:7");
        assert_eq!(address("amqp://guest:guest@127.0.0.1:5672/%2f").unwrap().port(), 5672);
    }
}
