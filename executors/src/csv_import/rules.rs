//! What a payload must be whatever the file holds: names, types, bounds and the format, each fault at its field.
//! Pure; it never sees the file. Read `plan.rs` next, which joins a payload with the file's header.

use longshore_sdk::Fatal;

use super::cell::Cell;
use super::limits::Limits;
use super::payload::{Bound, Column, CsvImport, Format, MaxRejects, Type};

/// PostgreSQL's own columns, which no table may have; and SQLite's names for the row.
const TAKEN: [&str; 9] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "rowid", "oid", "_rowid_"];

/// # Errors
/// The first fault, at its field.
pub(crate) fn check(payload: &CsvImport, limits: &Limits) -> Result<(), Fatal> {
    check_table(&payload.table)?;
    check_format(&payload.format)?;
    check_rejects(&payload.max_rejects)?;
    check_count(payload.columns.len(), limits)?;
    let mut names: Vec<&str> = Vec::new();
    for (at, column) in payload.columns.iter().enumerate() {
        check_column(column, &payload.format, &format!("/columns/{at}"))?;
        check_name(&column.name, &names, &format!("/columns/{at}/name"))?;
        names.push(&column.name);
    }
    payload.job_column.as_ref().map_or(Ok(()), |name| check_name(name, &names, "/job_column"))
}

/// Whether `name` may be an identifier: `[a-z_][a-z0-9_]*`, 1 to 63 bytes (PostgreSQL would cut a longer one silently).
pub(crate) fn name_is_valid(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn invalid(message: impl std::fmt::Display, field: &str) -> Fatal {
    Fatal::new("invalid_payload", message).at(field)
}

fn check_table(table: &str) -> Result<(), Fatal> {
    check_identifier(table, "/table")?;
    if table.starts_with("longshore_") || table.starts_with("sqlite_") || table.starts_with("pg_") {
        return Err(invalid(format!("tables called {table:?} are reserved; choose another name"), "/table"));
    }
    Ok(())
}

fn check_identifier(name: &str, field: &str) -> Result<(), Fatal> {
    if name_is_valid(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(invalid(format!("{shown:?} is no name here: use a-z, 0-9 and _, 1 to 63 bytes, no digit first"), field))
}

fn check_name(name: &str, earlier: &[&str], field: &str) -> Result<(), Fatal> {
    check_identifier(name, field)?;
    if TAKEN.contains(&name) {
        return Err(invalid(format!("{name:?} is a column that databases keep for themselves; rename it"), field));
    }
    if earlier.contains(&name) {
        return Err(invalid(format!("the table already has a column {name:?}; rename one"), field));
    }
    Ok(())
}

fn check_count(count: usize, limits: &Limits) -> Result<(), Fatal> {
    if (1..=limits.max_columns).contains(&count) {
        return Ok(());
    }
    Err(invalid(format!("{count} columns; an import has 1 to {}", limits.max_columns), "/columns"))
}

fn check_format(format: &Format) -> Result<(), Fatal> {
    let usable = |c: char| c.is_ascii() && !matches!(c, '\r' | '\n' | '\0');
    for (mark, field) in [(format.delimiter, "/format/delimiter"), (format.quote, "/format/quote")] {
        if !usable(mark) {
            return Err(invalid(
                format!("{mark:?} cannot be used: name one ASCII character, no line end, no NUL"),
                field,
            ));
        }
    }
    if format.delimiter == format.quote {
        return Err(invalid("the delimiter and the quote are the same character", "/format/quote"));
    }
    Ok(())
}

fn check_rejects(limit: &MaxRejects) -> Result<(), Fatal> {
    match limit.ratio {
        Some(ratio) if !(0.0..=1.0).contains(&ratio) => {
            Err(invalid(format!("{ratio} is no part of the rows: from 0 to 1"), "/max_rejects/ratio"))
        }
        _ => Ok(()),
    }
}

fn check_column(column: &Column, format: &Format, field: &str) -> Result<(), Fatal> {
    if column.from.is_some() && column.index.is_some() {
        return Err(invalid("name `from` or `index`, not both", &format!("{field}/index")));
    }
    if column.from.is_some() && !format.header {
        return Err(invalid("the file has no header to look in; use `index`", &format!("{field}/from")));
    }
    if column.max_length.is_some() && column.kind != Type::Text {
        return Err(invalid("`max_length` is for text", &format!("{field}/max_length")));
    }
    check_bound(column, column.min.as_ref(), &format!("{field}/min"))?;
    check_bound(column, column.max.as_ref(), &format!("{field}/max"))
}

fn check_bound(column: &Column, bound: Option<&Bound>, field: &str) -> Result<(), Fatal> {
    let Some(text) = bound.map(Bound::text) else { return Ok(()) };
    if !column.kind.has_order() {
        return Err(invalid("bounds are for numbers, dates and timestamps", field));
    }
    match Cell::parse(column.kind, &text) {
        Ok(_) => Ok(()),
        Err(reason) => Err(invalid(format!("{text:?} is no bound for this column: {reason}"), field)),
    }
}

impl Bound {
    /// As a cell would write it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_sdk::Failure;

    fn fault(change: impl FnOnce(&mut serde_json::Value)) -> Option<String> {
        let mut json = serde_json::json!({
            "source": {"file": "f"}, "table": "people",
            "columns": [{"name": "id", "type": "integer"}, {"name": "note", "type": "text"}]
        });
        change(&mut json);
        let payload: CsvImport = serde_json::from_value(json).unwrap();
        let limits = Limits { max_columns: 3, ..Limits::default() };
        let Failure::Fatal(report) = check(&payload, &limits).err()?.into() else { panic!("a fault is fatal") };
        report.field
    }

    #[test]
    fn a_sound_payload_has_no_fault() {
        assert_eq!(fault(|_| {}), None);
    }

    #[test]
    fn a_name_that_is_no_plain_identifier_is_refused_at_its_field() {
        for bad in ["", "A", "1a", "a b", "a\"; drop table people; --", "ä", "a.b", "a\0", &"a".repeat(64)] {
            assert_eq!(fault(|p| p["table"] = bad.into()).as_deref(), Some("/table"), "{bad}");
            assert_eq!(fault(|p| p["columns"][1]["name"] = bad.into()).as_deref(), Some("/columns/1/name"), "{bad}");
            assert_eq!(fault(|p| p["job_column"] = bad.into()).as_deref(), Some("/job_column"), "{bad}");
        }
        assert_eq!(fault(|p| p["table"] = "a".repeat(63).into()), None);
    }

    #[test]
    fn names_that_are_taken_are_refused() {
        assert_eq!(fault(|p| p["table"] = "longshore_imports".into()).as_deref(), Some("/table"));
        assert_eq!(fault(|p| p["columns"][1]["name"] = "ctid".into()).as_deref(), Some("/columns/1/name"));
        assert_eq!(fault(|p| p["columns"][1]["name"] = "id".into()).as_deref(), Some("/columns/1/name"));
        assert_eq!(fault(|p| p["job_column"] = "id".into()).as_deref(), Some("/job_column"));
    }

    #[test]
    fn bounds_that_mean_nothing_are_refused_at_their_field() {
        assert_eq!(fault(|p| p["columns"][1]["min"] = 1.into()).as_deref(), Some("/columns/1/min"));
        assert_eq!(fault(|p| p["columns"][0]["max"] = "ten".into()).as_deref(), Some("/columns/0/max"));
        assert_eq!(fault(|p| p["columns"][0]["max_length"] = 1.into()).as_deref(), Some("/columns/0/max_length"));
        assert_eq!(
            fault(|p| p["max_rejects"] = serde_json::json!({"ratio": 1.5})).as_deref(),
            Some("/max_rejects/ratio")
        );
    }

    #[test]
    fn the_format_and_the_number_of_columns_have_limits() {
        assert_eq!(
            fault(|p| p["format"] = serde_json::json!({"delimiter": "\n"})).as_deref(),
            Some("/format/delimiter")
        );
        assert_eq!(fault(|p| p["format"] = serde_json::json!({"quote": ","})).as_deref(), Some("/format/quote"));
        assert_eq!(fault(|p| p["columns"] = serde_json::json!([])).as_deref(), Some("/columns"));
        let four = ["a", "b", "c", "d"].map(|name| serde_json::json!({"name": name, "type": "text"}));
        assert_eq!(fault(|p| p["columns"] = four.to_vec().into()).as_deref(), Some("/columns"));
        let no_header = |p: &mut serde_json::Value| {
            p["format"] = serde_json::json!({"header": false});
            p["columns"][1]["from"] = "note".into();
        };
        assert_eq!(fault(no_header).as_deref(), Some("/columns/1/from"));
    }
}
