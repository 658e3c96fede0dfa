//! Listens to the events of all jobs through the whole storm, as a subscriber would who must miss nothing: by a durable quorum queue
//! and acknowledgements. It holds what it heard against the histories that the API tells afterwards, and every end in the ledger against
//! what it heard. Only a wipe takes its queue away; when that was so, it knows, and whoever else takes it is found out.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, Consumer, ExchangeKind};
use longshore_sdk::JobId;
use longshore_sdk::api::{Event, EventWord, JobState};
use tokio::task::JoinHandle;

use super::mark::is_not_found;
use super::pass;
use crate::http::Http;
use crate::until::poll;

/// What its queue is called.
pub const QUEUE: &str = "chaos.ears";
/// Where events are announced.
const EVENTS: &str = "longshore.events";
/// Before it tries to hear again.
const PAUSE: Duration = Duration::from_millis(200);
/// No answer of a broker takes longer while it lives.
const ANSWER: Duration = Duration::from_secs(20);
/// When nothing was said for so long it asks anew, should the connection have died without a word.
const SILENCE: Duration = Duration::from_secs(30);
/// From an end in the ledger to its announcement, at most: through the longest outage, and then by the relay.
const ANNOUNCED: Duration = Duration::from_secs(45);

/// A subscriber to everything.
#[derive(Debug)]
pub struct Ears {
    heard: Arc<Heard>,
    listening: JoinHandle<()>,
}

/// What was said.
#[derive(Debug, Default)]
struct Heard {
    /// Of each job, the events by their id, each as it was said first.
    said: Mutex<HashMap<JobId, HashMap<String, Vec<u8>>>>,
    /// Jobs of which an end was said.
    ended: Mutex<HashSet<JobId>>,
    /// Said again in other words.
    contradictions: Mutex<Vec<String>>,
    /// When the queue was gone, from when to when; `None`: it still is.
    deaf: Mutex<Vec<(Instant, Option<Instant>)>>,
    listens: AtomicUsize,
    events: AtomicUsize,
    repeats: AtomicUsize,
}

/// An end that the ledger tells: whose, and how long ago.
pub type End = (JobId, Duration);

/// Ends that were never heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unheard {
    /// While the queue was there.
    pub missing: Vec<JobId>,
    /// Announced into a queue that was wiped with its broker, or into none.
    pub wiped: usize,
}

impl Ears {
    /// Listens at one of these nodes until dropped.
    pub fn at(amqp_urls: Vec<String>) -> Ears {
        let heard = Arc::new(Heard::default());
        let hearer = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            for url in amqp_urls.iter().cycle() {
                // It ends with the connection, and that with the broker; what is said meanwhile waits in the queue.
                let _ = hearer.listen(url).await;
                pass(PAUSE).await;
            }
        });
        Ears { heard, listening }
    }

    /// Waits until it hears everything from now on.
    pub async fn listening(&self) -> Result<()> {
        let listens = || async { (self.heard.listens.load(Ordering::Relaxed) > 0).then_some(()) };
        poll("the ears to listen", ANSWER * 2, listens).await
    }

    /// Its queue is about to be taken away with the broker's data.
    pub fn deafen(&self) {
        lock(&self.heard.deaf).push((Instant::now(), None));
    }

    /// How many events were heard, and how many of them again.
    pub fn counts(&self) -> (usize, usize) {
        (self.heard.events.load(Ordering::Relaxed), self.heard.repeats.load(Ordering::Relaxed))
    }

    /// What was said twice in different words, and who else took the queue away.
    pub fn contradictions(&self) -> Vec<String> {
        lock(&self.heard.contradictions).clone()
    }

    /// Which of these ends were not heard.
    pub fn unheard(&self, ends: &[End]) -> Unheard {
        let ended = lock(&self.heard.ended);
        let mut unheard = Unheard::default();
        for (job, ago) in ends.iter().filter(|(job, _)| !ended.contains(job)) {
            if self.heard.was_deaf_to(*ago) { unheard.wiped += 1 } else { unheard.missing.push(*job) }
        }
        unheard
    }

    /// Holds what was heard of a settled job against the history that an API tells of it.
    ///
    /// # Errors
    /// A hole in the history, an end that is none, or an event that was said in other words.
    pub async fn compare(&self, api: &Http, job: JobId) -> Result<()> {
        let told = api.get(&format!("/v1/jobs/{job}/events")).await?;
        ensure!(told.status == 200, "its history is {told:?}");
        let said = lock(&self.heard.said).get(&job).cloned().unwrap_or_default();
        agree(&said, &told.text)
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Heard {
    async fn listen(&self, url: &str) -> Result<()> {
        let opened = tokio::time::timeout(ANSWER, self.open(url)).await.context("no answer in time")?;
        // The connection lives as long as its consumer is heard.
        let (_connection, mut deliveries) = opened?;
        self.listens.fetch_add(1, Ordering::Relaxed);
        loop {
            let next = tokio::time::timeout(SILENCE, deliveries.next()).await.context("nothing is said")?;
            let delivery = next.context("the connection is gone")??;
            self.hear(delivery.data);
            // Only what was heard is acknowledged: what is lost on the way comes again.
            delivery.acker.ack(BasicAckOptions::default()).await?;
        }
    }

    async fn open(&self, url: &str) -> Result<(Connection, Consumer)> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let remembered = self.remembered(&connection).await?;
        let channel = connection.create_channel().await?;
        declare(&channel).await?;
        channel.basic_qos(500, BasicQosOptions::default()).await?;
        let (name, table) = (QUEUE.into(), FieldTable::default());
        let consumer = channel.basic_consume(name, "ears".into(), BasicConsumeOptions::default(), table).await?;
        if !remembered {
            self.hears_again();
        }
        Ok((connection, consumer))
    }

    /// Whether the queue is still there.
    async fn remembered(&self, connection: &Connection) -> Result<bool> {
        // The answer that it is not costs the channel.
        let channel = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(QUEUE.into(), passive, FieldTable::default()).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => bail!(error),
        }
    }

    /// The queue was gone and is there again. At first there was none, and after that only a wipe may have taken it.
    fn hears_again(&self) {
        let mut deaf = lock(&self.deaf);
        let open = deaf.iter_mut().filter(|(_, until)| until.is_none());
        let closed = open.map(|(_, until)| *until = Some(Instant::now())).count();
        if closed == 0 && self.listens.load(Ordering::Relaxed) > 0 {
            lock(&self.contradictions).push("the ears' queue was gone, and nobody had wiped the broker".to_owned());
        }
    }

    /// Whether what ended so long ago may have been announced while the queue was gone, or have been in it when it was wiped.
    fn was_deaf_to(&self, ago: Duration) -> bool {
        let during = |(from, until): &(Instant, Option<Instant>)| {
            ago <= from.elapsed() + ANNOUNCED && until.is_none_or(|until| ago >= until.elapsed())
        };
        lock(&self.deaf).iter().any(during)
    }

    fn hear(&self, body: Vec<u8>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let Ok(event) = serde_json::from_slice::<Event>(&body) else {
            return lock(&self.contradictions).push(format!("no event: {}", text(&body)));
        };
        if matches!(event.data.state, JobState::Completed | JobState::Failed | JobState::Canceled) {
            lock(&self.ended).insert(event.data.job);
        }
        let mut said = lock(&self.said);
        match said.entry(event.data.job).or_default().entry(event.id) {
            Entry::Vacant(place) => drop(place.insert(body)),
            Entry::Occupied(first) => {
                self.repeats.fetch_add(1, Ordering::Relaxed);
                if *first.get() != body {
                    let words = format!("{} and {}", text(first.get()), text(&body));
                    lock(&self.contradictions).push(format!("an event was repeated with other content: {words}"));
                }
            }
        }
    }
}

/// A queue that outlives its broker and its reader, bound to all events. Who comes first after a wipe declares the exchange, too.
async fn declare(channel: &Channel) -> Result<()> {
    let lasting = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    channel.exchange_declare(EVENTS.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    channel.queue_declare(QUEUE.into(), lasting, quorum).await?;
    let (all, options) = ("job.#".into(), QueueBindOptions::default());
    Ok(channel.queue_bind(QUEUE.into(), EVENTS.into(), all, options, FieldTable::default()).await?)
}

/// Whether a completed job's history, as a stream told it, is whole, and whatever was said is told in the same words.
fn agree(said: &HashMap<String, Vec<u8>>, stream: &str) -> Result<()> {
    let mut told = HashMap::new();
    let (mut transitions, mut last) = (vec![], None);
    for data in stream.lines().filter_map(|line| line.strip_prefix("data:")) {
        let event: Event = serde_json::from_str(data)?;
        // A progress has the number of the start before it.
        if event.data.event != EventWord::Progressed {
            transitions.push(event.data.sequence);
        }
        last = Some(event.data.state);
        told.insert(event.id, data.trim_start());
    }
    ensure!(transitions.iter().copied().eq(1..=transitions.len() as i64), "its history has a hole: {transitions:?}");
    ensure!(last == Some(JobState::Completed), "its history ends with {last:?}");
    for (id, body) in said {
        let (said, told) = (text(body), told.get(id).copied());
        ensure!(told == Some(&*said), "of event {id} it was said {said}, and is told {told:?}");
    }
    Ok(())
}

fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(job: JobId, sequence: u64, word: &str, state: &str) -> Vec<u8> {
        let data = json!({"job": job, "kind": "chaos.deed", "event": word, "state": state, "sequence": sequence, "attempt": 1});
        let event = json!({
            "specversion": "1.0", "id": format!("{job}.{sequence}"), "source": "/longshore", "type": format!("longshore.job.{word}"),
            "subject": job, "time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "data": data,
        });
        event.to_string().into_bytes()
    }

    fn stream(events: &[Vec<u8>]) -> String {
        events.iter().map(|event| format!("event: x\ndata: {}\n\n", text(event))).collect()
    }

    #[test]
    fn a_repeat_is_counted_and_one_in_other_words_is_a_contradiction() {
        let (heard, job) = (Heard::default(), JobId::fresh());
        heard.hear(event(job, 1, "accepted", "pending"));
        heard.hear(event(job, 1, "accepted", "pending"));
        assert!(lock(&heard.contradictions).is_empty());
        heard.hear(event(job, 1, "started", "running"));
        heard.hear(b"none".to_vec());
        assert_eq!(lock(&heard.contradictions).len(), 2);
        assert_eq!((heard.events.into_inner(), heard.repeats.into_inner()), (4, 2));
    }

    #[tokio::test]
    async fn an_end_that_was_not_heard_is_missing_unless_the_queue_was_gone() {
        let ears = Ears { heard: Arc::default(), listening: tokio::spawn(async {}) };
        let (heard, missed) = (JobId::fresh(), JobId::fresh());
        ears.heard.hear(event(heard, 1, "accepted", "pending"));
        let ends = [(heard, Duration::ZERO), (missed, Duration::ZERO)];
        assert_eq!(ears.unheard(&ends).missing, [heard, missed]);
        ears.heard.hear(event(heard, 3, "completed", "completed"));
        assert_eq!(ears.unheard(&ends), Unheard { missing: vec![missed], wiped: 0 });
        ears.deafen();
        assert_eq!(ears.unheard(&ends), Unheard { missing: vec![], wiped: 1 });
        assert_eq!(ears.unheard(&[(missed, ANNOUNCED * 2)]).missing, [missed]);
        ears.heard.hears_again();
        assert_eq!(ears.unheard(&[(missed, Duration::ZERO)]).missing, [missed]);
    }

    #[test]
    fn a_queue_that_nobody_wiped_must_not_be_gone() {
        let heard = Heard::default();
        heard.hears_again();
        assert!(lock(&heard.contradictions).is_empty());
        heard.listens.fetch_add(1, Ordering::Relaxed);
        heard.hears_again();
        assert_eq!(lock(&heard.contradictions).len(), 1);
    }

    #[test]
    fn a_history_with_a_hole_without_its_end_or_in_other_words_does_not_agree() {
        let job = JobId::fresh();
        let whole = [
            event(job, 1, "accepted", "pending"),
            event(job, 2, "started", "running"),
            event(job, 3, "completed", "completed"),
        ];
        let said = |body: &Vec<u8>| HashMap::from([(format!("{job}.2"), body.clone())]);
        agree(&said(&whole[1]), &stream(&whole)).unwrap();
        let against = |said, events: &[Vec<u8>]| agree(&said, &stream(events)).unwrap_err().to_string();
        assert!(against(HashMap::new(), &[whole[0].clone(), whole[2].clone()]).contains("a hole"));
        assert!(against(HashMap::new(), &whole[..2]).contains("ends with"));
        assert!(against(said(&event(job, 2, "started", "pending")), &whole).contains("it was said"));
        assert!(against(HashMap::from([(format!("{job}.9"), vec![])]), &whole).contains("told None"));
    }
}
