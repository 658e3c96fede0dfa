//! ARCHITECTURE.md against the tree and the code: its rooms are there, its diagram is `job/state.rs`'s; and the changelog knows the version.
//! Who may call whom is held by `tidy.rs`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use longshore_runtime::job::state;
use longshore_tests::house;

use super::nothing_found;
use super::page::{Page, words};

/// Files and rooms that a page names and the repository has not. A name may leave out the way to it.
fn missing_files(page: &Page, tree: &BTreeSet<String>) -> Vec<String> {
    let is_file =
        |word: &str| [".rs", ".md", ".toml", ".sql"].iter().any(|ending| word.ends_with(ending)) && word.len() > 4;
    let there = |word: &str| tree.iter().any(|path| path == word || path.ends_with(&format!("/{word}")));
    let code = page.code();
    let named: BTreeSet<&str> = code.iter().flat_map(|code| words(code)).filter(|word| is_file(word)).collect();
    named.into_iter().filter(|word| !there(word)).map(|word| format!("there is no file {word}")).collect()
}

/// Rooms of the map that the tree has not, and rooms of the tree that the map has not.
fn misdrawn_rooms(map: &str, tree: &BTreeSet<String>) -> Vec<String> {
    let drawn: BTreeSet<String> = map.lines().filter_map(room).collect();
    let has = |room: &str| tree.iter().any(|path| path.starts_with(room));
    let rooms = tree.iter().filter_map(|path| directory(path.strip_prefix("runtime/src/")?));
    let missing = drawn.iter().filter(|room| !has(room)).map(|room| format!("there is no room {room}"));
    let rooms: BTreeSet<String> = rooms.map(|room| format!("runtime/src/{room}/")).collect();
    missing.chain(rooms.difference(&drawn).map(|room| format!("{room} is not on the map"))).collect()
}

/// The room that a line of the map opens with; one that is indented is the runtime's.
fn room(line: &str) -> Option<String> {
    let name = line.split_whitespace().next().filter(|name| name.ends_with('/'))?;
    match line.len() - line.trim_start().len() {
        0 => Some(name.to_owned()),
        2 => Some(format!("runtime/src/{name}")),
        _ => None,
    }
}

fn directory(path: &str) -> Option<&str> {
    path.split_once('/').map(|(room, _)| room)
}

fn tree() -> Result<BTreeSet<String>> {
    Ok(house::files(&house::root()?)?.into_iter().map(|source| source.path).collect())
}

#[test]
fn every_file_on_the_pages_is_in_the_repository() -> Result<()> {
    let tree = tree()?;
    for page in ["README.md", "ARCHITECTURE.md"] {
        nothing_found(missing_files(&Page::open(page)?, &tree));
    }
    let planted = Page::planted("`job/state.rs`, `job/stat.rs`, `README.md`");
    assert_eq!(missing_files(&planted, &tree), ["there is no file job/stat.rs"]);
    Ok(())
}

#[test]
fn the_map_of_the_rooms_is_the_house() -> Result<()> {
    let (tree, page) = (tree()?, Page::open("ARCHITECTURE.md")?);
    let map = page.section("Rooms").blocks().into_iter().next().context("the map is gone")?.text;
    nothing_found(misdrawn_rooms(&map, &tree));
    let without = map.replacen("  ledger/ ", "  cellar/ ", 1);
    let expected = ["there is no room runtime/src/cellar/", "runtime/src/ledger/ is not on the map"];
    assert_eq!(misdrawn_rooms(&without, &tree), expected);
    Ok(())
}

#[test]
fn the_state_diagram_is_the_codes() -> Result<()> {
    let blocks = Page::open("ARCHITECTURE.md")?.blocks();
    let drawn: Vec<&str> =
        blocks.iter().filter(|block| block.info == "mermaid").map(|block| block.text.as_str()).collect();
    assert_eq!(drawn, [state::diagram()]);
    Ok(())
}

#[test]
fn the_changelog_knows_the_version_that_is_built() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = Page::open("CHANGELOG.md")?.text;
    assert!(changelog.lines().any(|line| line.starts_with(&format!("## {version}"))), "no entry for {version}");
    Ok(())
}
