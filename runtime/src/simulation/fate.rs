//! What may befall a call that leaves its process, and the dice that decide it. Nothing here acts; `process.rs` does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// What befalls a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// It takes long.
    Slow,
    /// It fails and had no effect.
    Fails,
    /// It is refused, as by a ledger that has taken a right from us, and had no effect.
    Refused,
    /// It had its effect, and its caller hears that nobody answers.
    ReplyLost,
    /// The process is killed before it.
    KilledBefore,
    /// The process is killed after it.
    KilledAfter,
    /// The process stands still just before it, for longer than its lease.
    Paused,
}

impl Fate {
    /// All of them.
    pub(super) const ALL: [Self; 7] =
        [Self::Slow, Self::Fails, Self::Refused, Self::ReplyLost, Self::KilledBefore, Self::KilledAfter, Self::Paused];
}

/// Numbers that a seed decides (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
pub(super) struct Dice(Mutex<u64>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`.
    pub(super) fn below(&self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True so many times in a thousand.
    pub(super) fn in_thousand(&self, times: usize) -> bool {
        self.below(1000) < times
    }

    /// Up to so long.
    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        longest * u32::try_from(self.below(1001)).unwrap() / 1000
    }

    /// From 0 to 1.
    pub(super) fn luck(&self) -> f64 {
        self.below(1001) as f64 / 1000.0
    }
}

/// Which fates the calls of a seed have: one that is sure to come, and others by chance.
pub(super) struct Fates {
    sure: Mutex<Option<(&'static str, Fate, usize)>>,
    /// What comes often.
    prone: [Option<(&'static str, Fate)>; 2],
}

impl Fates {
    /// Each seed has the next pair of call and fate for sure, at the call's first, second or third time.
    pub(super) fn new(seed: u64, protocol: &[&'static str], prone: Option<(&'static str, Fate)>) -> Self {
        let seed = usize::try_from(seed).unwrap();
        let (call, fate) = (protocol[seed % protocol.len()], Fate::ALL[seed / protocol.len() % Fate::ALL.len()]);
        let after = comes_after(call);
        // What is rare seldom comes twice.
        let left = if after.is_some() { 0 } else { seed / (protocol.len() * Fate::ALL.len()) % 3 };
        Self { sure: Mutex::new(Some((call, fate, left))), prone: [prone, after] }
    }

    pub(super) fn of(&self, call: &'static str, dice: &Dice) -> Option<Fate> {
        let mut sure = self.sure.lock().unwrap();
        if let Some((name, fate, left)) = sure.as_mut()
            && *name == call
        {
            if *left == 0 {
                let fate = *fate;
                *sure = None;
                return Some(fate);
            }
            *left -= 1;
        }
        let prone = self.prone.iter().flatten().find(|(name, _)| *name == call);
        if let Some((_, fate)) = prone
            && dice.in_thousand(100)
        {
            return Some(*fate);
        }
        dice.in_thousand(12).then(|| Fate::ALL[dice.below(Fate::ALL.len())])
    }
}

/// What must befall which call for a rare one to be made at all.
fn comes_after(rare: &str) -> Option<(&'static str, Fate)> {
    match rare {
        "credited" | "hand_back" => Some(("claim", Fate::ReplyLost)),
        "unqueue" => Some(("publish", Fate::Fails)),
        "mark_unannounced" => Some(("announce", Fate::Fails)),
        _ => None,
    }
}

/// How often each fate befell each call.
#[derive(Debug, Default, Clone)]
pub(super) struct Injected(BTreeMap<(&'static str, Fate), usize>);

impl Injected {
    pub(super) fn note(&mut self, call: &'static str, fate: Fate) {
        *self.0.entry((call, fate)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (key, times) in &other.0 {
            *self.0.entry(*key).or_default() += times;
        }
    }

    pub(super) fn count(&self, call: &str, fate: Fate) -> usize {
        self.0.iter().filter(|((name, of), _)| *name == call && *of == fate).map(|(_, times)| times).sum()
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((call, fate), times) in &self.0 {
            writeln!(f, "{call:16} {fate:?}: {times}")?;
        }
        Ok(())
    }
}
