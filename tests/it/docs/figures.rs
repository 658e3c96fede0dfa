//! Figures on the README: of speed, each one that `make bench` printed into `tests/benches/RESULTS.txt`, and of faults, each one that
//! `make chaos` printed into `tests/src/chaos/RESULTS.txt`. None is checked against a clock here, for speed is the machine's.

use anyhow::{Result, ensure};
use longshore_tests::house;

use super::nothing_found;
use super::page::Page;
use super::storms::Storms;

#[test]
fn every_figure_of_speed_is_one_that_the_bench_printed() -> Result<()> {
    let results = std::fs::read_to_string(house::root()?.join("tests/benches/RESULTS.txt"))?;
    ensure!(results.contains(" cores of ") && results.contains("prefetch 1000: raw lapin "), "{results}");
    let speed = Page::open("README.md")?.section("Speed");
    ensure!(speed.text.contains("0."), "the README tells no ratio");
    nothing_found(unprinted(&speed.text, &results));
    let planted = unprinted("at 0.99 of it, 825 a second. On 2025-11-26", "ratio 0.63, 824 /s, 2026-11-26");
    assert_eq!(planted, ["nothing printed 0.99", "nothing printed 825", "nothing printed 2025"]);
    Ok(())
}

/// Numbers of a text that what was printed does not have.
fn unprinted(text: &str, table: &str) -> Vec<String> {
    let numbers = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|part| part.trim_matches('.').to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    let printed = numbers(table);
    numbers(text)
        .into_iter()
        .filter(|number| !printed.contains(number))
        .map(|number| format!("nothing printed {number}"))
        .collect()
}

#[test]
fn every_figure_of_a_storm_is_one_that_the_chaos_suite_printed() -> Result<()> {
    let table = std::fs::read_to_string(house::root()?.join("tests/src/chaos/RESULTS.txt"))?;
    ensure!(
        table.contains("seed ") && table.contains("lost 0, doubled effects 0") && !table.contains("VIOLATION"),
        "{table}"
    );
    let readme = std::fs::read_to_string(house::root()?.join("README.md"))?;
    let storm = readme.lines().skip_while(|line| !line.starts_with("`make chaos`"));
    let told: Vec<&str> = storm.take_while(|line| !line.starts_with("## ")).collect();
    ensure!(told.iter().any(|line| line.starts_with("| a worker is killed |")), "the README tells no storm");
    nothing_found(unprinted(&told.join("\n"), &table));
    assert_eq!(unprinted("30 kills, 31 cuts.", "| kills | 30 |"), ["nothing printed 31"]);
    nothing_found(Storms::read(&table).contradict(&Page::planted(&told.join("\n")).rows()));
    Ok(())
}
