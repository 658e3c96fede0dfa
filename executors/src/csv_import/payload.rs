//! What a caller of `csv.import` sends and gets back, as it appears in the JSON Schema.
//! No rule is checked here beyond the types: `plan.rs` checks the payload against the file's header and names the field
//! at fault. Read `plan.rs` next.

use std::collections::BTreeMap;

use longshore_sdk::prelude::*;
use longshore_sdk::{Artifact, JobId};

/// Imports one CSV file into one table, typed and checked row by row.
///
/// Rows are committed in chunks, each together with its rejects and its checkpoint, so a killed attempt resumes without
/// losing or doubling a row. What a failed or cancelled import has committed **stays** in the table: the error says how
/// many rows, a replay of the same job goes on behind them, and a *new* job for the same file adds them again. Name a
/// `job_column` to be able to remove one import whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvImport {
    /// The file.
    pub source: Source,
    /// The table, in the operator's schema: lower-case letters, digits and `_`, at most 63 bytes, not starting with a digit.
    pub table: String,
    /// The table's columns and where each comes from; 1 to 1600.
    #[schemars(length(min = 1, max = 1600))]
    pub columns: Vec<Column>,
    /// How the file is written.
    #[serde(default)]
    pub format: Format,
    /// Cells with exactly one of these texts are null. Default: the empty text (quoted or not).
    #[serde(default = "empty_text_is_null")]
    pub null_values: Vec<String>,
    /// How many bad rows are too many.
    #[serde(default)]
    pub max_rejects: MaxRejects,
    /// Whether the table may be made.
    #[serde(default)]
    pub mode: Mode,
    /// A `uuid` column of the table that gets this job's id in every row, so that `delete .. where <job_column> = <id>`
    /// undoes the import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_column: Option<String>,
    /// Reads and checks everything, writes nothing but the reject file.
    #[serde(default)]
    pub dry_run: bool,
}

fn empty_text_is_null() -> Vec<String> {
    vec![String::new()]
}

impl Payload for CsvImport {
    const KIND: &'static str = "csv.import";
    type Output = CsvImported;
}

/// One column of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name in the table, by the same rule as the table's.
    pub name: String,
    /// The header of the CSV column it comes from. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The CSV column it comes from, counted from 0, in place of `from`. Without a header the default is the place in `columns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Type,
    /// Whether null is refused.
    #[serde(default)]
    pub required: bool,
    /// The longest text, in characters (only `text`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// The smallest value (only numbers, dates and timestamps). Send decimals as text to keep their digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Bound>,
    /// The largest value, like `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Bound>,
    /// The texts that are allowed, as they stand in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<String>>,
}

/// A bound of a column, written as a number or as the text that a cell would have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Bound {
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A date, a timestamp or a decimal, as in the file.
    Text(String),
}

/// What a cell must be. Cells are not trimmed: a space is part of the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// UTF-8 without NUL.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// Digits with at most one point and a sign, kept digit by digit.
    Decimal,
    /// A finite double.
    Float,
    /// `true`, `t`, `yes`, `1` or `false`, `f`, `no`, `0`, in any case.
    Boolean,
    /// `YYYY-MM-DD`, years 1 to 9999.
    Date,
    /// RFC 3339 or `YYYY-MM-DD hh:mm:ss`, UTC when it names no offset; microseconds at the finest.
    Timestamp,
    /// A UUID.
    Uuid,
    /// JSON, at most 128 deep, kept as it is written.
    Json,
}

/// How the file is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Format {
    /// Between two cells: one ASCII character. Default `,`.
    pub delimiter: char,
    /// Around a cell, doubled within: one ASCII character. Default `"`.
    pub quote: char,
    /// Whether the first row names the columns. Default true.
    pub header: bool,
    /// The encoding. A byte order mark is skipped.
    pub encoding: Encoding,
}

impl Default for Format {
    fn default() -> Self {
        Self { delimiter: ',', quote: '"', header: true, encoding: Encoding::Utf8 }
    }
}

/// The encodings that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
}

/// How many bad rows are too many. The chunk that goes past it is not written and the job fails with the evidence.
///
/// The default is a tenth of the rows: a file that does not fit fails within its first chunk, while a few bad rows in a
/// million do not cost the other ones. The ratio is judged before each commit once 1,000 rows are read, and at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxRejects {
    /// At most so many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// At most this part of the rows read, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

impl Default for MaxRejects {
    fn default() -> Self {
        Self { rows: None, ratio: Some(0.1) }
    }
}

/// Whether the table may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Makes the table if it is not there.
    #[default]
    CreateOrAppend,
    /// The table must be there.
    Append,
}

/// What a completed import answers. The counts span all attempts of the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CsvImported {
    /// The table, qualified by its schema and quoted where it must be.
    pub table: String,
    /// The job whose id stands in `job_column`.
    pub job: JobId,
    /// Rows in the file, without the header and without empty lines.
    pub rows_read: u64,
    /// Rows now in the table; in a dry run those that would be.
    pub rows_imported: u64,
    /// Rows refused.
    pub rows_rejected: u64,
    /// Rows refused, by reason: `wrong_field_count`, `unclosed_quote`, `not_utf8`, `nul`, `field_too_large`, `required`,
    /// `not_<type>`, `too_precise`, `too_long`, `below_min`, `above_max`, `not_one_of`. A row counts once, by its first.
    pub rejects: BTreeMap<String, u64>,
    /// How many chunks were committed, each with a checkpoint.
    pub checkpoints: u64,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// `rejects.csv`, when a row was refused: line, column, reason and the record's own bytes. The record is exact, so a
    /// cell that a spreadsheet takes for a formula is still one: open the file with care.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_file: Option<Artifact>,
}
