//! Lays file, environment and flags over the defaults, key by key, and remembers where each value came from.
//! It stops at no mistake: each value is tried alone on the defaults, so that one bad value hides no other.
//! Read [`super::check`] for the rules beyond types, [`super::environment`] for the variables.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::environment::{self, default_of};
use super::guess::guess;
use super::{Config, DEFAULT_TOML, Origin, check};

/// Where settings come from, lowest first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file like `config.default.toml`.
    pub file: Option<PathBuf>,
    /// The process's environment; only `LONGSHORE_*` is read, and of `OTEL_*` what traces need.
    pub environment: Vec<(String, String)>,
    /// `KEY=VALUE` texts of `--set`.
    pub sets: Vec<String>,
    /// The other flags.
    pub flags: Vec<Given>,
}

/// One value and where it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub(super) key: String,
    value: Value,
    /// What the giver recognises, as mistakes name it.
    origin: String,
    /// Which layer.
    pub(super) from: Origin,
}

/// Every mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(|mistake| format!("  {mistake}")).collect();
        write!(f, "the settings cannot be used:\n{}", lines.join("\n"))
    }
}

impl Given {
    /// From the command line; `origin` is the flag.
    pub fn new(key: &str, value: impl Into<Value>, origin: &str) -> Self {
        Self { key: key.to_owned(), value: value.into(), origin: origin.to_owned(), from: Origin::Flag }
    }

    /// From the environment.
    pub(super) fn by_variable(key: &str, value: Value, name: &str) -> Self {
        Self { from: Origin::Env, ..Self::new(key, value, name) }
    }

    /// The flag, variable or file.
    pub(super) fn place(&self) -> &str {
        self.origin.strip_suffix(&format!(": {}", self.key)).unwrap_or(&self.origin)
    }
}

/// A setting and its default.
pub(super) struct Leaf {
    pub(super) key: String,
    pub(super) default: Value,
}

/// The sources laid over the defaults.
pub(super) struct Laid {
    /// What came of it.
    pub(super) config: Config,
    /// All that was given, the highest layer last.
    pub(super) given: Vec<Given>,
}

pub(super) fn lay(sources: &Sources) -> Result<Laid, Mistakes> {
    let defaults = defaults();
    let leaves = leaves(&defaults);
    let (mut given, mut mistakes) = sources.file.as_deref().map(|path| file(path, &leaves)).unwrap_or_default();
    for (more, wrong) in [environment::given(&sources.environment, &leaves), sets(&sources.sets, &defaults, &leaves)] {
        given.extend(more);
        mistakes.extend(wrong);
    }
    given.extend(sources.flags.iter().cloned());
    mistakes.extend(given.iter().flat_map(|given| faults(&defaults, given)));
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    Ok(Laid { config: together(&defaults, &given)?, given })
}

/// The defaults as the compiled-in file has them.
pub(super) fn defaults() -> Table {
    DEFAULT_TOML.parse().expect("a test reads config.default.toml")
}

/// Every setting in the table, by its dotted key.
pub(super) fn leaves(table: &Table) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(section) => {
                let below = self::leaves(section).into_iter();
                leaves.extend(below.map(|leaf| Leaf { key: format!("{name}.{}", leaf.key), ..leaf }));
            }
            value => leaves.push(Leaf { key: name.clone(), default: value.clone() }),
        }
    }
    leaves
}

fn file(path: &Path, known: &[Leaf]) -> (Vec<Given>, Vec<String>) {
    let shown = path.display();
    let read = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}; name another with --config"));
    let table = read.and_then(|text| text.parse::<Table>().map_err(|error| format!("{shown}: {error}")));
    match table {
        Ok(table) => sort(leaves(&table), known, &shown.to_string()),
        Err(mistake) => (Vec::new(), vec![mistake]),
    }
}

/// The settings of a file that there are, and a mistake for each that there is not.
fn sort(found: Vec<Leaf>, known: &[Leaf], origin: &str) -> (Vec<Given>, Vec<String>) {
    let (known_ones, unknown): (Vec<Leaf>, Vec<Leaf>) =
        found.into_iter().partition(|leaf| known.iter().any(|known| known.key == leaf.key));
    let given = known_ones.into_iter().map(|leaf| {
        let origin = format!("{origin}: {}", leaf.key);
        Given { key: leaf.key, value: leaf.default, origin, from: Origin::File }
    });
    (given.collect(), unknown.iter().map(|leaf| no_such(&leaf.key, known, origin)).collect())
}

fn no_such(key: &str, known: &[Leaf], origin: &str) -> String {
    let keys = || known.iter().map(|leaf| leaf.key.as_str());
    let same_name = || keys().find(|known| known.rsplit('.').next() == key.rsplit('.').next());
    if keys().any(|known| known.starts_with(&format!("{key}."))) {
        return format!("{origin}: {key} is a section; write [{key}] and its settings below");
    }
    match guess(key, keys()).or_else(same_name) {
        Some(meant) => format!("{origin}: no such setting {key}; did you mean {meant}?"),
        None => format!("{origin}: no such setting {key}; config.default.toml lists those there are"),
    }
}

fn sets(texts: &[String], defaults: &Table, known: &[Leaf]) -> (Vec<Given>, Vec<String>) {
    let (mut given, mut mistakes) = (Vec::new(), Vec::new());
    for text in texts {
        let Some((key, value)) = text.split_once('=') else {
            mistakes.push(format!("--set {text}: write KEY=VALUE, e.g. --set worker.slots=4"));
            continue;
        };
        match default_of(defaults, key).filter(|default| !default.is_table()) {
            Some(default) => given.push(Given::new(key, environment::read(value, default), &format!("--set {key}"))),
            None => mistakes.push(no_such(key, known, "--set")),
        }
    }
    (given, mistakes)
}

/// What is wrong with one value, found by trying it alone.
fn faults(defaults: &Table, given: &Given) -> Vec<String> {
    let placed = |fault: String| format!("{}: {fault}", given.origin);
    let mut table = defaults.clone();
    put(&mut table, given);
    match table.try_into::<Config>() {
        Ok(config) => check::faults(&config).into_iter().map(placed).collect(),
        Err(error) => vec![placed(error.message().to_owned())],
    }
}

fn together(defaults: &Table, given: &[Given]) -> Result<Config, Mistakes> {
    let mut table = defaults.clone();
    given.iter().for_each(|given| put(&mut table, given));
    table.try_into().map_err(|error: toml::de::Error| Mistakes(vec![error.to_string()]))
}

fn put(table: &mut Table, given: &Given) {
    let (path, name) = given.key.rsplit_once('.').map_or((None, given.key.as_str()), |(path, name)| (Some(path), name));
    let sections = path.into_iter().flat_map(|path| path.split('.'));
    let section = sections.fold(table, |table, section| {
        let place = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        place.as_table_mut().expect("only keys of the defaults are put, and there this is a section")
    });
    section.insert(name.to_owned(), given.value.clone());
}
