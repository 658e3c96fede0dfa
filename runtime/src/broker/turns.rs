//! Whose turn it is among the lanes of a kind: by weight, so that none is starved, and smoothly, so that a lane's turns are spread.
//! Pure: it holds no delivery and knows no broker. The rule is that of nginx's smooth weighted round robin: each turn, every lane
//! that waits gains its weight, the richest goes, and pays what all of them gained.

use super::Lane;

/// Turns of each lane out of ten when all of them wait, in the order of [`Lane::ALL`].
pub const WEIGHTS: [i32; Lane::ALL.len()] = [6, 3, 1];

/// What each lane has gained and not yet spent.
#[derive(Debug, Default)]
pub struct Turns {
    credit: [i32; Lane::ALL.len()],
}

impl Turns {
    /// The lane whose turn it is, of those that wait.
    pub fn next(&mut self, waiting: [bool; Lane::ALL.len()]) -> Option<usize> {
        for lane in 0..WEIGHTS.len() {
            // One with nothing to bring hoards no turns.
            self.credit[lane] = if waiting[lane] { self.credit[lane] + WEIGHTS[lane] } else { 0 };
        }
        let of_those = (0..WEIGHTS.len()).filter(|lane| waiting[*lane]);
        // Of equals the first, which is the higher.
        let lane = of_those.rev().max_by_key(|lane| self.credit[*lane])?;
        self.credit[lane] -= (0..WEIGHTS.len()).filter(|lane| waiting[*lane]).map(|lane| WEIGHTS[lane]).sum::<i32>();
        Some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(waiting: [bool; 3], count: usize) -> Vec<usize> {
        let mut turns = Turns::default();
        (0..count).map_while(|_| turns.next(waiting)).collect()
    }

    #[test]
    fn of_ten_turns_each_lane_has_its_weight_and_they_are_spread() {
        let all = turns([true; 3], 20);
        for (lane, weight) in WEIGHTS.into_iter().enumerate() {
            assert_eq!(all.iter().filter(|turn| **turn == lane).count(), 2 * usize::try_from(weight).unwrap());
        }
        assert_eq!(all[..10], all[10..], "the rhythm repeats");
        assert!(!all.windows(4).any(|four| four == [0; 4]), "no lane goes four times running: {all:?}");
    }

    #[test]
    fn a_lane_alone_has_every_turn_and_none_waiting_has_none() {
        assert_eq!(turns([false, false, true], 5), [2; 5]);
        assert!(turns([false; 3], 5).is_empty());
    }

    #[test]
    fn a_higher_lane_that_has_just_come_goes_first_however_long_the_lower_ones_had_every_turn() {
        let mut turns = Turns::default();
        for _ in 0..1000 {
            turns.next([false, true, true]);
        }
        assert_eq!(turns.next([true, true, true]), Some(0));
    }
}
