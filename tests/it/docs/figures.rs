//! Figures of speed on the README: each is one that `make bench` printed into `tests/benches/RESULTS.txt`, with its machine and date. None
//! is checked against a clock here, for speed is the machine's.

use anyhow::{Result, ensure};
use longshore_tests::house;

use super::nothing_found;
use super::page::{Page, words};

/// Numbers with a fraction, and dates, of a text that the results do not have.
fn unknown_figures(text: &str, results: &str) -> Vec<String> {
    let known: Vec<&str> = words(results).map(bare).collect();
    let is_figure = |word: &&str| {
        let begins = word.starts_with(|c: char| c.is_ascii_digit());
        begins && word.contains(['.', '-']) && word.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
    };
    let unknown = words(text).map(bare).filter(is_figure).filter(|word| !known.contains(word));
    unknown.map(|word| format!("the bench printed no {word}")).collect()
}

fn bare(word: &str) -> &str {
    word.trim_matches(['.', ':'])
}

#[test]
fn every_figure_of_speed_is_one_that_the_bench_printed() -> Result<()> {
    let results = std::fs::read_to_string(house::root()?.join("tests/benches/RESULTS.txt"))?;
    ensure!(results.contains(" cores of ") && results.contains("prefetch 1000: raw lapin "), "{results}");
    let speed = Page::open("README.md")?.section("Speed");
    ensure!(speed.text.contains("0."), "the README tells no ratio");
    nothing_found(unknown_figures(&speed.text, &results));
    let planted = unknown_figures("at 0.99 of it, 2.6 ms. On 1999-01-01", "ratio 0.63\np50 2.6 ms, 2026-11-26");
    assert_eq!(planted, ["the bench printed no 0.99", "the bench printed no 1999-01-01"]);
    Ok(())
}
