//! How long to wait before the next attempt. The only file that knows the `backoff` crate, which is unmaintained
//! (RUSTSEC-2025-0012): it steps the exponential, the jitter is ours. Whether there is a next attempt is `verdict`'s.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

/// The growth of the waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait's upper bound.
    pub initial: Duration,
    /// The growth from one wait to the next.
    pub factor: f64,
    /// No wait is longer.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(300) }
    }
}

/// Past so many steps any sane exponential has met its maximum.
const MAX_STEPS: u32 = 64;

/// The wait before the attempt that follows the `failed`-th failure (from 1): full jitter, that is `luck` (0 to 1)
/// of the exponential step, so that jobs that failed together do not come back together.
pub fn wait_before_next(backoff: &Backoff, failed: u32, luck: f64) -> Duration {
    ceiling(backoff, failed).mul_f64(luck.clamp(0.0, 1.0))
}

/// The longest wait [`wait_before_next`] can draw.
pub fn ceiling(backoff: &Backoff, failed: u32) -> Duration {
    let mut steps = ExponentialBackoffBuilder::new()
        .with_initial_interval(backoff.initial.min(backoff.max))
        .with_multiplier(backoff.factor.max(1.0))
        .with_randomization_factor(0.0)
        .with_max_interval(backoff.max)
        .with_max_elapsed_time(None)
        .build();
    let last = failed.clamp(1, MAX_STEPS);
    let waits = (0..last).filter_map(|_| steps.next_backoff());
    // The crate steps in floats: its last wait can pass the maximum by a nanosecond.
    waits.last().unwrap_or(backoff.max).min(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Backoff = Backoff { initial: Duration::from_secs(1), factor: 2.0, max: Duration::from_secs(60) };

    #[test]
    fn the_ceiling_doubles_up_to_its_maximum() {
        let seconds: Vec<_> = (1..=8).map(|failed| ceiling(&POLICY, failed).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(ceiling(&POLICY, u32::MAX).as_secs(), 60);
    }

    #[test]
    fn luck_spreads_the_wait_from_nothing_to_the_ceiling() {
        assert_eq!(wait_before_next(&POLICY, 3, 0.0), Duration::ZERO);
        assert_eq!(wait_before_next(&POLICY, 3, 0.5), Duration::from_secs(2));
        assert_eq!(wait_before_next(&POLICY, 3, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn a_foolish_policy_still_waits_sanely() {
        let foolish = Backoff { initial: Duration::from_secs(90), factor: 0.1, max: Duration::from_secs(30) };
        assert_eq!(ceiling(&foolish, 5).as_secs(), 30);
        assert_eq!(ceiling(&POLICY, 0).as_secs(), 1);
    }
}
