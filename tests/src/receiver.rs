//! A receiver of webhooks: answers as a story tells it to, and keeps all that came. HTTP/1.1 on the loopback, plain or over TLS, one
//! request after the other on each connection. It verifies nothing: that is the story's, by whatever library it wants to hear.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Issued;
use crate::ports;
use crate::until::poll;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// By their lower-case names.
    pub headers: BTreeMap<String, String>,
    /// Byte for byte.
    pub body: Vec<u8>,
}

/// What it is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status; 0: no answer ever comes.
    pub status: u16,
    /// A header beside the necessary ones, such as `retry-after: 1`.
    pub header: Option<&'static str>,
    /// The body.
    pub body: String,
}

/// Answers the nth request, from 0.
type Script = Arc<dyn Fn(usize, &Received) -> Reply + Send + Sync>;

/// A running receiver; it stops when dropped, and keeps what came.
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    script: Script,
    tls: Option<TlsAcceptor>,
    serving: Option<JoinHandle<()>>,
}

impl Reply {
    /// With this status and nothing else.
    pub fn of(status: u16) -> Self {
        Self { status, header: None, body: String::new() }
    }

    /// None: whoever sent it waits until one of the two is gone.
    pub fn never() -> Self {
        Self::of(0)
    }
}

impl Received {
    /// One header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }
}

impl Receiver {
    /// One that answers by this script.
    pub async fn start(script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Result<Self> {
        Self::serving(script, None).await
    }

    /// The same behind this certificate, and nothing in the clear.
    pub async fn start_tls(
        issued: &Issued,
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let certificates = CertificateDer::pem_file_iter(&issued.cert)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&issued.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(certificates, key)?;
        Self::serving(script, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serving(
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let (received, script) = (Arc::default(), Arc::new(script));
        let mut receiver = Self { address, received, script, tls, serving: None };
        receiver.restart().await?;
        Ok(receiver)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/hook", self.address)
    }

    /// Stops listening: connections are refused, and those that are open are cut.
    pub fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }

    /// Listens again, where it was.
    pub async fn restart(&mut self) -> Result<()> {
        let bind = || async { TcpListener::bind(self.address).await.ok() };
        let listener = poll("the receiver's port to be free", Duration::from_secs(20), bind).await?;
        let (received, script, tls) = (Arc::clone(&self.received), Arc::clone(&self.script), self.tls.clone());
        self.serving = Some(tokio::spawn(async move {
            // Its connections go with it.
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    came = listener.accept() => {
                        let Ok((stream, _)) = came else { return };
                        // A connection that breaks off brought nothing.
                        open.spawn(answered(stream, tls.clone(), Arc::clone(&received), Arc::clone(&script)));
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        }));
        Ok(())
    }

    /// How many came.
    pub fn count(&self) -> usize {
        self.received.lock().expect("no code panics while it holds the list").len()
    }

    /// All that came.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no code panics while it holds the list").clone()
    }

    /// All that came, once it is so many.
    pub async fn until(&self, count: usize, patience: Duration) -> Result<Vec<Received>> {
        let look = || async { (self.count() >= count).then(|| self.received()) };
        poll(&format!("{count} requests at the receiver"), patience, look).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

type Kept = Arc<Mutex<Vec<Received>>>;

async fn answered(stream: TcpStream, tls: Option<TlsAcceptor>, received: Kept, script: Script) -> Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => serve(tls.accept(stream).await?, received, script).await,
        None => serve(stream, received, script).await,
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, received: Kept, script: Script) -> Result<()> {
    let mut bytes = vec![];
    loop {
        let request = read(&mut stream, &mut bytes).await?;
        let reply = {
            let mut all = received.lock().expect("no code panics while it holds the list");
            let reply = script(all.len(), &request);
            all.push(request);
            reply
        };
        answer(&mut stream, reply).await?;
    }
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> Result<()> {
    let Reply { status, header, body } = reply;
    if status == 0 {
        return std::future::pending().await;
    }
    let header = header.map(|header| format!("{header}\r\n")).unwrap_or_default();
    let whole = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n{header}\r\n{body}", body.len());
    stream.write_all(whole.as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// The next request; what follows it stays in `bytes`.
async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<Received> {
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        anyhow::ensure!(stream.read_buf(bytes).await? > 0, "the head broke off");
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers: BTreeMap<_, _> =
        fields.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length: usize = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
    while bytes.len() < end + 4 + length {
        anyhow::ensure!(stream.read_buf(bytes).await? > 0, "the body broke off");
    }
    let rest = bytes.split_off(end + 4 + length);
    let body = std::mem::replace(bytes, rest).split_off(end + 4);
    Ok(Received { headers, body })
}
