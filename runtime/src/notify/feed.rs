//! Wakes those who wait for a job when something is announced about it. To them it passes on that there is news, never the news:
//! whoever is woken asks the ledger, so a lost, doubled or late announcement costs time and nothing else. Who listens to everything
//! hears the announcements, and of gaps.
//! The broker's side of it is [`crate::broker::Broker::events`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_sdk::JobId;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::broker::{Announcement, Broker, Heard};
use crate::stop::Stop;

const SHARDS: usize = 16;
/// So much may wait for one who listens to everything; then it hears of a gap instead.
const LISTENER_BUFFER: usize = 4096;
/// The wait before the events are asked for again, when the broker does not give them.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Who waits for which job. Cheap to clone; clones share their waiters.
#[derive(Clone, Default)]
pub struct Feed {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Sharded, so that thousands of waiters don't queue at one lock.
    shards: [Mutex<HashMap<JobId, watch::Sender<()>>>; SHARDS],
    listeners: Mutex<Vec<Listener>>,
    closed: CancellationToken,
}

/// Somebody who hears everything.
struct Listener {
    out: mpsc::Sender<Heard<Announcement>>,
    /// Something found no room.
    missed: bool,
}

/// Somebody who waits for one job. News from its making on wakes it, also what comes between two waits.
pub struct Waiter {
    job: JobId,
    /// `None` only while it is dropped.
    news: Option<watch::Receiver<()>>,
    inner: Arc<Inner>,
}

impl Feed {
    /// A feed that listens to the broker's events until it is stopped and then closes: whoever waits is woken and waits
    /// no more.
    pub fn start(stop: &Stop, broker: Arc<dyn Broker>) -> Self {
        let (feed, token) = (Self::default(), stop.token());
        let listener = feed.clone();
        stop.spawn("feed", async move {
            token.run_until_cancelled(listener.hear_all(broker)).await;
            listener.inner.closed.cancel();
        });
        feed
    }

    /// Waits for news of `job`. Make it before reading the job: what is announced after that wakes it.
    pub fn waiter(&self, job: JobId) -> Waiter {
        let mut shard = self.inner.shard(job);
        let news = shard.entry(job).or_default().subscribe();
        drop(shard);
        Waiter { job, news: Some(news), inner: self.inner.clone() }
    }

    /// Wakes those who wait for `job`.
    pub fn wake(&self, job: JobId) {
        if let Some(sender) = self.inner.shard(job).get(&job) {
            sender.send_replace(());
        }
    }

    /// Everything that is announced from now on, with gaps as in [`Broker::events`], until the receiver is dropped.
    pub fn listen(&self) -> mpsc::Receiver<Heard<Announcement>> {
        let (out, heard) = mpsc::channel(LISTENER_BUFFER);
        self.inner.listeners().push(Listener { out, missed: false });
        heard
    }

    /// How many jobs are waited for.
    pub fn waited_for(&self) -> usize {
        self.inner.locked().map(|shard| shard.len()).sum()
    }

    async fn hear_all(&self, broker: Arc<dyn Broker>) {
        loop {
            match broker.events().await {
                Ok(mut events) => {
                    // Whatever was announced before this moment was not heard.
                    self.hear(Heard::Gap);
                    while let Some(heard) = events.recv().await {
                        self.hear(heard);
                    }
                }
                Err(error) => tracing::warn!(%error, "the events cannot be heard; asking again"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn hear(&self, heard: Heard<Announcement>) {
        match &heard {
            Heard::Message(announcement) => job_of(&announcement.id).into_iter().for_each(|job| self.wake(job)),
            Heard::Gap => self.wake_all(),
        }
        self.inner.listeners().retain_mut(|listener| listener.hear(&heard));
    }

    fn wake_all(&self) {
        self.inner.locked().for_each(|shard| shard.values().for_each(|sender| sender.send_replace(())));
    }
}

impl Listener {
    /// Says whether it still listens.
    fn hear(&mut self, heard: &Heard<Announcement>) -> bool {
        if self.missed {
            self.missed = self.out.try_send(Heard::Gap).is_err();
        }
        if !self.missed {
            self.missed = self.out.try_send(heard.clone()).is_err();
        }
        !self.out.is_closed()
    }
}

impl Waiter {
    /// Waits for news, at most for `patience`; says whether waiting on makes sense: no more once the feed is closed.
    pub async fn news(&mut self, patience: Duration) -> bool {
        let Some(news) = &mut self.news else { return false };
        tokio::select! {
            biased;
            () = self.inner.closed.cancelled() => false,
            // The sender lives in the shard as long as this waiter does, so an error cannot come.
            _ = tokio::time::timeout(patience, news.changed()) => true,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut shard = self.inner.shard(self.job);
        // Under the lock, so that of two who leave at once the last one sees that it is the last.
        self.news = None;
        if shard.get(&self.job).is_some_and(|sender| sender.receiver_count() == 0) {
            shard.remove(&self.job);
        }
    }
}

type Shard = HashMap<JobId, watch::Sender<()>>;

impl Inner {
    fn shard(&self, job: JobId) -> std::sync::MutexGuard<'_, Shard> {
        // The last byte of a UUID is random in every version.
        let index = usize::from(job.0.as_bytes()[15]) % SHARDS;
        self.shards[index].lock().expect("nothing panics while it holds this lock")
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().expect("nothing panics while it holds this lock")
    }

    fn locked(&self) -> impl Iterator<Item = std::sync::MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().expect("nothing panics while it holds this lock"))
    }
}

/// The job of an announcement's id, `<job>.<version>`.
fn job_of(id: &str) -> Option<JobId> {
    id.split_once('.').and_then(|(job, _)| job.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Tenant;

    /// Longer than any test: whoever is not woken fails by its timeout.
    const LONG: Duration = Duration::from_secs(3600);

    fn about(job: JobId) -> Heard<Announcement> {
        let topic = "job.demo.greet.completed".into();
        Heard::Message(Announcement {
            id: format!("{job}.3"),
            tenant: Tenant::default(),
            topic,
            body: bytes::Bytes::new(),
        })
    }

    /// Whether the waiter has news now. On a paused clock an hour passes at once when there is none.
    async fn has_news(waiter: &mut Waiter) -> bool {
        let asked = tokio::time::Instant::now();
        assert!(waiter.news(LONG).await);
        asked.elapsed() < LONG
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_wakes_those_who_wait_for_its_job_and_nobody_else() {
        let feed = Feed::default();
        let job = JobId::fresh();
        let (mut one, mut two, mut other) = (feed.waiter(job), feed.waiter(job), feed.waiter(JobId::fresh()));
        feed.hear(about(job));
        assert!(has_news(&mut one).await && has_news(&mut two).await);
        assert!(!has_news(&mut other).await);
        assert!(!has_news(&mut one).await, "old news wakes nobody twice");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_wakes_everybody() {
        let feed = Feed::default();
        let (mut one, mut two) = (feed.waiter(JobId::fresh()), feed.waiter(JobId::fresh()));
        feed.hear(Heard::Gap);
        assert!(has_news(&mut one).await && has_news(&mut two).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_announcement_that_cannot_be_read_wakes_nobody() {
        let feed = Feed::default();
        let mut waiter = feed.waiter(JobId::fresh());
        for id in ["", "x.1", "no-dot"] {
            let (tenant, body) = (Tenant::default(), bytes::Bytes::new());
            feed.hear(Heard::Message(Announcement { id: id.into(), tenant, topic: "x".into(), body }));
        }
        assert!(!has_news(&mut waiter).await);
    }

    #[tokio::test]
    async fn who_listens_to_everything_hears_it_or_of_a_gap_in_it() {
        let feed = Feed::default();
        let mut heard = feed.listen();
        let job = JobId::fresh();
        feed.hear(about(job));
        assert!(matches!(heard.recv().await, Some(Heard::Message(told)) if told.id == format!("{job}.3")));
        (0..=LISTENER_BUFFER).for_each(|_| feed.hear(about(job)));
        for _ in 0..LISTENER_BUFFER {
            assert!(matches!(heard.recv().await, Some(Heard::Message(_))));
        }
        feed.hear(about(job));
        assert!(matches!(heard.recv().await, Some(Heard::Gap)));
        assert!(matches!(heard.recv().await, Some(Heard::Message(_))));
        drop(heard);
        feed.hear(about(job));
        assert_eq!(feed.inner.listeners().len(), 0);
    }

    #[tokio::test]
    async fn a_closed_feed_lets_its_waiters_go() {
        let feed = Feed::default();
        let mut waiter = feed.waiter(JobId::fresh());
        feed.inner.closed.cancel();
        assert!(!waiter.news(LONG).await);
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let feed = Feed::default();
        let job = JobId::fresh();
        let (one, two) = (feed.waiter(job), feed.waiter(job));
        drop(one);
        assert_eq!(feed.waited_for(), 1);
        drop(two);
        assert_eq!(feed.waited_for(), 0);
    }
}
