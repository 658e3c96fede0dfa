//! The shipped code in simulated time: API, workers and agents on a ledger and a broker in memory, where a seed decides what goes wrong
//! before and after every call that leaves a process. A day of faults passes in a second, and a seed that fails fails again.
//! It proves nothing about servers and threads; the chaos suite does that. Read `fate.rs` for the faults, `truth.rs` for what must hold.
//!
//! `make seeds SEEDS=5000` runs more of them, `LONGSHORE_SEED=17 cargo test -p longshore-runtime simulation` one, with its trace.

mod book;
mod bug;
mod careless;
mod clients;
mod crew;
mod doer;
mod fate;
mod front;
pub(crate) mod gate;
mod hand;
pub(crate) mod mistakes;
mod order;
mod process;
mod road;
mod truth;
mod weather;
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::bug::Bug;
use self::fate::{Fate, Injected};
use self::world::{World, Wrong};
use crate::stop::Stop;

/// Seeds of an ordinary run.
const SEEDS: u64 = 400;
/// Simulated: how long things go wrong.
const STORM: Duration = Duration::from_secs(40);
/// Simulated: how long after the storm every job must have ended.
const CALM: Duration = Duration::from_secs(600);

/// The calls that the protocol is made of. Each must meet each fate.
const PROTOCOL: [&str; 28] = [
    "submit",
    "adopt",
    "publish",
    "claim",
    "start",
    "effect",
    "record",
    "announce",
    "beat",
    "enlist",
    "lead",
    "due",
    "mark_queued",
    "unannounced",
    "mark_announced",
    "rescue",
    "consume",
    "cancel",
    "ack",
    "credited",
    "hand_back",
    "overdue",
    "depth",
    "mark",
    "is_marked",
    "save_checkpoint",
    "unqueue",
    "mark_unannounced",
];

/// What a seed brought.
struct Told {
    injected: Injected,
    trace: Vec<String>,
    stale: usize,
    wrong: Vec<Wrong>,
}

fn run(seed: u64, bug: Option<Bug>, traced: bool) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed, bug, traced).await;
        let jobs = clients::submit_all(&world);
        let tasks = Stop::new();
        crew::start(&world, &tasks);
        front::start(&world, &tasks);
        weather::rage(&world, STORM).await;
        let jobs = clients::all_accepted(jobs, CALM).await;
        truth::look(&world, &jobs, CALM).await;
        world.told()
    })
}

fn list(wrong: &[Wrong]) -> String {
    wrong.iter().map(|wrong| format!("\n{wrong}")).collect()
}

fn number(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn whatever_goes_wrong_every_job_ends_once_and_its_effect_is_there_once() {
    if let Some(seed) = number("LONGSHORE_SEED") {
        let told = run(seed, None, true);
        told.trace.iter().for_each(|line| println!("{line}"));
        assert!(told.wrong.is_empty(), "seed {seed}: {}", list(&told.wrong));
        return;
    }
    let (seeds, began) = (number("LONGSHORE_SEEDS").unwrap_or(SEEDS), Instant::now());
    let told = run_all(seeds);
    let a_minute = seeds as f64 * 60.0 / began.elapsed().as_secs_f64();
    let mut injected = Injected::default();
    told.iter().for_each(|told| injected.add(&told.injected));
    let stale: usize = told.iter().map(|told| told.stale).sum();
    // A fault that was never injected proves nothing.
    let missed: BTreeSet<_> = PROTOCOL.iter().flat_map(|call| Fate::ALL.map(|fate| (*call, fate))).collect();
    let missed: Vec<_> = missed.into_iter().filter(|(call, fate)| injected.count(call, *fate) == 0).collect();
    assert!(missed.is_empty(), "never injected: {missed:?}");
    assert!(stale > 0, "no attempt that had lost its job tried to leave an effect");
    println!("{injected}{seeds} seeds, {a_minute:.0} a minute");
}

/// Every core takes the next seed.
fn run_all(seeds: u64) -> Vec<Told> {
    let next = AtomicU64::new(0);
    let work = || {
        let mine = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds));
        mine.map(must_hold).collect::<Vec<_>>()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the seed's own message is above")).collect()
    })
}

fn must_hold(seed: u64) -> Told {
    let told = run(seed, None, false);
    assert!(told.wrong.is_empty(), "LONGSHORE_SEED={seed} shows how it came to this: {}", list(&told.wrong));
    Told { trace: vec![], ..told }
}

#[test]
fn each_mistake_made_on_purpose_is_noticed_by_the_check_that_is_there_for_it() {
    for bug in Bug::ALL {
        let (began, check) = (Instant::now(), bug.noticed_by());
        let meant = |wrong: &Wrong| wrong.check == check;
        let caught =
            (0..SEEDS).find_map(|seed| Some((seed, run(seed, Some(bug), false).wrong.into_iter().find(meant)?)));
        let (seed, Wrong { after, .. }) = caught.unwrap_or_else(|| {
            let others: BTreeSet<_> =
                (0..SEEDS).flat_map(|seed| run(seed, Some(bug), false).wrong).map(|wrong| wrong.check).collect();
            panic!("{bug:?} goes unnoticed by {check:?} in {SEEDS} seeds; others say {others:?}")
        });
        let seeds = if seed == 0 { "1 seed".to_owned() } else { format!("{} seeds", seed + 1) };
        let after = format!("{seeds}, {:.1} s of simulated time", after.as_secs_f64());
        mistakes::noticed(&format!("{bug:?}"), check, &after, began.elapsed());
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..10 {
        let (one, two) = (run(seed, None, true), run(seed, None, true));
        let differs = one.trace.iter().zip(&two.trace).position(|(one, two)| one != two);
        let around = differs.map(|at| (&one.trace[at.saturating_sub(3)..=at], &two.trace[at]));
        assert!(differs.is_none() && one.trace.len() == two.trace.len(), "seed {seed}: {around:#?}");
        assert!(one.trace.len() > 100, "seed {seed} tells nothing");
    }
}
