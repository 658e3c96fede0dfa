//! A session with a fault in it: around its nth commit the attempt dies, or something else happens first.
//! Everything else is the real session's.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use longshore_sdk::{Failure, JobId, Result, Source};

use super::world::{Attempt, World};
use crate::csv_import::chunk::{Chunk, Rows};
use crate::csv_import::import::Import;
use crate::csv_import::plan::Plan;
use crate::csv_import::target::postgres::PostgresSession;
use crate::csv_import::target::sqlite::SqliteSession;
use crate::csv_import::target::{Answer, Checkpoint, Claim, Session, TargetError};
use crate::csv_import::{CsvImport, CsvImported, Target};

/// What happens at the nth commit, counted from 0.
pub(super) enum Fault<'a> {
    /// The attempt dies before it.
    Before(u32),
    /// The attempt dies once it is done.
    After(u32),
    /// This happens first, to its end.
    Meanwhile(u32, Pin<Box<dyn Future<Output = ()> + Send + 'a>>),
}

/// Runs one attempt with a fault.
pub(super) async fn attempt(
    world: &World,
    payload: &serde_json::Value,
    attempt: &Attempt,
    fault: Fault<'_>,
) -> Result<CsvImported> {
    let payload: CsvImport = serde_json::from_value(payload.clone()).unwrap();
    let importer = world.importer();
    let Source::Path(_) = &payload.source else { panic!("the stories name paths") };
    let input = attempt.context.fetch(&payload.source).await?;
    let (plan, claim) = importer.plan(&payload, &input, &attempt.context).await?;
    let (format, max_rejects) = (&payload.format, &payload.max_rejects);
    let import =
        Import { file: &input.path, claim, plan: Arc::new(plan), format, max_rejects, limits: &importer.limits };
    let wait = importer.limits.lock_wait;
    match &world.target {
        Target::Sqlite { path } => {
            let inner = SqliteSession::open(path.clone(), wait, &attempt.context).await?;
            importer.finish(&mut Interposed { inner, commits: 0, fault }, &import, false, &attempt.context).await
        }
        Target::Postgres { config, tls, schema } => {
            let opened = PostgresSession::open(config, tls.as_deref(), schema, claim, wait).await;
            let inner = opened.map_err(TargetError::into_failure)?;
            importer.finish(&mut Interposed { inner, commits: 0, fault }, &import, false, &attempt.context).await
        }
    }
}

struct Interposed<'a, S> {
    inner: S,
    commits: u32,
    fault: Fault<'a>,
}

fn died() -> TargetError {
    TargetError::Failure(Failure::retry("died", "here the worker died"))
}

impl<S: Session> Session for Interposed<'_, S> {
    fn form(&self, columns: usize) -> Rows {
        self.inner.form(columns)
    }

    async fn begin(&mut self, plan: &Arc<Plan>, claim: Claim) -> Answer<Checkpoint> {
        self.inner.begin(plan, claim).await
    }

    async fn commit(&mut self, plan: &Arc<Plan>, claim: Claim, chunk: Chunk, next: Checkpoint) -> Answer<()> {
        let now = self.commits;
        self.commits += 1;
        match &mut self.fault {
            Fault::Before(at) if *at == now => return Err(died()),
            Fault::Meanwhile(at, happens) if *at == now => happens.as_mut().await,
            _ => {}
        }
        self.inner.commit(plan, claim, chunk, next).await?;
        if matches!(self.fault, Fault::After(at) if at == now) { Err(died()) } else { Ok(()) }
    }

    async fn rejects(&mut self, job: JobId, file: &Path) -> Answer<BTreeMap<String, u64>> {
        self.inner.rejects(job, file).await
    }
}
