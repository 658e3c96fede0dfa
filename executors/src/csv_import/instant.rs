//! Dates and timestamps, by position: two written forms each, nothing guessed. Whether a day exists is jiff's business.
//! It refuses two-digit years, other orders and digits finer than a microsecond. Read `cell.rs` next.

use jiff::civil::{Date, DateTime, Time};

use super::cell::{Reason, reason};

const DAY_MICROS: i64 = 86_400_000_000;
/// From 0001-01-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_162;
/// From 0001-01-01 to 10000-01-01.
const DAYS_TO_10000: i64 = 3_652_059;

/// Days since 1970-01-01. Not by `jiff::Timestamp`, which ends a day before 9999-12-31, everyone's word for *never*.
pub(crate) fn days_since_1970(date: Date) -> i64 {
    let years = i64::from(date.year()) - 1;
    let leap_days = years / 4 - years / 100 + years / 400;
    years * 365 + leap_days + i64::from(date.day_of_year()) - 1 - DAYS_TO_1970
}

/// The moment as a calendar shows it in UTC.
pub(crate) fn civil_utc(micros: i64) -> DateTime {
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    epoch.saturating_add(jiff::SignedDuration::from_micros(micros))
}

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
    let utc = micros + fraction - offset * 1_000_000;
    let years_1_to_9999 = -DAYS_TO_1970 * DAY_MICROS..(DAYS_TO_10000 - DAYS_TO_1970) * DAY_MICROS;
    if years_1_to_9999.contains(&utc) { Ok(utc) } else { Err(reason::NOT_TIMESTAMP) }
}

fn split_seconds(text: &[u8]) -> Option<(i64, &[u8])> {
    let (day, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.split_at_checked(9)?;
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    let part = |a: &u8, b: &u8| number(&[*a, *b]).map(|n| n as i8);
    let time = Time::new(part(h1, h2)?, part(m1, m2)?, part(s1, s2)?, 0).ok()?;
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    Some((days_since_1970(parse_date(day)?) * DAY_MICROS + seconds * 1_000_000, rest))
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
        parse_timestamp(text.as_bytes()).map(|micros| civil_utc(micros).to_string())
    }

    #[test]
    fn a_timestamp_has_two_forms_and_is_utc_unless_it_says_otherwise() {
        assert_eq!(shown("2024-02-29T12:00:00Z").unwrap(), "2024-02-29T12:00:00");
        assert_eq!(shown("2024-02-29 12:00:00").unwrap(), "2024-02-29T12:00:00");
        assert_eq!(shown("2024-02-29 12:00:00.5+05:30").unwrap(), "2024-02-29T06:30:00.5");
        assert_eq!(shown("1969-12-31T23:59:59.999999000-01").unwrap(), "1970-01-01T00:59:59.999999");
    }

    #[test]
    fn days_are_counted_as_jiff_counts_them_to_the_last_day_of_9999() {
        let epoch = jiff::civil::date(1970, 1, 1);
        let mut date = jiff::civil::date(1, 1, 1);
        while let Ok(next) = date.checked_add(jiff::Span::new().days(97)) {
            assert_eq!(days_since_1970(date), i64::from((date - epoch).get_days()), "{date}");
            date = next;
        }
        assert_eq!(days_since_1970(jiff::civil::date(9999, 12, 31)), DAYS_TO_10000 - DAYS_TO_1970 - 1);
        assert_eq!(shown("9999-12-31T23:59:59.999999Z").unwrap(), "9999-12-31T23:59:59.999999");
        assert_eq!(shown("0001-01-01T00:00:00Z").unwrap(), "0001-01-01T00:00:00");
        for beyond in ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"] {
            assert_eq!(shown(beyond), Err(reason::NOT_TIMESTAMP), "{beyond}");
        }
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
