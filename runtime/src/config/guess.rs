//! What somebody who mistyped a word may have meant. It only guesses; it corrects nothing.
//! The distance is the restricted Damerau-Levenshtein one: a swap of neighbours, the commonest slip, costs one.

/// The known word nearest to `word`, if one is near: a third of its letters may be wrong, and at least one.
pub(crate) fn guess<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    let near = known.into_iter().map(|known| (distance(word, known), known));
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, known)| known)
}

fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for row in 1..=one.len() {
        let mut this = vec![row];
        for column in 1..=other.len() {
            let changed = usize::from(one[row - 1] != other[column - 1]);
            let mut best = (last[column - 1] + changed).min(last[column] + 1).min(this[column - 1] + 1);
            let swapped =
                row > 1 && column > 1 && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            this.push(best);
        }
        before = std::mem::replace(&mut last, this);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let cases = [
            ("slots", "slots", 0),
            ("slot", "slots", 1),
            ("solts", "slots", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ];
        for (one, other, expected) in cases {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn the_nearest_word_is_guessed_and_a_far_one_is_not() {
        let known = ["worker.slots", "worker.kinds", "log.level"];
        assert_eq!(guess("worker.slot", known), Some("worker.slots"));
        assert_eq!(guess("log.levle", known), Some("log.level"));
        assert_eq!(guess("database.password", known), None);
    }
}
