//! A decimal as it is written: sign, whole digits, fraction digits, all of them kept. Never a float.
//! It refuses exponents and what PostgreSQL's `numeric` cannot hold. Read `cell.rs` next.

use std::cmp::Ordering;

/// PostgreSQL's `numeric` holds so many digits before the point.
const MAX_WHOLE: usize = 131_072;
/// And so many behind it.
const MAX_FRACTION: usize = 16_383;

/// A decimal number borrowed from its text: no leading zeros in `whole`, every digit in `fraction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    /// Reads `[+-]digits[.digits]` with a digit on at least one side of the point.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (negative, digits) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            all => (false, all),
        };
        let (whole, fraction) = match digits.iter().position(|&b| b == b'.') {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &digits[..0]),
        };
        let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        let whole = &whole[whole.iter().take_while(|&&b| b == b'0').count()..];
        let fits = whole.len() <= MAX_WHOLE && fraction.len() <= MAX_FRACTION;
        let some = digits.iter().any(u8::is_ascii_digit);
        (all_digits && some && fits).then_some(Self { negative, whole, fraction })
    }

    /// By value: `1.0` equals `1.00`, and `-0` equals `0`.
    pub(crate) fn cmp_value(&self, other: &Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (mine, theirs) if mine != theirs => mine.cmp(&theirs),
            (-1, _) => other.cmp_size(self),
            _ => self.cmp_size(other),
        }
    }

    fn sign(&self) -> i8 {
        let zero = self.whole.is_empty() && self.fraction.iter().all(|&b| b == b'0');
        if zero {
            0
        } else if self.negative {
            -1
        } else {
            1
        }
    }

    fn cmp_size(&self, other: &Self) -> Ordering {
        let whole = self.whole.len().cmp(&other.whole.len()).then_with(|| self.whole.cmp(other.whole));
        // Without trailing zeros the order of fractions is the order of their texts.
        whole.then_with(|| cut(self.fraction).cmp(cut(other.fraction)))
    }

    /// Appends PostgreSQL's binary `numeric`: counts, weight, sign, scale, then digits to the base of 10,000.
    pub(crate) fn write_numeric(&self, to: &mut Vec<u8>) {
        let at = to.len();
        to.extend_from_slice(&[0; 8]);
        let whole_groups = self.whole.len().div_ceil(4);
        let (mut count, mut first) = (0_u16, None);
        for index in 0..whole_groups + self.fraction.len().div_ceil(4) {
            let digit = self.group(index, whole_groups);
            if first.is_none() && digit == 0 {
                continue;
            }
            first = first.or(Some(index));
            to.extend_from_slice(&digit.to_be_bytes());
            count += 1;
        }
        let weight = first.map_or(0, |index| whole_groups as i64 - 1 - index as i64) as i16;
        let sign: u16 = if self.sign() < 0 { 0x4000 } else { 0 };
        to[at..at + 2].copy_from_slice(&count.to_be_bytes());
        to[at + 2..at + 4].copy_from_slice(&weight.to_be_bytes());
        to[at + 4..at + 6].copy_from_slice(&sign.to_be_bytes());
        to[at + 6..at + 8].copy_from_slice(&(self.fraction.len() as u16).to_be_bytes());
    }

    /// The `index`th group of four digits; groups are aligned to the point, so the first and the last may be short.
    fn group(&self, index: usize, whole_groups: usize) -> i16 {
        if index < whole_groups {
            let end = self.whole.len() - (whole_groups - 1 - index) * 4;
            return number(&self.whole[end.saturating_sub(4)..end]);
        }
        let start = (index - whole_groups) * 4;
        let digits = &self.fraction[start..self.fraction.len().min(start + 4)];
        number(digits) * 10_i16.pow(4 - digits.len() as u32)
    }
}

/// Without trailing zeros.
fn cut(digits: &[u8]) -> &[u8] {
    &digits[..digits.iter().rposition(|&b| b != b'0').map_or(0, |at| at + 1)]
}

fn number(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |sum, b| sum * 10 + i16::from(b - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(text: &str) -> Vec<i16> {
        let mut bytes = Vec::new();
        Decimal::parse(text).unwrap().write_numeric(&mut bytes);
        bytes.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    // count, weight, sign, scale, digits: compared with what `numeric_send` of PostgreSQL 15 answers.
    #[test]
    fn a_decimal_is_written_as_postgresql_writes_it() {
        assert_eq!(numeric("0"), [0, 0, 0, 0]);
        assert_eq!(numeric("-0.00"), [0, 0, 0, 2]);
        assert_eq!(numeric("1"), [1, 0, 0, 0, 1]);
        assert_eq!(numeric("-12345.678"), [3, 1, 0x4000, 3, 1, 2345, 6780]);
        assert_eq!(numeric("0.00005"), [1, -2, 0, 5, 5000]);
        assert_eq!(numeric("007.10"), [2, 0, 0, 2, 7, 1000]);
        assert_eq!(numeric("10000.00000001"), [4, 1, 0, 8, 1, 0, 0, 1]);
    }

    #[test]
    fn what_is_no_plain_decimal_is_refused() {
        for bad in ["", "-", ".", "1e3", "1,5", " 1", "1 ", "--1", "1.2.3", "NaN", "\u{661}"] {
            assert_eq!(Decimal::parse(bad), None, "{bad:?}");
        }
        assert!(Decimal::parse(&format!("0.{}", "1".repeat(MAX_FRACTION))).is_some());
        assert_eq!(Decimal::parse(&format!("0.{}", "1".repeat(MAX_FRACTION + 1))), None);
        assert_eq!(Decimal::parse(&"9".repeat(MAX_WHOLE + 1)), None);
    }

    #[test]
    fn decimals_compare_by_value() {
        let ascending = ["-100", "-99.5", "-0.01", "0", "0.001", "0.01", "0.1", "2", "10", "10.01"];
        for pair in ascending.windows(2) {
            let (a, b) = (Decimal::parse(pair[0]).unwrap(), Decimal::parse(pair[1]).unwrap());
            assert_eq!((a.cmp_value(&b), b.cmp_value(&a)), (Ordering::Less, Ordering::Greater), "{pair:?}");
        }
        let same = |a: &str, b: &str| Decimal::parse(a).unwrap().cmp_value(&Decimal::parse(b).unwrap());
        assert_eq!(same("1.0", "01.000"), Ordering::Equal);
        assert_eq!(same("-0", "0.0"), Ordering::Equal);
    }
}
