//! What only this ledger can be asked: its file, its clock, its threads. What every ledger owes is in the contract suite.

use std::sync::Mutex;
use std::time::Instant;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::job::state::State;
use crate::ledger::{Claimed, RunAt};

const LEASE: Duration = Duration::from_secs(15);

async fn ledger() -> (Sqlite, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let ledger = Sqlite::open(home.path().join("ledger.db")).unwrap();
    ledger.migrate().await.unwrap();
    (ledger, home)
}

fn job(run_at: Option<RunAt>) -> NewJob {
    NewJob { run_at, ..NewJob::plain("demo") }
}

fn card() -> WorkerCard {
    WorkerCard { id: Uuid::now_v7(), host: "here".into(), kinds: vec![], slots: 1 }
}

async fn claim(ledger: &Sqlite, worker: Uuid, job: JobId) -> Claimed {
    ledger.round(worker, &[Claim { job, alone: false }], &[]).await.unwrap().claims.remove(0)
}

fn refusal<T>(answer: Answer<T>) -> String {
    match answer {
        Err(LedgerError::Refused(why)) => why,
        Err(other) => panic!("not refused: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn a_schema_newer_than_this_program_is_refused_and_left_alone() {
    let (ledger, _home) = ledger().await;
    let newer = "insert into schema_version (version, applied_at) values (99, 0)";
    ledger.write(move |db, _| Ok(db.execute(newer, [])?)).await.unwrap();
    let why = refusal(ledger.migrate().await);
    assert!(why.contains("99") && why.contains("newer longshore"), "{why}");
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    let letter = home.path().join("letter.txt");
    std::fs::write(&letter, "Dear sea, ".repeat(1000)).unwrap();
    let why = refusal(Sqlite::open(&letter));
    assert!(why.contains("letter.txt"), "{why}");
    let why = refusal(Sqlite::open(home.path().join("nowhere/ledger.db")));
    assert!(why.contains("nowhere") && why.contains("directory must exist"), "{why}");
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_file_is_opened_again() {
    let (ledger, home) = ledger().await;
    let new = job(None);
    ledger.submit(std::slice::from_ref(&new)).await.unwrap();
    drop(ledger);
    let again = Sqlite::open(home.path().join("ledger.db")).unwrap();
    again.migrate().await.unwrap();
    assert_eq!(again.job(new.id).await.unwrap().unwrap().state, State::Pending);
}

#[tokio::test]
async fn two_processes_may_write_the_same_file() {
    let (one, home) = ledger().await;
    let two = Sqlite::open(home.path().join("ledger.db")).unwrap();
    let jobs: Vec<_> = (0..40).map(|_| job(None)).collect();
    let submits = jobs
        .iter()
        .zip([&one, &two].into_iter().cycle())
        .map(|(job, ledger)| async { ledger.submit(std::slice::from_ref(job)).await.unwrap() });
    join_all(submits).await;
    assert_eq!(one.list(&Filter { limit: 100, ..Filter::default() }).await.unwrap().len(), 40);
}

#[tokio::test]
async fn leases_and_due_times_go_by_the_ledgers_clock() {
    let (ledger, _home) = ledger().await;
    let time = Arc::new(Mutex::new(Timestamp::UNIX_EPOCH));
    let clock = Arc::clone(&time);
    let ledger = ledger.with_clock(Arc::new(move || *clock.lock().unwrap()));
    let worker = card();
    let (later, soon) = (job(Some(RunAt::After(LEASE * 4))), job(None));
    ledger.enlist(&worker, LEASE).await.unwrap();
    ledger.submit(&[later.clone(), soon.clone()]).await.unwrap();
    *time.lock().unwrap() += LEASE - Duration::from_micros(1);
    assert!(matches!(claim(&ledger, worker.id, later.id).await, Claimed::NotDue));
    assert!(ledger.rescue(3, Whose::Expired).await.unwrap().is_empty() && ledger.workers().await.unwrap().len() == 1);
    *time.lock().unwrap() += Duration::from_micros(1);
    assert!(matches!(claim(&ledger, worker.id, soon.id).await, Claimed::NoLease), "it ends at its last microsecond");
    assert_eq!(ledger.next_due().await.unwrap(), Some(LEASE * 3));
    *time.lock().unwrap() += LEASE * 3;
    assert_eq!(ledger.due(9).await.unwrap()[0].job, later.id);
    // A clock that is set back takes the lease's end and the due time with it, and loses nothing.
    *time.lock().unwrap() = Timestamp::UNIX_EPOCH;
    assert!(ledger.due(9).await.unwrap().is_empty());
    assert!(matches!(claim(&ledger, worker.id, soon.id).await, Claimed::Run(_)));
}

#[tokio::test]
async fn a_read_does_not_wait_behind_a_write() {
    let (ledger, _home) = ledger().await;
    let new = job(None);
    ledger.submit(std::slice::from_ref(&new)).await.unwrap();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let write = ledger.write(move |_, _| Ok(gate.recv().is_err()));
    let read = async {
        let found = ledger.job(new.id).await;
        drop(go);
        found
    };
    let (written, found) = tokio::join!(write, read);
    assert!(written.unwrap() && found.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_from_another_thread_is_served_while_others_write() {
    let (ledger, _home) = ledger().await;
    let (ledger, worker) = (Arc::new(ledger), card());
    ledger.enlist(&worker, LEASE).await.unwrap();
    let (heart, id) = (Arc::clone(&ledger), worker.id);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let beat =
            || Beat { worker: id, busy: 1, announced_to: Timestamp::UNIX_EPOCH, draining: false, peak_memory: None };
        let began = Instant::now();
        for _ in 0..20 {
            assert!(runtime.block_on(heart.beat(&beat(), LEASE)).unwrap().is_some());
        }
        began.elapsed() / 20
    });
    while !thread.is_finished() {
        let submits = (0..64).map(|_| {
            let ledger = Arc::clone(&ledger);
            async move { ledger.submit(&[job(None), job(None), job(None), job(None)]).await.unwrap() }
        });
        join_all(submits).await;
    }
    let beat = thread.join().unwrap();
    assert!(beat < LEASE / 3, "a heartbeat took {beat:?}, and there are three to a lease");
}
