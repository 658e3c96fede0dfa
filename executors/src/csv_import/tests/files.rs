//! Files that are not what they should be, and the limits: each ends in an error that names the place and the way out.

use std::io::{Seek, SeekFrom, Write};

use longshore_sdk::{Executor, JobId};
use serde_json::{Value, json};

use super::on_both;
use super::world::{Attempt, World, fatal};
use crate::csv_import::{CsvImported, Limits};

on_both!(
    a_file_without_a_record_is_refused,
    a_file_that_is_no_text_is_refused,
    a_header_that_lacks_a_column_or_names_it_twice_is_refused_at_the_column,
    a_record_without_end_is_refused_without_being_held,
    every_limit_of_the_operator_holds,
    a_header_without_rows_imports_nothing_and_completes,
);

fn id() -> Value {
    json!([{"name": "id", "type": "integer"}])
}

async fn within(world: &World, payload: &Value, limits: Limits) -> longshore_sdk::Result<CsvImported> {
    let attempt = Attempt::new(world, JobId::fresh(), 1);
    world.importer_with(limits).run(serde_json::from_value(payload.clone()).unwrap(), &attempt.context).await
}

async fn a_file_without_a_record_is_refused(world: &World) {
    for nothing in ["", "\u{feff}", "\n\r\n\n"] {
        let report = fatal(world.import(&world.payload(nothing, id())).await);
        assert_eq!((report.code.as_str(), report.field.as_deref()), ("empty_file", Some("/source")), "{nothing:?}");
    }
}

async fn a_file_that_is_no_text_is_refused(world: &World) {
    for binary in [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), b"id\0\n1\n", b"\xff\xfei\0d\0\n\0"] {
        assert_eq!(fatal(world.import(&world.payload(binary, id())).await).code, "not_text");
    }
    let noise: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut payload = world.payload(noise, id());
    payload["format"] = json!({"header": false});
    assert_eq!(fatal(world.import(&payload).await).code, "too_many_rejects");
}

async fn a_header_that_lacks_a_column_or_names_it_twice_is_refused_at_the_column(world: &World) {
    let columns = json!([{"name": "a", "type": "text"}, {"name": "b", "type": "text"}, {"name": "c", "type": "text"}]);
    let report = fatal(world.import(&world.payload("a,b,C\n1,2,3\n", columns.clone())).await);
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("missing_column", Some("/columns/2/from")));
    assert!(report.message.contains(r#""a", "b", "C""#), "{report}");
    let report = fatal(world.import(&world.payload("a,c,b,c\n1,2,3,4\n", columns)).await);
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("ambiguous_column", Some("/columns/2/from")));
    let twice = json!([{"name": "a", "type": "text"}, {"name": "c", "index": 3, "type": "text"}]);
    world.import(&world.payload("a,c,b,c\n1,2,3,4\n", twice)).await.unwrap();
    assert_eq!(world.query("select a, c from people").await, ["1|4"]);
    let far = json!([{"name": "a", "index": 4, "type": "text"}]);
    let report = fatal(world.import(&world.payload("a,c,b,c\n", far)).await);
    assert_eq!(report.field.as_deref(), Some("/columns/0/index"));
}

async fn a_record_without_end_is_refused_without_being_held(world: &World) {
    for opening in ["id\r\n1\r\n\r\n2\r\n\"", "id\r\n1\r\n\r\n2\r\n"] {
        let payload = world.payload(opening, id());
        let file = std::fs::OpenOptions::new().write(true).open(payload["source"]["path"].as_str().unwrap());
        let mut file = file.unwrap();
        // A hole of 64 MiB: bytes without a line end that take no disk.
        file.seek(SeekFrom::Start(64 << 20)).unwrap();
        file.write_all(b"0").unwrap();
        let before = peak_kib();
        let report = fatal(world.import(&payload).await);
        assert_eq!(report.code, "record_too_large");
        assert!(report.message.contains("line 5"), "{report}");
        let grown = peak_kib() - before;
        assert!(grown < 32 << 10, "{grown} KiB more at the peak");
    }
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn every_limit_of_the_operator_holds(world: &World) {
    let columns = json!([{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]);
    let payload = world.payload("a,b\nxxxxxxxx,yy\n", columns);
    let refused = [
        (Limits { max_input_bytes: 15, ..Limits::default() }, "input_too_large"),
        (Limits { max_record_bytes: 11, ..Limits::default() }, "record_too_large"),
        (Limits { max_field_bytes: 7, ..Limits::default() }, "too_many_rejects"),
        (Limits { max_fields: 1, ..Limits::default() }, "too_many_fields"),
        (Limits { max_columns: 1, ..Limits::default() }, "invalid_payload"),
    ];
    for (limits, code) in refused {
        assert_eq!(fatal(within(world, &payload, limits).await).code, code);
    }
    let just = Limits {
        max_input_bytes: 16,
        max_record_bytes: 12,
        max_field_bytes: 8,
        max_fields: 2,
        max_columns: 2,
        ..Limits::default()
    };
    assert_eq!(within(world, &payload, just).await.unwrap().rows_imported, 1);

    let many = world.payload("a,b\nx,y\nx,y\nx,y\n", payload["columns"].clone());
    for small in [Limits { chunk_rows: 1, ..Limits::default() }, Limits { chunk_bytes: 20, ..Limits::default() }] {
        assert_eq!(within(world, &many, small).await.unwrap().checkpoints, 4);
    }
}

async fn a_header_without_rows_imports_nothing_and_completes(world: &World) {
    let done = world.import(&world.payload("id\n", id())).await.unwrap();
    assert_eq!((done.rows_read, done.rows_imported, done.reject_file), (0, 0, None));
    assert_eq!(world.query("select count(*) from people").await, ["0"]);
}
