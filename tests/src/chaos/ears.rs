//! Listens to the events of all jobs through the whole storm, as a subscriber would, and holds them against the histories that the API
//! tells afterwards. While its broker is away it is deaf: whether everything was announced is the audit's to say, what was said is its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use longshore_sdk::JobId;
use serde_json::Value;
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
    /// Of each job, the events by their sequence, each as it was said first.
    said: Mutex<HashMap<JobId, BTreeMap<u64, Vec<u8>>>>,
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
        let history = read_stream(&told.text)?;
        let sequences: Vec<u64> = history.keys().copied().collect();
        let whole: Vec<u64> = (1..=sequences.len() as u64).collect();
        ensure!(sequences == whole, "its history has a hole: {sequences:?}");
        let last = history.values().next_back().context("its history is empty")?;
        let last: Value = serde_json::from_slice(last)?;
        ensure!(last["data"]["state"] == "completed", "its history ends with {last}");
        let said = lock(&self.heard.said).get(&job).cloned().unwrap_or_default();
        for (sequence, body) in said {
            let (said, told) =
                (String::from_utf8_lossy(&body), history.get(&sequence).map(|told| String::from_utf8_lossy(told)));
            ensure!(told.as_ref() == Some(&said), "of event {sequence} it was said {said}, and is told {told:?}");
        }
        Ok(())
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
        let Ok((job, sequence)) = read_event(&body) else {
            return lock(&self.contradictions).push(format!("no event: {}", String::from_utf8_lossy(&body)));
        };
        let mut said = lock(&self.said);
        let Some(before) = said.entry(job).or_default().insert(sequence, body.clone()) else { return };
        self.repeats.fetch_add(1, Ordering::Relaxed);
        if before != body {
            let (one, other) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(&body));
            lock(&self.contradictions).push(format!("an event was repeated with other content: {one} and {other}"));
        }
    }
}

fn read_event(body: &[u8]) -> Result<(JobId, u64)> {
    let event: Value = serde_json::from_slice(body)?;
    let job = event["data"]["job"].as_str().context("no job")?.parse()?;
    Ok((job, event["data"]["sequence"].as_u64().context("no sequence")?))
}

/// The events of a stream that came to its end, by sequence.
fn read_stream(text: &str) -> Result<BTreeMap<u64, Vec<u8>>> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(|data| {
        let body = data.trim_start().as_bytes().to_vec();
        Ok((read_event(&body)?.1, body))
    })
    .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(job: JobId, sequence: u64, state: &str) -> Vec<u8> {
        serde_json::json!({"data": {"job": job, "sequence": sequence, "state": state}}).to_string().into_bytes()
    }

    #[test]
    fn a_repeat_is_counted_and_one_in_other_words_is_a_contradiction() {
        let (heard, job) = (Heard::default(), JobId::fresh());
        heard.hear(event(job, 1, "pending"));
        heard.hear(event(job, 1, "pending"));
        assert!(lock(&heard.contradictions).is_empty());
        heard.hear(event(job, 1, "running"));
        assert_eq!(lock(&heard.contradictions).len(), 1);
        assert_eq!((heard.events.into_inner(), heard.repeats.into_inner()), (3, 2));
    }
}
