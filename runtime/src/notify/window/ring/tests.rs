//! Where readers go on, at the process that told them and at another.

use super::*;

const SECOND: i64 = 1_000_000;
/// So long after it happened an event is known to be announced, where nothing goes wrong.
const LAG: i64 = 3;

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

/// So many others an event may overtake.
const DISORDER: i64 = 2;

/// A process that hears these, each at its time, and asks the ledger each second.
fn ring(events: &[Happened]) -> Ring {
    let mut ring = Ring::new(1 << 20, 1, 0, 0);
    for event in events {
        ring.settle(event.at_us, event.at_us - LAG * SECOND);
        ring.push(event.clone());
    }
    ring
}

/// A process that began to listen at this second, when the ledger called everything up to another announced.
fn begun(second: i64, settled: i64) -> Ring {
    Ring::new(1 << 20, 2, second * SECOND, settled * SECOND)
}

/// A place that another process gave, where everything up to this second was heard.
fn elsewhere(second: i64) -> Cursor {
    Cursor { settled_us: second * SECOND, epoch: 9, next: 4 }
}

fn ask(second: i64) -> Resumed {
    Resumed::Ask(second * SECOND)
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
    other_order.chunks_mut(DISORDER as usize + 1).for_each(|few| few.reverse());
    let (here, there) = (ring(&events), Ring { epoch: 2, ..ring(&other_order) });
    for (told, (cursor, _)) in here.read(here.start(), 100, |_| true).unwrap().events.into_iter().enumerate().skip(10) {
        let after = resumed(&there, cursor);
        assert!(events[told + 1..].iter().all(|event| after.contains(event)), "after {told}");
        let again = usize::try_from(OVERLAP_US / SECOND + LAG + DISORDER).unwrap();
        assert!(after.len() <= events.len() - told + again, "few are told again: {}", after.len());
    }
}

#[test]
fn a_page_of_long_events_is_short_and_the_next_one_goes_on_behind_it() {
    let long: Vec<Happened> =
        (10..20).map(|second| Happened { body: vec![b'x'; 25_000].into(), ..event(second) }).collect();
    let ring = ring(&long);
    let (mut place, mut pages) = (ring.start(), vec![]);
    while place != ring.end() {
        let page = ring.read(place, 100, |_| true).unwrap();
        assert!(page.events.len() <= 3, "{} events of 25 kB", page.events.len());
        place = page.end;
        pages.extend(page.events.into_iter().map(|(_, event)| event));
    }
    assert_eq!(pages, long);
}

#[test]
fn a_repeat_is_told_once() {
    let event = event(10);
    assert_eq!(ring(&[event.clone(), event.clone()]).entries.len(), 1);
}

#[test]
fn what_the_ledger_knows_of_the_time_before_is_told_to_those_who_come_back_and_to_nobody_else() {
    let (old, late, new) = (event(3), event(13), event(30));
    let mut ring = begun(20, 17);
    ring.push(new.clone());
    let reading = ring.end();
    assert_eq!(ring.resume(elsewhere(14)), ask(4));
    ring.fill(4 * SECOND, Some(vec![new.clone(), late.clone(), old.clone()]));
    assert_eq!(resumed(&ring, elsewhere(14)), [late.clone(), new.clone()], "and what is too old for it is not");
    assert_eq!(rest(&ring, reading), []);
    // It is announced after all: who reads on has not heard it.
    ring.push(late.clone());
    assert_eq!(rest(&ring, reading), [late]);
}

#[test]
fn what_is_announced_long_after_it_happened_is_missed_by_nobody_who_comes_from_another_process() {
    // It happened in second 12; its worker died, and the relay tells it in second 40. Until then the ledger does not call it announced.
    let (late, others) = (event(12), (10..40).map(event).collect::<Vec<_>>());
    let mut here = Ring::new(1 << 20, 1, 0, 0);
    for event in &others {
        here.settle(event.at_us, event.at_us.min(11 * SECOND));
        here.push(event.clone());
    }
    let place = here.end();
    assert_eq!(place.settled_us, 11 * SECOND, "though events up to second 39 were heard");
    // A process that was there all the time has it behind that place.
    let mut there = Ring { epoch: 2, ..ring(&others) };
    there.push(late.clone());
    assert!(resumed(&there, place).contains(&late));
    // One that begins after it was told asks the ledger from before it happened.
    let mut new = begun(50, 47);
    assert_eq!(new.resume(place), ask(1));
    new.fill(SECOND, Some(others.iter().cloned().chain([late.clone()]).collect()));
    assert!(resumed(&new, place).contains(&late));
}

#[test]
fn an_old_event_of_a_job_that_changed_since_is_told_with_it() {
    // It was accepted in second 2, which is announced with its start only.
    let accepted = event(2);
    let started = Happened { id: EventId { sequence: 2, ..accepted.id }, ..event(33) };
    let mut ring = begun(40, 37);
    assert_eq!(ring.resume(elsewhere(35)), ask(25));
    ring.fill(25 * SECOND, Some(vec![started.clone(), accepted.clone()]));
    assert_eq!(resumed(&ring, elsewhere(35)), [accepted.clone(), started.clone()]);
    assert_eq!(resumed(&ring, elsewhere(43)), [accepted, started], "it changed within what may be announced late");
}

#[test]
fn the_ledgers_word_counts_once_something_is_heard_that_happened_after_it() {
    let mut ring = begun(0, 0);
    ring.settle(20 * SECOND, 18 * SECOND);
    ring.push(event(19));
    assert_eq!(ring.end().settled_us, 0, "what was announced before may be on its way, or the line may be dead");
    ring.push(event(20));
    assert_eq!(ring.end().settled_us, 18 * SECOND);
    let asked = (0..1000).map(|second| ring.settle((21 + second) * SECOND, (20 + second) * SECOND)).count();
    assert!(asked > MOST_ANSWERS && ring.answers.len() == MOST_ANSWERS, "an ear that hears nothing keeps no more");
}

#[test]
fn a_workers_clock_that_runs_ahead_makes_nobody_miss_anything() {
    let mut ring = begun(0, 0);
    ring.settle(20 * SECOND, 18 * SECOND);
    let progress = Happened { id: EventId { job: JobId::fresh(), sequence: 2, progress: 1 }, ..event(3600) };
    ring.push(progress);
    assert_eq!((ring.end().settled_us, ring.mark_us), (0, 0));
}

#[test]
fn what_has_no_room_is_gone_and_whoever_was_there_is_told_so() {
    let events: Vec<Happened> = (10..20).map(event).collect();
    let mut ring = Ring::new(3 * weight(&events[0]), 1, 0, 0);
    let start = ring.end();
    events.iter().cloned().for_each(|event| ring.push(event));
    assert_eq!(ring.entries.len(), 3);
    assert!(ring.known.len() == 3 && ring.bytes <= ring.limit_bytes);
    assert!(ring.read(start, 10, |_| true).is_none());
    let Resumed::Lost(rest_from) = ring.resume(start) else { panic!("out of reach") };
    assert_eq!(rest(&ring, rest_from), events[7..]);
    assert!(matches!(ring.resume(elsewhere(26)), Resumed::Lost(_)));
    assert!(matches!(ring.resume(elsewhere(28)), Resumed::At(_)));
}

#[test]
fn too_much_for_the_ring_is_asked_for_once_and_not_for_every_reader_that_comes_back() {
    let mut ring = Ring::new(2 * weight(&event(1)), 1, 100 * SECOND, 97 * SECOND);
    assert_eq!(ring.resume(elsewhere(50)), ask(40));
    ring.fill(40 * SECOND, Some((60..70).map(event).collect()));
    assert!(matches!(ring.resume(elsewhere(50)), Resumed::Lost(_)));
    assert!(matches!(ring.resume(elsewhere(40)), Resumed::Lost(_)));
    assert_eq!(ring.resume(elsewhere(90)), ask(80), "less may have happened since");
    ring.fill(80 * SECOND, None);
    assert!(matches!(ring.resume(elsewhere(90)), Resumed::Lost(_)));
}

#[test]
fn what_is_no_cursor_is_refused() {
    for text in ["", "1", "1-2", "1-x-3", "1-2-3-4", "1-2-", "a-b-c", "01890a5d-ac96-774b-bcce-b302099a8057.3"] {
        assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
    }
}
