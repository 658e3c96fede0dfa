//! What is written behind a flag or in an argument's place, read into what it means. A refusal says what to write instead.
//! Whether it fits the job is the server's to say. Read `cli/tests.rs` for what is refused.

use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::JobId;
use longshore_sdk::api::{JobState, Priority};
use longshore_sdk::webhook::Secret;
use serde_json::Value;

/// A job, by its id.
pub(super) fn job(text: &str) -> Result<JobId, String> {
    text.parse().map_err(|_| {
        "write a job's id, e.g. 01890a5d-ac96-774b-bcce-b302099a8057; `longshore list` shows them".to_owned()
    })
}

/// What webhooks are signed with.
pub(super) fn secret(text: &str) -> Result<Secret, String> {
    text.parse().map_err(|_| "write the secret as it was shown once: whsec_ and base64".to_owned())
}

/// A number of things, at least one.
pub(super) fn count<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number = text.parse().ok().filter(|number: &u64| *number >= 1).and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| "write a whole number from 1, e.g. 10".to_owned())
}

/// How many jobs at once; none means the default.
pub(super) fn slots(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "write a whole number, e.g. 4, or 0 for one per core".to_owned())
}

/// A moment, with its zone.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a moment with its zone, e.g. 2030-01-31T08:00:00Z".to_owned())
}

/// A number and a unit; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("write a number and ms, s, m, h or d, e.g. 10s".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write a number and a unit, e.g. 10s".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "write from 0 to 10000d, e.g. 10s".to_owned())
}

/// A lane.
pub(super) fn priority(text: &str) -> Result<Priority, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| "write high, normal or low".into())
}

/// A state, in the API's word.
pub(super) fn state(word: &str) -> Result<JobState, String> {
    let found = JobState::ALL.into_iter().find(|state| state.word() == word);
    found.ok_or_else(|| "write pending, running, completed, failed or canceled".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let good =
            [("500ms", 500), ("10s", 10_000), ("10", 10_000), ("1.5m", 90_000), ("2h", 7_200_000), ("1d", 86_400_000)];
        for (text, ms) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "10 s", "-1s", "1w", "inf", "nan", "1e300d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_count_is_at_least_one_and_fits() {
        assert_eq!((count("1"), count("7")), (Ok(1_u32), Ok(7_usize)));
        for bad in ["0", "-1", "x", "", "4294967296"] {
            assert!(count::<u32>(bad).unwrap_err().contains("from 1"), "{bad}");
        }
        assert_eq!(slots("0"), Ok(0));
    }
}
