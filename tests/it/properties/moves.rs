//! A job's states under any sequence of moves.

use longshore_runtime::job::state::{MOVES, Move, State};
use proptest::prelude::*;
use proptest::sample::select;

use super::cases;

const WHYS: [Move; 6] = [Move::Claim, Move::Complete, Move::TryAgain, Move::DeadLetter, Move::Cancel, Move::Replay];

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn no_sequence_of_moves_leaves_the_rules(whys in prop::collection::vec(select(&WHYS[..]), 0..60)) {
        let (mut state, mut attempts, mut claims) = (State::Pending, 0_u32, 0_u32);
        for why in whys {
            let Some(next) = state.after(why) else { continue };
            prop_assert!(MOVES.contains(&(state, why, next)));
            prop_assert!(next != state, "a move moves");
            match (state.is_terminal(), why) {
                (true, why) => prop_assert!(state == State::Failed && why == Move::Replay && next == State::Pending),
                (false, Move::Claim) => {
                    prop_assert!(state == State::Pending && next == State::Running);
                    claims += 1;
                }
                // Only an attempt can complete, fail, or be tried again; a wish to cancel needs none.
                (false, Move::Cancel) => prop_assert_eq!(next, State::Canceled),
                (false, _) => {
                    prop_assert_eq!(state, State::Running);
                    attempts += 1;
                }
            }
            prop_assert!(attempts <= claims, "no attempt ends that did not start");
            state = next;
        }
    }

    #[test]
    fn no_number_but_its_own_is_a_state(code in any::<i16>()) {
        prop_assert!(State::from_code(code).is_none_or(|state| state.code() == code));
        prop_assert_eq!(State::from_code(code).is_some(), (0..5).contains(&code));
    }
}
