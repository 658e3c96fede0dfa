//! One cell: from its bytes to a typed value, or the reason why not. Pure, and the only place that knows the types.
//! It trims nothing and guesses nothing. How a value is written to a database is `chunk.rs` and `target/`.

use std::cmp::Ordering;

use jiff::civil::Date;
use uuid::Uuid;

use super::decimal::Decimal;
use super::instant::{parse_date, parse_timestamp};
use super::payload::Type;

/// Why a row was refused: a stable word, in the reject file, the rejects table and the output.
pub(crate) type Reason = &'static str;

/// Every reason there is.
pub(crate) mod reason {
    use super::Reason;

    pub(crate) const WRONG_FIELD_COUNT: Reason = "wrong_field_count";
    pub(crate) const UNCLOSED_QUOTE: Reason = "unclosed_quote";
    pub(crate) const NOT_UTF8: Reason = "not_utf8";
    pub(crate) const NUL: Reason = "nul";
    pub(crate) const FIELD_TOO_LARGE: Reason = "field_too_large";
    pub(crate) const REQUIRED: Reason = "required";
    pub(crate) const NOT_INTEGER: Reason = "not_integer";
    pub(crate) const NOT_DECIMAL: Reason = "not_decimal";
    pub(crate) const NOT_FLOAT: Reason = "not_float";
    pub(crate) const NOT_BOOLEAN: Reason = "not_boolean";
    pub(crate) const NOT_DATE: Reason = "not_date";
    pub(crate) const NOT_TIMESTAMP: Reason = "not_timestamp";
    pub(crate) const TOO_PRECISE: Reason = "too_precise";
    pub(crate) const NOT_UUID: Reason = "not_uuid";
    pub(crate) const NOT_JSON: Reason = "not_json";
    pub(crate) const TOO_LONG: Reason = "too_long";
    pub(crate) const BELOW_MIN: Reason = "below_min";
    pub(crate) const ABOVE_MAX: Reason = "above_max";
    pub(crate) const NOT_ONE_OF: Reason = "not_one_of";
}

/// A value of a cell, borrowed from the record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Text(&'a str),
    Integer(i64),
    /// The value, and the text it was.
    Decimal(Decimal<'a>, &'a str),
    Float(f64),
    Boolean(bool),
    Date(Date),
    /// Microseconds since 1970 UTC.
    Timestamp(i64),
    Uuid(Uuid),
    Json(&'a str),
}

impl<'a> Cell<'a> {
    /// Reads `text` as `kind`.
    pub(crate) fn parse(kind: Type, text: &'a str) -> Result<Self, Reason> {
        Ok(match kind {
            Type::Text => Self::Text(without_nul(text)?),
            Type::Integer => Self::Integer(text.parse().map_err(|_| reason::NOT_INTEGER)?),
            Type::Decimal => Self::Decimal(Decimal::parse(text).ok_or(reason::NOT_DECIMAL)?, text),
            Type::Float => Self::Float(finite(text).ok_or(reason::NOT_FLOAT)?),
            Type::Boolean => Self::Boolean(boolean(text).ok_or(reason::NOT_BOOLEAN)?),
            Type::Date => Self::Date(parse_date(text.as_bytes()).ok_or(reason::NOT_DATE)?),
            Type::Timestamp => Self::Timestamp(parse_timestamp(text.as_bytes())?),
            Type::Uuid => Self::Uuid(Uuid::try_parse(text).map_err(|_| reason::NOT_UUID)?),
            Type::Json => Self::Json(json(text)?),
        })
    }

    /// The order of two values of one type that has an order; equal otherwise.
    pub(crate) fn cmp_value(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Decimal(a, _), Self::Decimal(b, _)) => a.cmp_value(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

impl Type {
    /// Whether `min` and `max` mean something.
    pub(crate) fn has_order(self) -> bool {
        matches!(self, Self::Integer | Self::Decimal | Self::Float | Self::Date | Self::Timestamp)
    }
}

// No text of PostgreSQL holds a NUL.
fn without_nul(text: &str) -> Result<&str, Reason> {
    if text.as_bytes().contains(&0) { Err(reason::NUL) } else { Ok(text) }
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "t", "yes", "1"]) {
        return Some(true);
    }
    is(&["false", "f", "no", "0"]).then_some(false)
}

// A whole `Value` and not `IgnoredAny`, for that one checks neither depth nor surrogates, and PostgreSQL would end the
// COPY of the whole chunk over them.
fn json(text: &str) -> Result<&str, Reason> {
    serde_json::from_str::<serde_json::Value>(text).map(|_| text).map_err(|_| reason::NOT_JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_its_own_and_names_what_it_refuses() {
        let refused = [
            (Type::Text, "a\0b", reason::NUL),
            (Type::Integer, "9223372036854775808", reason::NOT_INTEGER),
            (Type::Integer, " 1", reason::NOT_INTEGER),
            (Type::Decimal, "1e3", reason::NOT_DECIMAL),
            (Type::Float, "inf", reason::NOT_FLOAT),
            (Type::Float, "1e999", reason::NOT_FLOAT),
            (Type::Boolean, "ja", reason::NOT_BOOLEAN),
            (Type::Date, "2023-02-29", reason::NOT_DATE),
            (Type::Timestamp, "noon", reason::NOT_TIMESTAMP),
            (Type::Uuid, "1", reason::NOT_UUID),
            (Type::Json, "{", reason::NOT_JSON),
            (Type::Json, r#""\ud800""#, reason::NOT_JSON),
            (Type::Json, &"[".repeat(10_000), reason::NOT_JSON),
        ];
        for (kind, text, why) in refused {
            assert_eq!(Cell::parse(kind, text), Err(why), "{kind:?} {text:.20}");
        }
    }

    #[test]
    fn a_boolean_is_one_of_eight_words_in_any_case() {
        for (text, value) in [("TRUE", true), ("t", true), ("Yes", true), ("1", true), ("no", false), ("0", false)] {
            assert_eq!(Cell::parse(Type::Boolean, text), Ok(Cell::Boolean(value)));
        }
    }
}
