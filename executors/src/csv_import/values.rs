//! Rows as SQLite's values. Decimals, dates and timestamps are text, for SQLite has no type that keeps them.
//! It refuses nothing: cells are already values. Read `target/sqlite.rs` next, and `copy.rs` for PostgreSQL's form.

use rusqlite::types::Value;

use super::cell::Cell;
use super::instant::civil_utc;

/// Rows as values to bind.
#[derive(Debug)]
pub(crate) struct ValueRows {
    cells: Vec<Value>,
    columns: usize,
    row_start: usize,
    text_bytes: usize,
}

impl ValueRows {
    pub(crate) fn new(columns: usize) -> Self {
        Self { cells: Vec::new(), columns, row_start: 0, text_bytes: 0 }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[Value]> {
        self.cells.chunks_exact(self.columns)
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn bytes(&self) -> usize {
        self.cells.len() * size_of::<Value>() + self.text_bytes
    }

    pub(crate) fn put(&mut self, cell: Cell<'_>) {
        let value = value(cell);
        if let Value::Text(text) = &value {
            self.text_bytes += text.len();
        }
        self.cells.push(value);
    }

    pub(crate) fn end_row(&mut self, keep: bool) {
        if !keep {
            self.cells.truncate(self.row_start);
        }
        self.row_start = self.cells.len();
    }
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) | Cell::Json(text) | Cell::Decimal(_, text) => Value::Text(text.to_owned()),
        Cell::Integer(number) => Value::Integer(number),
        Cell::Float(number) => Value::Real(number),
        Cell::Boolean(yes) => Value::Integer(i64::from(yes)),
        Cell::Date(date) => Value::Text(date.to_string()),
        Cell::Timestamp(micros) => Value::Text(timestamp(micros)),
        Cell::Uuid(id) => Value::Text(id.to_string()),
    }
}

/// With all six digits, so that the order of the texts is the order of the moments.
fn timestamp(micros: i64) -> String {
    format!("{:.6}Z", civil_utc(micros))
}
