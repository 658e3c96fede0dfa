//! A thread that owns one connection and serves calls in the order they come. It knows no SQL but that of transactions, and
//! never waits for company: calls that gathered while the last group was committed share the next commit. [`Lane::call`] may
//! be awaited from any runtime, so a heartbeat's thread is served like everyone else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::ledger::{Answer, LedgerError};

/// Calls that may wait; the next caller waits before the door. A full lane is at most about this many short transactions.
const WAITING: usize = 1024;
/// When a group takes in no further call, for the first one's answer waits for the commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// After so many.
    pub(super) calls: usize,
    /// After so long.
    pub(super) time: Duration,
}

impl Default for Group {
    fn default() -> Self {
        Self { calls: 128, time: Duration::from_millis(20) }
    }
}

/// Runs on the connection, or hears why there is none; gives back what is to be said once the commit is over.
type Call = Box<dyn FnOnce(Answer<&Connection>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Answer<()>) + Send>;

/// The sending side. Dropping it serves what waits, then closes the connection.
pub(super) struct Lane {
    calls: Option<mpsc::Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    /// Calls that were made and are not over: the first of them is being served.
    open: Arc<AtomicUsize>,
    /// Serves calls at once, in their caller's own thread, where time is simulated: a thread would not be part of the simulation.
    #[cfg(test)]
    here: Option<Arc<std::sync::Mutex<Connection>>>,
}

/// One call among the open ones, until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The threads that have the file.
pub(super) struct Lanes {
    pub(super) writer: Lane,
    pub(super) readers: Vec<Lane>,
    pub(super) next_reader: AtomicUsize,
}

impl Lanes {
    pub(super) fn of(writer: Lane, readers: Vec<Lane>) -> Arc<Self> {
        Arc::new(Self { writer, readers, next_reader: AtomicUsize::new(0) })
    }
}

impl Lane {
    /// Serves calls in groups, each group in one transaction, each call in a savepoint of its own.
    pub(super) fn writer(db: Connection, group: Group) -> Answer<Self> {
        Self::start("ledger-write", move |mut calls| {
            while let Some(first) = calls.blocking_recv() {
                commit_group(&db, group, first, &mut calls);
            }
        })
    }

    /// Serves each call alone, so that it sees every commit answered before it was made.
    pub(super) fn reader(db: Connection) -> Answer<Self> {
        Self::start("ledger-read", move |mut calls| {
            while let Some(call) = calls.blocking_recv() {
                call(Ok(&db))(Ok(()));
            }
        })
    }

    fn start(name: &str, serve: impl FnOnce(mpsc::Receiver<Call>) + Send + 'static) -> Answer<Self> {
        let (calls, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || serve(waiting));
        let thread = thread.map_err(|error| LedgerError::Unavailable(format!("no thread for {name}: {error}")))?;
        Ok(Self {
            calls: Some(calls),
            thread: Some(thread),
            open: Arc::default(),
            #[cfg(test)]
            here: None,
        })
    }

    /// Serves each call at once, in a transaction of its own.
    #[cfg(test)]
    pub(super) fn here(db: &Arc<std::sync::Mutex<Connection>>) -> Self {
        Self { calls: None, thread: None, open: Arc::default(), here: Some(Arc::clone(db)) }
    }

    /// How many calls are served or wait.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Runs `work` on the lane's thread. It is done even if the caller stops waiting.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        #[cfg(test)]
        if let Some(db) = &self.here {
            return at_once(&db.lock().expect("no call panics"), work);
        }
        let (answer, answered) = oneshot::channel();
        let place = Place::take(&self.open);
        let call: Call = Box::new(move |db| {
            let done = db.and_then(|db| alone(db, work));
            drop(place);
            // A caller that went away needs no answer.
            Box::new(move |committed| drop(answer.send(done.and_then(|value| committed.map(|()| value)))))
        });
        let calls = self.calls.as_ref().ok_or_else(gone)?;
        calls.send(call).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.calls.take());
        // Joined, so that whoever opens the file next finds it closed. A thread that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn gone() -> LedgerError {
    LedgerError::Unavailable("the ledger's thread is gone; its panic is in the log above, restart the process".into())
}

fn commit_group(db: &Connection, group: Group, first: Call, calls: &mut mpsc::Receiver<Call>) {
    let began = Instant::now();
    let mut replies = Vec::new();
    let mut next = Some(first);
    let open = begin(db);
    while let Some(call) = next {
        replies.push(call(open.clone().map(|()| db)));
        // After an error such as a full disk SQLite has rolled everything back: what follows needs a group of its own.
        let room = replies.len() < group.calls && began.elapsed() < group.time && !db.is_autocommit();
        next = if room { calls.try_recv().ok() } else { None };
    }
    let committed = open.and_then(|()| commit(db));
    replies.into_iter().for_each(|reply| reply(committed.clone()));
}

#[cfg(test)]
fn at_once<T>(db: &Connection, work: impl FnOnce(&Connection) -> Answer<T>) -> Answer<T> {
    begin(db)?;
    let done = alone(db, work);
    commit(db).and(done)
}

fn begin(db: &Connection) -> Answer<()> {
    Ok(db.prepare_cached("begin immediate")?.execute([]).map(drop)?)
}

fn commit(db: &Connection) -> Answer<()> {
    if db.is_autocommit() {
        return Err(LedgerError::Unavailable("an error in the same transaction rolled it back".into()));
    }
    let committed = db.prepare_cached("commit")?.execute([]);
    if committed.is_err() && !db.is_autocommit() {
        db.execute_batch("rollback")?;
    }
    Ok(committed.map(drop)?)
}

/// Runs `work`; in a transaction it leaves nothing behind if it fails, and its neighbours' work untouched.
fn alone<T>(db: &Connection, work: impl FnOnce(&Connection) -> Answer<T>) -> Answer<T> {
    if db.is_autocommit() {
        return work(db);
    }
    db.prepare_cached("savepoint call")?.execute([])?;
    let done = work(db);
    if done.is_err() && !db.is_autocommit() {
        db.execute_batch("rollback to call")?;
    }
    if !db.is_autocommit() {
        db.prepare_cached("release call")?.execute([])?;
    }
    done
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const PATIENT: Group = Group { calls: 3, time: Duration::from_secs(3600) };

    fn lane(home: &tempfile::TempDir, group: Group) -> Lane {
        let db = Connection::open(home.path().join("numbers.db")).unwrap();
        db.execute_batch("create table numbers (n integer primary key); create table blobs (b blob)").unwrap();
        Lane::writer(db, group).unwrap()
    }

    fn home() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn insert(n: i64) -> impl FnOnce(&Connection) -> Answer<()> {
        move |db| Ok(db.execute("insert into numbers values (?1)", [n]).map(drop)?)
    }

    fn count(db: &Connection) -> Answer<i64> {
        Ok(db.query_row("select count(*) from numbers", [], |row| row.get(0))?)
    }

    /// Holds the lane until all the calls of `waiting` are in the queue: they form one group with the call that held it.
    async fn together<T>(lane: &Lane, waiting: impl Future<Output = T>) -> T {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        // The gate opens when its other end is dropped. What became of the group is for the other calls to say.
        let hold = lane.call(move |_| Ok(gate.recv().is_err()));
        let (_held, answers, ()) = tokio::join!(hold, waiting, async { drop(go) });
        answers
    }

    #[tokio::test]
    async fn a_call_that_fails_leaves_nothing_behind_and_its_neighbours_untouched() {
        let home = home();
        let lane = lane(&home, Group { calls: 9, ..PATIENT });
        let half = |db: &Connection| insert(2)(db).and_then(|()| insert(1)(db));
        let calls = async { tokio::join!(lane.call(insert(1)), lane.call(half), lane.call(insert(3))) };
        let (first, second, third) = together(&lane, calls).await;
        assert!(first.is_ok() && third.is_ok(), "{first:?} {third:?}");
        assert!(matches!(second, Err(LedgerError::Refused(_))), "{second:?}");
        assert_eq!(lane.call(count).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_call_is_counted_until_it_is_over_also_when_its_caller_has_left() {
        let home = home();
        let lane = lane(&home, PATIENT);
        assert_eq!(lane.open(), 0);
        let (go, gate) = std::sync::mpsc::channel::<()>();
        // Polled once, which sends it, then forgotten.
        assert!(lane.call(move |_| Ok(gate.recv().is_err())).now_or_never().is_none());
        let second = lane.call(count);
        let mut second = std::pin::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(lane.open(), 2, "one is served, one waits");
        drop(go);
        second.await.unwrap();
        assert_eq!(lane.open(), 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_over_once_there_is_room() {
        let home = home();
        let lane = lane(&home, PATIENT);
        let limit = |pages: u32| {
            let sql = format!("pragma max_page_count = {pages}");
            lane.call(move |db| Ok(db.query_row(&sql, [], |_| Ok(()))?))
        };
        limit(4).await.unwrap();
        let large = |db: &Connection| Ok(db.execute("insert into blobs values (zeroblob(100000))", []).map(drop)?);
        let calls = async { tokio::join!(lane.call(insert(1)), lane.call(large)) };
        let (small, full) = together(&lane, calls).await;
        assert!(matches!(full, Err(LedgerError::Unavailable(_))), "{full:?}");
        // Whether SQLite keeps the neighbour is its choice; that the neighbour's answer is true is ours.
        assert_eq!(lane.call(count).await.unwrap(), i64::from(small.is_ok()));
        limit(10_000).await.unwrap();
        lane.call(large).await.unwrap();
    }

    #[tokio::test]
    async fn calls_that_gathered_share_a_commit_up_to_the_groups_size() {
        let home = home();
        let lane = lane(&home, PATIENT);
        let path = home.path().join("numbers.db");
        // What somebody else sees while the call runs is what is committed.
        let look = move |_: &Connection| count(&Connection::open(&path)?);
        let calls = async { tokio::join!(lane.call(insert(1)), lane.call(look.clone()), lane.call(look)) };
        let (inserted, within, after) = together(&lane, calls).await;
        inserted.unwrap();
        assert_eq!((within.unwrap(), after.unwrap()), (0, 1), "the third of a group and the first of the next");
    }

    #[tokio::test]
    async fn a_group_whose_time_is_over_takes_in_no_further_call() {
        let home = home();
        let lane = lane(&home, Group { calls: 9, time: Duration::ZERO });
        let path = home.path().join("numbers.db");
        let look = move |_: &Connection| count(&Connection::open(&path)?);
        let calls = async { tokio::join!(lane.call(insert(1)), lane.call(look)) };
        let (inserted, seen) = together(&lane, calls).await;
        inserted.unwrap();
        assert_eq!(seen.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_waits_when_the_lane_is_dropped_is_still_done() {
        let home = home();
        let lane = lane(&home, Group::default());
        for n in 0..100 {
            // Polled once, which sends it, then forgotten.
            assert!(lane.call(insert(n)).now_or_never().is_none());
        }
        drop(lane);
        assert_eq!(count(&Connection::open(home.path().join("numbers.db")).unwrap()).unwrap(), 100);
    }
}
