//! The wait before the next attempt, under any policy, however foolish, and any luck.

use std::time::Duration;

use longshore_runtime::job::retry::{Backoff, ceiling, wait_before_next};
use longshore_runtime::job::verdict::{Account, Ending, Verdict, decide};
use proptest::prelude::*;

use super::cases;

prop_compose! {
    fn policies()(initial in 0_u64..10_000_000, factor in -5.0..100.0_f64, max in 0_u64..100_000_000) -> Backoff {
        Backoff { initial: Duration::from_millis(initial), factor, max: Duration::from_millis(max) }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_wait_is_at_most_its_ceiling_and_a_ceiling_at_most_the_maximum(
        policy in policies(), failed in any::<u32>(), luck in any::<f64>(),
    ) {
        let wait = wait_before_next(&policy, failed, if luck.is_nan() { 0.5 } else { luck });
        prop_assert!(wait <= ceiling(&policy, failed));
        prop_assert!(ceiling(&policy, failed) <= policy.max);
    }

    #[test]
    fn a_ceiling_never_sinks_and_ends_at_the_maximum(policy in policies(), failed in 0_u32..200) {
        let (here, next) = (ceiling(&policy, failed), ceiling(&policy, failed + 1));
        prop_assert!(here <= next, "{here:?} then {next:?}");
        prop_assert!(here >= policy.initial.min(policy.max));
        if policy.factor >= 2.0 && policy.initial >= Duration::from_millis(1) {
            prop_assert_eq!(ceiling(&policy, u32::MAX), policy.max);
        }
    }

    #[test]
    fn more_luck_is_a_longer_wait(policy in policies(), failed in 1_u32..50, one in 0.0..=1.0, other in 0.0..=1.0) {
        let (less, more) = if one <= other { (one, other) } else { (other, one) };
        prop_assert!(wait_before_next(&policy, failed, less) <= wait_before_next(&policy, failed, more));
    }

    #[test]
    fn what_the_executor_asks_for_wins_until_its_attempts_are_spent(
        policy in policies(), charged in 0_u32..20, max_attempts in 0_u32..20, ms in any::<u32>(), luck in 0.0..=1.0,
    ) {
        let (account, asked) = (Account { charged, max_attempts }, Duration::from_millis(ms.into()));
        let verdict = |after| decide(Ending::Failed { after }, account, &policy, luck);
        let spent = charged + 1 >= max_attempts;
        prop_assert_eq!(verdict(Some(asked)), if spent { Verdict::DeadLetter } else { Verdict::RetryIn(asked) });
        match verdict(None) {
            Verdict::DeadLetter => prop_assert!(spent),
            Verdict::RetryIn(wait) => prop_assert!(!spent && wait <= ceiling(&policy, charged + 1)),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}
