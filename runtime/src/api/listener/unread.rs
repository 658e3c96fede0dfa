//! The rest of a body that nobody reads. Many callers write all of a request before they read anything of the answer; a server that
//! closes on bytes that still come takes its answer with it. So a body is lent to the handlers, and what they leave of it is read and
//! dropped before the answer goes. It knows neither calls nor answers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Request;
use axum::http::header::EXPECT;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// A body that comes back when it is dropped before its end.
pub(super) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
    /// It may still come: its caller does not wait to be asked for it, or was.
    comes: bool,
}

/// What was not read, once nobody reads any more.
pub(super) struct Unread(oneshot::Receiver<Incoming>);

/// The request with its body lent.
pub(super) fn lend(request: Request<Incoming>) -> (Request<Lent>, Unread) {
    let (back, unread) = oneshot::channel();
    let comes = !request.headers().contains_key(EXPECT);
    (request.map(|body| Lent { body: Some(body), back: Some(back), comes }), Unread(unread))
}

impl Unread {
    /// Reads and drops it, for at most this long: whoever sends for ever is not waited for.
    pub(super) async fn pass_over(mut self, within: Duration) {
        // Where somebody reads on behind the answer, it is not ours.
        let Ok(mut body) = self.0.try_recv() else { return };
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        let _ = tokio::time::timeout(within, rest).await;
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.comes = true;
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| self.comes && !body.is_end_stream());
        if let (Some(body), Some(back)) = (unread, self.back.take()) {
            // Nobody waits for it where the connection is gone.
            let _ = back.send(body);
        }
    }
}
