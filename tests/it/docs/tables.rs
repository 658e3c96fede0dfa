//! What the README says of states and of errors is what callers get: the five states by their words, and every type of problem
//! with its status. Other claims are looked up in `names.rs`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use longshore_runtime::job::state::State;
use longshore_sdk::api::problem;
use longshore_tests::house;

use super::page::Page;

/// Each type's last word, with the status that its documentation begins with.
fn documented(source: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = source.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let status = pair[0].strip_prefix("/// ")?.split_once(": ")?.0;
        let word = pair[1].strip_prefix("pub const ")?.split('"').nth(1)?;
        Some((word.rsplit(':').next()?.to_owned(), status.to_owned()))
    });
    pairs.collect()
}

/// Spans such as `404 not_found`, turned round.
fn listed(page: &Page) -> BTreeMap<String, String> {
    let code = page.code();
    let pairs = code.iter().filter_map(|span| span.split_once(' '));
    let pairs = pairs.filter(|(status, _)| status.len() == 3 && status.chars().all(|c| c.is_ascii_digit()));
    pairs.map(|(status, word)| (word.to_owned(), status.to_owned())).collect()
}

#[test]
fn every_type_of_problem_is_documented_with_its_status() -> Result<()> {
    let documented = documented(&std::fs::read_to_string(house::root()?.join("sdk/src/api/problem.rs"))?);
    let words: BTreeSet<&str> = problem::ALL.iter().filter_map(|name| name.rsplit(':').next()).collect();
    assert_eq!(documented.keys().map(String::as_str).collect::<BTreeSet<_>>(), words);
    assert!(documented.values().all(|status| status.parse().is_ok_and(|status: u16| (400..600).contains(&status))));
    Ok(())
}

#[test]
fn the_readme_lists_every_problem_that_the_server_can_answer() -> Result<()> {
    let root = house::root()?;
    let documented = documented(&std::fs::read_to_string(root.join("sdk/src/api/problem.rs"))?);
    let server = std::fs::read_to_string(root.join("runtime/src/api/problem.rs"))?;
    let answered =
        documented.into_iter().filter(|(word, _)| server.contains(&format!("problem::{}", word.to_uppercase())));
    assert_eq!(listed(&Page::open("README.md")?.section("Errors")), answered.collect());
    Ok(())
}

#[test]
fn the_readme_lists_the_five_states() -> Result<()> {
    let rows = Page::open("README.md")?.section("States").rows();
    let named: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(named, State::ALL.map(State::word));
    Ok(())
}
