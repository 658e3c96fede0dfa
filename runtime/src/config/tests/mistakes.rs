//! What an operator is told who got a setting wrong.

use super::{environment, file, variables};
use crate::config::*;

fn of_file(text: &str) -> Vec<String> {
    let file = file(text);
    let path = file.path().to_owned();
    let mistakes = Config::load(&Sources { file: Some(path.clone()), ..Sources::default() }).unwrap_err().0;
    mistakes.into_iter().map(|mistake| mistake.replace(&path.display().to_string(), "FILE")).collect()
}

fn of_environment(pairs: &[(&str, &str)]) -> Vec<String> {
    environment(pairs).unwrap_err().0
}

#[test]
fn an_unknown_key_is_refused_with_a_guess() {
    let told = of_file("lisen = \"127.0.0.1:1\"\n[worker]\nslot = 3\n[log]\nfancy = true\n[api]\nlease = 3\n");
    let expected = [
        "FILE: no such setting api.lease; did you mean worker.lease?",
        "FILE: no such setting lisen; did you mean listen?",
        "FILE: no such setting log.fancy; config.default.toml lists those there are",
        "FILE: no such setting worker.slot; did you mean worker.slots?",
    ];
    assert_eq!(told, expected);
}

#[test]
fn an_unknown_variable_is_refused_with_a_guess() {
    let told = of_environment(&[("LONGSHORE_WORKER_SLOT", "3"), ("LONGSHORE_FANCY", "yes")]);
    assert_eq!(told[0], "LONGSHORE_WORKER_SLOT: no such setting; did you mean LONGSHORE_WORKER_SLOTS?");
    assert!(told[1].starts_with("LONGSHORE_FANCY: no such setting; unset it"), "{told:?}");
}

#[test]
fn all_mistakes_of_all_sources_are_told_at_once_each_with_its_place() {
    let file = file("listen = 7070\n[worker]\nslots = \"many\"\nlease = 0.1\n[api]\nmax_page = -1\n");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        environment: variables(&[("LONGSHORE_STORAGE_ALLOW_HTTP", "maybe"), ("LONGSHORE_LOG_FORMAT", "xml")]),
        sets: vec!["worker.slots".into(), "transcode.nice=99".into(), "worker=3".into()],
        flags: vec![Given::new("worker.kinds", vec!["Image Resize".to_owned()], "--kinds")],
    };
    let told = Config::load(&sources).unwrap_err().0;
    let parts = [
        "listen: ",
        "worker.lease: must be at least 1 second",
        "worker.slots: invalid type",
        "api.max_page: ",
        "LONGSHORE_STORAGE_ALLOW_HTTP: ",
        "LONGSHORE_LOG_FORMAT: ",
        "--set worker.slots: write KEY=VALUE",
        "--set transcode.nice: must be from 0 to 19",
        "--set: worker is a section",
        "--kinds: \"Image Resize\" is no kind",
    ];
    for part in parts {
        assert_eq!(told.iter().filter(|told| told.contains(part)).count(), 1, "{part} in {told:#?}");
    }
    assert_eq!(told.len(), parts.len(), "{told:#?}");
}

#[test]
fn a_file_that_cannot_be_read_or_understood_is_named() {
    let missing = Sources { file: Some("/nowhere/longshore.toml".into()), ..Sources::default() };
    let told = Config::load(&missing).unwrap_err().to_string();
    assert!(told.contains("/nowhere/longshore.toml: ") && told.contains("--config"), "{told}");
    let told = of_file("[worker\n");
    assert!(told[0].starts_with("FILE: ") && told[0].contains("line 1"), "{told:?}");
}

/// Each rule of `check.rs` has a value that breaks it here.
#[test]
fn a_value_out_of_its_range_is_refused() {
    let out_of_range = [
        "database.connections=0",
        "agents.crash_limit=0",
        "worker.lease=0",
        "worker.lease=-3",
        "worker.prefetch_extra=65536",
        "broker.prefix=",
        "broker.prefix=a b",
        "storage.http_ports=80,0",
        "storage.http_ports=80000",
        "storage.max_input_bytes=0",
        "api.max_body_bytes=0",
        "api.max_upload_bytes=0",
        "api.body_idle=0",
        "api.recheck=0",
        "api.max_attempts=0",
        "api.max_timeout=0",
        "api.max_page=0",
        "api.publish_timeout=0",
        "api.ledger_timeout=0",
        "api.probe_timeout=0",
        "api.cors_origins=*",
        "auth.key_cache=61",
        "limits.requests_per_second=-1",
        "limits.key_requests_per_second=-1",
        "resize.max_side=0",
        "resize.max_side=16385",
        "transcode.threads=0",
        "transcode.nice=20",
        "transcode.nice=-1",
        "csv_import.schema=",
        "csv_import.limits.chunk_rows=0",
        "csv_import.limits.chunk_bytes=0",
        "traces.endpoint=collector:4318",
        "traces.service_name=",
        "traces.sample_ratio=1.1",
        "traces.sample_ratio=-0.1",
        "traces.max_queue=0",
        "traces.max_queue=1000001",
        "traces.interval=0",
        "traces.timeout=0",
        "worker.kinds=a b",
        "log.level=loud=very",
    ];
    for set in out_of_range {
        let told = Config::load(&Sources { sets: vec![set.into()], ..Sources::default() });
        let told = told.expect_err(set).0;
        let key = set.split('=').next().unwrap();
        assert!(told.len() == 1 && told[0].starts_with(&format!("--set {key}: ")), "{set}: {told:?}");
    }
}
