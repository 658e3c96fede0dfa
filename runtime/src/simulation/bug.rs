//! Mistakes that the simulation must notice, each as a process would make it. A check that finds none of them would find nothing.

/// A mistake, made on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// An effect is left without looking at the fence.
    EffectWithoutFence,
    /// Some announcements are taken for made.
    AnnouncementForgotten,
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
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::EffectWithoutFence,
        Self::AnnouncementForgotten,
        Self::KeyForgotten,
        Self::NeverRefilled,
        Self::NeverHandedBack,
        Self::NeverRescued,
    ];
}
