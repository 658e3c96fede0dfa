//! SQLite, the embedded default: one file, one writer, every chunk one `begin immediate` transaction on a blocking thread.
//! It keeps decimals, dates and timestamps as text, for SQLite has no type that does. Read `postgres.rs` beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_sdk::{Context, Failure, Fatal, JobId, Result};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params, params_from_iter,
};

use super::{
    Answer, Checkpoint, Claim, Session, TargetError, check_columns, check_same_source, fenced, no_table, quoted,
    unavailable,
};
use crate::csv_import::chunk::{Chunk, Reject, Rows};
use crate::csv_import::payload::Type;
use crate::csv_import::plan::{Plan, TargetColumn};
use crate::csv_import::records::Position;
use crate::csv_import::reject_file::RejectFile;
use crate::csv_import::values::ValueRows;

const TABLES: &str = "
    create table if not exists longshore_imports (
        job_id text primary key, attempt integer not null, table_name text not null, source_bytes integer not null,
        byte_offset integer not null, line integer not null, rows_imported integer not null default 0,
        rows_rejected integer not null default 0, chunks integer not null default 0, finished integer not null default 0
    );
    create table if not exists longshore_import_rejects (
        job_id text not null, record integer not null, line integer not null, column_name text not null,
        reason text not null, original blob not null, primary key (job_id, record)
    );";

const TAKE_OVER: &str = "
    insert into longshore_imports (job_id, attempt, table_name, source_bytes, byte_offset, line)
    values (?1, ?2, ?3, ?4, ?5, ?6)
    on conflict (job_id) do update set attempt = excluded.attempt where attempt <= excluded.attempt
    returning byte_offset, line, rows_imported, rows_rejected, chunks, finished, source_bytes";

const ADVANCE: &str = "
    update longshore_imports
    set byte_offset = ?3, line = ?4, rows_imported = ?5, rows_rejected = ?6, chunks = ?7, finished = ?8
    where job_id = ?1 and attempt = ?2 and chunks = ?7 - 1";

/// One attempt's hold on a SQLite file.
pub(crate) struct SqliteSession(Arc<Mutex<Connection>>);

impl SqliteSession {
    /// Opens `path`, making it if it is not there.
    pub(crate) async fn open(path: PathBuf, lock_wait: Duration, context: &Context) -> Result<Self> {
        let open = move || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(lock_wait)?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            Ok(Self(Arc::new(Mutex::new(connection))))
        };
        context.blocking(move || open().map_err(failure)).await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let connection = Arc::clone(&self.0);
        let work = move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(work).await {
            Ok(answer) => answer,
            Err(stopped) => Err(TargetError::Failure(unavailable(stopped))),
        }
    }
}

/// Checks an existing table without making or changing anything.
pub(crate) async fn inspect(path: PathBuf, plan: Arc<Plan>, context: &Context) -> Result<()> {
    let look = move || {
        if !path.exists() {
            return if plan.create { Ok(()) } else { Err(no_table(&plan).into()) };
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failure)?;
        exists(&connection, &plan).map(|_| ()).map_err(TargetError::into_failure)
    };
    context.blocking(look).await
}

impl Session for SqliteSession {
    fn form(&self, columns: usize) -> Rows {
        Rows::Values(ValueRows::new(columns))
    }

    async fn begin(&mut self, plan: &Arc<Plan>, claim: Claim) -> Answer<Checkpoint> {
        let plan = Arc::clone(plan);
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let checkpoint = begin(&transaction, &plan, claim)?;
            transaction.commit()?;
            Ok(checkpoint)
        })
        .await
    }

    async fn commit(&mut self, plan: &Arc<Plan>, claim: Claim, chunk: Chunk, next: Checkpoint) -> Answer<()> {
        let plan = Arc::clone(plan);
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            advance(&transaction, claim, next)?;
            insert_rows(&transaction, &plan, &chunk.rows)?;
            insert_rejects(&transaction, claim.job, &chunk.rejects)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn rejects(&mut self, job: JobId, file: &Path) -> Answer<BTreeMap<String, u64>> {
        let file = file.to_owned();
        self.with(move |connection| write_rejects(connection, job, &file)).await
    }
}

fn begin(transaction: &Transaction<'_>, plan: &Plan, claim: Claim) -> Answer<Checkpoint> {
    transaction.execute_batch(TABLES)?;
    if !exists(transaction, plan)? {
        transaction.execute_batch(&create(plan))?;
    }
    let (job, start) = (claim.job.to_string(), claim.start);
    let values =
        params![job, claim.attempt, plan.table, claim.source_bytes as i64, start.offset as i64, start.line as i64];
    let row = transaction.query_row(TAKE_OVER, values, |row| Ok((checkpoint(row)?, row.get::<_, i64>(6)? as u64)));
    let (checkpoint, source_bytes) = row.optional()?.ok_or_else(|| fenced(claim))?;
    check_same_source(source_bytes, claim)?;
    Ok(checkpoint)
}

fn checkpoint(row: &rusqlite::Row<'_>) -> rusqlite::Result<Checkpoint> {
    let number = |at: usize| row.get::<_, i64>(at).map(|number| number as u64);
    Ok(Checkpoint {
        position: Position { offset: number(0)?, line: number(1)? },
        rows_imported: number(2)?,
        rows_rejected: number(3)?,
        chunks: number(4)?,
        finished: row.get(5)?,
    })
}

fn advance(transaction: &Transaction<'_>, claim: Claim, next: Checkpoint) -> Answer<()> {
    let at = next.position;
    let counts = (next.rows_imported as i64, next.rows_rejected as i64, next.chunks as i64);
    let values = params![
        claim.job.to_string(),
        claim.attempt,
        at.offset as i64,
        at.line as i64,
        counts.0,
        counts.1,
        counts.2,
        next.finished
    ];
    if transaction.execute(ADVANCE, values)? == 0 { Err(fenced(claim).into()) } else { Ok(()) }
}

/// Whether the table is there, and fits.
fn exists(connection: &Connection, plan: &Plan) -> Answer<bool> {
    let mut statement = connection.prepare("select name, upper(type) from pragma_table_info(?1)")?;
    let columns = statement.query_map([&plan.table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let columns = columns.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    if columns.is_empty() {
        return if plan.create { Ok(false) } else { Err(no_table(plan).into()) };
    }
    check_columns(plan, &columns, |column, has| has == sql_type(column.kind))?;
    Ok(true)
}

fn create(plan: &Plan) -> String {
    let column = |column: TargetColumn<'_>| {
        let null = if column.required { " not null" } else { "" };
        format!("{} {}{null}", quoted(column.name), sql_type(column.kind))
    };
    let columns: Vec<String> = plan.target_columns().into_iter().map(column).collect();
    format!("create table {} ({})", quoted(&plan.table), columns.join(", "))
}

fn sql_type(kind: Type) -> &'static str {
    match kind {
        Type::Integer | Type::Boolean => "INTEGER",
        Type::Float => "REAL",
        // `NUMERIC` would turn decimals into doubles.
        Type::Text | Type::Decimal | Type::Date | Type::Timestamp | Type::Uuid | Type::Json => "TEXT",
    }
}

fn insert_rows(transaction: &Transaction<'_>, plan: &Plan, rows: &Rows) -> Answer<()> {
    let Rows::Values(rows) = rows else { unreachable!("this session's form is values") };
    let columns: Vec<String> = plan.target_columns().iter().map(|column| quoted(column.name)).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let insert = format!("insert into {} ({}) values ({places})", quoted(&plan.table), columns.join(", "));
    let mut insert = transaction.prepare(&insert)?;
    for (index, row) in rows.rows().enumerate() {
        insert.execute(params_from_iter(row)).map_err(|error| refused_row(index, error))?;
    }
    Ok(())
}

fn refused_row(index: usize, error: rusqlite::Error) -> TargetError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            TargetError::Row { index: Some(index), message: error.to_string() }
        }
        _ => error.into(),
    }
}

fn insert_rejects(transaction: &Transaction<'_>, job: JobId, rejects: &[Reject]) -> Answer<()> {
    let mut insert = transaction.prepare("insert into longshore_import_rejects values (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let job = job.to_string();
    for no in rejects {
        insert.execute(params![job, no.record as i64, no.line as i64, no.column, no.reason, no.original])?;
    }
    Ok(())
}

fn write_rejects(connection: &Connection, job: JobId, file: &Path) -> Answer<BTreeMap<String, u64>> {
    let select =
        "select line, column_name, reason, original from longshore_import_rejects where job_id = ?1 order by record";
    let mut select = connection.prepare(select)?;
    let mut rows = select.query([job.to_string()])?;
    let mut file = RejectFile::create(file)?;
    while let Some(row) = rows.next()? {
        let (column, reason, original): (String, String, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        file.write(row.get::<_, i64>(0)? as u64, &column, &reason, &original)?;
    }
    Ok(file.finish()?)
}

impl From<rusqlite::Error> for TargetError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failure(failure(error))
    }
}

/// A file that may not be written or is no database stays so; a busy or full disk does not.
fn failure(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            Fatal::new("permission_denied", error).at("/table").into()
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
            Fatal::new("target_refused", error).at("/table").into()
        }
        _ => unavailable(error),
    }
}
