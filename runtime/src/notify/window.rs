//! What happened lately to all jobs, for whoever follows them all: the events heard from the broker, in a bounded [`ring`], filled
//! from the ledger where something may not have been heard. It starts with its first reader and keeps nothing on disk.
//!
//! While somebody reads, the ledger is asked each second up to when everything is announced: without that a reader's place would leave
//! out, at another process, what is announced late. A gap is filled by a scan of the jobs for those that changed since, and not by an index: one on a column that every
//! transition moves would cost every claim and record its HOT path, for something that happens when a connection breaks.
//! One scan at a time serves all readers, and what it may bring is limited. Read [`crate::api`] for who reads.

pub mod ring;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::api::{EventWord, JobState};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

pub use self::ring::{Cursor, Happened};
use self::ring::{Resumed, Ring};
use super::feed::Feed;
use super::topic;
use crate::broker::{self, Announcement};
use crate::ledger::{Announced, Answer, Event, Ledger};
use crate::stop::Stop;
use crate::tenant::Tenant;

/// So many are read under one hold of the lock.
const BATCH: usize = 64;
/// The wait before the ledger is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// So often it is asked what is announced.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// What it may keep and ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The events kept, with what each costs.
    pub ring_bytes: usize,
    /// The most jobs that one look into the ledger may bring.
    pub fill_jobs: usize,
    /// How long the ledger may take.
    pub patience: Duration,
}

/// The events of late. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Window {
    inner: Arc<Inner>,
}

struct Inner {
    ring: Mutex<Ring>,
    /// Changes with the ring.
    news: watch::Sender<()>,
    /// One look into the ledger at a time.
    filling: tokio::sync::Mutex<()>,
    ledger: Arc<dyn Ledger>,
    limits: Limits,
    stop: Stop,
}

/// Which events a reader wants; none named is all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this tenant's jobs.
    pub tenant: Option<Tenant>,
    /// Of these kinds.
    pub kinds: Vec<String>,
    /// After which the job is in one of these states.
    pub states: Vec<JobState>,
}

/// Somebody who follows.
pub struct Reader {
    window: Window,
    wanted: Wanted,
    at: Cursor,
    news: watch::Receiver<()>,
    /// Not all from this moment to `at` was to be had.
    hole: Option<(Hole, i64)>,
}

/// Why a reader is not told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// It reads too slowly.
    Lagged,
    /// It was away too long.
    Forgotten,
}

/// What a reader is told next.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// An event, and the place after it.
    Event(Cursor, Happened),
    /// Not all that happened from this moment on, in microseconds, is told; it goes on at this place.
    Hole(Hole, i64, Cursor),
}

impl Window {
    /// A window from now on, which listens until it is stopped.
    ///
    /// # Errors
    /// The ledger's, which is asked for its time.
    pub async fn open(stop: &Stop, ledger: Arc<dyn Ledger>, feed: &Feed, limits: Limits) -> Answer<Self> {
        // First the ear, then the time: whatever happens from then on is heard, or a gap is.
        let heard = feed.listen();
        let ring = Mutex::new(empty(limits.ring_bytes, &ledger.announced().await?));
        let (news, filling) = (watch::Sender::new(()), tokio::sync::Mutex::default());
        let inner = Inner { ring, news, filling, ledger, limits, stop: stop.clone() };
        let window = Self { inner: Arc::new(inner) };
        let listener = window.clone();
        stop.spawn("window", async move {
            let token = listener.inner.stop.token();
            token.run_until_cancelled(listener.hear_all(heard)).await;
        });
        let asker = window.clone();
        stop.spawn("window settling", async move {
            while asker.inner.stop.sleep(SETTLE_EVERY).await {
                asker.settle().await;
            }
        });
        Ok(window)
    }

    /// A reader from this place on, or from now on.
    ///
    /// # Errors
    /// The ledger's, when it has to be asked.
    pub async fn reader(&self, after: Option<Cursor>, wanted: Wanted) -> Answer<Reader> {
        let news = self.inner.news.subscribe();
        let (at, hole) = match after {
            None => (self.ring().end(), None),
            Some(cursor) => self.resume(cursor).await?,
        };
        Ok(Reader { window: self.clone(), wanted, at, news, hole })
    }

    async fn resume(&self, cursor: Cursor) -> Answer<(Cursor, Option<(Hole, i64)>)> {
        let mut resumed = self.ring().resume(cursor);
        if let Resumed::Ask(_) = resumed {
            let _turn = self.inner.filling.lock().await;
            // Somebody may have asked while this one waited for its turn.
            resumed = self.ring().resume(cursor);
            if let Resumed::Ask(since) = resumed {
                let events = self.happened_since(since).await?;
                let mut ring = self.ring();
                ring.fill(since, events);
                resumed = ring.resume(cursor);
            }
        }
        Ok(match resumed {
            Resumed::At(place) => (place, None),
            Resumed::Lost(place) => (place, Some((Hole::Forgotten, cursor.settled_us))),
            Resumed::Ask(_) => unreachable!("what was asked for is filled in or refused"),
        })
    }

    /// What the ledger knows of the time since; `None` if it is too much.
    async fn happened_since(&self, since_us: i64) -> Answer<Option<Vec<Happened>>> {
        let since = Timestamp::from_microsecond(since_us).unwrap_or(Timestamp::UNIX_EPOCH);
        let Limits { fill_jobs, patience, .. } = self.inner.limits;
        let asked = tokio::time::timeout(patience, self.inner.ledger.events_since(since, fill_jobs)).await;
        let late = || crate::ledger::LedgerError::Unavailable(format!("no answer in {patience:?}"));
        let events = asked.unwrap_or_else(|_| Err(late()))?;
        let told = |events: Vec<Event>| {
            let told = events.iter().filter(|event| topic::is_announced(event));
            told.filter_map(|event| read(&topic::announcement(event))).collect()
        };
        Ok(events.map(told))
    }

    /// Asks how far everything is announced. Without an answer the places that readers are given stay where they are.
    async fn settle(&self) {
        if self.inner.news.receiver_count() == 0 {
            return;
        }
        match tokio::time::timeout(self.inner.limits.patience, self.inner.ledger.announced()).await {
            Ok(Ok(Announced { now, to })) => self.ring().settle(now.as_microsecond(), to.as_microsecond()),
            Ok(Err(error)) => tracing::debug!(%error, "how far everything is announced is not known"),
            Err(_) => tracing::debug!("how far everything is announced is not answered"),
        }
    }

    async fn hear_all(&self, mut heard: mpsc::Receiver<broker::Heard<Announcement>>) {
        let mut batch = vec![];
        while heard.recv_many(&mut batch, BATCH).await > 0 {
            let mut rest = batch.drain(..);
            // In their order: what was heard after a gap is told after it.
            while let Some(since) = self.hear_until_gap(&mut rest) {
                self.bridge(since).await;
            }
            self.inner.news.send_replace(());
        }
    }

    /// Since when something may not have been heard, if a gap is among them.
    fn hear_until_gap(&self, heard: &mut impl Iterator<Item = broker::Heard<Announcement>>) -> Option<i64> {
        let mut ring = self.ring();
        for heard in heard {
            match heard {
                broker::Heard::Message(announcement) => {
                    read(&announcement).into_iter().for_each(|event| ring.push(event));
                }
                broker::Heard::Gap => return Some(ring.unsure_since()),
            }
        }
        None
    }

    /// Something may not have been heard. What comes meanwhile waits, and becomes another gap when it is too much.
    async fn bridge(&self, since: i64) {
        while let Err(error) = self.try_bridge(since).await {
            tracing::warn!(%error, "events were not heard, and the ledger does not tell them; asking again");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn try_bridge(&self, since: i64) -> Answer<()> {
        // Nobody who follows: whoever comes back asks for as much as he needs.
        let events = if self.inner.news.receiver_count() > 0 { self.happened_since(since).await? } else { None };
        match events {
            Some(mut events) => {
                events.sort_by_key(|event| (event.at_us, event.id));
                let mut ring = self.ring();
                events.into_iter().for_each(|event| ring.push(event));
            }
            None => {
                let announced = self.inner.ledger.announced().await?;
                *self.ring() = empty(self.inner.limits.ring_bytes, &announced);
            }
        }
        Ok(())
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.inner.ring.lock().expect("nothing panics while it holds this lock")
    }
}

impl Reader {
    /// Where it is: what it was told ends here.
    pub fn at(&self) -> Cursor {
        self.at
    }

    /// What is told next, at least one if it comes within `patience`; `None` once the window is closed.
    pub async fn next(&mut self, patience: Duration) -> Option<Vec<Told>> {
        let stop = self.window.inner.stop.clone();
        let news = async {
            loop {
                self.news.mark_unchanged();
                let told = self.ready();
                // The sender lives as long as this reader's window, so an error cannot come.
                if !told.is_empty() || self.news.changed().await.is_err() {
                    return told;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.asked() => None,
            told = tokio::time::timeout(patience, news) => Some(told.unwrap_or_default()),
        }
    }

    fn ready(&mut self) -> Vec<Told> {
        if let Some((hole, since_us)) = self.hole.take() {
            return vec![Told::Hole(hole, since_us, self.at)];
        }
        let ring = self.window.inner.ring.lock().expect("nothing panics while it holds this lock");
        loop {
            let Some(page) = ring.read(self.at, BATCH, |event| self.wanted.has(event)) else {
                let hole = if ring.is_foreign(self.at) { Hole::Forgotten } else { Hole::Lagged };
                let since_us = std::mem::replace(&mut self.at, ring.start()).settled_us;
                return vec![Told::Hole(hole, since_us, self.at)];
            };
            let is_last = page.end == self.at;
            self.at = page.end;
            if is_last || !page.events.is_empty() {
                return page.events.into_iter().map(|(after, event)| Told::Event(after, event)).collect();
            }
        }
    }
}

impl Wanted {
    fn has(&self, event: &Happened) -> bool {
        let tenant = self.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant);
        let kind = self.kinds.is_empty() || self.kinds.contains(&event.kind);
        tenant && kind && (self.states.is_empty() || self.states.contains(&event.state))
    }
}

/// What the window needs of an announcement's body.
#[derive(Deserialize)]
struct Body {
    time: Timestamp,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    kind: String,
    event: EventWord,
    state: JobState,
}

/// `None` for what a later version may announce.
fn read(announcement: &Announcement) -> Option<Happened> {
    let Body { time, data } = serde_json::from_slice(&announcement.body).ok()?;
    let (id, tenant, body) = (announcement.id.parse().ok()?, announcement.tenant.clone(), announcement.body.clone());
    let word = data.event.word();
    Some(Happened { id, tenant, kind: data.kind, state: data.state, word, at_us: time.as_microsecond(), body })
}

fn empty(ring_bytes: usize, Announced { now, to }: &Announced) -> Ring {
    Ring::new(ring_bytes, epoch(), now.as_microsecond(), to.as_microsecond())
}

/// Tells one life of a ring from every other.
fn epoch() -> u32 {
    Uuid::new_v4().as_fields().0
}
