//! Dates and timestamps, by position: two written forms each, nothing guessed. Whether a day exists is jiff's business.
//! It refuses two-digit years, other orders and digits finer than a microsecond. Read `cell.rs` next.

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

use super::cell::{Reason, reason};

/// `YYYY-MM-DD`, years 1 to 9999.
pub(crate) fn parse_date(text: &[u8]) -> Option<Date> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let date = Date::new(year as i16, number(&[*m1, *m2])? as i8, number(&[*d1, *d2])? as i8).ok()?;
    (year > 0).then_some(date)
}

/// Microseconds since 1970-01-01 UTC, from RFC 3339 or `YYYY-MM-DD hh:mm:ss`; UTC when no offset is named.
pub(crate) fn parse_timestamp(text: &[u8]) -> Result<i64, Reason> {
    let (micros, rest) = split_seconds(text).ok_or(reason::NOT_TIMESTAMP)?;
    let (fraction, rest) = split_fraction(rest)?;
    let offset = parse_offset(rest).ok_or(reason::NOT_TIMESTAMP)?;
    Ok(micros + fraction - offset * 1_000_000)
}

fn split_seconds(text: &[u8]) -> Option<(i64, &[u8])> {
    let (day, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.split_at_checked(9)?;
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    let part = |a: &u8, b: &u8| number(&[*a, *b]).map(|n| n as i8);
    let day = parse_date(day)?;
    let at = DateTime::new(day.year(), day.month(), day.day(), part(h1, h2)?, part(m1, m2)?, part(s1, s2)?, 0).ok()?;
    Some((Offset::UTC.to_timestamp(at).ok()?.as_microsecond(), rest))
}

/// `.5` is half a second. Zeros behind the microseconds lose nothing; other digits would.
fn split_fraction(text: &[u8]) -> Result<(i64, &[u8]), Reason> {
    let Some(digits) = text.strip_prefix(b".") else { return Ok((0, text)) };
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(length);
    if length == 0 {
        return Err(reason::NOT_TIMESTAMP);
    }
    if digits.iter().skip(6).any(|&b| b != b'0') {
        return Err(reason::TOO_PRECISE);
    }
    let digit = |place: usize| digits.get(place).map_or(0, |b| i64::from(b - b'0'));
    Ok(((0..6).fold(0, |sum, place| sum * 10 + digit(place)), rest))
}

/// Seconds east of UTC: nothing, `Z`, `+hh:mm` or `+hh`.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, number(&[*h1, *h2])?, 0),
        [sign, h1, h2, b':', m1, m2] => (sign, number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        _ => return None,
    };
    let seconds = i64::from(hours * 3600 + minutes * 60);
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i32::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, Reason> {
        parse_timestamp(text.as_bytes()).map(|micros| jiff::Timestamp::from_microsecond(micros).unwrap().to_string())
    }

    #[test]
    fn a_timestamp_has_two_forms_and_is_utc_unless_it_says_otherwise() {
        assert_eq!(shown("2024-02-29T12:00:00Z").unwrap(), "2024-02-29T12:00:00Z");
        assert_eq!(shown("2024-02-29 12:00:00").unwrap(), "2024-02-29T12:00:00Z");
        assert_eq!(shown("2024-02-29 12:00:00.5+05:30").unwrap(), "2024-02-29T06:30:00.5Z");
        assert_eq!(shown("1969-12-31T23:59:59.999999000-01").unwrap(), "1970-01-01T00:59:59.999999Z");
    }

    #[test]
    fn what_does_not_exist_or_would_lose_digits_is_refused() {
        for bad in [
            "",
            "2024-02-30T00:00:00Z",
            "2024-02-29",
            "2024-02-29T24:00:00Z",
            "2024-02-29T12:00",
            "2024-02-29T12:00:00.",
            "2024-02-29T12:00:00+5",
            "2024-02-29T12:00:00*05:00",
            "2024-02-29T12:00:00+24:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(shown(bad), Err(reason::NOT_TIMESTAMP), "{bad}");
        }
        assert_eq!(shown("2024-02-29T12:00:00.0000001Z"), Err(reason::TOO_PRECISE));
        for bad in ["24-01-01", "2024-1-01", "2024-13-01", "2023-02-29", "01/02/2024", "0000-01-01"] {
            assert_eq!(parse_date(bad.as_bytes()), None, "{bad}");
        }
    }
}
