//! The house rules, held against every file; and each rule held against a made-up file that breaks it.
//!
//! A rule that can't fail is no rule, so every check here is seen failing before it is trusted.

use longshore_tests::arrows::{Source, new_arrows};
use longshore_tests::house;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

/// Fails with everything that was found, not with the first thing only.
fn nothing_found(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn ours() -> Vec<Source> {
    house::files(&house::root().expect("the crate lies in the repository")).expect("our own files can be read")
}

fn rust() -> Vec<Source> {
    ours().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

#[test]
fn every_arrow_is_in_the_design() {
    nothing_found(rust().iter().flat_map(new_arrows).collect());
}

#[test]
fn no_file_is_longer_than_four_hundred_lines_without_a_reason() {
    nothing_found(ours().iter().filter_map(house::too_long).collect());
}

#[test]
fn no_work_is_left_undone_and_no_rule_is_set_aside() {
    nothing_found(rust().iter().flat_map(house::banned).collect());
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    nothing_found(ours().iter().filter(|source| source.path != "Cargo.lock").flat_map(house::machine_paths).collect());
}

#[test]
fn every_line_about_a_job_has_a_place_for_its_attempt_and_its_request() {
    nothing_found(rust().iter().flat_map(house::unfollowed).collect());
}

#[test]
fn the_walk_sees_this_very_file() {
    assert!(ours().iter().any(|source| source.path == "tests/it/tidy.rs"));
}

#[test]
fn a_planted_arrow_is_found_with_its_line() {
    let planted = source("runtime/src/ledger/postgres.rs", "use std::fmt;\nuse crate::broker::Broker;");
    let expected =
        "runtime/src/ledger/postgres.rs:2: names longshore_runtime::broker::Broker, but ledger doesn't know broker";
    assert_eq!(new_arrows(&planted), [expected]);
}

#[test]
fn every_forbidden_arrow_is_found() {
    let forbidden = [
        ("sdk/src/client.rs", "use longshore_runtime::app;"),
        ("sdk/examples/hello.rs", "fn main() { longshore_executors::all() }"),
        ("sdk/examples/wordcount/src/lib.rs", "use longshore_executors::resize::Resize;"),
        ("sdk/examples/wordcount/src/lib.rs", "use longshore_tests::scratch;"),
        ("sdk/src/testkit.rs", "use wordcount::WordCounter;"),
        ("tests/src/stage.rs", "use wordcount::WordCounter;"),
        ("executors/src/resize.rs", "use longshore_runtime::job::State;"),
        ("runtime/src/api/jobs.rs", "use longshore_executors::resize;"),
        ("runtime/src/cli/dev.rs", "longshore_executors::all();"),
        ("runtime/src/job/state.rs", "use tokio::time::Instant;"),
        ("runtime/src/job/state.rs", "use longshore_sdk::client::Client;"),
        ("runtime/src/job/state.rs", "#[derive(serde::Serialize)] struct S;"),
        ("runtime/src/job.rs", "use crate::clock::Clock;"),
        ("runtime/src/job/retry.rs", "use super::super::ledger::Row;"),
        ("runtime/src/broker.rs", "use crate::{clock, ledger::Ledger};"),
        ("runtime/src/broker/embedded.rs", "use crate::notify;"),
        ("runtime/src/ledger/sqlite.rs", "use crate::broker::Broker as B;"),
        ("runtime/src/broker/link.rs", "fn f(l: &crate::ledger::Ledger) {}"),
        ("runtime/src/api/health.rs", "use crate::worker;"),
        ("runtime/src/api/uploads.rs", "use crate::agents::janitor;"),
        ("runtime/src/worker/slots.rs", "use super::super::api::problem;"),
        ("runtime/src/agents/relay.rs", "use crate::api::A; use crate::worker::W;"),
        ("runtime/src/broker/topology.rs", "use lapin::options::QueueDeclareOptions;"),
        ("runtime/src/broker/embedded.rs", "fn f() { lapin::Connection::connect() }"),
        ("runtime/src/worker/delivery.rs", "use tokio_postgres::Client;"),
        ("runtime/src/config.rs", "use deadpool_postgres as pool;"),
        ("sdk/src/testkit.rs", "use rusqlite::Connection;"),
        ("runtime/src/metrics.rs", "use axum::Router;"),
        ("sdk/src/client.rs", "use bincode::encode_to_vec;"),
        ("tests/it/wire.rs", "bincode::decode_from_slice();"),
        ("runtime/src/job/state.rs", "use backoff::ExponentialBackoff;"),
        ("runtime/src/broker/link.rs", "use ::backoff::backoff::Backoff;"),
    ];
    let unseen = forbidden.iter().filter(|(path, text)| new_arrows(&source(path, text)).is_empty());
    nothing_found(unseen.map(|(path, text)| format!("{path} may not say `{text}`, and nobody noticed")).collect());
}

#[test]
fn every_arrow_of_the_design_is_allowed() {
    let allowed = [
        ("sdk/src/wire.rs", "use bincode::Encode; use std::fmt;"),
        ("sdk/examples/hello.rs", "use longshore_sdk::Executor;"),
        ("sdk/examples/wordcount/src/main.rs", "use longshore_runtime::app; use wordcount::WordCounter;"),
        ("executors/src/csv_import/copy.rs", "use longshore_sdk::Context; use tokio_postgres::CopyInSink;"),
        ("runtime/src/app.rs", "use longshore_executors as all; use crate::{api, worker, broker::rabbitmq, ledger};"),
        ("runtime/src/main.rs", "fn main() { longshore_runtime::run(longshore_executors::all()) }"),
        ("runtime/src/lib.rs", "pub mod api; mod worker; pub use api::Api; pub use worker::Worker;"),
        ("runtime/src/cli/dev.rs", "use crate::{api, worker};"),
        (
            "runtime/src/job/retry.rs",
            "use backoff::backoff::Backoff; use super::state::State; use std::time::Duration;",
        ),
        (
            "runtime/src/job/state.rs",
            "use longshore_sdk::wire::State; mod tests { use super::*; fn f() { u8::from(1) } }",
        ),
        ("runtime/src/job.rs", "pub mod retry; pub mod state; pub use state::State; // not lapin::Channel"),
        ("runtime/src/broker/rabbitmq/acks.rs", "use lapin::Channel; use crate::metrics;"),
        ("runtime/src/broker/link.rs", "use lapin::Connection; use super::topology;"),
        ("runtime/src/ledger/batch.rs", "use tokio_postgres::Client; use crate::job::State; use crate::clock::Clock;"),
        ("runtime/src/api/jobs.rs", "use axum::Json; use crate::{broker::Broker, ledger::Ledger, notify};"),
        ("runtime/src/worker.rs", "const SAYS: &str = \"use crate::api\"; use crate::{broker, ledger};"),
        ("tests/it/world.rs", "use lapin::Channel; use longshore_runtime::ledger; use axum::Router;"),
        ("helm/notes.rs", "use anything::at::all;"),
    ];
    nothing_found(allowed.iter().flat_map(|(path, text)| new_arrows(&source(path, text))).collect());
}

#[test]
fn a_long_file_is_found_unless_its_header_gives_the_reason() {
    let lines = "fn f() {}\n".repeat(house::LONGEST);
    let long = |header: &str| source("runtime/src/app.rs", &format!("{header}\n{lines}"));
    assert!(house::too_long(&long("//! The parts.")).is_some());
    assert!(house::too_long(&long(&format!("//! The parts.\n//! {} it's a list.", house::REASON))).is_none());
    assert!(house::too_long(&source("runtime/src/app.rs", &lines)).is_none());
    assert!(house::too_long(&source("Cargo.lock", &format!("{lines}\n{lines}"))).is_none());
}

#[test]
fn banned_words_are_found_in_code_and_only_there() {
    let code = "fn f() {\n todo!() }\n#[ignore = \"slow\"]\n#![allow(dead_code)]\nfn g() { unimplemented!(\"later\") }";
    assert_eq!(house::banned(&source("sdk/src/lib.rs", code)).len(), 4);
    let prose = "// todo!() and #[ignore]\nconst S: &str = \"#[allow(x)]\";\n#[expect(dead_code, reason = \"ours\")]\nfn todo() {}";
    nothing_found(house::banned(&source("sdk/src/lib.rs", prose)));
}

#[test]
fn a_line_about_a_job_that_cannot_be_followed_is_found() {
    let code = "fn f() { tracing::warn!(job.id = %id, attempt, \"x\");\n warn!(job.id = 1, correlation_id = g(attempt)); info!(job.id) }";
    let found = house::unfollowed(&source("runtime/src/worker.rs", code));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains(":1: a line about a job without correlation_id"), "{found:?}");
    nothing_found(house::unfollowed(&source("sdk/src/client.rs", code)));
}

#[test]
fn a_path_of_somebodys_machine_is_found() {
    let planted = [concat!("cd /wo", "rk/main"), concat!("PATH=/ro", "ot/.cargo/bin")];
    for line in planted {
        assert_eq!(house::machine_paths(&source("Makefile", line)).len(), 1, "{line}");
    }
    let fine = concat!("https://example.com/wo", "rk/ and $HOME/wo", "rk/ and ./wo", "rk/");
    nothing_found(house::machine_paths(&source("Makefile", fine)));
}
