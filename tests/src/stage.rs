//! A whole Longshore to tell stories on, of either sort: everything in one process on SQLite, or an API and workers on PostgreSQL
//! and RabbitMQ. A story that is told on both says nothing of the difference.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Http, send};
use crate::longshore::{Launch, Longshore, Ready};
use crate::postgres::Postgres;
use crate::rabbitmq::RabbitMq;
use crate::scratch;
use crate::until::poll;

/// No job of a story takes longer, on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running Longshore with the trial executor beside the built-in ones.
pub struct Stage {
    /// A client of its API.
    pub http: Http,
    /// Shared by its processes; `inbox` in it is the allowed root for inputs.
    pub dir: TempDir,
    /// Where the ledger is, when it is PostgreSQL.
    pub database_url: Option<String>,
    front: Front,
    workers: Vec<Longshore>,
}

enum Front {
    /// One process for all.
    Dev { launch: Launch, running: Option<Longshore> },
    /// The API apart from the workers.
    Servers { api: Longshore, worker: Launch },
}

impl Stage {
    /// Everything in one process.
    pub async fn embedded() -> Result<Stage> {
        Self::embedded_with(&[]).await
    }

    /// Everything in one process, with these variables.
    pub async fn embedded_with(variables: &[(&str, &str)]) -> Result<Stage> {
        let dir = scratch::dir("stage")?;
        let launch = dress(Longshore::dev(&dir.path().join("data"))?, &dir)?;
        let launch = variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let dev = launch.start().await?;
        let http = dev.http()?;
        let front = Front::Dev { launch, running: Some(dev) };
        Ok(Stage { http, dir, database_url: None, front, workers: vec![] })
    }

    /// Variables as they are passed on.
    pub fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// An API and one worker on the shared PostgreSQL and RabbitMQ, in a database and a virtual host of their own.
    pub async fn servers() -> Result<Stage> {
        let database = Postgres::shared().await?.database().await?;
        let broker = RabbitMq::shared().await?.vhost().await?;
        Self::on(&database, &broker).await
    }

    /// The same, with these variables for both.
    pub async fn servers_with(variables: &[(&str, &str)]) -> Result<Stage> {
        let database = Postgres::shared().await?.database().await?;
        let broker = RabbitMq::shared().await?.vhost().await?;
        Self::dressed_on(&database, &broker, variables).await
    }

    /// An API and one worker on these servers, with these variables for both.
    pub async fn dressed_on(database_url: &str, amqp_url: &str, variables: &[(&str, &str)]) -> Result<Stage> {
        let with = |launch: Launch| variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        Self::raise(database_url, amqp_url, with, |worker, _| Ok(with(worker))).await
    }

    /// An API and one worker on these servers.
    pub async fn on(database_url: &str, amqp_url: &str) -> Result<Stage> {
        Self::with_lease(database_url, amqp_url, 3).await
    }

    /// An API and one worker on these servers, with leases of so many seconds.
    pub async fn with_lease(database_url: &str, amqp_url: &str, seconds: u64) -> Result<Stage> {
        let lease = seconds.to_string();
        Self::on_with(database_url, amqp_url, |worker, _| Ok(worker.env("LONGSHORE_WORKER_LEASE", &lease))).await
    }

    /// An API and one worker on these servers; `change` says how workers are started, given the stage's directory.
    pub async fn on_with(
        database_url: &str,
        amqp_url: &str,
        change: impl FnOnce(Launch, &Path) -> Result<Launch>,
    ) -> Result<Stage> {
        Self::raise(database_url, amqp_url, |api| api, change).await
    }

    async fn raise(
        database_url: &str,
        amqp_url: &str,
        change_api: impl FnOnce(Launch) -> Launch,
        change_worker: impl FnOnce(Launch, &Path) -> Result<Launch>,
    ) -> Result<Stage> {
        let dir = scratch::dir("stage")?;
        migrate(database_url, &dir).await?;
        let api = change_api(dress(Longshore::api(database_url, amqp_url)?, &dir)?).start().await?;
        let worker = Longshore::worker(database_url, amqp_url, &[], 4)?;
        let worker = change_worker(dress(worker, &dir)?, dir.path())?;
        let worker = worker.ready(Ready::Says("working".to_owned()));
        let http = api.http()?;
        let front = Front::Servers { api, worker };
        let mut stage = Stage { http, dir, database_url: Some(database_url.to_owned()), front, workers: vec![] };
        stage.start_worker().await?;
        Ok(stage)
    }

    /// A process of the story's own, dressed as the others.
    pub fn dressed(launch: Launch, dir: &TempDir) -> Result<Launch> {
        dress(launch, dir)
    }

    /// One more API process on the same servers.
    pub async fn another_api(&self, amqp_url: &str) -> Result<Longshore> {
        let database_url = self.database_url.as_deref().context("an embedded stage has one process")?;
        dress(Longshore::api(database_url, amqp_url)?, &self.dir)?.start().await
    }

    /// Starts a worker: one more, or the embedded process again.
    pub async fn start_worker(&mut self) -> Result<()> {
        match &mut self.front {
            Front::Dev { launch, running } => *running = Some(launch.start().await?),
            Front::Servers { worker, .. } if self.workers.is_empty() => self.workers.push(worker.start().await?),
            Front::Servers { worker, .. } => self.workers.push(worker.beside()?.start().await?),
        }
        Ok(())
    }

    /// Kills the oldest worker as the kernel would: without a word.
    pub async fn kill_worker(&mut self) -> Result<()> {
        match &mut self.front {
            Front::Dev { running, .. } => running.take().context("nothing runs")?.kill_9().await,
            Front::Servers { .. } if !self.workers.is_empty() => self.workers.remove(0).kill_9().await,
            Front::Servers { .. } => bail!("no worker runs"),
        }
    }

    /// Whether the oldest worker runs.
    pub fn worker_lives(&self) -> bool {
        let worker = match &self.front {
            Front::Dev { running, .. } => running.as_ref(),
            Front::Servers { .. } => self.workers.first(),
        };
        worker.is_some_and(|worker| worker.process().ended().is_none())
    }

    /// A new worker in the place of the oldest, as Kubernetes would have it.
    pub async fn replace_worker(&mut self) -> Result<()> {
        match &mut self.front {
            Front::Dev { running, .. } => *running = None,
            Front::Servers { .. } => self.workers.truncate(0),
        }
        self.start_worker().await
    }

    /// Asks the oldest worker to drain, and returns its exit code.
    pub async fn drain_worker(&mut self) -> Result<i32> {
        let worker = match &mut self.front {
            Front::Dev { running, .. } => running.take().context("nothing runs")?,
            Front::Servers { .. } => self.workers.remove(0),
        };
        worker.drain(PATIENCE).await
    }

    /// The process of the oldest worker.
    pub fn worker(&self) -> &Longshore {
        match &self.front {
            Front::Dev { running, .. } => running.as_ref().expect("a story looks at what it has started"),
            Front::Servers { .. } => &self.workers[0],
        }
    }

    /// The process of the API.
    pub fn api(&self) -> &Longshore {
        match &self.front {
            Front::Dev { .. } => self.worker(),
            Front::Servers { api, .. } => api,
        }
    }

    /// Whether API and worker are one process.
    pub fn is_embedded(&self) -> bool {
        matches!(self.front, Front::Dev { .. })
    }

    /// Uploads a file; its id.
    pub async fn upload(&self, path: &Path) -> Result<String> {
        let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        let request = self.http.request(Method::POST, &format!("/v1/files?name={name}"));
        let answer = send(request.body(std::fs::read(path)?)).await?.expect(201)?;
        Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
    }

    /// Submits a job; its id.
    pub async fn submit(&self, kind: &str, payload: Value) -> Result<String> {
        self.submit_with(json!({"kind": kind, "payload": payload})).await
    }

    /// Submits a job by its whole request; its id.
    pub async fn submit_with(&self, request: Value) -> Result<String> {
        let answer = self.http.post("/v1/jobs", &request).await?.expect(202)?;
        Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
    }

    /// A job as the API shows it.
    pub async fn job(&self, id: &str) -> Result<Value> {
        self.http.get(&format!("/v1/jobs/{id}")).await?.expect(200)?.json()
    }

    /// Waits until the job is settled, through restarts of the API.
    pub async fn settled(&self, id: &str) -> Result<Value> {
        self.when(id, "to be settled", |job| !matches!(job["state"].as_str(), Some("pending" | "running"))).await
    }

    /// Waits until a job that takes longer than others is settled.
    pub async fn settled_within(&self, id: &str, patience: Duration) -> Result<Value> {
        let settled = |job: &Value| !matches!(job["state"].as_str(), Some("pending" | "running"));
        self.look_for(id, "to be settled", patience, settled).await
    }

    /// Waits until the job looks so.
    pub async fn when(&self, id: &str, what: &str, looks_so: impl Fn(&Value) -> bool) -> Result<Value> {
        self.look_for(id, what, PATIENCE, looks_so).await
    }

    async fn look_for(
        &self,
        id: &str,
        what: &str,
        patience: Duration,
        looks_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let look = || async { self.job(id).await.ok().filter(|job| looks_so(job)) };
        match poll(&format!("job {id} {what}"), patience, look).await {
            Ok(job) => Ok(job),
            Err(error) => Err(error.context(format!("its last state: {:?}", self.job(id).await))),
        }
    }

    /// A published output file.
    pub async fn download(&self, id: &str, name: &str) -> Result<PathBuf> {
        let request = self.http.request(Method::GET, &format!("/v1/jobs/{id}/artifacts/{name}"));
        let (client, request) = request.build_split();
        let response = client.execute(request?).await?.error_for_status()?;
        let path = self.dir.path().join(format!("{id}-{name}"));
        std::fs::write(&path, response.bytes().await?)?;
        Ok(path)
    }

    /// What the trial executor noted: `start <job> <attempt>` and `end <job> <attempt>`.
    pub fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.note_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Where trials are to note.
    pub fn note_file(&self) -> PathBuf {
        self.dir.path().join("notes")
    }
}

/// The trial binary, a data directory for all processes of the stage, and leases that a story can wait for.
fn dress(launch: Launch, dir: &TempDir) -> Result<Launch> {
    let us = std::env::current_exe()?;
    let profile = us.parent().filter(|dir| dir.ends_with("deps")).and_then(Path::parent).or(us.parent());
    let binary = profile.context("a test program lies in a directory")?.join("trial");
    let inbox = dir.path().join("inbox");
    std::fs::create_dir_all(&inbox)?;
    Ok(launch
        .binary(&binary)
        .env("LONGSHORE_STORAGE_ALLOWED_ROOTS", &inbox.to_string_lossy())
        .env("LONGSHORE_DATA_DIR", &dir.path().join("data").to_string_lossy())
        .env("LONGSHORE_WORKER_LEASE", "3")
        .env("LONGSHORE_WORKER_DRAIN_GRACE", "5")
        // Receivers on this machine, tried again within a story's patience.
        .env("LONGSHORE_WEBHOOKS_ALLOW_HTTP", "true")
        .env("LONGSHORE_WEBHOOKS_ALLOW_PRIVATE", "127.0.0.0/8")
        .env("LONGSHORE_WEBHOOKS_SCHEDULE", "1,1,1,1,1,1,1,1,1")
        .env("LONGSHORE_WORKER_SLOTS", "4"))
}

async fn migrate(database_url: &str, dir: &TempDir) -> Result<()> {
    let us = std::env::current_exe()?;
    let profile = us.parent().and_then(Path::parent).context("a test program lies in a directory")?;
    let mut command = std::process::Command::new(profile.join("trial"));
    command.args(["migrate", "--database-url", database_url]).current_dir(dir.path());
    crate::process::run("migrate", command, PATIENCE).await.map(drop)
}
