//! PostgreSQL: rows by binary COPY, each chunk in one transaction behind the fence.
//! What may be made and what an existing table must be is `schema.rs`; how errors are judged is at the end of this file.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, TryStreamExt};
use longshore_sdk::{Failure, Fatal, JobId};
use rustls::ClientConfig;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Row, Socket, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::schema::{check_table, make_tables};
use super::{Answer, Checkpoint, Claim, Session, TargetError, check_same_source, fenced, quoted, unavailable};
use crate::csv_import::chunk::{Chunk, Reject, Rows};
use crate::csv_import::copy::CopyRows;
use crate::csv_import::plan::Plan;
use crate::csv_import::records::Position;
use crate::csv_import::reject_file::RejectFile;

/// One COPY message; larger ones bring nothing.
const COPY_MESSAGE_BYTES: usize = 256 << 10;
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// One attempt's connection. Dropping it closes the connection, so that an attempt that is dropped commits nothing more.
pub(crate) struct PostgresSession {
    client: Client,
    schema: String,
    _connection: AbortOnDropHandle<()>,
}

impl PostgresSession {
    pub(crate) async fn open(
        config: &Config,
        tls: Option<&ClientConfig>,
        schema: &str,
        claim: Claim,
        lock_wait: Duration,
    ) -> Answer<Self> {
        let mut config = config.clone();
        config.application_name(format!("longshore {} {}", claim.job, claim.attempt));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WAIT);
        }
        let (client, connection) = match tls {
            Some(tls) => connect(&config, MakeRustlsConnect::new(tls.clone())).await?,
            None => connect(&config, NoTls).await?,
        };
        let settings = format!("set lock_timeout = {}; set client_min_messages = warning", lock_wait.as_millis());
        client.batch_execute(&settings).await?;
        Ok(Self { client, schema: schema.to_owned(), _connection: connection })
    }

    /// Checks an existing table without making or changing anything.
    pub(crate) async fn inspect(&mut self, plan: &Plan) -> Answer<()> {
        let transaction = self.client.transaction().await?;
        check_table(&transaction, &self.schema, plan).await.map(|_| ())
    }

    async fn take_over(&self, plan: &Plan, claim: Claim) -> Result<Option<Row>, tokio_postgres::Error> {
        let table = format!("{}.longshore_imports", quoted(&self.schema));
        let take_over = format!(
            "insert into {table} as mine (job_id, attempt, table_name, source_bytes, byte_offset, line)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (job_id) do update set attempt = excluded.attempt, updated_at = now()
             where mine.attempt <= excluded.attempt
             returning byte_offset, line, rows_imported, rows_rejected, chunks, finished, source_bytes"
        );
        let (attempt, bytes) = (i64::from(claim.attempt), claim.source_bytes as i64);
        let start = (claim.start.offset as i64, claim.start.line as i64);
        self.client.query_opt(&take_over, &[&claim.job.0, &attempt, &plan.table, &bytes, &start.0, &start.1]).await
    }

    /// Ends the connections of this job's earlier attempts: one that stopped in the middle of a transaction, with its
    /// machine still up, would hold the row's lock for as long as it likes.
    async fn end_earlier(&self, claim: Claim) -> Answer<()> {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
                   where usename = current_user and pid <> pg_backend_pid()
                   and case when application_name ~ ('^longshore ' || $1 || ' [0-9]+$')
                       then split_part(application_name, ' ', 3)::bigint < $2 else false end";
        self.client.execute(end, &[&claim.job.to_string(), &i64::from(claim.attempt)]).await?;
        Ok(())
    }
}

/// A client, and its connection on a task of its own.
async fn connect<T>(config: &Config, tls: T) -> Answer<(Client, AbortOnDropHandle<()>)>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static>,
{
    let (client, connection) = config.connect(tls).await?;
    let drive = async move {
        // The client's next call reports it.
        let _ = connection.await;
    };
    Ok((client, AbortOnDropHandle::new(tokio::spawn(drive))))
}

impl Session for PostgresSession {
    fn form(&self, columns: usize) -> Rows {
        Rows::Copy(CopyRows::new(columns))
    }

    async fn begin(&mut self, plan: &Arc<Plan>, claim: Claim) -> Answer<Checkpoint> {
        make_tables(&mut self.client, &self.schema, plan).await?;
        let row = match self.take_over(plan, claim).await {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                self.end_earlier(claim).await?;
                self.take_over(plan, claim).await
            }
            row => row,
        };
        let row = row?.ok_or_else(|| fenced(claim))?;
        check_same_source(row.get::<_, i64>(6) as u64, claim)?;
        Ok(checkpoint(&row))
    }

    async fn commit(&mut self, plan: &Arc<Plan>, claim: Claim, chunk: Chunk, next: Checkpoint) -> Answer<()> {
        let transaction = self.client.transaction().await?;
        // The fence first: its row lock makes a newer attempt wait for this commit, or this one see the newer attempt.
        advance(&transaction, &self.schema, claim, next).await?;
        let Rows::Copy(rows) = chunk.rows else { unreachable!("this session's form is COPY") };
        copy(&transaction, &self.schema, plan, rows).await.map_err(refused_row)?;
        insert_rejects(&transaction, &self.schema, claim.job, &chunk.rejects).await?;
        Ok(transaction.commit().await?)
    }

    async fn rejects(&mut self, job: JobId, file: &Path) -> Answer<BTreeMap<String, u64>> {
        let select = format!(
            "select line, column_name, reason, original from {}.longshore_import_rejects where job_id = $1 order by record",
            quoted(&self.schema)
        );
        let mut rows = pin!(self.client.query_raw(&select, [&job.0]).await?);
        let mut file = RejectFile::create(file)?;
        while let Some(row) = rows.try_next().await? {
            file.write(row.get::<_, i64>(0) as u64, row.get(1), row.get(2), row.get(3))?;
        }
        Ok(file.finish()?)
    }
}

fn checkpoint(row: &Row) -> Checkpoint {
    let number = |at: usize| row.get::<_, i64>(at) as u64;
    Checkpoint {
        position: Position { offset: number(0), line: number(1) },
        rows_imported: number(2),
        rows_rejected: number(3),
        chunks: number(4),
        finished: row.get(5),
    }
}

async fn advance(transaction: &Transaction<'_>, schema: &str, claim: Claim, next: Checkpoint) -> Answer<()> {
    let advance = format!(
        "update {}.longshore_imports
         set byte_offset = $3, line = $4, rows_imported = $5, rows_rejected = $6, chunks = $7, finished = $8,
             updated_at = now()
         where job_id = $1 and attempt = $2 and chunks + 1 = $7",
        quoted(schema)
    );
    let attempt = i64::from(claim.attempt);
    let at = (next.position.offset as i64, next.position.line as i64);
    let counts = (next.rows_imported as i64, next.rows_rejected as i64, next.chunks as i64);
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
        [&claim.job.0, &attempt, &at.0, &at.1, &counts.0, &counts.1, &counts.2, &next.finished];
    if transaction.execute(&advance, &values).await? == 0 { Err(fenced(claim).into()) } else { Ok(()) }
}

async fn copy(
    transaction: &Transaction<'_>,
    schema: &str,
    plan: &Plan,
    rows: CopyRows,
) -> Result<(), tokio_postgres::Error> {
    let columns: Vec<String> = plan.target_columns().iter().map(|column| quoted(column.name)).collect();
    let (schema, table) = (quoted(schema), quoted(&plan.table));
    let copy = format!("copy {schema}.{table} ({}) from stdin (format binary)", columns.join(", "));
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(&copy).await?);
    let mut bytes = Bytes::from(rows.finish());
    while !bytes.is_empty() {
        sink.send(bytes.split_to(bytes.len().min(COPY_MESSAGE_BYTES))).await?;
    }
    sink.finish().await.map(|_| ())
}

async fn insert_rejects(transaction: &Transaction<'_>, schema: &str, job: JobId, rejects: &[Reject]) -> Answer<()> {
    if rejects.is_empty() {
        return Ok(());
    }
    let insert = format!(
        "insert into {}.longshore_import_rejects (job_id, record, line, column_name, reason, original)
         select $1, * from unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bytea[])",
        quoted(schema)
    );
    let records: Vec<i64> = rejects.iter().map(|no| no.record as i64).collect();
    let lines: Vec<i64> = rejects.iter().map(|no| no.line as i64).collect();
    let columns: Vec<&str> = rejects.iter().map(|no| no.column.as_str()).collect();
    let reasons: Vec<&str> = rejects.iter().map(|no| no.reason).collect();
    let originals: Vec<&[u8]> = rejects.iter().map(|no| no.original.as_slice()).collect();
    transaction.execute(&insert, &[&job.0, &records, &lines, &columns, &reasons, &originals]).await?;
    Ok(())
}

/// Classes 22 (data), 23 (constraints) and 54 (limits) speak of the rows, anything else of the server.
fn refused_row(error: tokio_postgres::Error) -> TargetError {
    match error.as_db_error() {
        Some(said) if ["22", "23", "54"].iter().any(|class| said.code().code().starts_with(class)) => {
            TargetError::Row { index: said.where_().and_then(copied_row), message: said.to_string() }
        }
        _ => error.into(),
    }
}

/// `COPY people, line 3, column id` speaks of the third row; binary COPY counts rows as lines.
fn copied_row(place: &str) -> Option<usize> {
    let number = place.strip_prefix("COPY ")?.split_once(", line ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<usize>().ok()?.checked_sub(1)
}

impl From<tokio_postgres::Error> for TargetError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failure(failure(&error))
    }
}

/// What the server refuses by right or by grammar it will refuse again; everything else may pass.
fn failure(error: &tokio_postgres::Error) -> Failure {
    let Some(said) = error.as_db_error() else { return unavailable(chain(error)) };
    match said.code().code() {
        "42501" => Fatal::new("permission_denied", said).at("/table").into(),
        code if code.starts_with("42") => Fatal::new("target_refused", said).at("/table").into(),
        _ => unavailable(said),
    }
}

/// tokio-postgres keeps the cause, such as `connection refused`, in the source.
fn chain(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::copied_row;

    #[test]
    fn the_row_that_copy_stopped_at_is_found() {
        assert_eq!(copied_row("COPY people, line 3, column id"), Some(2));
        assert_eq!(copied_row("COPY people, line 1"), Some(0));
        assert_eq!(copied_row("SQL statement"), None);
    }
}
