//! Mistakes that the simulation must notice, each as a process would make it. A check that finds none of them would find nothing.
//! Those that take more than a line are made in `careless.rs`.

use super::fate::Fate;

/// A mistake, made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A delivery is acknowledged when it comes, not when the ledger has recorded what follows.
    AckBeforeRecord,
    /// What follows a record is announced some time after the ack.
    AnnounceAfterAck,
    /// Some announcements are taken for made.
    AnnouncementForgotten,
    /// What was put on the wire is taken for published.
    PublishWithoutConfirm,
    /// Whether a job is free is looked at first, and then it is taken.
    ClaimByLookThenUpdate,
    /// An outcome is recorded for whichever attempt has the job.
    RecordWithoutFence,
    /// A lease is counted by its worker's wall clock, and some clocks are wrong.
    LeaseByWallClock,
    /// What is owed is read on from where the last look ended.
    OutboxByCursor,
    /// An effect is left without looking at the fence.
    EffectWithoutFence,
    /// The fence is looked at, and then the effect is left.
    EffectBesideTheFence,
    /// A submit looks at no idempotency key.
    KeyForgotten,
    /// A broker that lost its data is never filled again.
    NeverRefilled,
    /// A claim whose reply was lost is never handed back.
    NeverHandedBack,
    /// The rescuer looks after nobody.
    NeverRescued,
}

impl Bug {
    /// What must befall which call for it to show, where that is rare.
    pub(super) fn shows_when(self) -> Option<(&'static str, Fate)> {
        match self {
            Self::NeverHandedBack => Some(("claim", Fate::ReplyLost)),
            Self::RecordWithoutFence => Some(("record", Fate::Paused)),
            _ => None,
        }
    }

    /// All of them.
    pub(super) const ALL: [Self; 14] = [
        Self::AckBeforeRecord,
        Self::AnnounceAfterAck,
        Self::AnnouncementForgotten,
        Self::PublishWithoutConfirm,
        Self::ClaimByLookThenUpdate,
        Self::RecordWithoutFence,
        Self::LeaseByWallClock,
        Self::OutboxByCursor,
        Self::EffectWithoutFence,
        Self::EffectBesideTheFence,
        Self::KeyForgotten,
        Self::NeverRefilled,
        Self::NeverHandedBack,
        Self::NeverRescued,
    ];
}
