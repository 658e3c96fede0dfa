//! What the reconciler asks of the ledger. Shapes only.

use std::time::Duration;

/// How long a published job may wait before it is published again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Since it was published.
    pub time: Duration,
    /// The time doubles with every publish, so often at most.
    pub doublings: i32,
}

impl Patience {
    /// A job published so often is looked for again after `time * 2^10` at most.
    const MAX_DOUBLINGS: i32 = 10;

    /// Twice as long after each publish: for jobs that may only be waiting for long.
    pub const fn doubling(time: Duration) -> Self {
        Self { time, doublings: Self::MAX_DOUBLINGS }
    }

    /// However often it was published: for jobs that are known to be on no queue.
    pub const fn plain(time: Duration) -> Self {
        Self { time, doublings: 0 }
    }

    /// So much more.
    #[must_use]
    pub fn and(self, time: Duration) -> Self {
        Self { time: self.time.saturating_add(time), ..self }
    }
}
