//! The deadline of a request's head: from its first byte (or, for the first head of a connection, from the accept) to its last.
//! And that of an answer's reader. It does
//! not limit bodies, nor the rest between two requests. Read [`super`] for the limits that do.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Which request of this connection is the last one, and whether it is being answered: then what comes in is its body.
#[derive(Debug, Default)]
pub(super) struct Pace {
    heads: AtomicU64,
    in_request: AtomicBool,
}

/// A request that is being answered.
pub(super) struct Turn<'a>(&'a Pace);

impl Pace {
    /// The head is there.
    pub(super) fn begin(&self) -> Turn<'_> {
        self.heads.fetch_add(1, Ordering::Relaxed);
        self.in_request.store(true, Ordering::Relaxed);
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.in_request.store(false, Ordering::Relaxed);
    }
}

/// A stream whose reads fail when a head takes too long, and whose writes when nobody takes what is written.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    limit: Duration,
    /// Heads that had come when it was last looked.
    heads: u64,
    deadline: Option<Pin<Box<Sleep>>>,
    write_limit: Duration,
    /// When what waits to be written has waited too long.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>, limit: Duration, write_limit: Duration) -> Self {
        let deadline = Some(Box::pin(tokio::time::sleep(limit)));
        Self { stream, pace, limit, heads: 0, deadline, write_limit, stalled: None }
    }

    /// What came of a write: it fails once the other side has taken nothing for too long.
    fn timed<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.write_limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether the head has had its time. Begins to count with its first byte.
    fn is_late(&mut self, came: bool, cx: &mut Context<'_>) -> bool {
        // A quick answer may begin and end between two reads: then only the count tells of its head.
        let heads = self.pace.heads.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.heads, heads) != heads || self.pace.in_request.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        if self.pace.in_request.load(Ordering::Relaxed) {
            return false;
        }
        if came && self.deadline.is_none() {
            self.deadline = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.limit)));
        }
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let came = buf.filled().len() > before;
        match read {
            Poll::Ready(Err(_)) => read,
            _ if self.is_late(came, cx) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            read => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.timed(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
