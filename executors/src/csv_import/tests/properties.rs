//! CSV under any bytes: wherever reading starts again, the same records come; nothing is lost between table and reject file; and what
//! was written is read. A failing case is shown at its smallest; `PROPTEST_CASES` tries more of them.

use std::path::Path;

use csv::{ByteRecord, QuoteStyle, Terminator, WriterBuilder};
use longshore_sdk::{Failure, JobId};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::Config;
use serde_json::json;

use super::world::{Attempt, World};
use crate::csv_import::payload::{CsvImport, Format};
use crate::csv_import::records::{Position, Records, Span};
use crate::csv_import::{CsvImported, CsvImporter, Limits};
use longshore_sdk::Executor as _;

/// A divisor of proptest's usual 256. Failures are printed, not written into the tree.
fn cases(divisor: u32) -> Config {
    let usual = Config::default();
    Config { cases: (usual.cases / divisor).max(1), failure_persistence: None, ..usual }
}

/// Bytes that mean something, and some that mean nothing.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let meaning = select(&b",\"\n\r;'a1 \xff\0"[..]);
    prop::collection::vec(prop_oneof![9 => meaning, 1 => any::<u8>()], 1..120)
}

fn read(path: &Path, from: Position, end: usize) -> Vec<(ByteRecord, Span, Vec<u8>)> {
    let mut records = Records::open(path, end as u64, from, &Format::default(), &Limits::default()).unwrap();
    let (mut all, mut record) = (vec![], ByteRecord::new());
    while let Some(span) = records.next(&mut record).unwrap() {
        let original = records.bytes().original(span).unwrap().1;
        all.push((ByteRecord::from(record.iter().collect::<Vec<_>>()), span, original));
    }
    all
}

fn holds(source: &[u8], part: &[u8]) -> bool {
    part.is_empty() || source.windows(part.len()).any(|window| window == part)
}

async fn import(world: &World, payload: &serde_json::Value, limits: Limits) -> (Result<CsvImported, Failure>, Vec<u8>) {
    let payload: CsvImport = serde_json::from_value(payload.clone()).unwrap();
    let attempt = Attempt::new(world, JobId::fresh(), 1);
    let done = CsvImporter::new(world.target.clone(), limits).run(payload, &attempt.context).await;
    (done, attempt.rejects())
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn reading_starts_again_after_any_record(source in bytes(), at in any::<Index>()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &source).unwrap();
        let all = read(file.path(), Position { offset: 0, line: 1 }, source.len());
        for pair in all.windows(2) {
            prop_assert_eq!(pair[0].1.end, pair[1].1.start, "nothing lies between two records");
        }
        for (_, span, original) in &all {
            prop_assert!(holds(&source[..usize::try_from(span.end.offset).unwrap()], original), "{original:?}");
        }
        if !all.is_empty() {
            let at = at.index(all.len());
            prop_assert_eq!(read(file.path(), all[at].1.end, source.len()), &all[at + 1..]);
        }
    }

    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec(prop::collection::vec("[a1,;\"'\r\n ä]{0,8}", 1..5), 1..12),
        delimiter in select(&b",;\t|"[..]), quote in select(&b"\"'"[..]), always in any::<bool>(), crlf in any::<bool>(),
    ) {
        let mut writer = WriterBuilder::new().flexible(true).delimiter(delimiter).quote(quote)
            .quote_style(if always { QuoteStyle::Always } else { QuoteStyle::Necessary })
            .terminator(if crlf { Terminator::CRLF } else { Terminator::Any(b'\n') }).from_writer(vec![]);
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let source = writer.into_inner().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &source).unwrap();
        let format = Format { delimiter: delimiter.into(), quote: quote.into(), ..Format::default() };
        let from = Position { offset: 0, line: 1 };
        let mut records = Records::open(file.path(), source.len() as u64, from, &format, &Limits::default()).unwrap();
        let mut record = ByteRecord::new();
        for row in &rows {
            prop_assert!(records.next(&mut record).unwrap().is_some());
            prop_assert_eq!(record.iter().collect::<Vec<_>>(), row.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
        prop_assert!(records.next(&mut record).unwrap().is_none());
    }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn each_record_is_a_row_or_a_reject_however_the_file_is_cut(source in bytes()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let text = [b"a,b\n", &source[..]].concat();
            let columns = json!([{"name": "a", "type": "integer"}, {"name": "b", "type": "text"}]);
            let mut answers = vec![];
            for chunk_rows in [1, 3, 1000] {
                let world = World::sqlite();
                let mut payload = world.payload(&text, columns.clone());
                payload["max_rejects"] = json!({"ratio": 1.0});
                let (done, rejects) = import(&world, &payload, Limits { chunk_rows, ..Limits::default() }).await;
                let Ok(done) = done else {
                    // Refused as a whole, by each in the same words.
                    answers.push(Err(format!("{:?}", done.unwrap_err())));
                    continue;
                };
                prop_assert_eq!(done.rows_read, done.rows_imported + done.rows_rejected);
                let rows = world.query("select a, b from people order by rowid").await;
                prop_assert_eq!(rows.len() as u64, done.rows_imported);
                let mut filed = csv::Reader::from_reader(&rejects[..]);
                let filed: Vec<ByteRecord> = filed.byte_records().collect::<Result<_, _>>().unwrap();
                prop_assert_eq!(filed.len() as u64, done.rows_rejected);
                prop_assert!(filed.iter().all(|line| holds(&text, &line[3])), "a reject is not as it was: {filed:?}");
                answers.push(Ok((rows, filed)));
            }
            prop_assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
            Ok(())
        })?;
    }
}
