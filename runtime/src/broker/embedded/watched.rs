//! What a simulation does to a broker and asks it, which nobody else may: to lose everything, to take what a producer of its own
//! publishes, and what became of its messages.

use longshore_sdk::wire::Envelope;

use super::Embedded;
use super::queue::Message;
use crate::broker::Lane;

impl Embedded {
    /// Forgets all queues with what is on them, as a broker whose disk is wiped.
    pub(crate) fn wipe(&self) {
        let mut state = self.queues.lock();
        state.by_kind.clear();
        state.marks.clear();
    }

    /// Puts a job on its kind's queue as a producer does that bypasses the API; without a queue it is lost.
    pub(crate) fn put_whole(&self, job: &Envelope) {
        if let Some(lanes) = self.queues.lock().by_kind.get_mut(&job.kind) {
            lanes.of(Lane::Normal).put(Message::whole(job));
        }
    }

    /// The ids of the messages that were acknowledged since it was last asked.
    pub(crate) fn acked(&self) -> Vec<String> {
        let mut state = self.queues.lock();
        let lanes = state.by_kind.values_mut().flat_map(|lanes| &mut lanes.0);
        lanes.flat_map(|queue| std::mem::take(&mut queue.acked)).collect()
    }

    /// Whether a message of this id is on any of its queues, or in somebody's hands.
    pub(crate) fn carries(&self, id: &str) -> bool {
        self.queues.lock().by_kind.values().flat_map(|lanes| &lanes.0).any(|queue| queue.carries(id))
    }
}
