//! Mistakes made on purpose, by the suite's own executor and clients, as authors and callers make them: the truth must notice each. A
//! check that was never seen to fail proves nothing. The system's own mistakes are made in simulated time (`runtime/src/simulation`).

/// A mistake, and the violation that must be found for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// The executor writes its effect whoever has the fence.
    EffectWithoutFence,
    /// The executor says that it is done and has done nothing, for some jobs.
    EffectForgotten,
    /// The client asks again without its idempotency key.
    KeyForgotten,
}

/// Names the mistake to the processes under test.
pub const MISTAKE: &str = "CHAOS_MISTAKE";

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EffectWithoutFence, Self::EffectForgotten, Self::KeyForgotten];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::EffectWithoutFence => "effect_without_fence",
            Self::EffectForgotten => "effect_forgotten",
            Self::KeyForgotten => "key_forgotten",
        }
    }

    /// What the truth must say of it.
    pub const fn violation(self) -> &'static str {
        match self {
            Self::EffectWithoutFence => "jobs have more than one effect",
            Self::EffectForgotten => "promised jobs are not completed with an effect",
            Self::KeyForgotten => "was answered with",
        }
    }

    /// The one that this process is to make.
    pub fn of_this_process() -> Option<Self> {
        let word = std::env::var(MISTAKE).ok()?;
        Self::ALL.into_iter().find(|mistake| mistake.word() == word)
    }
}
