//! The part of a file that a `Range` header asks for (RFC 9110, section 14). Only a single range is served; a list of
//! ranges, another unit or a header that cannot be read counts as none, as the RFC allows, and the whole file is sent.

use std::ops::Range;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// No byte of what was asked for exists.
    Nothing,
}

/// The part of a file of `whole` bytes that `header` asks for.
pub(super) fn part(header: Option<&str>, whole: u64) -> Part {
    let ranges = header.and_then(|header| header.trim().strip_prefix("bytes="));
    let Some((first, last)) = ranges.and_then(|ranges| ranges.trim().split_once('-')) else { return Part::Whole };
    match (number(first), number(last)) {
        (Number::Is(first), Number::Is(last)) if first > last => Part::Whole,
        (Number::Is(first), _) if first >= whole => Part::Nothing,
        (Number::Is(first), Number::Is(last)) => Part::Bytes(first..last.saturating_add(1).min(whole)),
        (Number::Is(first), Number::Absent) => Part::Bytes(first..whole),
        (Number::Absent, Number::Is(0)) => Part::Nothing,
        (Number::Absent, Number::Is(_)) if whole == 0 => Part::Nothing,
        (Number::Absent, Number::Is(count)) => Part::Bytes(whole.saturating_sub(count)..whole),
        _ => Part::Whole,
    }
}

enum Number {
    Is(u64),
    Absent,
    Unreadable,
}

/// Digits alone: the standard parser would take a sign. More digits than fit are as good as the largest number.
fn number(text: &str) -> Number {
    match text.trim() {
        "" => Number::Absent,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Number::Is(digits.parse().unwrap_or(u64::MAX)),
        _ => Number::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ten(header: &str) -> Part {
        part(Some(header), 10)
    }

    #[test]
    fn a_single_range_is_a_part_within_the_file() {
        assert_eq!(of_ten("bytes=0-0"), Part::Bytes(0..1));
        assert_eq!(of_ten("bytes=2-5"), Part::Bytes(2..6));
        assert_eq!(of_ten("bytes=4-"), Part::Bytes(4..10));
        assert_eq!(of_ten("bytes=-3"), Part::Bytes(7..10));
        assert_eq!(of_ten("bytes=-30"), Part::Bytes(0..10));
        assert_eq!(of_ten("bytes=9-99999999999999999999999"), Part::Bytes(9..10));
    }

    #[test]
    fn a_range_past_the_end_holds_nothing() {
        for past in ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(of_ten(past), Part::Nothing, "{past}");
        }
        assert_eq!(part(Some("bytes=-1"), 0), Part::Nothing);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Nothing);
    }

    #[test]
    fn what_cannot_be_read_or_is_no_single_range_means_the_whole_file() {
        for odd in
            ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "bytes=+1-2", "items=0-1"]
        {
            assert_eq!(of_ten(odd), Part::Whole, "{odd:?}");
        }
        assert_eq!(part(None, 10), Part::Whole);
    }
}
