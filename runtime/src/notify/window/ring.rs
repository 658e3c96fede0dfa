//! The last events that one API process heard, in the order in which it heard them, up to so many bytes; and where a reader that
//! comes back goes on. Pure: no clock, no I/O. It never guesses: a place that it does not reach is said to be out of reach.
//! Read [`super`] for who fills it.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use longshore_sdk::api::{EventId, JobState};

use crate::tenant::Tenant;

/// Two processes that hear one announcement have heard the same of the ledger's time before it, but for so much: they resume each
/// other's readers this much earlier, and tell what lies within it twice.
const OVERLAP_US: i64 = 5_000_000;
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
    /// When, by the ledger's clock, in microseconds.
    pub at_us: i64,
    /// All of it, as JSON.
    pub body: Bytes,
}

/// A place between two events, which a reader takes home. It says enough to go on exactly at the process that gave it, and without a
/// hole at any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The latest moment of the ledger's time that was heard of before this place, in microseconds.
    pub mark_us: i64,
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
    mark_us: i64,
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
    /// All that was announced from this moment on is here.
    covers_us: i64,
    mark_us: i64,
    /// Something was dropped for want of room, so that nothing can be put before what is left.
    full: bool,
    /// Too much happened since this moment.
    refused_us: i64,
}

impl Ring {
    pub(super) fn new(limit_bytes: usize, epoch: u32, now_us: i64) -> Self {
        let (entries, known) = (VecDeque::new(), HashSet::new());
        let (covers_us, mark_us) = (now_us, now_us);
        Self {
            entries,
            first: MIDDLE,
            bytes: 0,
            limit_bytes,
            known,
            epoch,
            covers_us,
            mark_us,
            full: false,
            refused_us: i64::MIN,
        }
    }

    /// The moment to ask the ledger from, when something may not have been heard.
    pub(super) fn unsure_since(&self) -> i64 {
        self.mark_us.saturating_sub(OVERLAP_US)
    }

    /// The end: what comes next has its place here.
    pub(super) fn end(&self) -> Cursor {
        Cursor { mark_us: self.mark_us, epoch: self.epoch, next: self.first + self.entries.len() as u64 }
    }

    /// An event that was announced now, or that was found where nothing was heard.
    pub(super) fn push(&mut self, event: Happened) {
        if !self.known.insert(event.id) {
            return;
        }
        self.mark_us = self.mark_us.max(event.at_us);
        self.bytes += weight(&event);
        self.entries.push_back(Entry { mark_us: self.mark_us, event });
        while self.bytes > self.limit_bytes {
            self.drop_first();
        }
    }

    /// What the ledger says happened since `since_us`, or that it is too much: it goes in front, for those who come back. What of it
    /// is announced yet, late, is told then to those who read on.
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
        events.sort_by_key(|event| (event.at_us, event.id));
        let latest = self.entries.front().map_or(self.mark_us, |first| first.mark_us);
        self.first -= events.len() as u64;
        self.covers_us = self.covers_us.min(since_us);
        for event in events.into_iter().rev() {
            self.entries.push_front(Entry { mark_us: event.at_us.min(latest), event });
        }
    }

    /// Where a reader with this cursor goes on.
    pub(super) fn resume(&self, cursor: Cursor) -> Resumed {
        if cursor.epoch == self.epoch && (self.first..=self.end().next).contains(&cursor.next) {
            return Resumed::At(cursor);
        }
        let since = cursor.mark_us.saturating_sub(OVERLAP_US);
        if since >= self.covers_us {
            let before = self.entries.partition_point(|entry| entry.mark_us < since);
            return Resumed::At(self.place(before));
        }
        if self.full || since <= self.refused_us { Resumed::Lost(self.place(0)) } else { Resumed::Ask(since) }
    }

    /// Those that are `wanted` among the next `limit` events, each with the place after it, and the place after all; `None` if some of
    /// them are gone.
    pub(super) fn read(&self, from: Cursor, limit: usize, wanted: impl Fn(&Happened) -> bool) -> Option<Page> {
        let from = usize::try_from(from.next.checked_sub(self.first)?).ok().filter(|_| from.epoch == self.epoch)?;
        let until = self.entries.len().min(from + limit);
        let entries = self.entries.range(from.min(until)..until).enumerate().filter(|(_, entry)| wanted(&entry.event));
        let events = entries.map(|(index, entry)| (self.place(from + index + 1), entry.event.clone())).collect();
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
        let mark_us = match index.checked_sub(1).and_then(|before| self.entries.get(before)) {
            Some(before) => before.mark_us,
            None => self.covers_us,
        };
        Cursor { mark_us, epoch: self.epoch, next: self.first + index as u64 }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.entries.pop_front() else { return };
        self.known.remove(&first.event.id);
        self.bytes -= weight(&first.event);
        self.first += 1;
        // Others of the same moment may be gone as well.
        self.covers_us = self.covers_us.max(first.mark_us + 1);
        self.full = true;
    }
}

fn weight(event: &Happened) -> usize {
    ENTRY_BYTES + event.kind.len() + event.body.len()
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}-{}", self.mark_us, self.epoch, self.next)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.split('-');
        let (Some(mark), Some(epoch), Some(next), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoCursor);
        };
        let mark_us = mark.parse().map_err(|_| NoCursor)?;
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| NoCursor)?;
        Ok(Self { mark_us, epoch, next: next.parse().map_err(|_| NoCursor)? })
    }
}

#[cfg(test)]
mod tests {
    use longshore_sdk::JobId;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn event(second: i64) -> Happened {
        let id = EventId { job: JobId::fresh(), sequence: 1, progress: 0 };
        let (kind, word) = ("demo".to_owned(), "accepted");
        Happened {
            id,
            tenant: Tenant::default(),
            kind,
            state: JobState::Pending,
            word,
            at_us: second * SECOND,
            body: Bytes::from_static(b"{}"),
        }
    }

    fn ring(events: &[Happened]) -> Ring {
        let mut ring = Ring::new(1 << 20, 1, 0);
        events.iter().cloned().for_each(|event| ring.push(event));
        ring
    }

    fn rest(ring: &Ring, from: Cursor) -> Vec<Happened> {
        ring.read(from, 100, |_| true).expect("still there").events.into_iter().map(|(_, event)| event).collect()
    }

    fn resumed(ring: &Ring, cursor: Cursor) -> Vec<Happened> {
        match ring.resume(cursor) {
            Resumed::At(place) => rest(ring, place),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reader_goes_on_exactly_where_it_was_at_the_process_that_told_it() {
        let events: Vec<Happened> = (10..15).map(event).collect();
        let ring = ring(&events);
        let told = ring.read(ring.start(), 3, |_| true).unwrap().events;
        assert_eq!(resumed(&ring, told[2].0), events[3..]);
        let text = told[2].0.to_string();
        assert_eq!(text.parse(), Ok(told[2].0));
        assert_eq!(resumed(&ring, ring.end()), []);
    }

    #[test]
    fn another_process_that_heard_the_same_in_another_order_leaves_nothing_out() {
        let events: Vec<Happened> = (10..60).map(event).collect();
        let mut other_order = events.clone();
        other_order.chunks_mut(3).for_each(|few| few.reverse());
        let (here, there) = (ring(&events), Ring { epoch: 2, ..ring(&other_order) });
        for (told, (cursor, _)) in
            here.read(here.start(), 100, |_| true).unwrap().events.into_iter().enumerate().skip(10)
        {
            let after = resumed(&there, cursor);
            assert!(events[told + 1..].iter().all(|event| after.contains(event)), "after {told}");
            assert!(after.len() <= events.len() - told + 9, "few are told again: {}", after.len());
        }
    }

    #[test]
    fn a_repeat_is_told_once() {
        let event = event(10);
        assert_eq!(ring(&[event.clone(), event.clone()]).entries.len(), 1);
    }

    #[test]
    fn what_the_ledger_knows_of_the_time_before_is_told_to_those_who_come_back_and_to_nobody_else() {
        let (old, late, new) = (event(3), event(8), event(20));
        let mut ring = Ring::new(1 << 20, 1, 10 * SECOND);
        ring.push(new.clone());
        let reading = ring.end();
        let elsewhere = Cursor { mark_us: 9 * SECOND, epoch: 7, next: 0 };
        assert_eq!(ring.resume(elsewhere), Resumed::Ask(4 * SECOND));
        ring.fill(4 * SECOND, Some(vec![new.clone(), late.clone(), old.clone()]));
        assert_eq!(resumed(&ring, elsewhere), [late.clone(), new.clone()], "and what is too old for it is not");
        assert_eq!(rest(&ring, reading), []);
        // It is announced after all: who reads on has not heard it.
        ring.push(late.clone());
        assert_eq!(rest(&ring, reading), [late]);
    }

    #[test]
    fn what_has_no_room_is_gone_and_whoever_was_there_is_told_so() {
        let events: Vec<Happened> = (10..20).map(event).collect();
        let mut ring = Ring::new(3 * weight(&events[0]), 1, 0);
        let start = ring.end();
        events.iter().cloned().for_each(|event| ring.push(event));
        assert_eq!(ring.entries.len(), 3);
        assert!(ring.known.len() == 3 && ring.bytes <= ring.limit_bytes);
        assert!(ring.read(start, 10, |_| true).is_none());
        let Resumed::Lost(rest_from) = ring.resume(start) else { panic!("out of reach") };
        assert_eq!(rest(&ring, rest_from), events[7..]);
        assert!(matches!(ring.resume(Cursor { mark_us: 21 * SECOND, epoch: 9, next: 4 }), Resumed::Lost(_)));
        assert!(matches!(ring.resume(Cursor { mark_us: 23 * SECOND, epoch: 9, next: 4 }), Resumed::At(_)));
    }

    #[test]
    fn too_much_for_the_ring_is_asked_for_once_and_not_for_every_reader_that_comes_back() {
        let mut ring = Ring::new(2 * weight(&event(1)), 1, 100 * SECOND);
        let away = |second: i64| Cursor { mark_us: second * SECOND, epoch: 9, next: 4 };
        assert_eq!(ring.resume(away(50)), Resumed::Ask(45 * SECOND));
        ring.fill(45 * SECOND, Some((60..70).map(event).collect()));
        assert!(matches!(ring.resume(away(50)), Resumed::Lost(_)));
        assert!(matches!(ring.resume(away(40)), Resumed::Lost(_)));
        assert_eq!(ring.resume(away(90)), Resumed::Ask(85 * SECOND), "less may have happened since");
        ring.fill(85 * SECOND, None);
        assert!(matches!(ring.resume(away(90)), Resumed::Lost(_)));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "1", "1-2", "1-x-3", "1-2-3-4", "1-2-", "a-b-c", "01890a5d-ac96-774b-bcce-b302099a8057.3"] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}
