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
    /// Whoever takes in a foreign producer's job owes nobody the word of its acceptance.
    AdoptionUnowed,
    /// A ledger that refuses us is taken for one that cannot store what came out.
    RefusalBlamedOnTheOutput,
}

impl Bug {
    /// What must befall which call for it to show, where that is rare.
    pub(super) fn shows_when(self) -> Option<(&'static str, Fate)> {
        match self {
            Self::NeverHandedBack => Some(("claim", Fate::ReplyLost)),
            Self::RecordWithoutFence => Some(("record", Fate::Paused)),
            Self::AdoptionUnowed => Some(("adopt", Fate::KilledAfter)),
            Self::RefusalBlamedOnTheOutput => Some(("record", Fate::Refused)),
            _ => None,
        }
    }

    /// The check that must notice it. Others may, too.
    pub(super) fn noticed_by(self) -> &'static str {
        match self {
            Self::AckBeforeRecord => "acknowledged, and the ledger counts on the delivery",
            Self::AnnounceAfterAck | Self::AnnouncementForgotten | Self::AdoptionUnowed | Self::OutboxByCursor => {
                "what was announced is not what happened"
            }
            Self::PublishWithoutConfirm => "marked as published, and no broker has taken it",
            Self::ClaimByLookThenUpdate => "an attempt is begun by two workers",
            Self::RecordWithoutFence => "the result is another attempt's",
            Self::LeaseByWallClock | Self::NeverRefilled | Self::NeverHandedBack | Self::NeverRescued => {
                "it never comes to rest"
            }
            Self::EffectWithoutFence | Self::EffectBesideTheFence => "more than one effect",
            Self::KeyForgotten => "more or fewer jobs than callers",
            Self::RefusalBlamedOnTheOutput => "not the end it deserves",
        }
    }

    /// All of them.
    pub(super) const ALL: [Self; 16] = [
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
        Self::AdoptionUnowed,
        Self::RefusalBlamedOnTheOutput,
    ];
}
