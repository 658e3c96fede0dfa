//! A server that answers from a script, one connection per step, and remembers what it was asked.
//! It knows no HTTP beyond what the client sends. When its script is at its end it refuses connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) enum Step {
    /// Status, content type and body.
    Answer(u16, &'static str, String),
    /// Words of the head after the status, then the body as it is.
    Raw(&'static str),
    /// Reads the request and closes the connection.
    HangUp,
    /// Words of the head after the status and of a stream's frames, and then nothing while the line stays open.
    Stall(&'static str),
    /// Reads the request and answers never.
    Silence,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Method and target.
    pub(super) line: String,
    /// In lower case, one per line.
    pub(super) head: String,
    pub(super) body: String,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn with(script: Vec<Step>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(super) async fn at(address: SocketAddr, script: Vec<Step>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let task = tokio::spawn(play(listener, script, seen.clone()));
        Self { address, seen, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|request| request.line).collect()
    }

    /// Returns once the script is played and the port is closed.
    pub(super) async fn closed(&mut self) {
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(listener: TcpListener, script: Vec<Step>, seen: Arc<Mutex<Vec<Request>>>) {
    let mut kept_open = Vec::new();
    for step in script {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read(&mut stream).await;
        seen.lock().unwrap().push(request);
        match step {
            Step::Answer(status, kind, body) => write(&mut stream, &answer(status, kind, &body)).await,
            Step::Raw(text) => write(&mut stream, text).await,
            Step::HangUp => {}
            Step::Stall(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                kept_open.push(stream);
            }
            Step::Silence => kept_open.push(stream),
        }
    }
    if !kept_open.is_empty() {
        std::future::pending::<()>().await;
    }
}

fn answer(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn read(stream: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    loop {
        if let Some(request) = parse(&bytes) {
            return request;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the client left in the middle of a request");
    }
}

fn parse(bytes: &[u8]) -> Option<Request> {
    let text = std::str::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, head) = head.split_once("\r\n")?;
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let complete = body.len() == length.map_or(0, |length| length.parse().unwrap());
    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
    complete.then(|| Request { line, head, body: body.to_owned() })
}
