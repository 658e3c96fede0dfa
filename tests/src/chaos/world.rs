//! What a storm rages in: a broker, a database, a proxy before each, the crew, and what is known of it from outside. Faults are
//! `faults.rs`'s. It is dropped whole: nothing outlives it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use longshore_sdk::JobId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::crew::{Crew, Site};
use super::deed::SCHEMA;
use super::ears::{self, Ears};
use super::eye::Eye;
use super::fault::Fault;
use super::history::History;
use super::hunger;
use super::mistake::Mistake;
use super::pass;
use super::plan::Plan;
use super::tally::Tally;
use super::watchman::Watchman;
use crate::http::send;
use crate::postgres::{self, Postgres};
use crate::proxy::Proxy;
use crate::rabbitmq::RabbitMq;
use crate::scratch;
use crate::small_disk::SmallDisk;
use crate::until::poll;

/// The queues of the jobs, of what nobody can read, and of the ears.
pub(super) const QUEUES: [&str; 5] = [
    "longshore.jobs.chaos.deed",
    "longshore.jobs.chaos.deed:high",
    "longshore.jobs.chaos.deed:low",
    "longshore.dead",
    ears::QUEUE,
];
/// Room for artifacts, where it is to run out.
const DISK_BYTES: u64 = 256 * 1024 * 1024;
/// How long a node may take to be a member of its queues again.
const MEMBERS: Duration = Duration::from_secs(120);
/// How long a client waits for an answer before it asks again under the same key.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a client waits before it asks again.
const PAUSE: Duration = Duration::from_millis(100);

/// Everything of one storm.
pub struct World {
    /// What is to happen.
    pub plan: Plan,
    /// The processes.
    pub crew: Arc<Crew>,
    /// Where they work.
    pub site: Site,
    /// Looks into the ledger.
    pub eye: Eye,
    /// What the clients were promised.
    pub history: History,
    /// What was done, and how long it took.
    pub tally: Tally,
    /// Before the broker, one for each node.
    pub amqp: Vec<Proxy>,
    /// Before the database.
    pub sql: Proxy,
    /// The broker's nodes.
    pub brokers: Vec<RabbitMq>,
    /// The database.
    pub database: Postgres,
    /// Listens to all events.
    pub ears: Ears,
    /// Asks for running jobs without a lease, all through the storm.
    pub watchman: Watchman,
    /// Where artifacts lie, if it is planned to be filled.
    pub(super) disk: Option<SmallDisk>,
    /// Measurements that go on while the next fault comes.
    pub(super) watches: Mutex<Vec<JoinHandle<Result<()>>>>,
    supervisor: JoinHandle<Result<()>>,
    requests: AtomicUsize,
    _dir: TempDir,
}

impl World {
    /// Servers, schema, processes; ready for jobs, with queues that survive a kill.
    pub async fn start(plan: &Plan) -> Result<Arc<World>> {
        let (brokers, database) = (cluster(plan.nodes).await?, Postgres::start().await?);
        let mut amqp = vec![];
        for broker in &brokers {
            amqp.push(Proxy::before(&broker.url()).await?);
        }
        let sql = Proxy::before(&database.url()).await?;
        let dir = scratch::dir("chaos")?;
        let disk = (plan.planned(Fault::DiskFull) > 0)
            .then(|| SmallDisk::mount(&dir.path().join("storage"), DISK_BYTES))
            .transpose()?;
        let site = Site {
            database_url: sql.url().to_owned(),
            amqp_urls: amqp.iter().map(|proxy| proxy.url().to_owned()).collect(),
            dir: dir.path().to_owned(),
            lease: plan.lease,
            slots: plan.slots,
            mistake: plan.mistake,
        };
        site.command(&["migrate"], &database.url()).await?;
        postgres::connect(&database.url()).await?.batch_execute(SCHEMA).await?;
        let crew = Arc::new(Crew::start(plan, &site).await?);
        let supervisor = tokio::spawn(Arc::clone(&crew).supervise());
        let ears = Ears::at(brokers.iter().map(RabbitMq::url).collect());
        ears.listening().await?;
        let watchman = Watchman::of(&database.url(), plan.lease);
        let eye = Eye::on(&database.url());
        let world = World {
            plan: plan.clone(),
            crew,
            site,
            eye,
            history: History::default(),
            tally: Tally::default(),
            amqp,
            sql,
            brokers,
            database,
            ears,
            watchman,
            disk,
            watches: Mutex::default(),
            supervisor,
            requests: AtomicUsize::new(0),
            _dir: dir,
        };
        world.queues_stand().await?;
        Ok(Arc::new(world))
    }

    /// Waits until the queues of the jobs would survive a kill of their broker.
    pub async fn queues_stand(&self) -> Result<()> {
        for (broker, queue) in self.brokers.iter().flat_map(|broker| QUEUES.map(|queue| (broker, queue))) {
            broker.remembers(queue).await?;
        }
        Ok(())
    }

    /// Waits until every member of every queue is there, so that one node may go.
    pub async fn quorum_stands(&self) -> Result<()> {
        let all = || async {
            let listed = self.brokers[0].ctl(&["list_queues", "name", "online", "--no-table-headers"]).await.ok()?;
            let full = |queue: &&str| {
                let line = listed.lines().find(|line| line.starts_with(&format!("{queue}\t")));
                line.is_some_and(|line| line.matches("@localhost").count() == self.brokers.len())
            };
            QUEUES.iter().all(full).then_some(())
        };
        poll("all members of the queues to be online", MEMBERS, all).await
    }

    /// The node that leads this queue, as this one says.
    pub async fn leader(&self, queue: &str, asked: &RabbitMq) -> Result<&RabbitMq> {
        let listed = asked.ctl(&["list_queues", "name", "leader", "--no-table-headers"]).await?;
        let line = listed.lines().find(|line| line.starts_with(&format!("{queue}\t"))).context("no such queue")?;
        let leads = |broker: &&RabbitMq| line.ends_with(&format!("\t{}", broker.node()));
        self.brokers.iter().find(leads).with_context(|| format!("nobody leads: {line}"))
    }

    /// Submits under this key, again and again until it is accepted, at one API server after the other.
    pub async fn submit(&self, key: &str, deed: &Value, priority: &str) -> Result<JobId> {
        let body = json!({"kind": "chaos.deed", "payload": deed, "priority": priority});
        loop {
            if let Some(job) = self.try_submit(key, &body).await? {
                self.history.accept(key, job);
                return Ok(job);
            }
            self.history.repeat();
            pass(PAUSE).await;
        }
    }

    /// `None`: it may be accepted or not, the answer does not tell.
    async fn try_submit(&self, key: &str, body: &Value) -> Result<Option<JobId>> {
        let door = self.crew.door(self.requests.fetch_add(1, Ordering::Relaxed));
        let request = door.request(reqwest::Method::POST, "/v1/jobs").json(body);
        let forgotten = self.plan.mistake == Some(Mistake::KeyForgotten);
        let request = if forgotten { request } else { request.header("Idempotency-Key", key) };
        let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, send(request)).await else { return Ok(None) };
        if answer.status >= 500 {
            return Ok(None);
        }
        let id = answer.expect(202)?.json()?["id"].as_str().map(str::parse);
        Ok(Some(id.context("an answer without an id")??))
    }

    /// No seat is filled any more.
    pub fn dismiss_supervisor(&self) {
        self.supervisor.abort();
    }
}

/// One broker of so many nodes.
async fn cluster(nodes: usize) -> Result<Vec<RabbitMq>> {
    let mut brokers = vec![RabbitMq::start().await?];
    while brokers.len() < nodes {
        let node = brokers[0].start_beside().await?;
        brokers.push(node);
    }
    Ok(brokers)
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor.abort();
        hunger::sweep();
    }
}
