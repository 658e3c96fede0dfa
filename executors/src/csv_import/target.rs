//! Where rows go, and what a database must promise: a fence, one transaction per chunk, and the rejects back at the end.
//! No SQL is here: it is in `postgres.rs` and `sqlite.rs`; `dry.rs` writes nothing. Read `import.rs` next, which drives it.

pub(crate) mod dry;
pub(crate) mod postgres;
mod schema;
pub(crate) mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_sdk::{Failure, Fatal, JobId};

use super::chunk::{Chunk, Rows};
use super::plan::{Plan, TargetColumn};
use super::records::Position;

/// The database that imports write to. The operator's choice; a payload names only a table in it.
///
/// Two tables of ours lie beside the imported ones: `longshore_imports` (one row per job: attempt, checkpoint, counts) and
/// `longshore_import_rejects` (the refused records). Nothing here deletes from them, for a late duplicate of a job must
/// find its row: the operator may delete rows of jobs that the ledger no longer keeps.
#[derive(Debug, Clone)]
pub enum Target {
    /// PostgreSQL, by binary COPY.
    Postgres {
        /// How to connect.
        config: Box<tokio_postgres::Config>,
        /// Whom to believe over TLS; `None`: without TLS, and a `sslmode` that requires it is refused by the connection.
        tls: Option<Arc<rustls::ClientConfig>>,
        /// The schema of all tables, made if it is not there.
        schema: String,
    },
    /// A SQLite file, made if it is not there.
    Sqlite {
        /// Where it is.
        path: PathBuf,
    },
}

impl Target {
    /// PostgreSQL, into the schema `imports`, without TLS.
    pub fn postgres(config: tokio_postgres::Config) -> Self {
        Self::Postgres { config: Box::new(config), tls: None, schema: "imports".to_owned() }
    }

    /// A SQLite file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite { path: path.into() }
    }

    /// The table's name with its schema, quoted.
    pub(crate) fn qualified(&self, table: &str) -> String {
        match self {
            Self::Postgres { schema, .. } => format!("{}.{}", quoted(schema), quoted(table)),
            Self::Sqlite { .. } => quoted(table),
        }
    }
}

/// An identifier in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whose attempt imports what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    /// The file's size, to notice that it was swapped.
    pub(crate) source_bytes: u64,
    /// Where the first attempt starts.
    pub(crate) start: Position,
}

/// How far an import is, as the target database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) rows_imported: u64,
    pub(crate) rows_rejected: u64,
    /// How many chunks were committed.
    pub(crate) chunks: u64,
    pub(crate) finished: bool,
}

impl Checkpoint {
    /// Nothing done yet.
    pub(crate) fn start(position: Position) -> Self {
        Self { position, rows_imported: 0, rows_rejected: 0, chunks: 0, finished: false }
    }

    pub(crate) fn rows_read(&self) -> u64 {
        self.rows_imported + self.rows_rejected
    }

    /// Once `chunk` is committed.
    pub(crate) fn after(&self, chunk: &Chunk) -> Self {
        Self {
            position: chunk.end,
            rows_imported: self.rows_imported + chunk.starts.len() as u64,
            rows_rejected: self.rows_rejected + chunk.rejects.len() as u64,
            chunks: self.chunks + 1,
            finished: chunk.last,
        }
    }
}

/// What a target answers in place of success.
#[derive(Debug)]
pub(crate) enum TargetError {
    /// The attempt ends this way.
    Failure(Failure),
    /// The table refuses a row that passed every check: a constraint of its own, say.
    Row {
        /// Which row of the chunk, if the database said.
        index: Option<usize>,
        /// What the database said.
        message: String,
    },
}

impl TargetError {
    /// Where no row is at stake.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Row { message, .. } => Fatal::new("refused_by_table", message).at("/table").into(),
        }
    }
}

impl From<Failure> for TargetError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Fatal> for TargetError {
    fn from(fatal: Fatal) -> Self {
        Self::Failure(fatal.into())
    }
}

impl From<std::io::Error> for TargetError {
    fn from(error: std::io::Error) -> Self {
        Self::Failure(Failure::retry("scratch_unavailable", error))
    }
}

/// What a target answers.
pub(crate) type Answer<T> = Result<T, TargetError>;

/// One attempt's hold on a target.
pub(crate) trait Session: Send {
    /// The form in which it takes rows.
    fn form(&self, columns: usize) -> Rows;

    /// Makes what is missing, checks the table, takes the fence from earlier attempts, and answers how far they came.
    fn begin(&mut self, plan: &Arc<Plan>, claim: Claim) -> impl Future<Output = Answer<Checkpoint>> + Send;

    /// Commits the chunk's rows, its rejects and `next` in one transaction, if the attempt still holds the fence and the
    /// checkpoint is still the one before `next`.
    fn commit(
        &mut self,
        plan: &Arc<Plan>,
        claim: Claim,
        chunk: Chunk,
        next: Checkpoint,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Writes all rejects of the job to `file`, in the file's order; answers how many there are by reason.
    fn rejects(&mut self, job: JobId, file: &Path) -> impl Future<Output = Answer<BTreeMap<String, u64>>> + Send;
}

/// Another attempt holds the import. A retry: if this one is the stale one, the ledger drops its outcome anyway.
pub(crate) fn fenced(claim: Claim) -> Failure {
    let message = format!("attempt {} no longer holds the import: a later attempt has taken it over", claim.attempt);
    Failure::retry("fenced", message)
}

/// A resumed import must read the file that it started.
pub(crate) fn check_same_source(was: u64, claim: Claim) -> Result<(), Fatal> {
    if was == claim.source_bytes {
        return Ok(());
    }
    let is = claim.source_bytes;
    let message = format!("an earlier attempt read a file of {was} bytes, this one has {is}; submit it as a new job");
    Err(Fatal::new("source_changed", message).at("/source"))
}

/// The database does not answer as it should just now.
pub(crate) fn unavailable(error: impl std::fmt::Display) -> Failure {
    Failure::retry("target_unavailable", error)
}

/// Compares an existing table with what is to be written. `has` lists its columns and types, empty for no table.
pub(crate) fn check_columns(
    plan: &Plan,
    has: &[(String, String)],
    takes: impl Fn(&TargetColumn<'_>, &str) -> bool,
) -> Result<(), Fatal> {
    for column in plan.target_columns() {
        let Some((_, has)) = has.iter().find(|(name, _)| name == column.name) else {
            let message = format!("the table {:?} has no column {:?}; add it or name another", plan.table, column.name);
            return Err(Fatal::new("incompatible_table", message).at(column.field));
        };
        if !takes(&column, has) {
            let message = format!("the column {:?} is {has}, which does not take {:?}", column.name, column.kind);
            return Err(Fatal::new("incompatible_table", message).at(column.field));
        }
    }
    Ok(())
}

/// The table is missing and may not be made.
pub(crate) fn no_table(plan: &Plan) -> Fatal {
    let message = format!("there is no table {:?}; make it, or let `mode` be create_or_append", plan.table);
    Fatal::new("missing_table", message).at("/table")
}
