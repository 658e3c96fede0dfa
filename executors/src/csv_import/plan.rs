//! A payload joined with the file's header: which cell goes where, as what, under which checks. Pure.
//! It refuses a header that lacks a column or names it twice, and it judges each row. Read `records.rs` next.

use std::collections::HashSet;

use csv::ByteRecord;
use longshore_sdk::{Fatal, JobId};

use super::cell::{Cell, Reason, reason};
use super::limits::Limits;
use super::payload::{Bound, Column, CsvImport, Type};

/// An error lists so many of the headers that exist.
const HEADERS_SHOWN: usize = 50;

/// How each record becomes a row.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: String,
    pub(crate) create: bool,
    columns: Vec<PlannedColumn>,
    job: Option<(String, JobId)>,
    nulls: Vec<String>,
    width: usize,
    max_field_bytes: usize,
}

#[derive(Debug)]
struct PlannedColumn {
    name: String,
    kind: Type,
    index: usize,
    required: bool,
    max_length: Option<usize>,
    min: Option<String>,
    max: Option<String>,
    one_of: Option<HashSet<String>>,
}

/// A column as a target sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetColumn<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Type,
    pub(crate) required: bool,
    /// The payload's field, for errors.
    pub(crate) field: String,
}

/// Why a record is no row, and at which column if at one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) column: &'a str,
    pub(crate) reason: Reason,
}

impl Plan {
    /// `header` is the file's first record when it names the columns; `width` is how many cells a record has.
    pub(crate) fn new(
        payload: &CsvImport,
        job: JobId,
        header: Option<&[String]>,
        width: usize,
        limits: &Limits,
    ) -> Result<Self, Fatal> {
        let place = |(at, column)| Ok(PlannedColumn::new(column, locate(column, at, header, width)?));
        Ok(Self {
            table: payload.table.clone(),
            create: payload.mode == super::payload::Mode::CreateOrAppend,
            columns: payload.columns.iter().enumerate().map(place).collect::<Result<_, Fatal>>()?,
            job: payload.job_column.clone().map(|name| (name, job)),
            nulls: payload.null_values.clone(),
            width,
            max_field_bytes: limits.max_field_bytes,
        })
    }

    /// The columns to write, in the order in which [`Plan::row`] gives the cells.
    pub(crate) fn target_columns(&self) -> Vec<TargetColumn<'_>> {
        let of_file = self.columns.iter().enumerate().map(|(at, column)| TargetColumn {
            name: &column.name,
            kind: column.kind,
            required: column.required,
            field: format!("/columns/{at}"),
        });
        let of_job = self.job.iter().map(|(name, _)| TargetColumn {
            name,
            kind: Type::Uuid,
            required: true,
            field: "/job_column".to_owned(),
        });
        of_file.chain(of_job).collect()
    }

    /// Gives each cell of the row to `take`, or says why the record is none; then what was taken is void.
    pub(crate) fn row(&self, record: &ByteRecord, mut take: impl FnMut(Cell<'_>)) -> Result<(), Refusal<'_>> {
        if record.len() != self.width {
            return Err(Refusal { column: "", reason: reason::WRONG_FIELD_COUNT });
        }
        for column in &self.columns {
            let cell = self.cell(column, &record[column.index]);
            take(cell.map_err(|reason| Refusal { column: &column.name, reason })?);
        }
        if let Some((_, job)) = &self.job {
            take(Cell::Uuid(job.0));
        }
        Ok(())
    }

    fn cell<'a>(&self, column: &PlannedColumn, bytes: &'a [u8]) -> Result<Cell<'a>, Reason> {
        if bytes.len() > self.max_field_bytes {
            return Err(reason::FIELD_TOO_LARGE);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| reason::NOT_UTF8)?;
        if self.nulls.iter().any(|null| null == text) {
            return if column.required { Err(reason::REQUIRED) } else { Ok(Cell::Null) };
        }
        let cell = Cell::parse(column.kind, text)?;
        column.check(&cell, text)?;
        Ok(cell)
    }
}

impl PlannedColumn {
    fn new(column: &Column, index: usize) -> Self {
        Self {
            name: column.name.clone(),
            kind: column.kind,
            index,
            required: column.required,
            max_length: column.max_length,
            min: column.min.as_ref().map(Bound::text),
            max: column.max.as_ref().map(Bound::text),
            one_of: column.one_of.as_ref().map(|texts| texts.iter().cloned().collect()),
        }
    }

    fn check(&self, cell: &Cell<'_>, text: &str) -> Result<(), Reason> {
        // Bytes first: a text has no more characters than bytes.
        if self.max_length.is_some_and(|most| text.len() > most && text.chars().count() > most) {
            return Err(reason::TOO_LONG);
        }
        if self.min.as_ref().is_some_and(|min| self.compare(cell, min).is_lt()) {
            return Err(reason::BELOW_MIN);
        }
        if self.max.as_ref().is_some_and(|max| self.compare(cell, max).is_gt()) {
            return Err(reason::ABOVE_MAX);
        }
        if self.one_of.as_ref().is_some_and(|allowed| !allowed.contains(text)) {
            return Err(reason::NOT_ONE_OF);
        }
        Ok(())
    }

    fn compare(&self, cell: &Cell<'_>, bound: &str) -> std::cmp::Ordering {
        cell.cmp_value(&Cell::parse(self.kind, bound).expect("rules.rs has parsed every bound"))
    }
}

/// The place of `column`, the `at`th of the payload, in a record.
fn locate(column: &Column, at: usize, header: Option<&[String]>, width: usize) -> Result<usize, Fatal> {
    match (column.index, header) {
        (Some(index), _) => within(index, width, &format!("/columns/{at}/index")),
        (None, None) => within(at, width, &format!("/columns/{at}")),
        (None, Some(header)) => named(column.from.as_ref().unwrap_or(&column.name), at, header),
    }
}

fn within(index: usize, width: usize, field: &str) -> Result<usize, Fatal> {
    if index < width {
        return Ok(index);
    }
    let message = format!("there is no column {index}: the file's first record has {width}, counted from 0");
    Err(Fatal::new("missing_column", message).at(field))
}

fn named(name: &str, at: usize, header: &[String]) -> Result<usize, Fatal> {
    let field = format!("/columns/{at}/from");
    let mut places = header.iter().enumerate().filter(|(_, other)| *other == name).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(first), Some(second)) => {
            let message = format!("{name:?} heads the columns {first} and {second}; say which with `index`");
            Err(Fatal::new("ambiguous_column", message).at(field))
        }
        _ => Err(Fatal::new("missing_column", missing(name, header)).at(field)),
    }
}

fn missing(name: &str, header: &[String]) -> String {
    let shown: Vec<String> = header.iter().take(HEADERS_SHOWN).map(|name| format!("{name:?}")).collect();
    let more = header.len().saturating_sub(HEADERS_SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("no header is {name:?}; the file has {}{rest}", shown.join(", "))
}
