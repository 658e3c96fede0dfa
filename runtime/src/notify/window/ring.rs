//! The last events that one API process heard, in the order in which it heard them, up to so many bytes; and where a reader that
//! comes back goes on. Pure: no clock, no I/O. It never guesses: a place that it does not reach is said to be out of reach.
//!
//! An event may be announced long after it happened: its worker died before, or could not reach the broker. So a place is not "all up
//! to the latest moment heard of", which would leave such a one out at another process. It is "all up to the moment that the ledger
//! called announced", and that counts here once something has been heard that happened after the ledger was asked: then whatever
//! was announced before came before. Read [`super`] for who fills it.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use longshore_sdk::JobId;
use longshore_sdk::api::{EventId, JobState};

use crate::tenant::Tenant;

/// An announcement that the broker neither takes nor refuses is left to the relay within this time, and only then owed in the ledger:
/// readers are resumed this much earlier, and told twice what lies within it.
const OVERLAP_US: i64 = 10_000_000;
/// A page of long events is short: a reader that takes nothing holds one of them.
const PAGE_BYTES: usize = 64 * 1024;
/// The ledger's answers that wait for something to be heard after them.
const MOST_ANSWERS: usize = 64;
/// What an event costs beside its body.
const ENTRY_BYTES: usize = 256;
/// Far from either end: events are added in front, too.
const MIDDLE: u64 = 1 << 48;

/// An event as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Its id.
    pub id: EventId,
    /// Whose its job is.
    pub tenant: Tenant,
    /// Its job's kind.
    pub kind: String,
    /// Where its job stood after it.
    pub state: JobState,
    /// What happened, in a word.
    pub word: &'static str,
    /// When, by the ledger's clock, in microseconds; of progress, by its worker's.
    pub at_us: i64,
    /// All of it, as JSON.
    pub body: Bytes,
}

/// A place between two events, which a reader takes home. It says enough to go on exactly at the process that gave it, and without a
/// hole at any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Everything that happened before this moment was heard before this place, in microseconds of the ledger's time.
    pub settled_us: i64,
    epoch: u32,
    next: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place in the stream of all events is the id of one of its frames")]
pub struct NoCursor;

/// Where a reader goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    At(Cursor),
    /// The ring does not reach so far back, but has room: the ledger knows what happened since this moment.
    Ask(i64),
    /// It happened too long ago or too much happened since. The rest begins here.
    Lost(Cursor),
}

/// Some of the events.
pub(super) struct Page {
    pub(super) events: Vec<(Cursor, Happened)>,
    pub(super) end: Cursor,
}

struct Entry {
    /// The latest moment that was heard of up to here.
    mark_us: i64,
    settled_us: i64,
    event: Happened,
}

/// The events themselves.
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    bytes: usize,
    limit_bytes: usize,
    /// Of the entries that were heard, or found where nothing was heard: a repeat of theirs is not told again.
    known: HashSet<EventId>,
    /// Changes when the numbers begin anew.
    epoch: u32,
    /// Of what is announced after a place, whatever happened from this moment on is here.
    covers_us: i64,
    mark_us: i64,
    settled_us: i64,
    /// That of the place before the first entry.
    settled_first_us: i64,
    /// When the ledger was asked and up to when it called everything announced, oldest first.
    answers: VecDeque<(i64, i64)>,
    /// Something was dropped for want of room, so that nothing can be put before what is left.
    full: bool,
    /// Too much happened since this moment.
    refused_us: i64,
}

impl Ring {
    /// From `now_us` on, when everything that happened before `settled_us` was announced.
    pub(super) fn new(limit_bytes: usize, epoch: u32, now_us: i64, settled_us: i64) -> Self {
        let (entries, known, answers) = (VecDeque::new(), HashSet::new(), VecDeque::new());
        Self {
            entries,
            first: MIDDLE,
            bytes: 0,
            limit_bytes,
            known,
            epoch,
            covers_us: now_us,
            mark_us: now_us,
            settled_us,
            settled_first_us: settled_us,
            answers,
            full: false,
            refused_us: i64::MIN,
        }
    }

    /// The moment to ask the ledger from, when something may not have been heard.
    pub(super) fn unsure_since(&self) -> i64 {
        self.settled_us.saturating_sub(OVERLAP_US)
    }

    /// The ledger's answer: at `now_us` everything that happened before `settled_us` was announced.
    pub(super) fn settle(&mut self, now_us: i64, settled_us: i64) {
        if self.answers.len() == MOST_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((now_us, settled_us));
    }

    /// The end: what comes next has its place here.
    pub(super) fn end(&self) -> Cursor {
        Cursor { settled_us: self.settled_us, epoch: self.epoch, next: self.first + self.entries.len() as u64 }
    }

    /// An event that was announced now, or that was found where nothing was heard.
    pub(super) fn push(&mut self, event: Happened) {
        if !self.known.insert(event.id) {
            return;
        }
        // A worker's clock says nothing of the ledger's.
        if event.id.progress == 0 {
            self.mark_us = self.mark_us.max(event.at_us);
            self.believe(event.at_us);
        }
        self.bytes += weight(&event);
        self.entries.push_back(Entry { mark_us: self.mark_us, settled_us: self.settled_us, event });
        while self.bytes > self.limit_bytes {
            self.drop_first();
        }
    }

    /// What the ledger was asked before this moment counts now: whatever was announced by then is here.
    fn believe(&mut self, heard_us: i64) {
        while let Some((_, settled_us)) = self.answers.pop_front_if(|(asked_us, _)| *asked_us <= heard_us) {
            self.settled_us = self.settled_us.max(settled_us);
        }
    }

    /// What the ledger says happened to the jobs that changed since `since_us`, or that it is too much: it goes in front, for those
    /// who come back. What of it is announced yet, late, is told then to those who read on.
    pub(super) fn fill(&mut self, since_us: i64, events: Option<Vec<Happened>>) {
        let unknown = events.map(|mut events| {
            events.retain(|event| !self.known.contains(&event.id));
            (self.bytes + events.iter().map(weight).sum::<usize>(), events)
        });
        let Some((bytes, mut events)) = unknown.filter(|(bytes, _)| *bytes <= self.limit_bytes) else {
            self.refused_us = self.refused_us.max(since_us);
            return;
        };
        self.bytes = bytes;
        let changed = last_changes(&events);
        let changed_us = |event: &Happened| changed[&event.id.job];
        events.sort_by_key(|event| (changed_us(event), event.id));
        let latest = self.entries.front().map_or(self.mark_us, |first| first.mark_us);
        self.first -= events.len() as u64;
        self.covers_us = self.covers_us.min(since_us);
        self.settled_first_us = self.settled_first_us.min(since_us);
        for event in events.into_iter().rev() {
            let mark_us = changed_us(&event).min(latest);
            self.entries.push_front(Entry { mark_us, settled_us: mark_us.min(self.settled_us), event });
        }
    }

    /// Where a reader with this cursor goes on.
    pub(super) fn resume(&self, cursor: Cursor) -> Resumed {
        if cursor.epoch == self.epoch && (self.first..=self.end().next).contains(&cursor.next) {
            return Resumed::At(cursor);
        }
        let since = cursor.settled_us.saturating_sub(OVERLAP_US);
        if since >= self.covers_us {
            let before = self.entries.partition_point(|entry| entry.mark_us < since);
            return Resumed::At(self.place(before));
        }
        if self.full || since <= self.refused_us { Resumed::Lost(self.place(0)) } else { Resumed::Ask(since) }
    }

    /// Those that are `wanted` among the next `limit` events, each with the place after it, and the place after all; `None` if some of
    /// them are gone. It ends early with the one that makes the bodies longer than [`PAGE_BYTES`].
    pub(super) fn read(&self, from: Cursor, limit: usize, wanted: impl Fn(&Happened) -> bool) -> Option<Page> {
        let from = usize::try_from(from.next.checked_sub(self.first)?).ok().filter(|_| from.epoch == self.epoch)?;
        let until = self.entries.len().min(from + limit);
        let (mut events, mut bytes) = (vec![], 0);
        for index in from..until {
            let event = &self.entries[index].event;
            if !wanted(event) {
                continue;
            }
            events.push((self.place(index + 1), event.clone()));
            bytes += event.body.len();
            if bytes > PAGE_BYTES {
                return Some(Page { events, end: self.place(index + 1) });
            }
        }
        Some(Page { events, end: self.place(until) })
    }

    /// The first place there is.
    pub(super) fn start(&self) -> Cursor {
        self.place(0)
    }

    /// Whether the place is of the time before the ring was emptied.
    pub(super) fn is_foreign(&self, place: Cursor) -> bool {
        place.epoch != self.epoch
    }

    fn place(&self, index: usize) -> Cursor {
        let before = index.checked_sub(1).and_then(|before| self.entries.get(before));
        let settled_us = before.map_or(self.settled_first_us, |before| before.settled_us);
        Cursor { settled_us, epoch: self.epoch, next: self.first + index as u64 }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.entries.pop_front() else { return };
        self.known.remove(&first.event.id);
        self.bytes -= weight(&first.event);
        self.first += 1;
        // Others of the same moment may be gone as well.
        self.covers_us = self.covers_us.max(first.mark_us + 1);
        self.settled_first_us = first.settled_us;
        self.full = true;
    }
}

/// When each job last changed, as far as these tell.
fn last_changes(events: &[Happened]) -> HashMap<JobId, i64> {
    let mut changed: HashMap<JobId, i64> = HashMap::new();
    for event in events {
        let last = changed.entry(event.id.job).or_insert(event.at_us);
        *last = event.at_us.max(*last);
    }
    changed
}

fn weight(event: &Happened) -> usize {
    ENTRY_BYTES + event.kind.len() + event.body.len()
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}-{}", self.settled_us, self.epoch, self.next)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.split('-');
        let (Some(settled), Some(epoch), Some(next), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoCursor);
        };
        let settled_us = settled.parse().map_err(|_| NoCursor)?;
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| NoCursor)?;
        Ok(Self { settled_us, epoch, next: next.parse().map_err(|_| NoCursor)? })
    }
}
