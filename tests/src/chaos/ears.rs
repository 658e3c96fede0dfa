//! Listens to the events of all jobs through the whole storm, as a subscriber would, and holds them against the histories that the API
//! tells afterwards. While its broker is away it is deaf: whether everything was announced is the audit's to say, what was said is its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use longshore_sdk::JobId;
use longshore_sdk::api::{Event, EventWord, JobState};
use tokio::task::JoinHandle;

use super::pass;
use crate::http::Http;

/// Before it tries to hear again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

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
    /// Said again in other words.
    contradictions: Mutex<Vec<String>>,
    events: AtomicUsize,
    repeats: AtomicUsize,
}

impl Ears {
    /// Listens at this node until dropped.
    pub fn at(amqp_url: &str) -> Ears {
        let (heard, url) = (Arc::new(Heard::default()), amqp_url.to_owned());
        let hearer = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            loop {
                // It ends with the connection, and that with the broker; what was said meanwhile is not heard.
                let _ = hearer.listen(&url).await;
                pass(PAUSE).await;
            }
        });
        Ears { heard, listening }
    }

    /// How many events were heard, and how many of them again.
    pub fn counts(&self) -> (usize, usize) {
        (self.heard.events.load(Ordering::Relaxed), self.heard.repeats.load(Ordering::Relaxed))
    }

    /// What was said twice in different words.
    pub fn contradictions(&self) -> Vec<String> {
        lock(&self.heard.contradictions).clone()
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
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), own, FieldTable::default()).await?;
        let (name, all) = (queue.name().clone(), QueueBindOptions::default());
        channel.queue_bind(name.clone(), "longshore.events".into(), "job.#".into(), all, FieldTable::default()).await?;
        let unasked = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut deliveries = channel.basic_consume(name, "ears".into(), unasked, FieldTable::default()).await?;
        while let Some(delivery) = deliveries.next().await {
            self.hear(delivery?.data);
        }
        Ok(())
    }

    fn hear(&self, body: Vec<u8>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let Ok(event) = serde_json::from_slice::<Event>(&body) else {
            return lock(&self.contradictions).push(format!("no event: {}", text(&body)));
        };
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
