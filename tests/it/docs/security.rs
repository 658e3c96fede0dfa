//! SECURITY.md names a test behind every line of its table, each of the ten risks has one, and the tests are there. What a test proves is
//! its own affair. Its settings and calls are looked up as the README's are, in `names.rs`.

use std::collections::BTreeSet;

use anyhow::Result;
use longshore_tests::house;

use super::nothing_found;
use super::page::Page;

/// The lines of the table that name no test that there is.
fn unproven(page: &Page, sources: &str) -> Vec<String> {
    let rows = page.section("The ten").rows();
    let unproven = rows.iter().filter(|row| {
        let test = row.last().map(|cell| cell.trim_matches('`')).unwrap_or_default();
        test.is_empty() || !sources.contains(&format!("fn {test}("))
    });
    unproven.map(|row| format!("no test stands behind {row:?}")).collect()
}

/// The numbers of the risks that have a line.
fn risks(page: &Page) -> BTreeSet<usize> {
    let rows = page.section("The ten").rows();
    rows.iter().filter_map(|row| row[0].strip_prefix("API")?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn every_risk_of_the_ten_has_a_test_that_is_there() -> Result<()> {
    let root = house::root()?;
    let sources: String = house::files(&root)?
        .into_iter()
        .filter(|source| source.path.ends_with(".rs"))
        .map(|source| source.text)
        .collect();
    let page = Page::open("SECURITY.md")?;
    nothing_found(unproven(&page, &sources));
    assert_eq!(risks(&page), (1..=10).collect());
    let planted = Page::planted(
        "## The ten\n| risk | here | test |\n| --- | --- | --- |\n| API1 x | y | `nobody_has_told_this` |\n",
    );
    assert_eq!(unproven(&planted, &sources).len(), 1);
    Ok(())
}
