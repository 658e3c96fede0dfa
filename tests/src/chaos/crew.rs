//! The processes of the system under test: workers and API servers, each in a seat that is filled again when its process ends, as
//! Kubernetes would. It harms nobody; whoever does (`faults.rs`) holds the seat meanwhile.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

use super::deed::DATABASE;
use super::mistake::{MISTAKE, Mistake};
use super::pass;
use super::plan::Plan;
use crate::http::Http;
use crate::longshore::{Launch, Longshore, Ready, built};
use crate::process::{Ending, run};
use crate::procfs;
use crate::until::poll;

/// A start may have to wait for a server that is away.
const PATIENCE: Duration = Duration::from_secs(150);
/// Names a directory that is to keep the logs of all processes.
const LOGS: &str = "CHAOS_LOGS";
/// Of the workers under test. A storm kills whoever it meets, and what it met at the default of three times while that ran alone would
/// be a dead letter (seen: 1 job of 35,065), as it should be where nobody storms.
pub(super) const CRASH_LIMIT: u32 = 100;
/// How long a worker that is asked to leave waits for its attempts.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// Processes started so far.
static STARTS: AtomicUsize = AtomicUsize::new(0);
/// Names the crew to each of its processes, and to whatever these start: who outlives the crew is known by it.
const CREW: &str = "CHAOS_CREW";
/// How soon after the last process its children are gone.
const CHILDREN: Duration = Duration::from_secs(10);
/// How often an empty seat is looked for.
const ROUND: Duration = Duration::from_millis(500);

/// Where the processes work.
#[derive(Debug, Clone)]
pub struct Site {
    /// The ledger, by way of a proxy.
    pub database_url: String,
    /// The broker's nodes, by way of a proxy each.
    pub amqp_urls: Vec<String>,
    /// Shared by all: uploads and outputs.
    pub dir: PathBuf,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Slots of one worker.
    pub slots: usize,
    /// What its executor is to do wrong.
    pub mistake: Option<Mistake>,
}

/// Who sits where.
#[derive(Debug)]
pub struct Crew {
    workers: Vec<Arc<AsyncMutex<Seat>>>,
    apis: Vec<Arc<AsyncMutex<Seat>>>,
    /// Of each API, where it answers now.
    doors: Arc<RwLock<Vec<Http>>>,
    /// What marks its processes.
    mark: String,
    /// Processes that ended though nobody had harmed them.
    deserters: Arc<Mutex<Vec<Deserter>>>,
}

/// A process that ended by itself.
#[derive(Debug, Clone)]
pub struct Deserter {
    /// What its number was.
    pub pid: u32,
    /// How it ended.
    pub ending: Ending,
    /// What it said last.
    pub words: String,
}

/// One place for a process.
#[derive(Debug)]
pub struct Seat {
    role: Role,
    site: Site,
    process: Longshore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Worker,
    /// With the number of its door.
    Api(usize),
}

impl Site {
    /// Runs a command of the suite's own binary to its end.
    pub async fn command(&self, args: &[&str], database_url: &str) -> Result<String> {
        let mut command = std::process::Command::new(built("hand")?);
        command.args(args).args(["--database-url", database_url]).current_dir(&self.dir);
        command.env("LONGSHORE_WORKER_LEASE", self.lease.as_secs_f64().to_string());
        run(args[0], command, PATIENCE).await
    }

    /// What marks the processes of this crew.
    fn crew(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }

    fn launch(&self, role: Role) -> Result<Launch> {
        // Any node first, that they don't all sit on one.
        let mut urls = self.amqp_urls.clone();
        let first = STARTS.fetch_add(1, Ordering::Relaxed) % urls.len();
        urls.rotate_left(first);
        let urls = urls.join(",");
        let launch = match role {
            Role::Worker => Longshore::worker(&self.database_url, &urls, &[], self.slots)?,
            Role::Api(_) => Longshore::api(&self.database_url, &urls)?,
        };
        let mistake = self.mistake.map_or("", Mistake::word);
        Ok(launch
            .env(MISTAKE, mistake)
            .env(CREW, &self.crew())
            .binary(&built("hand")?)
            .env("LONGSHORE_DATA_DIR", &self.dir.to_string_lossy())
            .env("LONGSHORE_WORKER_LEASE", &self.lease.as_secs_f64().to_string())
            .env("LONGSHORE_WORKER_DRAIN_GRACE", &DRAIN_GRACE.as_secs().to_string())
            .env("LONGSHORE_AGENTS_CRASH_LIMIT", &CRASH_LIMIT.to_string())
            .env("LONGSHORE_LOG_FORMAT", "json")
            .env(DATABASE, &self.database_url)
            .ready(Ready::Started))
    }
}

impl Crew {
    /// Starts them all; they are ready when this returns.
    pub async fn start(plan: &Plan, site: &Site) -> Result<Crew> {
        let mut apis = vec![];
        for number in 0..plan.apis {
            apis.push(Seat::fill(Role::Api(number), site).await?);
        }
        let doors = apis.iter().map(|seat| seat.process.http()).collect::<Result<_>>()?;
        let mut workers = vec![];
        for _ in 0..plan.workers {
            workers.push(Seat::fill(Role::Worker, site).await?);
        }
        let seated = |seats: Vec<Seat>| seats.into_iter().map(|seat| Arc::new(AsyncMutex::new(seat))).collect();
        let crew = Crew {
            workers: seated(workers),
            apis: seated(apis),
            doors: Arc::new(RwLock::new(doors)),
            mark: site.crew(),
            deserters: Arc::default(),
        };
        for seat in &crew.apis {
            seat.lock().await.answers().await?;
        }
        for seat in &crew.workers {
            seat.lock().await.working().await?;
        }
        Ok(crew)
    }

    /// A worker of nobody else's for as long as it is held.
    pub async fn worker(&self, number: usize) -> OwnedMutexGuard<Seat> {
        Arc::clone(&self.workers[number % self.workers.len()]).lock_owned().await
    }

    /// The same of an API server.
    pub async fn api(&self, number: usize) -> OwnedMutexGuard<Seat> {
        Arc::clone(&self.apis[number % self.apis.len()]).lock_owned().await
    }

    /// A client of one of the API servers, where it answers now.
    pub fn door(&self, number: usize) -> Http {
        let doors = self.doors.read().unwrap_or_else(PoisonError::into_inner);
        doors[number % doors.len()].clone()
    }

    /// A new process in the seat, at once.
    pub async fn refill(&self, seat: &mut Seat) -> Result<()> {
        seat.keep_log();
        *seat = Seat::fill(seat.role, &seat.site).await?;
        if let Role::Api(door) = seat.role {
            self.doors.write().unwrap_or_else(PoisonError::into_inner)[door] = seat.process.http()?;
        }
        Ok(())
    }

    /// Fills seats whose process ended by itself, until aborted.
    pub async fn supervise(self: Arc<Self>) -> Result<()> {
        loop {
            pass(ROUND).await;
            for seat in self.workers.iter().chain(&self.apis) {
                // A seat that is held is being harmed right now.
                let Ok(mut seat) = Arc::clone(seat).try_lock_owned() else { continue };
                self.refill_if_empty(&mut seat).await?;
            }
        }
    }

    async fn refill_if_empty(&self, seat: &mut Seat) -> Result<()> {
        if seat.process.process().ended().is_none() {
            return Ok(());
        }
        self.note_deserter(seat);
        self.refill(seat).await
    }

    /// Its process ended, and not by what was done to it.
    pub fn note_deserter(&self, seat: &Seat) {
        let process = seat.process.process();
        let Some(ending) = process.ended() else { return };
        let deserter = Deserter { pid: process.pid(), ending, words: process.log_tail() };
        self.deserters.lock().unwrap_or_else(PoisonError::into_inner).push(deserter);
    }

    /// Waits until the worker in the seat works, in whichever process, and answers its identity.
    pub async fn working(&self, seat: &mut Seat) -> Result<Uuid> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            self.refill_if_empty(seat).await?;
            match seat.working().await {
                Err(error) if std::time::Instant::now() > until => return Err(error),
                Err(_) => pass(ROUND).await,
                Ok(worker) => return Ok(worker),
            }
        }
    }

    /// Who ended though nobody had harmed it.
    pub fn deserters(&self) -> Vec<Deserter> {
        self.deserters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All leave in good order; what is wrong with how they did.
    pub async fn leave(&self) -> Result<Vec<String>> {
        let mut wrong = vec![];
        for seat in self.workers.iter().chain(&self.apis) {
            let seat = seat.lock().await;
            let code = seat.process.drain(PATIENCE).await?;
            seat.keep_log();
            if code != 0 {
                wrong.push(format!("{:?} left with code {code}", seat.role));
            }
        }
        wrong.extend(self.left_behind().await);
        Ok(wrong)
    }
}

impl Crew {
    /// Processes of the crew, or that it started, and that are still there when all have left; in whatever group, session or family
    /// they are by now. Of those that were killed as well, the whole storm through.
    async fn left_behind(&self) -> Option<String> {
        let none = || async { procfs::marked(CREW, &self.mark).is_empty().then_some(()) };
        poll("the last process of the crew to end", CHILDREN, none).await.err().map(|error| {
            let left = procfs::marked(CREW, &self.mark);
            format!("{} processes were left behind, {left:?}: {error}", left.len())
        })
    }
}

impl Seat {
    async fn fill(role: Role, site: &Site) -> Result<Seat> {
        let process = site.launch(role)?.start().await?;
        Ok(Seat { role, site: site.clone(), process })
    }

    /// Copies what it said into the directory that [`LOGS`] names, for whoever looks for the cause of a violation.
    fn keep_log(&self) {
        let Some(dir) = std::env::var_os(LOGS) else { return };
        let process = self.process.process();
        // Without it the storm tells as much as it otherwise would.
        let _ = std::fs::copy(process.log(), Path::new(&dir).join(format!("{:?}-{}.log", self.role, process.pid())));
    }

    /// Its process.
    pub fn process(&self) -> &Longshore {
        &self.process
    }

    /// Waits until the worker has an identity other than `not`, and answers it.
    pub async fn working_as_other(&self, not: Option<Uuid>) -> Result<Uuid> {
        let look = || async {
            let found = identity(self.process.process().log()).filter(|id| Some(*id) != not);
            if found.is_none() && self.process.process().ended().is_some() { Some(None) } else { found.map(Some) }
        };
        let found =
            poll("a worker to work", PATIENCE, look).await.and_then(|found| found.context("it ended by itself"));
        self.or_its_last_words(found)
    }

    /// Waits until the worker works, and answers its identity.
    pub async fn working(&self) -> Result<Uuid> {
        self.working_as_other(None).await
    }

    /// Waits until the API answers.
    pub async fn answers(&self) -> Result<()> {
        let http = self.process.http()?;
        let look = || async { http.get("/readyz").await.is_ok_and(|answer| answer.status == 200).then_some(()) };
        self.or_its_last_words(poll("an API to be ready", PATIENCE, look).await)
    }

    fn or_its_last_words<T>(&self, answer: Result<T>) -> Result<T> {
        if answer.is_err() && self.process.process().ended().is_some() {
            bail!("it ended by itself; {}", self.process.process().log_tail());
        }
        answer.with_context(|| self.process.process().log_tail())
    }
}

/// The newest identity that a worker's log tells of.
fn identity(log: &Path) -> Option<Uuid> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().rev().find(|line| line.contains("\"working\""))?;
    let (_, after) = line.split_once("\"worker\":\"")?;
    after.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_identity_is_read_from_the_log() {
        let dir = crate::scratch::dir("log").unwrap();
        let (log, id) = (dir.path().join("log"), Uuid::now_v7());
        assert_eq!(identity(&log), None);
        let line = |id| format!("{{\"message\":\"working\",\"worker\":\"{id}\",\"slots\":4}}\n");
        std::fs::write(&log, [line(Uuid::now_v7()), line(id), "{\"message\":\"draining\"}\n".to_owned()].concat())
            .unwrap();
        assert_eq!(identity(&log), Some(id));
    }
}
