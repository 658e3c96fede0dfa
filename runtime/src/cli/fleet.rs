//! `queues` and `workers`: what waits, what runs, and who is there, in a table or as JSON. One call each; it changes nothing.
//! Read `api/fleet.rs` for where the numbers come from.

use clap::Args;
use jiff::Timestamp;
use longshore_sdk::api::{QueueList, QueueView, WorkerList, WorkerView};

use super::server::Server;
use super::{Done, jobs, tell};
use crate::clock;

/// `longshore queues`
#[derive(Debug, Args)]
pub(super) struct Queues {
    #[command(flatten)]
    server: Server,
}

/// `longshore workers`
#[derive(Debug, Args)]
pub(super) struct Workers {
    #[command(flatten)]
    server: Server,
}

impl Queues {
    pub(super) async fn run(self) -> Done {
        let queues = self.server.client()?.queues().await.map_err(|error| self.server.explain(error))?;
        let text =
            if self.server.json { jobs::json(&QueueList { queues })? } else { queue_table(&queues, clock::now()) };
        Ok(tell(&text)?)
    }
}

impl Workers {
    pub(super) async fn run(self) -> Done {
        let workers = self.server.client()?.workers().await.map_err(|error| self.server.explain(error))?;
        let text = if self.server.json { jobs::json(&WorkerList { workers })? } else { worker_table(&workers) };
        Ok(tell(&text)?)
    }
}

fn queue_table(queues: &[QueueView], now: Timestamp) -> String {
    let head = ["KIND", "READY", "CONSUMERS", "WAITING", "RUNNING", "OLDEST", "DEAD"].map(str::to_owned);
    let row = |queue: &QueueView| {
        let of_broker = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
        let age = queue.oldest_waiting.map(|since| seconds(now.duration_since(since).as_secs_f64()));
        [
            queue.kind.clone(),
            of_broker(queue.ready),
            of_broker(queue.consumers),
            queue.waiting.to_string(),
            queue.running.to_string(),
            age.unwrap_or_else(|| "-".to_owned()),
            queue.dead_letters.to_string(),
        ]
    };
    if queues.is_empty() {
        return "no kinds yet: start a worker".to_owned();
    }
    let deaf = queues.iter().any(|queue| queue.ready.is_none());
    let note = deaf.then(|| "?: the broker does not answer, or has no such queue".to_owned());
    let table = table(std::iter::once(head).chain(queues.iter().map(row)).collect());
    std::iter::once(table).chain(note).collect::<Vec<_>>().join("\n")
}

fn worker_table(workers: &[WorkerView]) -> String {
    let head = ["ID", "HOST", "BUSY", "STATE", "LEASE AGE", "LEFT", "KINDS"].map(str::to_owned);
    let row = |worker: &WorkerView| {
        [
            worker.id.clone(),
            worker.host.clone(),
            format!("{}/{}", worker.busy, worker.slots),
            if worker.draining { "draining" } else { "working" }.to_owned(),
            seconds(worker.lease_age_seconds),
            seconds(worker.lease_left_seconds),
            worker.kinds.join(","),
        ]
    };
    if workers.is_empty() {
        return "no live worker: jobs wait until one starts".to_owned();
    }
    table(std::iter::once(head).chain(workers.iter().map(row)).collect())
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A length of time in its largest whole unit.
fn seconds(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a life can hold")]
    let whole = seconds.clamp(0.0, 1e12) as u64;
    match whole {
        0..120 => format!("{whole}s"),
        120..7_200 => format!("{}m", whole / 60),
        7_200..172_800 => format!("{}h", whole / 3_600),
        _ => format!("{}d", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(kind: &str) -> QueueView {
        QueueView {
            kind: kind.to_owned(),
            ready: Some(3),
            consumers: Some(1),
            waiting: 12,
            running: 4,
            oldest_waiting: None,
            dead_letters: 0,
        }
    }

    #[test]
    fn queues_are_told_in_columns_with_the_age_of_the_oldest() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let since: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
        let waits = QueueView { oldest_waiting: Some(since), dead_letters: 7, ..queue("a.b") };
        let expected = "\
KIND          READY  CONSUMERS  WAITING  RUNNING  OLDEST  DEAD
a.b           3      1          12       4        4m      7
image.resize  3      1          12       4        -       0";
        assert_eq!(queue_table(&[waits, queue("image.resize")], now), expected);
        assert!(queue_table(&[], now).contains("start a worker"));
    }

    #[test]
    fn what_a_broker_does_not_tell_is_no_zero() {
        let deaf = QueueView { ready: None, consumers: None, ..queue("a.b") };
        let shown = queue_table(&[deaf], "2026-01-02T03:04:05Z".parse().unwrap());
        assert!(shown.lines().nth(1).is_some_and(|line| line.starts_with("a.b   ?      ?")), "{shown}");
        assert!(shown.ends_with("?: the broker does not answer, or has no such queue"), "{shown}");
    }

    #[test]
    fn a_worker_that_drains_says_so() {
        let worker = WorkerView {
            id: "w1".into(),
            host: "quay-1".into(),
            kinds: vec!["a.b".into(), "c.d".into()],
            slots: 4,
            busy: 1,
            draining: true,
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            lease_age_seconds: 7_300.0,
            lease_left_seconds: 9.9,
        };
        let shown = worker_table(&[worker]);
        let words: Vec<&str> = shown.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(words, ["w1", "quay-1", "1/4", "draining", "2h", "9s", "a.b,c.d"]);
        assert!(worker_table(&[]).contains("no live worker"));
    }

    #[test]
    fn time_is_told_in_its_largest_whole_unit() {
        let told = [-1.0, 59.9, 119.0, 121.0, 7_200.0, 200_000.0].map(seconds);
        assert_eq!(told, ["0s", "59s", "119s", "2m", "2h", "2d"]);
    }
}
