//! Deliveries of one kind from its three lanes, as one stream that knows whose turn it is. It takes from no server and settles
//! nothing: what the lanes bring is the brokers' affair. Read `turns.rs` for whose turn it is.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::turns::Turns;
use super::{Delivery, Lane};

/// Deliveries of one kind. Dropped, it is closed.
#[derive(Debug)]
pub struct Consumer {
    lanes: [Front; Lane::ALL.len()],
    turns: Turns,
    closing: Arc<CancellationToken>,
}

/// A lane and its first delivery, looked at and not yet taken.
#[derive(Debug)]
struct Front {
    deliveries: mpsc::Receiver<Delivery>,
    first: Option<Delivery>,
}

impl Consumer {
    /// A stream of what these lanes bring, in the order of [`Lane::ALL`].
    pub(crate) fn new(lanes: [mpsc::Receiver<Delivery>; Lane::ALL.len()], closing: Arc<CancellationToken>) -> Self {
        let lanes = lanes.map(|deliveries| Front { deliveries, first: None });
        Self { lanes, turns: Turns::default(), closing }
    }

    /// The next delivery; `None` once closed and empty.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.waiting().await;
        self.take()
    }

    /// Waits until a delivery waits; `false` once closed and empty. It takes nothing, so that whoever needs a moment to make
    /// room can choose by [`Consumer::take`] among all that have come by then.
    pub async fn waiting(&mut self) -> bool {
        poll_fn(|context| self.look(context)).await
    }

    /// The delivery whose turn it is, if one waits.
    pub fn take(&mut self) -> Option<Delivery> {
        self.lanes.iter_mut().for_each(Front::fill);
        let waiting = std::array::from_fn(|lane| self.lanes[lane].first.is_some());
        let lane = self.turns.next(waiting)?;
        self.lanes[lane].first.take()
    }

    /// Stops taking. Deliveries that were fetched and not taken go back now, for others to take at once; those in hand can
    /// still be settled.
    pub fn close(&mut self) {
        // Order: the owner of the channel hears of the closing before any return, so that it cancels before it gives back.
        self.closing.cancel();
        for lane in &mut self.lanes {
            lane.deliveries.close();
            lane.first = None;
            while lane.deliveries.try_recv().is_ok() {}
        }
    }

    fn look(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut open = false;
        for lane in &mut self.lanes {
            match lane.poll(context) {
                Poll::Ready(true) => return Poll::Ready(true),
                Poll::Ready(false) => {}
                Poll::Pending => open = true,
            }
        }
        if open { Poll::Pending } else { Poll::Ready(false) }
    }
}

impl Front {
    /// Whether a delivery waits; `false` for one that will bring no more.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.first.is_none() {
            match self.deliveries.poll_recv(context) {
                Poll::Ready(first) => self.first = first,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(self.first.is_some())
    }

    fn fill(&mut self) {
        if self.first.is_none() {
            self.first = self.deliveries.try_recv().ok();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // As in `close`: the cancel before the returns that the fields' end brings.
        self.closing.cancel();
    }
}
