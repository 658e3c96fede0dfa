//! What a broker says of itself: its version, whether it confirms, and whether each kind's queue is the one we would make.
//! Shapes only; whether it will do is judged in `preflight/broker.rs`.

/// A RabbitMQ server as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerFacts {
    /// Who answered: host and port.
    pub place: String,
    /// Its version, e.g. `3.10.8`; `None` where it did not say (behind TLS nobody asks).
    pub version: Option<String>,
    /// What became of a publish that no queue takes.
    pub confirm: Confirm,
    /// The queue of each kind.
    pub queues: Vec<QueueFacts>,
}

/// What became of a publish in confirm mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirm {
    /// It was confirmed.
    Confirmed,
    /// The server takes no messages, for this reason.
    Blocked(String),
    /// No answer in time.
    Silent,
    /// It was refused with these words.
    Refused(String),
}

/// A kind's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueFacts {
    /// The kind.
    pub kind: String,
    /// The queue's name.
    pub name: String,
    /// What is there.
    pub found: Found,
}

/// What is at a queue's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet: the first worker makes it.
    Missing,
    /// The queue that we would make, and it answers.
    Ours,
    /// A queue with other arguments; the server's own words name the first that differs.
    Other(String),
    /// It is there and does not answer: a quorum queue without a leader.
    Leaderless,
    /// We may not look, by the server's words.
    Forbidden(String),
}
