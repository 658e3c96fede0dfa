//! The tables of an import in PostgreSQL: what is made, under which lock, and what an existing table must be.
//! It alters no table that is there. Read `postgres.rs` next.

use tokio_postgres::{Client, Transaction};

use super::{Answer, check_columns, no_table, quoted};
use crate::csv_import::payload::Type;
use crate::csv_import::plan::{Plan, TargetColumn};
use longshore_sdk::Fatal;

/// Two imports that start at once must not both make a table: `if not exists` alone fails on the race.
const LOCK: &str = "select pg_advisory_xact_lock(hashtext('longshore csv.import'))";

/// Makes the schema and the tables that are missing; checks the one that is there.
pub(super) async fn make_tables(client: &mut Client, schema: &str, plan: &Plan) -> Answer<()> {
    let transaction = client.transaction().await?;
    // The usual case takes no lock: an attempt that stopped while it held this one would stop every import.
    if has_ours(&transaction, schema).await? && check_table(&transaction, schema, plan).await? {
        return Ok(());
    }
    transaction.batch_execute(LOCK).await?;
    // Asked first: `if not exists` wants the right to create even where there is nothing to create.
    let row = transaction.query_one("select to_regnamespace($1) is null", &[&quoted(schema)]).await?;
    if row.get(0) {
        transaction.batch_execute(&format!("create schema {}", quoted(schema))).await?;
    }
    if !has_ours(&transaction, schema).await? {
        transaction.batch_execute(&our_tables(schema)).await?;
    }
    if !check_table(&transaction, schema, plan).await? {
        transaction.batch_execute(&create(schema, plan)).await?;
    }
    Ok(transaction.commit().await?)
}

async fn has_ours(transaction: &Transaction<'_>, schema: &str) -> Answer<bool> {
    let name = format!("{}.longshore_import_rejects", quoted(schema));
    Ok(transaction.query_one("select to_regclass($1) is not null", &[&name]).await?.get(0))
}

fn our_tables(schema: &str) -> String {
    let schema = quoted(schema);
    format!(
        "create table {schema}.longshore_imports (
             job_id uuid primary key, attempt bigint not null, table_name text not null, source_bytes bigint not null,
             byte_offset bigint not null, line bigint not null, rows_imported bigint not null default 0,
             rows_rejected bigint not null default 0, chunks bigint not null default 0,
             finished boolean not null default false, started_at timestamptz not null default now(),
             updated_at timestamptz not null default now()
         );
         create table {schema}.longshore_import_rejects (
             job_id uuid not null, record bigint not null, line bigint not null, column_name text not null,
             reason text not null, original bytea not null, primary key (job_id, record)
         )"
    )
}

/// Whether the table is there, and fits.
pub(super) async fn check_table(transaction: &Transaction<'_>, schema: &str, plan: &Plan) -> Answer<bool> {
    let find = "select c.oid, c.relkind in ('r', 'p') from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname = $2";
    let Some(found) = transaction.query_opt(find, &[&schema, &plan.table]).await? else {
        return if plan.create { Ok(false) } else { Err(no_table(plan).into()) };
    };
    if !found.get::<_, bool>(1) {
        let message = format!("{:?} is there, but it is no table; choose another name", plan.table);
        return Err(Fatal::new("incompatible_table", message).at("/table").into());
    }
    let columns = "select attname::text, format_type(atttypid, atttypmod) from pg_attribute
                   where attrelid = $1 and attnum > 0 and not attisdropped";
    let rows = transaction.query(columns, &[&found.get::<_, u32>(0)]).await?;
    let columns: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    check_columns(plan, &columns, |column, has| takes(column.kind, has))?;
    Ok(true)
}

/// The types whose binary form is what `copy.rs` writes, and which keep it: `numeric(10,2)` would round, `varchar(9)` cut.
fn takes(kind: Type, has: &str) -> bool {
    has == sql_type(kind) || (kind == Type::Text && has == "character varying")
}

fn create(schema: &str, plan: &Plan) -> String {
    let column = |column: TargetColumn<'_>| {
        let null = if column.required { " not null" } else { "" };
        format!("{} {}{null}", quoted(column.name), sql_type(column.kind))
    };
    let columns: Vec<String> = plan.target_columns().into_iter().map(column).collect();
    format!("create table {}.{} ({})", quoted(schema), quoted(&plan.table), columns.join(", "))
}

/// As `format_type` writes them.
fn sql_type(kind: Type) -> &'static str {
    match kind {
        Type::Text => "text",
        Type::Integer => "bigint",
        Type::Decimal => "numeric",
        Type::Float => "double precision",
        Type::Boolean => "boolean",
        Type::Date => "date",
        Type::Timestamp => "timestamp with time zone",
        Type::Uuid => "uuid",
        // Not jsonb, which refuses what is valid JSON, such as \u0000, and keeps neither order nor digits.
        Type::Json => "json",
    }
}
