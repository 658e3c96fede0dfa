//! `dev`, `all`, `api`, `worker` and `migrate`: settings from all their places, logs, signals, and then `app.rs`.
//! It builds no part of a server itself. Read `app.rs` for what runs, `config.rs` for the settings.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use toml::Value;

use super::guarded::stand_or_work;
use super::{Done, Ending, given, tell};
use crate::app::Executors;
use crate::config::{Config, Given, LogFormat, Sources, guess};
use crate::guard::Guard;
use crate::stop::Stop;
use crate::{app, telemetry};

/// What every server takes.
#[derive(Debug, Args)]
struct Common {
    /// A file with settings, like config.default.toml
    #[arg(long, env = "LONGSHORE_CONFIG", hide_env_values = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Any setting, e.g. --set worker.lease=30; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Logs for people (text) or for machines (json) [env: LONGSHORE_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    log: Option<LogFormat>,
}

/// Where it is found and where it keeps things.
#[derive(Debug, Args)]
struct Place {
    /// Where to listen [env: LONGSHORE_LISTEN] [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where to keep files [env: LONGSHORE_DATA_DIR] [default: .longshore]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// The same for a worker, which serves its probes alone.
#[derive(Debug, Args)]
struct Post {
    /// Where to answer /healthz and /readyz [env: LONGSHORE_WORKER_LISTEN] [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where to keep files [env: LONGSHORE_DATA_DIR] [default: .longshore]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// The ledger.
#[derive(Debug, Args)]
struct Database {
    /// The ledger: postgres://user:password@host/database [env: LONGSHORE_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

/// The broker.
#[derive(Debug, Args)]
struct Amqp {
    /// RabbitMQ: amqp://user:password@host/vhost, several separated by commas [env: LONGSHORE_AMQP_URL]
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    amqp_url: Option<Vec<String>>,
}

/// What is run.
#[derive(Debug, Args)]
struct Work {
    /// The kinds to run, separated by commas [env: LONGSHORE_WORKER_KINDS] [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    kinds: Option<Vec<String>>,
    /// How many jobs at once [env: LONGSHORE_WORKER_SLOTS] [default: one per core, at least 2]
    #[arg(long, value_name = "N", value_parser = given::slots)]
    slots: Option<u32>,
}

/// `longshore dev`
#[derive(Debug, Args)]
pub(super) struct Dev {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    work: Work,
}

/// Everything that decides what a server with both parts would do.
#[derive(Debug, Args)]
pub(super) struct ServerFlags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    amqp: Amqp,
    #[command(flatten)]
    work: Work,
}

/// Where a ledger is.
#[derive(Debug, Args)]
pub(super) struct LedgerFlags {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    database: Database,
    /// Where `dev` keeps its own, when no database is named [env: LONGSHORE_DATA_DIR] [default: .longshore]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// `longshore all`
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    flags: ServerFlags,
    /// Started by a guard.
    #[arg(long, hide = true)]
    guarded: bool,
}

/// `longshore api`
#[derive(Debug, Args)]
pub(super) struct Api {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    amqp: Amqp,
}

/// `longshore worker`
#[derive(Debug, Args)]
pub(super) struct Worker {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    place: Post,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    amqp: Amqp,
    #[command(flatten)]
    work: Work,
    /// Started by a guard.
    #[arg(long, hide = true)]
    guarded: bool,
}

/// `longshore migrate`
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    database: Database,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Dev {
    pub(super) fn run(self, executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> Done {
        let config = self.common.load([self.place.flags(), self.work.flags()].concat())?;
        run_to_end(async |stop| {
            let executors = executors(&config).await?;
            refuse_unknown(&config.worker.kinds, &executors)?;
            Ok(app::dev(&config, executors, stop).await?)
        })
    }
}

impl All {
    pub(super) fn run(self, executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> Done {
        let config = self.flags.load()?;
        needs_servers("all", &config)?;
        work(&config, self.guarded, executors, app::all)
    }
}

impl ServerFlags {
    pub(super) fn load(&self) -> Result<Config, Ending> {
        load(&self.sources())
    }

    pub(super) fn sources(&self) -> Sources {
        let Self { common, place, database, amqp, work } = self;
        common.sources([place.flags(), database.flags(), amqp.flags(), work.flags()].concat())
    }
}

impl LedgerFlags {
    pub(super) fn load(&self) -> Result<Config, Ending> {
        let data_dir = self.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        let place = flag("data_dir", "--data-dir", data_dir);
        self.common.load(self.database.flags().into_iter().chain(place).collect())
    }
}

impl Api {
    pub(super) fn run(self, executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> Done {
        let flags = [self.place.flags(), self.database.flags(), self.amqp.flags()].concat();
        let config = self.common.load(flags)?;
        needs_servers("api", &config)?;
        run_to_end(async |stop| Ok(app::api(&config, executors(&config).await?, stop).await?))
    }
}

impl Worker {
    pub(super) fn run(self, executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>) -> Done {
        let flags = [self.place.flags(), self.database.flags(), self.amqp.flags(), self.work.flags()].concat();
        let config = self.common.load(flags)?;
        needs_servers("worker", &config)?;
        work(&config, self.guarded, executors, app::worker)
    }
}

/// Runs what runs jobs, for the chosen kinds, behind its guard.
fn work(
    config: &Config,
    guarded: bool,
    executors: impl AsyncFnOnce(&Config) -> anyhow::Result<Executors>,
    run: impl AsyncFnOnce(&Config, Executors, Guard, Stop) -> anyhow::Result<()>,
) -> Done {
    let run = async |guard, stop| {
        let executors = executors(config).await?;
        refuse_unknown(&config.worker.kinds, &executors)?;
        Ok(run(config, executors, guard, stop).await?)
    };
    stand_or_work(config, guarded, |guard| run_to_end(async |stop| run(guard, stop).await))
}

impl Migrate {
    pub(super) fn run(self) -> Done {
        let config = self.common.load(self.database.flags())?;
        must_be_given("migrate", &[(config.database.url.is_none(), NO_DATABASE)])?;
        run_to_end(async |stop| {
            tokio::select! {
                done = app::migrate(&config) => migrated(done.context(NOT_MIGRATED)?, self.json),
                () = stop.asked() => Err(anyhow::anyhow!("stopped before the schema was up to date; run it again").into()),
            }
        })
    }
}

const NOT_MIGRATED: &str = "the schema is not up to date (is database.url right, and may its user make tables?)";

fn migrated(version: usize, json: bool) -> Done {
    let text = format!("the ledger's schema is at version {version}");
    Ok(tell(&if json { serde_json::json!({"schema_version": version}).to_string() } else { text })?)
}

impl Common {
    /// The settings of this process, with logging started as they say.
    fn load(&self, flags: Vec<Given>) -> Result<Config, Ending> {
        load(&self.sources(flags))
    }

    fn sources(&self, mut flags: Vec<Given>) -> Sources {
        let named = |format| if format == LogFormat::Json { "json" } else { "text" };
        flags.extend(self.log.map(|format| Given::new("log.format", named(format), "--log")));
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
        let environment = environment.collect();
        Sources { file: self.config.clone(), environment, sets: self.set.clone(), flags }
    }
}

fn load(sources: &Sources) -> Result<Config, Ending> {
    let config = Config::load(sources).map_err(|mistakes| Ending::Usage(mistakes.to_string()))?;
    telemetry::init(&config.log)?;
    Ok(config)
}

impl Place {
    fn flags(&self) -> Vec<Given> {
        place("listen", self.listen.clone(), self.data_dir.as_ref())
    }
}

impl Post {
    fn flags(&self) -> Vec<Given> {
        place("worker.listen", self.listen.clone(), self.data_dir.as_ref())
    }
}

fn place(listen_key: &str, listen: Option<String>, data_dir: Option<&PathBuf>) -> Vec<Given> {
    let data_dir = data_dir.map(|dir| dir.to_string_lossy().into_owned());
    let given = [flag(listen_key, "--listen", listen), flag("data_dir", "--data-dir", data_dir)];
    given.into_iter().flatten().collect()
}

impl Database {
    fn flags(&self) -> Vec<Given> {
        flag("database.url", "--database-url", self.database_url.clone()).into_iter().collect()
    }
}

impl Amqp {
    fn flags(&self) -> Vec<Given> {
        flag("broker.urls", "--amqp-url", self.amqp_url.clone()).into_iter().collect()
    }
}

impl Work {
    fn flags(&self) -> Vec<Given> {
        let kinds = flag("worker.kinds", "--kinds", self.kinds.clone());
        [kinds, flag("worker.slots", "--slots", self.slots.map(i64::from))].into_iter().flatten().collect()
    }
}

fn flag(key: &str, origin: &str, value: Option<impl Into<Value>>) -> Option<Given> {
    value.map(|value| Given::new(key, value, origin))
}

const NO_DATABASE: &str =
    "--database-url is missing: postgres://user:password@host/database, or set LONGSHORE_DATABASE_URL";
const NO_BROKER: &str = "--amqp-url is missing: amqp://user:password@host/vhost, or set LONGSHORE_AMQP_URL";

fn needs_servers(command: &str, config: &Config) -> Done {
    must_be_given(command, &[(config.database.url.is_none(), NO_DATABASE), (config.broker.urls.is_empty(), NO_BROKER)])
}

fn must_be_given(command: &str, missing: &[(bool, &str)]) -> Done {
    let missing: Vec<&str> = missing.iter().filter(|(missing, _)| *missing).map(|(_, told)| *told).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let way_out = "`longshore dev` needs neither of these servers";
    Err(Ending::Usage(format!("{command}: {}\n  {way_out}", missing.join("\n  "))))
}

/// Wrong usage, where `app.rs` would call it a failure.
pub(super) fn refuse_unknown(kinds: &[String], executors: &Executors) -> Done {
    let known: Vec<&str> = executors.iter().map(|executor| executor.kind()).collect();
    let Some(unknown) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) else { return Ok(()) };
    let hint =
        guess(unknown, known.iter().copied()).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    let known = known.join(", ");
    Err(Ending::Usage(format!("--kinds: nothing here runs {unknown}{hint} (there is {known})")))
}

pub(super) fn provide_tls() {
    // An error means that the program chose a provider of its own; then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Runs until the work ends. SIGTERM and SIGINT ask it to; a second one does not wait.
pub(super) fn run_to_end(work: impl AsyncFnOnce(Stop) -> Done) -> Done {
    provide_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let stop = Stop::new();
    let done = runtime.block_on(async {
        tokio::select! {
            done = work(stop.clone()) => done,
            failed = signals(&stop) => Ok(failed?),
        }
    });
    // A thread of an executor that never ends would hold the process for ever; its attempt is long given up.
    runtime.shutdown_timeout(LAST_THREADS);
    done
}

/// How long threads of the blocking pool may go on once everything else is over.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Ends only with an error, or with the process.
async fn signals(stop: &Stop) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let first = next().await;
    tracing::info!(signal = first, "stopping; a second signal ends the process at once");
    stop.ask();
    let second = next().await;
    tracing::warn!(signal = second, "ending at once: what still runs will be tried again");
    std::process::exit(1)
}
