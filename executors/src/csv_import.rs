//! `csv.import`: one CSV file into one table, typed, checked, in chunks that each commit once.
//! It trusts nothing in the file and names no table outside the operator's schema. Read `csv_import/payload.rs` for what a
//! caller says, then `csv_import/import.rs` for the loop.

mod cell;
mod chunk;
mod copy;
mod decimal;
mod import;
mod instant;
mod limits;
mod payload;
mod plan;
mod records;
mod reject_file;
mod rules;
mod target;
#[cfg(test)]
mod tests;
mod values;

pub use limits::Limits;
pub use payload::{Bound, Column, CsvImport, CsvImported, Encoding, Format, MaxRejects, Mode, Type};
pub use target::Target;

use std::sync::Arc;
use std::time::Duration;

use longshore_sdk::Artifact;
use longshore_sdk::context::Input;
use longshore_sdk::prelude::*;

use import::Import;
use plan::Plan;
use records::Head;
use target::dry::DrySession;
use target::postgres::PostgresSession;
use target::sqlite::{self, SqliteSession};
use target::{Claim, Session, TargetError};

/// Runs `csv.import` jobs against one database.
#[derive(Debug, Clone)]
pub struct CsvImporter {
    target: Target,
    limits: Limits,
}

impl CsvImporter {
    /// Imports into `target`, within `limits`.
    pub fn new(target: Target, limits: Limits) -> Self {
        Self { target, limits }
    }
}

impl Executor for CsvImporter {
    type Payload = CsvImport;

    fn policy(&self) -> Policy {
        Policy { timeout: Duration::from_secs(3600), max_attempts: 5, cost: 1, ..Policy::default() }
    }

    async fn run(&self, payload: CsvImport, context: &Context) -> Result<CsvImported> {
        rules::check(&payload, &self.limits)?;
        let input = context.fetch(&payload.source).await?;
        let (plan, claim) = self.plan(&payload, &input, context).await?;
        let import = Import {
            file: &input.path,
            claim,
            plan: Arc::new(plan),
            format: &payload.format,
            max_rejects: &payload.max_rejects,
            limits: &self.limits,
        };
        self.import(&import, payload.dry_run, context).await
    }
}

impl CsvImporter {
    async fn plan(&self, payload: &CsvImport, input: &Input, context: &Context) -> Result<(Plan, Claim)> {
        let (path, source_bytes) = (input.path.clone(), input.bytes);
        let (format, limits) = (payload.format.clone(), self.limits.clone());
        let head = context.blocking(move || Head::read(&path, source_bytes, &format, &limits)).await?;
        let (job, attempt) = (context.job_id(), context.attempt());
        let plan = Plan::new(payload, job, head.names.as_deref(), head.width, &self.limits)?;
        Ok((plan, Claim { job, attempt, source_bytes, start: head.start }))
    }

    async fn import(&self, import: &Import<'_>, dry_run: bool, context: &Context) -> Result<CsvImported> {
        let wait = self.limits.lock_wait;
        match &self.target {
            Target::Postgres { config, tls, schema } => {
                let open = PostgresSession::open(config, tls.as_deref(), schema, import.claim, wait).await;
                let mut session = open.map_err(TargetError::into_failure)?;
                if dry_run {
                    session.inspect(&import.plan).await.map_err(TargetError::into_failure)?;
                    return self.dry_run(import, context).await;
                }
                self.finish(&mut session, import, false, context).await
            }
            Target::Sqlite { path } if dry_run => {
                sqlite::inspect(path.clone(), Arc::clone(&import.plan), context).await?;
                self.dry_run(import, context).await
            }
            Target::Sqlite { path } => {
                let mut session = SqliteSession::open(path.clone(), wait, context).await?;
                self.finish(&mut session, import, false, context).await
            }
        }
    }

    async fn dry_run(&self, import: &Import<'_>, context: &Context) -> Result<CsvImported> {
        let mut session = DrySession::new(&context.scratch()?.join(REJECTS))?;
        self.finish(&mut session, import, true, context).await
    }

    /// Imports, then publishes the rejects. A run after the end does only the latter.
    async fn finish<S: Session>(
        &self,
        session: &mut S,
        import: &Import<'_>,
        dry_run: bool,
        context: &Context,
    ) -> Result<CsvImported> {
        let done = import.run(session, context).await?;
        let file = context.scratch()?.join(REJECTS);
        let rejects = session.rejects(import.claim.job, &file).await.map_err(TargetError::into_failure)?;
        let reject_file = if rejects.is_empty() { None } else { Some(publish(&file, context).await?) };
        Ok(CsvImported {
            table: self.target.qualified(&import.plan.table),
            job: import.claim.job,
            rows_read: done.rows_read(),
            rows_imported: done.rows_imported,
            rows_rejected: done.rows_rejected,
            rejects,
            checkpoints: if dry_run { 0 } else { done.chunks },
            dry_run,
            reject_file,
        })
    }
}

const REJECTS: &str = "rejects.csv";

async fn publish(file: &std::path::Path, context: &Context) -> Result<Artifact> {
    context.publish(REJECTS, "text/csv", file).await
}
