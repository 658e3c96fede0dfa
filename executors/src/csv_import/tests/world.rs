//! A database, a scratch directory and the host of an attempt. It judges nothing: the stories do.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use longshore_sdk::context::{AttemptInfo, Host, Input, Kept};
use longshore_sdk::{Artifact, Cancellation, Context, ErrorReport, Executor, Failure, JobId, Progress, Result, Source};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::server;
use crate::csv_import::{CsvImport, CsvImported, CsvImporter, Limits, Target};

/// One database of its own, and files.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) target: Target,
}

impl World {
    pub(super) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::sqlite(dir.path().join("imports.db"));
        Self { dir, target }
    }

    pub(super) fn postgres() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // A quote in the name: identifiers are quoted everywhere or this fails.
        let schema = format!("imports \"{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let target = Target::Postgres { config: Box::new(server::config()), tls: None, schema };
        Self { dir: tempfile::tempdir().unwrap(), target }
    }

    /// Small chunks, so that a small file has boundaries.
    pub(super) fn importer(&self) -> CsvImporter {
        self.importer_with(Limits { chunk_rows: 10, ..Limits::default() })
    }

    pub(super) fn importer_with(&self, limits: Limits) -> CsvImporter {
        CsvImporter::new(self.target.clone(), limits)
    }

    pub(super) fn file(&self, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(format!("{}.csv", JobId::fresh()));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A payload for `content` with these columns, into the table `people`.
    pub(super) fn payload(&self, content: impl AsRef<[u8]>, columns: Value) -> Value {
        json!({"source": {"path": self.file(content)}, "table": "people", "columns": columns})
    }

    /// Imports as a new job.
    pub(super) async fn import(&self, payload: &Value) -> Result<CsvImported> {
        self.attempt(payload, &Attempt::new(self, JobId::fresh(), 1)).await
    }

    pub(super) async fn attempt(&self, payload: &Value, attempt: &Attempt) -> Result<CsvImported> {
        let payload: CsvImport = serde_json::from_value(payload.clone()).unwrap();
        self.importer().run(payload, &attempt.context).await
    }

    /// The rows of a query, each as its cells joined by `|`, null as `-`.
    pub(super) async fn query(&self, sql: &str) -> Vec<String> {
        match &self.target {
            Target::Sqlite { path } => query_sqlite(path, sql),
            Target::Postgres { schema, .. } => query_postgres(schema, sql).await,
        }
    }
}

fn query_sqlite(path: &Path, sql: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cell = |at| match row.get_ref(at).unwrap() {
            rusqlite::types::ValueRef::Null => "-".to_owned(),
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            rusqlite::types::ValueRef::Real(number) => number.to_string(),
            rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => {
                String::from_utf8_lossy(text).into_owned()
            }
        };
        Ok((0..columns).map(cell).collect::<Vec<_>>().join("|"))
    });
    rows.unwrap().map(|row| row.unwrap()).collect()
}

async fn query_postgres(schema: &str, sql: &str) -> Vec<String> {
    let (client, connection) = server::config().connect(NoTls).await.unwrap();
    let drive = tokio::spawn(connection);
    let schema = schema.replace('"', "\"\"");
    client.batch_execute(&format!("set search_path = \"{schema}\"; set timezone = 'UTC'")).await.unwrap();
    let answers = client.simple_query(sql).await.unwrap();
    drop(client);
    drive.await.unwrap().unwrap();
    let row = |row: &tokio_postgres::SimpleQueryRow| {
        (0..row.len()).map(|at| row.get(at).unwrap_or("-").to_owned()).collect::<Vec<_>>().join("|")
    };
    answers
        .iter()
        .filter_map(|answer| if let SimpleQueryMessage::Row(it) = answer { Some(row(it)) } else { None })
        .collect()
}

/// One attempt's context, and what it left.
pub(super) struct Attempt {
    pub(super) context: Context,
    host: Arc<TestHost>,
}

impl Attempt {
    pub(super) fn new(world: &World, job: JobId, attempt: u32) -> Self {
        Self::hooked(world, job, attempt, Cancellation::default(), || {})
    }

    /// Calls `on_progress` at each report, which is after each commit.
    pub(super) fn hooked(
        world: &World,
        job: JobId,
        attempt: u32,
        cancellation: Cancellation,
        on_progress: impl FnMut() + Send + 'static,
    ) -> Self {
        let staged = tempfile::tempdir_in(world.dir.path()).unwrap();
        let on_progress: Box<dyn FnMut() + Send> = Box::new(on_progress);
        let scratch = world.dir.path().to_owned();
        let host = Arc::new(TestHost { scratch, staged, on_progress: Mutex::new(on_progress) });
        let info = AttemptInfo {
            job,
            kind: "csv.import".into(),
            attempt,
            charged: attempt.saturating_sub(1),
            max_attempts: 5,
            timeout: Duration::from_secs(60),
            cancel_grace: Duration::from_secs(5),
            correlation_id: None,
            trace: None,
            checkpoint: None,
        };
        Self { context: Context::new(info, host.clone(), cancellation), host }
    }

    /// `rejects.csv` as it was staged.
    pub(super) fn rejects(&self) -> Vec<u8> {
        std::fs::read(self.host.staged.path().join("rejects.csv")).unwrap_or_default()
    }
}

struct TestHost {
    scratch: PathBuf,
    staged: tempfile::TempDir,
    on_progress: Mutex<Box<dyn FnMut() + Send>>,
}

#[async_trait]
impl Host for TestHost {
    fn scratch_root(&self) -> &Path {
        &self.scratch
    }

    fn progress(&self, progress: Progress) {
        assert!((0.0..=1.0).contains(&progress.fraction.unwrap()));
        (self.on_progress.lock().unwrap())();
    }

    async fn save_checkpoint(&self, _: Box<RawValue>) -> Result<()> {
        panic!("the checkpoint of an import is in its target");
    }

    async fn fetch(&self, source: &Source, _: &Path) -> Result<Input> {
        let Source::Path(path) = source else { panic!("the stories name paths") };
        Ok(Input { path: path.into(), bytes: std::fs::metadata(path)?.len() })
    }

    async fn keep(&self, name: &str, _: &Path) -> Result<()> {
        panic!("an import keeps nothing: {name}");
    }

    async fn recall(&self, kept: &Kept, _: &Path) -> Result<Option<Input>> {
        panic!("an import recalls nothing: {kept:?}");
    }

    async fn stage(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact> {
        let bytes = std::fs::metadata(file)?.len();
        std::fs::rename(file, self.staged.path().join(name))?;
        Ok(Artifact { name: name.into(), content_type: content_type.into(), bytes, sha256: String::new() })
    }
}

/// The report of an import that must be fatal.
pub(super) fn fatal(answer: Result<CsvImported>) -> ErrorReport {
    match answer {
        Err(Failure::Fatal(report)) => report,
        other => panic!("not fatal: {other:?}"),
    }
}

/// The code of an import that must be a retry.
pub(super) fn retry(answer: Result<CsvImported>) -> String {
    match answer {
        Err(Failure::Retry { error, .. }) => error.code,
        other => panic!("no retry: {other:?}"),
    }
}

/// Prints how long it took, as rows a second.
pub(super) fn timed(what: &str, rows: u64, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    println!("{what}: {rows} rows in {seconds:.2} s, {:.0} rows/s", rows as f64 / seconds);
}
