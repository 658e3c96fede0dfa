//! An attempt may end at any moment, and an old one may wake after a new one has begun: each row is still there once.

use std::time::Duration;

use longshore_sdk::testkit::{TestRun, kill_at_every_step};
use longshore_sdk::{CancelReason, Cancellation, Failure, JobId};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use super::interposed::{self, Fault};
use super::world::{Attempt, World, fatal, retry};
use super::{on_both, server};
use crate::csv_import::target::quoted;
use crate::csv_import::{CsvImported, CsvImporter, Limits, Target};

on_both!(
    an_import_killed_at_any_commit_goes_on_where_it_stopped,
    an_import_that_dies_at_every_commit_still_ends,
    an_import_killed_at_any_step_leaves_each_row_once,
    a_stale_attempt_is_fenced_off,
    a_finished_import_run_again_adds_nothing,
    a_drained_attempt_hands_over_after_a_commit,
    a_cancelled_import_keeps_what_it_committed,
    a_file_that_was_swapped_is_not_resumed,
);

/// 47 records in five chunks of ten: every seventh is refused, and quoted line ends straddle the chunks.
fn csv() -> String {
    let row = |n: u32| if n.is_multiple_of(7) { format!("x{n},\"a\r\nb\"\r\n") } else { format!("{n},\"a\r\nb\"\r\n") };
    format!("id,note\r\n{}", (1..=47).map(row).collect::<String>())
}

fn payload(world: &World) -> Value {
    let columns = json!([{"name": "id", "type": "integer"}, {"name": "note", "type": "text"}]);
    let mut payload = world.payload(csv(), columns);
    payload["max_rejects"] = json!({"ratio": 0.5});
    payload["job_column"] = "job".into();
    payload
}

/// Exactly the rows of one whole import under `job`, and its reject file.
async fn assert_whole(world: &World, job: JobId, last: &Attempt) {
    let sums = format!("select count(*), count(distinct id), sum(id) from people where job = '{job}'");
    assert_eq!(world.query(&sums).await, ["41|41|981"]);
    let rejects = format!("select record, line from longshore_import_rejects where job_id = '{job}' order by record");
    assert_eq!(world.query(&rejects).await, ["7|14", "14|28", "21|42", "28|56", "35|70", "42|84"]);
    let mut file = csv::Reader::from_reader(std::io::Cursor::new(last.rejects()));
    let records: Vec<csv::StringRecord> = file.records().map(Result::unwrap).collect();
    let lines: Vec<&str> = records.iter().map(|record| &record[0]).collect();
    assert_eq!(lines, ["14", "28", "42", "56", "70", "84"]);
    assert_eq!(&records[5][3], "x42,\"a\r\nb\"");
}

async fn an_import_killed_at_any_commit_goes_on_where_it_stopped(world: &World) {
    let payload = payload(world);
    for at in 0..5 {
        for fault in [Fault::Before(at), Fault::After(at)] {
            let job = JobId::fresh();
            assert_eq!(retry(interposed::attempt(world, &payload, &Attempt::new(world, job, 1), fault).await), "died");
            let second = Attempt::new(world, job, 2);
            let done = world.attempt(&payload, &second).await.unwrap();
            assert_eq!((done.rows_read, done.rows_imported, done.rows_rejected, done.checkpoints), (47, 41, 6, 5));
            assert_eq!(done.rejects["not_integer"], 6);
            assert_whole(world, job, &second).await;
        }
    }
}

async fn an_import_that_dies_at_every_commit_still_ends(world: &World) {
    let (payload, job) = (payload(world), JobId::fresh());
    for number in 1..=5 {
        let attempt = Attempt::new(world, job, number);
        assert_eq!(retry(interposed::attempt(world, &payload, &attempt, Fault::After(0)).await), "died");
    }
    let last = Attempt::new(world, job, 6);
    assert_eq!(world.attempt(&payload, &last).await.unwrap().checkpoints, 5);
    assert_whole(world, job, &last).await;
}

async fn a_stale_attempt_is_fenced_off(world: &World) {
    let payload = payload(world);
    for at in 0..5 {
        let job = JobId::fresh();
        let (first, second) = (Attempt::new(world, job, 1), Attempt::new(world, job, 2));
        let meanwhile = Box::pin(async { assert_eq!(world.attempt(&payload, &second).await.unwrap().rows_read, 47) });
        let answer = interposed::attempt(world, &payload, &first, Fault::Meanwhile(at, meanwhile)).await;
        assert_eq!(retry(answer), "fenced");
        assert_eq!(retry(world.attempt(&payload, &Attempt::new(world, job, 1)).await), "fenced");
        assert_whole(world, job, &second).await;
    }
}

async fn a_finished_import_run_again_adds_nothing(world: &World) {
    let (payload, job) = (payload(world), JobId::fresh());
    let first = world.attempt(&payload, &Attempt::new(world, job, 1)).await.unwrap();
    let again = Attempt::new(world, job, 2);
    assert_eq!(world.attempt(&payload, &again).await.unwrap(), first);
    assert_whole(world, job, &again).await;
}

async fn an_import_killed_at_any_step_leaves_each_row_once(world: &World) {
    let payload = payload(world).to_string();
    let run = || TestRun::of(world.importer()).payload_json(&payload).allow_paths(world.dir.path());
    let steps = kill_at_every_step(run, async |step, report| {
        let rows: CsvImported = report.output();
        assert_eq!((rows.rows_imported, rows.rows_rejected), (41, 6), "killed at step {step}");
        let surplus = world.query("select count(*) - 41 * count(distinct job) from people").await;
        assert_eq!(surplus, ["0"], "killed at step {step}");
        assert_eq!(report.artifacts.len(), 1, "the rejects alone");
    });
    // The fetch, the parser's thread, five chunks and the reject file.
    assert!(steps.await >= 10);
}

async fn a_drained_attempt_hands_over_after_a_commit(world: &World) {
    let (payload, job) = (payload(world), JobId::fresh());
    let drain = CancellationToken::new();
    let first = Attempt::hooked(world, job, 1, Cancellation::draining_with(drain.clone()), move || drain.cancel());
    assert_eq!(world.attempt(&payload, &first).await, Err(Failure::Yielded));
    assert_eq!(world.query("select count(*) from people").await, ["9"]);
    let second = Attempt::new(world, job, 2);
    world.attempt(&payload, &second).await.unwrap();
    assert_whole(world, job, &second).await;
}

async fn a_cancelled_import_keeps_what_it_committed(world: &World) {
    let (payload, job) = (payload(world), JobId::fresh());
    let cancellation = Cancellation::default();
    let ask = cancellation.clone();
    let first = Attempt::hooked(world, job, 1, cancellation, move || ask.cancel(CancelReason::Requested));
    assert_eq!(world.attempt(&payload, &first).await, Err(Failure::Canceled));
    assert_eq!(world.query("select count(*) from people").await, ["9"]);
    assert_eq!(world.query("select rows_imported, rows_rejected from longshore_imports").await, ["9|1"]);
}

async fn a_file_that_was_swapped_is_not_resumed(world: &World) {
    let (payload, job) = (payload(world), JobId::fresh());
    let first = Attempt::new(world, job, 1);
    assert_eq!(retry(interposed::attempt(world, &payload, &first, Fault::After(0)).await), "died");
    std::fs::write(payload["source"]["path"].as_str().unwrap(), "id,note\r\n1,a\r\n").unwrap();
    assert_eq!(fatal(world.attempt(&payload, &Attempt::new(world, job, 2)).await).code, "source_changed");
    assert_eq!(world.query("select count(*) from people").await, ["9"]);
}

#[tokio::test]
async fn an_attempt_that_stopped_inside_its_transaction_does_not_stop_the_next() {
    let world = World::postgres();
    let Target::Postgres { schema, .. } = &world.target else { panic!("this world is PostgreSQL") };
    let (payload, job) = (payload(&world), JobId::fresh());
    assert_eq!(
        retry(interposed::attempt(&world, &payload, &Attempt::new(&world, job, 1), Fault::After(0)).await),
        "died"
    );

    let mut config = server::config();
    config.application_name(format!("longshore {job} 1"));
    let (stuck, connection) = config.connect(NoTls).await.unwrap();
    let ended = tokio::spawn(connection);
    let hold = format!("begin; update {}.longshore_imports set chunks = 9 where job_id = '{job}'", quoted(schema));
    stuck.batch_execute(&hold).await.unwrap();

    let limits = Limits { chunk_rows: 10, lock_wait: Duration::from_millis(200), ..Limits::default() };
    let second = Attempt::new(&world, job, 2);
    let payload = serde_json::from_value(payload).unwrap();
    let importer = CsvImporter::new(world.target.clone(), limits);
    longshore_sdk::Executor::run(&importer, payload, &second.context).await.unwrap();
    assert_whole(&world, job, &second).await;
    assert!(ended.await.unwrap().is_err(), "the server has ended the first attempt's connection");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_retry_and_one_that_forbids_is_fatal() {
    let world = World::postgres();
    let payload = payload(&world);
    let mut nowhere = tokio_postgres::Config::new();
    nowhere.host_path(world.dir.path()).user("postgres");
    let nowhere = World { target: Target::postgres(nowhere), ..World::postgres() };
    assert_eq!(retry(nowhere.import(&payload).await), "target_unavailable");

    world.query("create role guest login").await;
    let mut guest = server::config();
    guest.user("guest");
    let guest = World { target: Target::postgres(guest), ..World::postgres() };
    let report = fatal(guest.import(&payload).await);
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("permission_denied", Some("/table")));

    let sqlite = World::sqlite();
    let Target::Sqlite { path } = &sqlite.target else { panic!("this world is SQLite") };
    std::fs::write(path, "this is no database, but long enough to be looked at as one, is it not? Yes. ".repeat(20))
        .unwrap();
    assert_eq!(fatal(sqlite.import(&payload).await).code, "target_refused");
}
