//! A chunk: what one transaction commits. The parser's thread fills it with rows in the target's own form, and rejects.
//! It talks to no database. Read `target.rs` next, which says what becomes of it.

use csv::ByteRecord;
use longshore_sdk::{Cancellation, Result};
use tokio::sync::mpsc;

use super::cell::{Cell, Reason, reason};
use super::copy::CopyRows;
use super::limits::Limits;
use super::plan::Plan;
use super::records::{Position, Records, Span};
use super::values::ValueRows;

/// What one transaction commits.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: Rows,
    /// Where each row's record starts, to name the line of one that the table refuses.
    pub(crate) starts: Vec<Position>,
    pub(crate) rejects: Vec<Reject>,
    /// Where the next chunk starts.
    pub(crate) end: Position,
    /// Whether the file ends here.
    pub(crate) last: bool,
}

/// A refused record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    /// The record's number in the file, from 1: orders and identifies it.
    pub(crate) record: u64,
    pub(crate) line: u64,
    pub(crate) column: String,
    pub(crate) reason: Reason,
    pub(crate) original: Vec<u8>,
}

/// Rows as their target takes them.
#[derive(Debug)]
pub(crate) enum Rows {
    /// PostgreSQL's binary COPY.
    Copy(CopyRows),
    /// Values to bind.
    Values(ValueRows),
    /// Nowhere: a dry run.
    Dropped,
}

impl Rows {
    /// As empty as at the start.
    fn fresh(&self) -> Self {
        match self {
            Self::Copy(rows) => Self::Copy(CopyRows::new(rows.columns())),
            Self::Values(rows) => Self::Values(ValueRows::new(rows.columns())),
            Self::Dropped => Self::Dropped,
        }
    }

    fn put(&mut self, cell: Cell<'_>) {
        match self {
            Self::Copy(rows) => rows.put(cell),
            Self::Values(rows) => rows.put(cell),
            Self::Dropped => {}
        }
    }

    /// Ends a row; one that was refused leaves no trace.
    fn end_row(&mut self, keep: bool) {
        match self {
            Self::Copy(rows) => rows.end_row(keep),
            Self::Values(rows) => rows.end_row(keep),
            Self::Dropped => {}
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Copy(rows) => rows.bytes(),
            Self::Values(rows) => rows.bytes(),
            Self::Dropped => 0,
        }
    }
}

/// The parser's side of an import: runs on a thread of its own until the file ends or nobody listens.
pub(crate) struct Parser {
    pub(crate) records: Records,
    pub(crate) plan: std::sync::Arc<Plan>,
    pub(crate) limits: Limits,
    /// The form of the rows; stays empty.
    pub(crate) form: Rows,
    /// Where it starts, and how many records lie before.
    pub(crate) from: Position,
    pub(crate) records_before: u64,
    pub(crate) cancellation: Cancellation,
}

impl Parser {
    /// Sends chunks, the last one marked, or the failure that ends them.
    pub(crate) fn run(mut self, to: &mpsc::Sender<Result<Chunk>>) {
        loop {
            let chunk = self.cancellation.check().and_then(|()| self.fill());
            let ends = !matches!(&chunk, Ok(chunk) if !chunk.last);
            // An error here: the receiver is gone, the attempt is over.
            if to.blocking_send(chunk).is_err() || ends {
                return;
            }
        }
    }

    fn fill(&mut self) -> Result<Chunk> {
        let mut chunk =
            Chunk { rows: self.form.fresh(), starts: Vec::new(), rejects: Vec::new(), end: self.from, last: false };
        let (mut record, mut reject_bytes) = (ByteRecord::new(), 0);
        while chunk.records() < self.limits.chunk_rows && chunk.rows.bytes() + reject_bytes < self.limits.chunk_bytes {
            let Some(span) = self.records.next(&mut record)? else {
                chunk.last = true;
                break;
            };
            reject_bytes += self.take(&record, span, &mut chunk)?;
        }
        self.records_before += chunk.records() as u64;
        self.from = chunk.end;
        Ok(chunk)
    }

    /// Adds one record as a row or as a reject; answers the reject's bytes.
    fn take(&self, record: &ByteRecord, span: Span, chunk: &mut Chunk) -> Result<usize> {
        chunk.end = span.end;
        let refusal = match self.records.is_unclosed(span)? {
            true => Some(("", reason::UNCLOSED_QUOTE)),
            false => self.plan.row(record, |cell| chunk.rows.put(cell)).err().map(|no| (no.column, no.reason)),
        };
        chunk.rows.end_row(refusal.is_none());
        let Some((column, reason)) = refusal else {
            chunk.starts.push(span.start);
            return Ok(0);
        };
        let (line, original) = self.records.bytes().original(span)?;
        let bytes = original.len() + size_of::<Reject>();
        let record = self.records_before + chunk.records() as u64 + 1;
        chunk.rejects.push(Reject { record, line, column: column.to_owned(), reason, original });
        Ok(bytes)
    }
}

impl Chunk {
    /// How many records it holds, rows and rejects.
    pub(crate) fn records(&self) -> usize {
        self.starts.len() + self.rejects.len()
    }
}
