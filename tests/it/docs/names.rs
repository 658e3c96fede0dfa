//! Every setting, variable, path of the API and story that a page names is there. The lists are the program's own: the compiled-in
//! defaults, the router's source, the stories' sources. Read `places.rs` for rooms and files.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use longshore_runtime::config::DEFAULT_TOML;
use longshore_tests::house;

use super::nothing_found;
use super::page::{Page, words};

/// Every setting by its dotted key.
fn settings() -> BTreeSet<String> {
    let (mut section, mut settings) = (String::new(), BTreeSet::new());
    for line in DEFAULT_TOML.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            settings.insert(format!("{section}{key}"));
        }
    }
    settings
}

/// Words that look like settings, or are variables of ours, and are neither.
fn unknown_settings(page: &Page, settings: &BTreeSet<String>, others: &str) -> Vec<String> {
    let sections: BTreeSet<&str> = settings.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'));
    let is_file = |word: &str| [".rs", ".toml", ".db"].iter().any(|ending| word.ends_with(ending));
    let dotted = |word: &str| plain(word) && word.split_once('.').is_some_and(|(first, _)| sections.contains(first));
    let code = page.code();
    let unknown = code.iter().flat_map(|code| words(code)).filter(|word| match word.strip_prefix("LONGSHORE_") {
        Some(_) => !is_variable(word, settings, others),
        None => dotted(word) && !is_file(word) && !settings.contains(*word),
    });
    unknown.map(|word| format!("there is no setting {word}")).collect()
}

/// Of a setting, or one of the few that `environment.rs` lists beside them.
fn is_variable(word: &str, settings: &BTreeSet<String>, others: &str) -> bool {
    let of = |key: &String| format!("LONGSHORE_{}", key.replace('.', "_").to_uppercase());
    settings.iter().any(|key| of(key) == word) || others.contains(&format!("{word:?}"))
}

/// The router's paths, each with the methods it takes as its source says them.
fn routes(sources: &str) -> Vec<(String, String)> {
    let calls = sources.split(".route(\"").skip(1).filter_map(|call| call.split_once('"'));
    calls
        .map(|(path, methods)| (path.to_owned(), methods.split(".route(").next().unwrap_or_default().to_owned()))
        .collect()
}

/// Paths that the router has not, and methods that a path of its has not.
fn unknown_paths(page: &Page, routes: &[(String, String)]) -> Vec<String> {
    let code = page.code();
    let asked = code.iter().flat_map(|code| paths(code).into_iter().map(move |path| (method(code), path)));
    let unknown = asked.filter(|(method, path)| {
        let takes =
            |methods: &str| method.is_none_or(|method| methods.contains(&format!("{}(", method.to_lowercase())));
        !routes.iter().any(|(route, methods)| leads_to(path, route) && takes(methods))
    });
    unknown.map(|(method, path)| format!("the API has no {} {path}", method.unwrap_or("path"))).collect()
}

/// The method that a span such as `POST /v1/jobs` begins with.
fn method(code: &str) -> Option<&str> {
    code.split_once(" /").map(|(method, _)| method).filter(|method| ["GET", "POST", "PUT", "DELETE"].contains(method))
}

fn paths(code: &str) -> Vec<&str> {
    let begins = ["/v1/", "/healthz", "/readyz", "/metrics"].iter().flat_map(|head| code.match_indices(head));
    let end = |rest: &str| rest.find(|c: char| !(c.is_alphanumeric() || "/{}$._-…".contains(c))).unwrap_or(rest.len());
    begins.map(|(at, _)| &code[at..at + end(&code[at..])]).collect()
}

/// A variable of the shell, a name in braces or any text stands for a parameter of the route.
fn leads_to(path: &str, route: &str) -> bool {
    let (path, route): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), route.split('/').collect());
    path.len() == route.len() && path.iter().zip(&route).all(|(given, part)| given == part || part.starts_with('{'))
}

/// Names that read as a story's and are no test's.
fn unknown_stories(page: &Page, tests: &str) -> Vec<String> {
    let is_story =
        |word: &str| word.matches('_').count() >= 4 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let code = page.code();
    let named = code.iter().filter(|word| is_story(word));
    named
        .filter(|word| !tests.contains(&format!("fn {word}(")))
        .map(|word| format!("no test is called {word}"))
        .collect()
}

fn source(path: &str) -> Result<String> {
    Ok(std::fs::read_to_string(house::root()?.join(path))?)
}

#[test]
fn every_setting_on_the_pages_is_in_the_defaults() -> Result<()> {
    let (settings, others) = (settings(), source("runtime/src/config/environment.rs")?);
    ensure!(settings.contains("transcode.limits.max_pixels"), "{settings:?}");
    for page in ["README.md", "ARCHITECTURE.md", "SECURITY.md"] {
        nothing_found(unknown_settings(&Page::open(page)?, &settings, &others));
    }
    let planted =
        Page::planted("`--set worker.slot=4`, `LONGSHORE_SLOTS=4`, `api.rs`, `LONGSHORE_AMQP_URL`, `worker.slots`");
    let found = unknown_settings(&planted, &settings, &others);
    assert_eq!(found, ["there is no setting worker.slot", "there is no setting LONGSHORE_SLOTS"]);
    Ok(())
}

#[test]
fn every_path_on_the_pages_is_in_the_router() -> Result<()> {
    let routes = routes(&[source("runtime/src/api.rs")?, source("runtime/src/api/health.rs")?].concat());
    for page in ["README.md", "ARCHITECTURE.md", "SECURITY.md"] {
        nothing_found(unknown_paths(&Page::open(page)?, &routes));
    }
    let planted = Page::planted("`GET /v1/jobs`, `DELETE /v1/jobs/{id}`, `curl $S/v1/job`, `$S/v1/jobs/$JOB?wait=1`");
    assert_eq!(
        unknown_paths(&planted, &routes),
        ["the API has no DELETE /v1/jobs/{id}", "the API has no path /v1/job"]
    );
    Ok(())
}

#[test]
fn every_story_on_the_pages_is_told() -> Result<()> {
    let tests: String = house::files(&house::root()?.join("tests/it"))?.into_iter().map(|source| source.text).collect();
    let readme = Page::open("README.md")?;
    nothing_found(unknown_stories(&readme, &tests));
    for row in readme.section("What happens when").rows() {
        assert!(row[2].matches('_').count() >= 4, "no story stands behind {row:?}");
    }
    assert_eq!(unknown_stories(&Page::planted("`nobody_has_ever_told_this`"), &tests).len(), 1);
    Ok(())
}
