//! What a simulation does to a broker and asks it, which nobody else may: to lose everything, and what became of its messages.

use super::Embedded;

impl Embedded {
    /// Forgets all queues with what is on them, as a broker whose disk is wiped.
    pub(crate) fn wipe(&self) {
        let mut state = self.queues.lock();
        state.by_kind.clear();
        state.marks.clear();
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
