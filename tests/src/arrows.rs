//! Who may name whom: the design's rooms and arrows as data, and a pure function that finds the arrows it doesn't have.
//!
//! It reads sources and nothing else: no files, no Cargo metadata. A new arrow is its own change, here and in the design.

use crate::mentions::{Mention, mentions};

/// A source file with its path from the repository's root.
#[derive(Clone, Debug)]
pub struct Source {
    /// Such as `runtime/src/job/retry.rs`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Each crate of ours: its directory, its name, and the others of ours that it may name.
const CRATES: [(&str, &str, &[&str]); 5] = [
    // An author's own crate, which only lies with the SDK; nothing of ours names it.
    ("sdk/examples/wordcount/", "wordcount", &["longshore_sdk", "longshore_runtime"]),
    ("sdk/", "longshore_sdk", &[]),
    ("executors/", "longshore_executors", &["longshore_sdk"]),
    ("runtime/", "longshore_runtime", &["longshore_sdk", "longshore_executors"]),
    ("tests/", "longshore_tests", &["longshore_sdk", "longshore_executors", "longshore_runtime"]),
];

/// Crates that are known in few places only; a place that ends in `/` is a directory.
const KEPT: [(&[&str], &[&str]); 6] = [
    (
        &["lapin"],
        &["runtime/src/broker/rabbitmq.rs", "runtime/src/broker/rabbitmq/", "runtime/src/broker/link.rs", "tests/"],
    ),
    (
        &["tokio_postgres", "tokio_postgres_rustls", "rusqlite", "deadpool_postgres"],
        // The CSV import writes to its customer's tables, not to the ledger; the demo counts them behind its back.
        &[
            "runtime/src/ledger.rs",
            "runtime/src/ledger/",
            "executors/src/csv_import.rs",
            "executors/src/csv_import/",
            "runtime/src/cli/demo/rows.rs",
            // A test that locks the ledger's file from outside.
            "runtime/src/api/tests/submits.rs",
            "tests/",
        ],
    ),
    // The test of fetching an input needs a server to fetch from.
    (&["axum"], &["runtime/src/api.rs", "runtime/src/api/", "runtime/src/storage/fetch/tests.rs", "tests/"]),
    (&["bincode"], &["sdk/src/wire.rs"]),
    (&["backoff"], &["runtime/src/job/retry.rs"]),
    // The configuration holds their settings, which are theirs to define.
    (
        &["longshore_executors"],
        &[
            "executors/",
            "runtime/src/app.rs",
            "runtime/src/app/",
            "runtime/src/main.rs",
            "runtime/src/config.rs",
            "runtime/src/config/",
            "tests/",
        ],
    ),
];

/// Rooms of the runtime that don't know each other. `notify` stands between ledger and broker: it reads the one's events and makes
/// the other's announcements, and neither knows it.
const STRANGERS: [(&str, &[&str]); 4] = [
    ("ledger", &["broker", "notify"]),
    ("broker", &["ledger", "notify"]),
    ("api", &["worker", "agents"]),
    ("worker", &["api"]),
];

/// Where the API and the worker meet; the configuration holds the settings of both.
const MEETING_ROOMS: [&str; 5] = ["app", "cli", "config", "lib", "main"];

/// The arrows of one file that the design doesn't have, each as a sentence with the place.
pub fn new_arrows(source: &Source) -> Vec<String> {
    let Some((dir, name, may_name)) = CRATES.iter().find(|(dir, ..)| source.path.starts_with(dir)) else {
        return vec![];
    };
    let module = module(&source.path, dir, name);
    let module: Vec<&str> = module.iter().map(String::as_str).collect();
    let mentions = mentions(&module, &source.text);
    let file = File { path: &source.path, crate_name: name, may_name, room: room(&module), mentions: &mentions };
    let judged = mentions.iter().filter_map(|mention| Some((mention, file.objection(mention)?)));
    let mut found: Vec<String> = judged.map(|(mention, why)| sentence(source, mention, &why)).collect();
    found.extend(file.meets());
    found
}

struct File<'a> {
    path: &'a str,
    crate_name: &'a str,
    may_name: &'a [&'a str],
    /// The room of the runtime it belongs to.
    room: Option<&'a str>,
    mentions: &'a [Mention],
}

impl File<'_> {
    fn objection(&self, mention: &Mention) -> Option<String> {
        let head = mention.path.first()?.as_str();
        self.wrong_way(head)
            .or_else(|| self.kept(head))
            .or_else(|| self.stranger(mention))
            .or_else(|| self.impure(mention))
    }

    fn wrong_way(&self, head: &str) -> Option<String> {
        let ours = CRATES.iter().any(|(_, name, _)| *name == head);
        (ours && head != self.crate_name && !self.may_name.contains(&head))
            .then(|| "crates depend sdk <- executors <- runtime <- tests, never back".to_owned())
    }

    fn kept(&self, head: &str) -> Option<String> {
        let (_, places) = KEPT.iter().find(|(crates, _)| crates.contains(&head))?;
        let at_home =
            places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place));
        (!at_home).then(|| format!("only {} may name it", places.join(", ")))
    }

    fn stranger(&self, mention: &Mention) -> Option<String> {
        let (room, strangers) = STRANGERS.iter().find(|(room, _)| Some(*room) == self.room)?;
        let other = room_named(mention)?;
        strangers.contains(&other).then(|| format!("{room} doesn't know {other}"))
    }

    /// Decisions about jobs are pure, so that a test can ask them anything.
    fn impure(&self, mention: &Mention) -> Option<String> {
        if self.room != Some("job") {
            return None;
        }
        let path: Vec<&str> = mention.path.iter().map(String::as_str).collect();
        let pure = match path[..] {
            ["std" | "core" | "alloc", ..] | ["longshore_sdk", "wire", ..] | ["longshore_runtime", "job", ..] => true,
            // Who may name `backoff` at all is said above.
            ["backoff", ..] => true,
            _ => false,
        };
        (!pure).then(|| "job imports std and longshore_sdk::wire only".to_owned())
    }

    fn meets(&self) -> Option<String> {
        let names = |room| self.mentions.iter().any(|mention| room_named(mention) == Some(room));
        let meeting = MEETING_ROOMS.contains(&self.room?) || STRANGERS.iter().any(|(room, _)| Some(*room) == self.room);
        (!meeting && names("api") && names("worker"))
            .then(|| format!("{}: names both api and worker, which meet only in app.rs and cli", self.path))
    }
}

fn sentence(source: &Source, mention: &Mention, why: &str) -> String {
    format!("{}:{}: names {}, but {why}", source.path, mention.line, mention.path.join("::"))
}

/// The room of the runtime that a path leads into.
fn room_named(mention: &Mention) -> Option<&str> {
    (mention.path.first()? == "longshore_runtime").then(|| mention.path.get(1).map(String::as_str))?
}

fn room<'a>(module: &[&'a str]) -> Option<&'a str> {
    (module.first() == Some(&"longshore_runtime")).then(|| module.get(1).copied().unwrap_or("lib"))
}

/// The module that a file is: `runtime/src/job/retry.rs` is `longshore_runtime::job::retry`.
fn module(path: &str, dir: &str, crate_name: &str) -> Vec<String> {
    let inner = path.strip_prefix(dir).and_then(|inner| inner.strip_prefix("src/"));
    // An example or an integration test is a crate of its own; its `crate::` leads nowhere we judge.
    let Some(inner) = inner else { return vec!["crate".to_owned()] };
    let inner = inner.trim_end_matches(".rs");
    let segments = inner.split('/').filter(|segment| !matches!(*segment, "lib" | "main"));
    [crate_name].into_iter().chain(segments).map(str::to_owned).collect()
}
