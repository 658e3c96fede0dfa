//! Puts the rooms together: one ledger, one broker, one storage, and around them an API, a worker, or both. The only place where
//! executors are named and where API and worker meet. It decides nothing about jobs.

mod door;
mod first_key;
mod look;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longshore_executors::csv_import::{CsvImporter, Target};
use longshore_executors::resize::Resizer;
use longshore_executors::transcode::Transcoder;
use longshore_sdk::{AnyExecutor, erase};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use uuid::Uuid;

use self::door::Door;
use crate::agents::Agents;
use crate::agents::auditor::AuditPace;
use crate::api::health::{self, Probes};
use crate::api::{self, Api};
use crate::broker::Broker;
use crate::broker::embedded::{self, Embedded};
use crate::broker::rabbitmq::{self, RabbitMq};
use crate::broker::topology::Topology;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::guard::Guard;
use crate::ledger::postgres::Postgres;
use crate::ledger::postgres::address::{self, Address};
use crate::ledger::sqlite::Sqlite;
use crate::ledger::webhooks::KIND as WEBHOOK;
use crate::ledger::{Ledger, Whose};
use crate::metrics::{self, Role};
use crate::notify::feed::Feed;
use crate::notify::webhook::Messenger;
use crate::stop::Stop;
use crate::storage::{Storage, StorageSettings};
use crate::tls;
use crate::traces::{Road, Traces};
use crate::worker::registry::Registry;
use crate::worker::{self, Setup};
pub use look::doctor;

/// The executors of a process.
pub type Executors = Vec<Arc<dyn AnyExecutor>>;

/// What an API and a worker both need.
struct Base {
    ledger: Arc<dyn Ledger>,
    heart_ledger: Arc<dyn Ledger>,
    broker: Arc<dyn Broker>,
    storage: Arc<Storage>,
    registry: Arc<Registry>,
    hints: Arc<Notify>,
    scratch: PathBuf,
    guard: Guard,
    traces: Traces,
    /// No other process has this ledger.
    alone: bool,
}

/// The built-in executors. Without ffmpeg there is no `media.transcode`, and a warning says so.
///
/// # Errors
/// When the database of `csv.import` cannot be read as a URL.
pub async fn builtin_executors(config: &Config) -> anyhow::Result<Executors> {
    let mut executors = vec![
        erase(Resizer::new(config.resize.clone())),
        erase(CsvImporter::new(import_target(config)?, config.csv_import.limits.clone())),
    ];
    match Transcoder::available(&config.transcode).await {
        Some(version) => {
            tracing::debug!(version, "ffmpeg is there");
            executors.push(erase(Transcoder::new(config.transcode.clone())));
        }
        None => tracing::warn!("no ffmpeg: media.transcode is left out; install ffmpeg or set transcode.ffmpeg"),
    }
    Ok(executors)
}

/// `csv_import.database_url`, else the ledger's PostgreSQL (in a schema of its own), else a file in the data directory.
fn import_target(config: &Config) -> anyhow::Result<Target> {
    let Some(url) = config.csv_import.database_url.as_ref().or(config.database.url.as_ref()) else {
        return Ok(Target::sqlite(config.data_dir.join("imports.db")));
    };
    let (place, ca) = match config.csv_import.database_url {
        Some(_) => (address::IMPORTS, &config.csv_import.tls_ca),
        None => (address::LEDGER, &config.database.tls_ca),
    };
    let address = Address::read(url, tls::set(ca), &place)?;
    let schema = config.csv_import.schema.clone();
    Ok(Target::Postgres { config: Box::new(address.config), tls: address.tls, schema })
}

/// What a process can run: what it was given, and the delivery of webhooks.
fn known(config: &Config, executors: Executors, ledger: &Arc<dyn Ledger>) -> anyhow::Result<Registry> {
    let messenger = Messenger::new(Arc::clone(ledger), config.webhooks.clone(), worker::luck())
        .context("no client for webhooks can be made")?;
    Ok(Registry::new(executors.into_iter().chain([erase(messenger)]))?)
}

/// What of it a worker runs: webhooks whatever its kinds, or never.
fn chosen(config: &Config, known: &Registry) -> anyhow::Result<Registry> {
    let all = known.kinds().map(str::to_owned).collect();
    let mut kinds = if config.worker.kinds.is_empty() { all } else { config.worker.kinds.clone() };
    kinds.retain(|kind| kind != WEBHOOK);
    kinds.extend(config.webhooks.deliver.then(|| WEBHOOK.to_owned()));
    Ok(known.only(&kinds)?)
}

/// API and worker in one process, on SQLite and the embedded broker, in `config.data_dir`. Returns once `stop` is asked and
/// everything has drained.
///
/// # Errors
/// When the data directory is in use, or the address is taken.
pub async fn dev(config: &Config, executors: Executors, stop: Stop) -> anyhow::Result<()> {
    let place = DataDir::lock(&config.data_dir)?;
    let file = place.path().join("ledger.db");
    let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::open(&file)?);
    let known = known(config, executors, &ledger)?;
    metrics::begin(&[Role::Api, Role::Worker], known.kinds(), &stop);
    let registry = Arc::new(chosen(config, &known)?);
    let base = Base {
        ledger,
        heart_ledger: Arc::new(Sqlite::open(&file)?),
        broker: Embedded::new(embedded::Limits::default()),
        storage: Arc::new(Storage::open(storage_settings(config, Some(place.path())))?),
        registry,
        hints: Arc::default(),
        scratch: scratch(place.path())?,
        guard: Guard::default(),
        traces: Traces::begin(&config.traces, Road::embedded())?,
        alone: true,
    };
    base.ledger.migrate().await?;
    // The lock says that every earlier worker is gone: its jobs are ready at once, not after a lease.
    base.ledger.rescue(config.agents.crash_limit, Whose::Everyones).await?;
    let door = Door::open(config).await?;
    base.ledger.register_kinds(&base.registry.cards()).await?;
    first_key::make(base.ledger.as_ref(), place.path()).await?;
    base.start_agents(config, &stop);
    base.serve_and_work(config, door, &stop).await?;
    drop(place);
    Ok(())
}

/// API, worker and agents in one process, on PostgreSQL and RabbitMQ.
///
/// # Errors
/// When a URL cannot be used, the address is taken, or a kind has no executor here.
pub async fn all(config: &Config, executors: Executors, guard: Guard, stop: Stop) -> anyhow::Result<()> {
    let ledger: Arc<dyn Ledger> = Arc::new(postgres(config, config.database.connections)?);
    let known = known(config, executors, &ledger)?;
    metrics::begin(&[Role::Api, Role::Worker], known.kinds(), &stop);
    let base = Base { guard, ..Base::of_servers(config, ledger, chosen(config, &known)?)? };
    let door = Door::open(config).await?;
    base.be_fit_to_work(config, &stop).await?;
    base.start_agents(config, &stop);
    base.serve_and_work(config, door, &stop).await
}

/// The HTTP API and the agents, on PostgreSQL and RabbitMQ.
///
/// # Errors
/// When a URL cannot be used or the address is taken. A server that is down is no error: readiness shows it.
pub async fn api(config: &Config, executors: Executors, stop: Stop) -> anyhow::Result<()> {
    let ledger: Arc<dyn Ledger> = Arc::new(postgres(config, config.database.connections)?);
    let known = known(config, executors, &ledger)?;
    metrics::begin(&[Role::Api], known.kinds(), &stop);
    let base = Base::of_servers(config, ledger, known)?;
    let door = Door::open(config).await?;
    base.announce_kinds(&stop).await;
    base.start_agents(config, &stop);
    base.serve(config, door, &stop).await?;
    base.end(&stop, &stop).await;
    Ok(())
}

/// A worker and the agents, on PostgreSQL and RabbitMQ.
///
/// # Errors
/// When a URL cannot be used, or a kind has no executor here.
pub async fn worker(config: &Config, executors: Executors, guard: Guard, stop: Stop) -> anyhow::Result<()> {
    // All kinds of this program, for it may lead the agents: their statistics are of every queue.
    let ledger: Arc<dyn Ledger> = Arc::new(postgres(config, config.database.connections)?);
    let known = known(config, executors, &ledger)?;
    metrics::begin(&[Role::Worker], known.kinds(), &stop);
    let base = Base { guard, ..Base::of_servers(config, ledger, chosen(config, &known)?)? };
    // Answered to the last: a draining worker is alive, and not ready.
    let probes = Stop::new();
    if let Some(address) = config.worker.listen {
        base.serve_probes(config, bind(address).await?, &probes, &stop);
    }
    base.be_fit_to_work(config, &stop).await?;
    base.start_agents(config, &stop);
    worker::run(base.setup(config), stop.clone()).await;
    base.end(&stop, &stop).await;
    probes.ask();
    probes.finished(END_WITHIN).await;
    Ok(())
}

/// Brings the schema of the PostgreSQL ledger up to date; answers its version.
///
/// # Errors
/// When it does not answer, or is newer than this program.
pub async fn migrate(config: &Config) -> anyhow::Result<usize> {
    let ledger = postgres(config, 1)?;
    ledger.migrate().await?;
    Ok(ledger.schema_version().await?)
}

impl Base {
    fn of_servers(config: &Config, ledger: Arc<dyn Ledger>, registry: Registry) -> anyhow::Result<Self> {
        let settings = rabbit(config)?;
        let traces = Traces::begin(&config.traces, Road::rabbitmq(settings.topology.clone()))?;
        Ok(Self {
            ledger,
            heart_ledger: Arc::new(postgres(config, 1)?),
            broker: RabbitMq::connect(settings),
            storage: Arc::new(Storage::open(storage_settings(config, None))?),
            registry: Arc::new(registry),
            hints: Arc::default(),
            scratch: scratch(&config.data_dir)?,
            guard: Guard::default(),
            traces,
            alone: false,
        })
    }

    /// Returns when the ledger knows our kinds; an error is why this process must not work with these servers.
    async fn be_fit_to_work(&self, config: &Config, stop: &Stop) -> anyhow::Result<()> {
        let judged = look::refuse_if_dangerous(config, &self.registry).await?;
        self.announce_kinds(stop).await;
        if !judged && !stop.is_asked() {
            look::refuse_if_dangerous(config, &self.registry).await?;
        }
        Ok(())
    }

    /// Enters the kinds, when the ledger is there and has its schema.
    async fn announce_kinds(&self, stop: &Stop) {
        while !stop.is_asked() {
            match self.ledger.register_kinds(&self.registry.cards()).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the ledger is not ready (has `longshore migrate` run?); waiting"),
            }
            stop.sleep(Duration::from_secs(1)).await;
        }
    }

    fn start_agents(&self, config: &Config, stop: &Stop) {
        let agents = Agents {
            ledger: Arc::clone(&self.ledger),
            broker: Arc::clone(&self.broker),
            // Alone in its data directory, a process takes the role from the one before it at once.
            holder: if self.alone { Uuid::nil() } else { Uuid::now_v7() },
            lease: config.worker.limits.lease,
            crash_limit: config.agents.crash_limit,
            audit: AuditPace { interval: config.agents.audit_interval, jobs: config.agents.audit_jobs },
            alone: self.alone,
            hints: Arc::clone(&self.hints),
            storage: Some(Arc::clone(&self.storage)),
            keep: config.kept(),
        };
        agents.start(stop);
    }

    async fn serve(&self, config: &Config, door: Door, stop: &Stop) -> anyhow::Result<()> {
        let feed = Feed::start(stop, Arc::clone(&self.broker));
        let (ledger, broker) = (Arc::clone(&self.ledger), Arc::clone(&self.broker));
        let callers = (config.auth.clone(), config.limits.clone());
        let api = Api::new(stop, ledger, broker, Arc::clone(&self.storage), feed, config.api.clone(), callers);
        let api = api.with_webhooks(config.webhooks.clone());
        door.serve(api, config, stop).await
    }

    /// The API goes on while the worker drains.
    async fn serve_and_work(&self, config: &Config, door: Door, stop: &Stop) -> anyhow::Result<()> {
        let served = Stop::new();
        let mut api = std::pin::pin!(self.serve(config, door, &served));
        tokio::select! {
            () = worker::run(self.setup(config), stop.clone()) => {
                served.ask();
                api.await?;
            }
            ended = &mut api => ended?,
        }
        self.end(&served, stop).await;
        Ok(())
    }

    fn serve_probes(&self, config: &Config, listener: TcpListener, served: &Stop, stop: &Stop) {
        let probes = Probes {
            ledger: Arc::clone(&self.ledger),
            broker: Arc::clone(&self.broker),
            patience: config.api.probe_timeout,
            needs_broker: true,
            stop: stop.clone(),
        };
        let (end, settings) = (served.token(), config.api.clone());
        served.spawn("probes", async move {
            if let Err(error) = api::serve(listener, health::probes(probes), &settings, None, end).await {
                tracing::error!(%error, "the probes are not answered any more");
            }
        });
    }

    fn setup(&self, config: &Config) -> Setup {
        Setup {
            settings: config.worker.limits.clone(),
            ledger: Arc::clone(&self.ledger),
            heart_ledger: Arc::clone(&self.heart_ledger),
            broker: Arc::clone(&self.broker),
            storage: Arc::clone(&self.storage),
            registry: Arc::clone(&self.registry),
            host: host_name(),
            scratch: self.scratch.clone(),
            hints: Arc::clone(&self.hints),
            luck: worker::luck(),
            heart: worker::Heart::OwnThread,
            guard: self.guard.clone(),
        }
    }

    async fn end(&self, served: &Stop, stop: &Stop) {
        served.ask();
        stop.ask();
        if !stop.finished(END_WITHIN).await {
            tracing::warn!(waited = ?END_WITHIN, "a loop did not notice the end and is left behind");
        }
        self.broker.close().await;
        self.traces.end().await;
    }
}

/// How long the loops may take to notice the end.
const END_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn postgres(config: &Config, connections: usize) -> anyhow::Result<Postgres> {
    let url =
        config.database.url.as_deref().context("no database: give --database-url or set LONGSHORE_DATABASE_URL")?;
    Ok(Postgres::connect_trusting(url, tls::set(&config.database.tls_ca), connections)?)
}

fn rabbit(config: &Config) -> anyhow::Result<rabbitmq::Settings> {
    let settings = rabbitmq::Settings::new(&config.broker.urls)?;
    let mut settings = settings.trusting(tls::set(&config.broker.tls_ca))?;
    settings.topology = Topology::under(&config.broker.prefix)?;
    Ok(settings)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}; choose another address with --listen"))
}

/// The storage's own settings, with a directory under the data directory where none is named.
fn storage_settings(config: &Config, place: Option<&Path>) -> StorageSettings {
    let mut settings = config.storage.clone();
    if settings.location == StorageSettings::default().location {
        settings.location = place.unwrap_or(&config.data_dir).join("storage").to_string_lossy().into_owned();
    }
    settings
}

/// Scratch of attempts, emptied at start: nothing in it outlives its attempt.
fn scratch(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let place = data_dir.join("scratch").join(std::process::id().to_string());
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(place)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
