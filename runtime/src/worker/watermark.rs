//! Up to which moment of the ledger's clock everything this worker settled has been announced. Its heartbeat carries it, and
//! should the worker die, the rescuer announces what it settled after it. Too early a moment costs repeats, never a loss.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;

/// The watermark of one worker identity.
#[derive(Debug)]
pub(super) struct Watermark(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The ledger's clock when last heard: a lower bound of what it shows now.
    heard: Timestamp,
    /// How many settlements begun at each heard moment are not yet announced.
    open: BTreeMap<Timestamp, usize>,
}

/// A settlement between its record and its announcement. Dropped without [`Owed::announced`], it stays owed.
#[derive(Debug)]
pub(super) struct Owed(Timestamp);

impl Watermark {
    /// Nothing settled yet; the ledger shows `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(State { heard: now, open: BTreeMap::new() }))
    }

    /// The ledger shows `now`. If its clock stepped back, so does the watermark: what is settled next carries earlier times.
    pub(super) fn hear(&self, now: Timestamp) {
        self.state().heard = now;
    }

    /// A record is about to be written.
    pub(super) fn owe(&self) -> Owed {
        let mut state = self.state();
        let heard = state.heard;
        *state.open.entry(heard).or_default() += 1;
        Owed(heard)
    }

    /// Everything settled before this moment is announced.
    pub(super) fn announced_to(&self) -> Timestamp {
        let state = self.state();
        state.open.keys().next().copied().unwrap_or(state.heard)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic while held")
    }
}

impl Owed {
    /// It is announced, or there was nothing to announce.
    pub(super) fn announced(self, watermark: &Watermark) {
        let mut state = watermark.state();
        if let Some(count) = state.open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_watermark_waits_for_the_oldest_settlement_that_is_not_announced() {
        let mark = Watermark::new(at(1));
        let first = mark.owe();
        mark.hear(at(5));
        let second = mark.owe();
        assert_eq!(mark.announced_to(), at(1));
        first.announced(&mark);
        assert_eq!(mark.announced_to(), at(5));
        second.announced(&mark);
        mark.hear(at(9));
        assert_eq!(mark.announced_to(), at(9));
    }

    #[test]
    fn a_settlement_that_was_never_announced_stays_owed() {
        let mark = Watermark::new(at(1));
        let _never_announced = mark.owe();
        mark.hear(at(99));
        assert_eq!(mark.announced_to(), at(1));
    }

    #[test]
    fn a_ledger_clock_that_steps_back_takes_the_watermark_along() {
        let mark = Watermark::new(at(10));
        mark.hear(at(3));
        assert_eq!(mark.announced_to(), at(3));
    }
}
