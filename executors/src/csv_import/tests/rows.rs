//! What lands in the table and what in the reject file.

use longshore_sdk::JobId;
use serde_json::json;
use std::time::Instant;

use super::on_both;
use super::world::{Attempt, World, fatal, timed};
use crate::csv_import::{Limits, Target};

on_both!(
    every_type_lands_as_itself_and_empty_cells_are_null,
    columns_are_found_by_header_by_place_and_by_name,
    a_refused_record_is_filed_with_its_line_its_column_and_its_own_bytes,
    every_reason_is_told_at_its_column,
    too_many_rejects_end_the_import_with_the_evidence,
    a_dry_run_writes_no_row,
    a_job_column_makes_an_import_removable,
    a_table_that_does_not_fit_is_refused_at_the_column,
    a_row_that_the_table_refuses_is_named_by_its_line,
    cells_are_stored_as_they_are_even_formulas_and_sql,
    two_hundred_thousand_rows,
);

async fn every_type_lands_as_itself_and_empty_cells_are_null(world: &World) {
    let columns = json!([
        {"name": "t", "type": "text"}, {"name": "i", "type": "integer"}, {"name": "d", "type": "decimal"},
        {"name": "f", "type": "float"}, {"name": "b", "type": "boolean"}, {"name": "day", "type": "date"},
        {"name": "at", "type": "timestamp"}, {"name": "u", "type": "uuid"}, {"name": "j", "type": "json"}
    ]);
    let csv = "t,i,d,f,b,day,at,u,j\n\
        \"a \"\"b\"\", ä\",-9223372036854775808,-123456789012345678901234567890.12345678900,-2.5,yes,1999-12-31,\
        1969-12-31 23:59:59.999999,67e55044-10b1-426f-9247-bb680e5fe0c8,\"{\"\"b\"\": 1.10, \"\"a\"\":\"\"\\u0000\"\"}\"\n\
        x,1,0.00,1e300,F,0001-01-01,9999-12-31T23:59:59+01:00,67E5504410B1426F9247BB680E5FE0C8,[]\n\
        x,1,10000000.00001,0,0,9999-12-31,2024-02-29T12:00:00Z,67e55044-10b1-426f-9247-bb680e5fe0c8,null\n\
        ,,,,,,,,\n";
    let done = world.import(&world.payload(csv, columns)).await.unwrap();
    assert_eq!((done.rows_imported, done.rows_rejected), (4, 0));
    let [yes, no, micros, zero] = match world.target {
        Target::Sqlite { .. } => ["1", "0", "1969-12-31T23:59:59.999999Z", "0"],
        Target::Postgres { .. } => ["t", "f", "1969-12-31 23:59:59.999999+00", "0"],
    };
    let rows = world.query("select t, i, d, f, b, day, at, u, j from people").await;
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let json = r#"{"b": 1.10, "a":"\u0000"}"#;
    let first = format!(
        "a \"b\", ä|-9223372036854775808|-123456789012345678901234567890.12345678900|-2.5|{yes}|1999-12-31|{micros}|{uuid}|{json}"
    );
    assert_eq!(rows[0], first);
    assert!(rows[1].contains("|0.00|") && rows[1].contains(&format!("|{no}|0001-01-01|9999-12-31")), "{}", rows[1]);
    assert!(rows[1].contains("22:59:59") && rows[1].contains(uuid), "{}", rows[1]);
    assert!(rows[2].starts_with(&format!("x|1|10000000.00001|{zero}|{no}|9999-12-31|2024-02-29")), "{}", rows[2]);
    assert_eq!(rows[3], "-|-|-|-|-|-|-|-|-");
}

async fn columns_are_found_by_header_by_place_and_by_name(world: &World) {
    let columns = json!([
        {"name": "id", "from": "Customer No.", "type": "integer"}, {"name": "name", "type": "text"},
        {"name": "last", "index": 3, "type": "text"}
    ]);
    let mut payload = world.payload("\u{feff}unused;name;Customer No.;x;x\r\n1;Ann;7;b;c\r\n\r\n2;Bo;8;d;e", columns);
    payload["format"] = json!({"delimiter": ";"});
    let done = world.import(&payload).await.unwrap();
    assert_eq!((done.rows_read, done.rows_imported, done.checkpoints), (2, 2, 1));
    assert_eq!(world.query("select id, name, last from people order by id").await, ["7|Ann|b", "8|Bo|d"]);

    let columns = json!([{"name": "id", "type": "integer"}, {"name": "name", "type": "text"}]);
    let mut payload = world.payload("\u{feff}9,Cy\n", columns);
    payload["format"] = json!({"header": false});
    world.import(&payload).await.unwrap();
    assert_eq!(world.query("select id, name, last from people where id = 9").await, ["9|Cy|-"]);
}

async fn a_refused_record_is_filed_with_its_line_its_column_and_its_own_bytes(world: &World) {
    let columns = json!([{"name": "id", "type": "integer"}, {"name": "note", "type": "text"}]);
    let csv = b"id,note\r\n1,\"two\r\nlines\"\r\nx,\"a \"\"b\"\"\r\n=c\"\r\n\r\n2,\xff\r\n3\r\n4,ok\r\n5,\"open\r\n6,lost\r\n";
    let mut payload = world.payload(csv, columns);
    payload["max_rejects"] = json!({"rows": 4});
    let attempt = Attempt::new(world, JobId::fresh(), 1);
    let done = world.attempt(&payload, &attempt).await.unwrap();
    assert_eq!((done.rows_read, done.rows_imported, done.rows_rejected), (6, 2, 4));
    assert_eq!(
        serde_json::to_value(&done.rejects).unwrap(),
        json!({
            "not_integer": 1, "not_utf8": 1, "unclosed_quote": 1, "wrong_field_count": 1
        })
    );
    let mut file = csv::ReaderBuilder::new().from_reader(std::io::Cursor::new(attempt.rejects()));
    let records: Vec<csv::ByteRecord> = file.byte_records().map(Result::unwrap).collect();
    let expected: [[&[u8]; 4]; 4] = [
        [b"4", b"id", b"not_integer", b"x,\"a \"\"b\"\"\r\n=c\""],
        [b"7", b"note", b"not_utf8", b"2,\xff"],
        [b"8", b"", b"wrong_field_count", b"3"],
        [b"10", b"", b"unclosed_quote", b"5,\"open\r\n6,lost"],
    ];
    assert_eq!(records, expected.map(|fields| csv::ByteRecord::from(fields.to_vec())));
    assert_eq!(done.reject_file.unwrap().bytes, attempt.rejects().len() as u64);
}

async fn every_reason_is_told_at_its_column(world: &World) {
    let columns = json!([
        {"name": "n", "type": "integer", "min": 2, "max": 9}, {"name": "d", "type": "decimal", "min": "0.10"},
        {"name": "c", "type": "text", "required": true, "max_length": 3, "one_of": ["äöü", "b", "long"]},
        {"name": "day", "type": "date", "max": "2024-12-31"}
    ]);
    let csv =
        "n,d,c,day\n2,0.1,äöü,2024-12-31\n1,1,b,\n10,1,b,\n,0.09,b,\n,,,\n,,long,\n,,x,\n,,b,2025-01-01\n,,a\0b,\n";
    let mut payload = world.payload(csv, columns);
    payload["max_rejects"] = json!({"ratio": 1.0});
    let attempt = Attempt::new(world, JobId::fresh(), 1);
    assert_eq!(world.attempt(&payload, &attempt).await.unwrap().rows_imported, 1);
    let text = String::from_utf8(attempt.rejects()).unwrap();
    let expected = [
        "n,below_min",
        "n,above_max",
        "d,below_min",
        "c,required",
        "c,too_long",
        "c,not_one_of",
        "day,above_max",
        "c,nul",
    ];
    for (at, expected) in expected.iter().enumerate() {
        let line = text.lines().nth(at + 1).unwrap();
        assert!(line.starts_with(&format!("{},{expected},", at + 3)), "{line} is not {expected}");
    }
}

async fn too_many_rejects_end_the_import_with_the_evidence(world: &World) {
    let rows: String = (0..40).map(|n| if n < 20 { format!("{n}\n") } else { format!("x{n}\n") }).collect();
    let mut payload = world.payload(format!("id\n{rows}"), json!([{"name": "id", "type": "integer"}]));
    payload["max_rejects"] = json!({"rows": 3});
    let report = fatal(world.import(&payload).await);
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("too_many_rejects", Some("/max_rejects")));
    assert!(report.message.contains("line 22 column id: not_integer"), "{report}");
    assert!(report.message.contains("not_integer 10") && report.message.contains("20 rows were imported"), "{report}");
    assert_eq!(world.query("select count(*) from people").await, ["20"]);
    let small = world.payload("id\n1\nx\n", json!([{"name": "id", "type": "integer"}]));
    assert_eq!(fatal(world.import(&small).await).code, "too_many_rejects");
    assert_eq!(world.query("select count(*) from people").await, ["20"]);
}

async fn a_dry_run_writes_no_row(world: &World) {
    let mut payload = world.payload("id\n1\nx\n2\n", json!([{"name": "id", "type": "integer"}]));
    payload["max_rejects"] = json!({"rows": 1});
    payload["dry_run"] = true.into();
    let attempt = Attempt::new(world, JobId::fresh(), 1);
    let done = world.attempt(&payload, &attempt).await.unwrap();
    assert_eq!((done.rows_imported, done.rows_rejected, done.checkpoints, done.dry_run), (2, 1, 0, true));
    assert_eq!(attempt.rejects(), b"line,column,reason,record\n3,id,not_integer,x\n");
    match &world.target {
        Target::Sqlite { path } => assert!(!path.exists()),
        Target::Postgres { .. } => {
            let exists =
                "select count(*) from pg_namespace where quote_ident(nspname) = current_setting('search_path')";
            assert_eq!(world.query(exists).await, ["0"]);
        }
    }
    payload["mode"] = "append".into();
    assert_eq!(fatal(world.import(&payload).await).code, "missing_table");
    payload["dry_run"] = false.into();
    assert_eq!(fatal(world.import(&payload).await).code, "missing_table");
}

async fn a_job_column_makes_an_import_removable(world: &World) {
    let mut payload = world.payload("id\n1\n2\n", json!([{"name": "id", "type": "integer"}]));
    payload["job_column"] = "import_job".into();
    let [one, two] = [world.import(&payload).await.unwrap(), world.import(&payload).await.unwrap()];
    assert_eq!(world.query("select count(*) from people").await, ["4"]);
    world.query(&format!("delete from people where import_job = '{}'", one.job)).await;
    assert_eq!(world.query("select distinct import_job from people").await, [two.job.to_string()]);
}

async fn a_table_that_does_not_fit_is_refused_at_the_column(world: &World) {
    let make = world.payload("a,b\n1,2\n", json!([{"name": "a", "type": "integer"}, {"name": "b", "type": "text"}]));
    world.import(&make).await.unwrap();
    let other = world.payload("a,b\n1,2\n", json!([{"name": "a", "type": "integer"}, {"name": "b", "type": "float"}]));
    let report = fatal(world.import(&other).await);
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("incompatible_table", Some("/columns/1")));
    let more = world.payload("a,c\n1,2\n", json!([{"name": "a", "type": "integer"}, {"name": "c", "type": "text"}]));
    assert_eq!(fatal(world.import(&more).await).field.as_deref(), Some("/columns/1"));
    assert_eq!(world.query("select count(*) from people").await, ["1"]);
}

async fn a_row_that_the_table_refuses_is_named_by_its_line(world: &World) {
    let columns = json!([{"name": "id", "type": "integer"}]);
    world.import(&world.payload("id\r\n", columns.clone())).await.unwrap();
    world.query("create unique index one_of_each on people (id)").await;
    let report = fatal(world.import(&world.payload("id\r\n1\r\n\r\n2\r\n1\r\n", columns)).await);
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("refused_by_table", Some("/table")));
    assert!(report.message.contains("line 5"), "{report}");
    assert_eq!(world.query("select count(*) from people").await, ["0"]);
}

async fn cells_are_stored_as_they_are_even_formulas_and_sql(world: &World) {
    let cells =
        ["=1+1", "@SUM(A1)", "+1", "-1", "\t=1", "'; drop table people; --", "\\.", "\\N", "NULL", "$1", "\u{feff}x"];
    let csv: String = cells.iter().map(|cell| format!("\"{cell}\",\"{cell}\"\n")).collect();
    let columns = json!([{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]);
    let mut payload = world.payload(csv, columns);
    payload["format"] = json!({"header": false});
    let done = world.import(&payload).await.unwrap();
    assert_eq!((done.rows_imported, done.checkpoints), (cells.len() as u64, 2));
    assert_eq!(world.query("select a from people where a = b").await, cells);
}

async fn two_hundred_thousand_rows(world: &World) {
    let mut csv = String::from("id,price,name,day,at\n");
    for n in 0..200_000 {
        csv += &format!("{n},{n}.25,\"name, {n}\",2024-02-29,2024-02-29T12:00:00Z\n");
    }
    let payload = world.payload(
        csv,
        json!([
            {"name": "id", "type": "integer"}, {"name": "price", "type": "decimal"}, {"name": "name", "type": "text"},
            {"name": "day", "type": "date"}, {"name": "at", "type": "timestamp"}
        ]),
    );
    let attempt = Attempt::new(world, JobId::fresh(), 1);
    let payload = serde_json::from_value(payload).unwrap();
    let since = Instant::now();
    let done = longshore_sdk::Executor::run(&world.importer_with(Limits::default()), payload, &attempt.context).await;
    timed(if matches!(world.target, Target::Sqlite { .. }) { "SQLite" } else { "PostgreSQL" }, 200_000, since);
    // The last chunk of a whole number of chunks is empty: only the end of the file ends an import.
    assert_eq!(done.unwrap().checkpoints, 5);
    assert_eq!(
        world.query("select count(*), sum(id), count(distinct price) from people").await,
        ["200000|19999900000|200000"]
    );
}
