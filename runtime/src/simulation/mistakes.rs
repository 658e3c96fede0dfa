//! The report on mistakes made on purpose: which check noticed each, after how much, and how long that took. It lies beside this file,
//! in `MISTAKES.txt`, and every run compares who noticed what. It makes no mistake itself; `bug.rs` has those of the simulation.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Rows are written one at a time, by whichever test makes the mistake.
static PAGE: Mutex<()> = Mutex::new(());

const HEAD: &str = "\
Mistakes made on purpose, and what noticed them. Written by the tests that make them, each its own row, on a machine with two cores:
LONGSHORE_WRITE_DOCS=1 cargo test -p longshore-runtime mistake, and -p longshore-runtime -p longshore-executors would_be_noticed

| mistake | noticed by | after | took |
| --- | --- | --- | --- |
";

/// This mistake was noticed by this check. Compared with the page, or written into it if the environment says so.
pub(crate) fn noticed(mistake: &str, check: &str, after: &str, took: Duration) {
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let row = format!("| {mistake} | {check} | {after} | {:.2} s |", took.as_secs_f64());
    println!("{row}");
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/simulation/MISTAKES.txt");
    let page = std::fs::read_to_string(&place).unwrap_or_default();
    let (known, begins) = (format!("| {mistake} | {check} | "), format!("| {mistake} | "));
    if std::env::var_os("LONGSHORE_WRITE_DOCS").is_some() {
        let others = page.strip_prefix(HEAD).unwrap_or_default().lines().filter(|line| !line.starts_with(&begins));
        let mut rows: Vec<_> = others.chain([row.as_str()]).collect();
        rows.sort_unstable();
        std::fs::write(&place, format!("{HEAD}{}\n", rows.join("\n"))).unwrap();
        return;
    }
    assert!(page.lines().any(|line| line.starts_with(&known)), "MISTAKES.txt is old; it does not say: {row}");
}

#[test]
fn the_report_tells_of_every_mistake_and_of_no_other() {
    let page = include_str!("MISTAKES.txt").strip_prefix(HEAD).expect("the page has its head");
    let mut told: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    let made = super::Bug::ALL.map(|bug| format!("{bug:?}"));
    let with_threads_and_processes = ["HeartAmongTheTasks", "KillOfTheChildAlone"];
    let mut wanted: Vec<&str> = made.iter().map(String::as_str).chain(with_threads_and_processes).collect();
    told.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(told, wanted);
}
