//! What the processes of the simulation share and no fault touches: the ledger, the broker, the effects, and the story of it all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use longshore_sdk::JobId;
use tokio::time::Instant;

use super::bug::Bug;
use super::doer::{self, Effects};
use super::fate::{Dice, Fate, Fates, Injected};
use super::gate::Gate;
use super::process::Process;
use super::{PROTOCOL, Told};
use crate::api::door::Door;
use crate::broker::Announcement;
use crate::broker::embedded::{Embedded, Limits};
use crate::ledger::Ledger as _;
use crate::ledger::sqlite::Sqlite;
use crate::storage::Storage;

/// One simulated system.
pub(super) struct World {
    pub(super) dice: Dice,
    /// The mistake that is made here.
    pub(super) bug: Option<Bug>,
    pub(super) ledger: Arc<Sqlite>,
    pub(super) broker: Arc<Embedded>,
    pub(super) storage: Arc<Storage>,
    pub(super) scratch: PathBuf,
    pub(super) effects: Mutex<Effects>,
    /// Jobs that were on the road at any time.
    pub(super) carried: Mutex<BTreeSet<JobId>>,
    /// The doors of the API processes that live.
    pub(super) doors: Mutex<BTreeMap<usize, (Gate, Door)>>,
    fates: Fates,
    storm: AtomicBool,
    ledger_away: AtomicBool,
    broker_away: AtomicBool,
    began: Instant,
    /// Whether every call is written down, which costs more than the call.
    traced: bool,
    story: Mutex<Story>,
}

#[derive(Default)]
struct Story {
    processes: Vec<Weak<Process>>,
    injected: Injected,
    trace: Vec<String>,
    /// By id.
    announced: BTreeMap<String, Announcement>,
    wrong: Vec<Wrong>,
}

/// What a check found.
#[derive(Debug, Clone)]
pub(super) struct Wrong {
    pub(super) check: &'static str,
    /// Simulated, since the start.
    pub(super) after: Duration,
    what: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// Nobody's business here.
static HOME: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

impl World {
    pub(super) async fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Arc<Self> {
        let began = Instant::now();
        let clock = move || Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000) + began.elapsed();
        let ledger = Arc::new(Sqlite::simulated(Arc::new(clock)).unwrap());
        ledger.migrate().await.unwrap();
        ledger.register_kinds(&[doer::card()]).await.unwrap();
        Arc::new(Self {
            dice: Dice::new(seed),
            bug,
            traced,
            ledger,
            broker: Embedded::unkind(Limits::default(), seed),
            storage: Arc::new(Storage::simulated()),
            scratch: HOME.path().join("scratch"),
            effects: Mutex::new(Effects::of(bug)),
            carried: Mutex::default(),
            doors: Mutex::default(),
            fates: Fates::new(seed, &PROTOCOL, bug.and_then(Bug::shows_when)),
            storm: AtomicBool::new(true),
            ledger_away: AtomicBool::new(false),
            broker_away: AtomicBool::new(false),
            began,
            story: Mutex::default(),
        })
    }

    pub(super) fn storms(&self) -> bool {
        self.storm.load(Ordering::Relaxed)
    }

    pub(super) fn calm(&self) {
        self.note("storm", "is over");
        self.storm.store(false, Ordering::Relaxed);
    }

    pub(super) fn ledger_is_away(&self) -> bool {
        self.ledger_away.load(Ordering::Relaxed)
    }

    pub(super) fn set_ledger_away(&self, away: bool) {
        self.note("ledger", if away { "is away" } else { "is back" });
        self.ledger_away.store(away, Ordering::Relaxed);
    }

    pub(super) fn broker_is_away(&self) -> bool {
        self.broker_away.load(Ordering::Relaxed)
    }

    pub(super) fn set_broker_away(&self, away: bool) {
        self.note("broker", if away { "is away" } else { "is back" });
        self.broker_away.store(away, Ordering::Relaxed);
    }

    pub(super) fn fate(&self, process: &str, call: &'static str) -> Option<Fate> {
        let fate = if self.storms() { self.fates.of(call, &self.dice) } else { None };
        if let Some(fate) = fate {
            self.story.lock().unwrap().injected.note(call, fate);
        }
        if self.traced {
            self.note(process, &fate.map_or(call.to_owned(), |fate| format!("{call}: {fate:?}")));
        }
        fate
    }

    pub(super) fn note(&self, who: &str, what: &str) {
        if !self.traced {
            return;
        }
        let at = self.began.elapsed().as_millis();
        self.story.lock().unwrap().trace.push(format!("{at:>7} {who} {what}"));
    }

    pub(super) fn enter(&self, process: &Arc<Process>) {
        self.story.lock().unwrap().processes.push(Arc::downgrade(process));
    }

    /// Those that live.
    pub(super) fn processes(&self) -> Vec<Arc<Process>> {
        let mut story = self.story.lock().unwrap();
        story.processes.retain(|process| process.upgrade().is_some_and(|process| !process.dead.is_cancelled()));
        story.processes.iter().filter_map(Weak::upgrade).collect()
    }

    /// An announcement reached the broker. One that comes again must say the same.
    pub(super) fn hear(&self, announcement: &Announcement) {
        let mut story = self.story.lock().unwrap();
        let first = story.announced.entry(announcement.id.clone()).or_insert_with(|| announcement.clone());
        if *first != *announcement {
            let what = format!("{first:?} and {announcement:?}");
            drop(story);
            self.find("announced twice with another content", what);
        }
    }

    /// A check has found something.
    pub(super) fn find(&self, check: &'static str, what: String) {
        let after = self.began.elapsed();
        self.story.lock().unwrap().wrong.push(Wrong { check, after, what });
    }

    /// What was announced of a job, in order.
    pub(super) fn announced(&self, job: JobId) -> Vec<Announcement> {
        let of_it = format!("{job}.");
        let story = self.story.lock().unwrap();
        let mut announced: Vec<_> =
            story.announced.values().filter(|one| one.id.starts_with(&of_it)).cloned().collect();
        announced.sort_by_key(|one| one.id[of_it.len()..].parse::<i64>().ok());
        announced
    }

    pub(super) fn told(&self) -> Told {
        let story = std::mem::take(&mut *self.story.lock().unwrap());
        let stale = self.effects.lock().unwrap().stale;
        Told { injected: story.injected, trace: story.trace, stale, wrong: story.wrong }
    }
}
