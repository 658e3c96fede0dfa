//! Exchanges and queues as plain data: their names, their arguments, who is bound to whom.
//! It talks to no broker and knows no client library, so that the shape of the road can be read and tested without one.
//! `rabbitmq/declare.rs` carries it to a server; the reasons for each argument are beside it here.

use std::time::Duration;

use super::{BrokerError, Lane, Mark};

/// The prefix of every name, unless set otherwise.
pub const DEFAULT_PREFIX: &str = "longshore";
/// A prefix leaves room for the kind in AMQP's 255 bytes.
pub const MAX_PREFIX_BYTES: usize = 64;
/// AMQP's limit on names and keys; clients panic or close the connection past it.
pub const MAX_NAME_BYTES: usize = 255;
/// Redeliveries after which the broker would bury a job: never, in effect. It must be said, because 4.0 and later bury
/// after 20 unless told otherwise, and it can't be said as their `-1`: 3.10 takes that for a limit and buries at the first
/// return (measured). Attempts are counted in the ledger; the broker's count would bury a poison job's innocent neighbours.
pub const DELIVERY_LIMIT: i64 = 1_000_000_000;
/// A feed nobody reads keeps so many messages at the server, then drops the oldest.
pub const FEED_MAX_LENGTH: i64 = 10_000;

/// The names under one prefix: two of them share a virtual host without meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
}

/// A prefix that can't begin the name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "broker.prefix is {0:?}; it must have 1 to {MAX_PREFIX_BYTES} letters, digits, dots, dashes or underscores, such as {DEFAULT_PREFIX:?}"
)]
pub struct BadPrefix(String);

/// How an exchange spreads what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// To the queues bound with exactly this key.
    Direct,
    /// To every bound queue.
    Fanout,
    /// To the queues whose pattern matches the key.
    Topic,
}

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it spreads.
    pub spread: Spread,
}

/// The value of a queue's or consumer's argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number.
    Number(i64),
}

/// What distinguishes a queue or a consumer, by name.
pub type Arguments = Vec<(&'static str, Value)>;

/// A queue and where its messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Arguments,
    /// The exchange it is bound to.
    pub exchange: String,
    /// The key it is bound with.
    pub key: String,
    /// Durable and shared, or gone with the connection that declared it.
    pub lasting: bool,
}

impl Default for Topology {
    fn default() -> Self {
        Self { prefix: DEFAULT_PREFIX.to_owned() }
    }
}

impl Topology {
    /// The names under `prefix`.
    ///
    /// # Errors
    /// [`BadPrefix`] if it is empty, long, or holds other than letters, digits, dots, dashes and underscores.
    pub fn under(prefix: &str) -> Result<Self, BadPrefix> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let good = (1..=MAX_PREFIX_BYTES).contains(&prefix.len()) && prefix.chars().all(plain);
        if good { Ok(Self { prefix: prefix.to_owned() }) } else { Err(BadPrefix(prefix.to_owned())) }
    }

    /// Where jobs are published, with [`Topology::job_key`].
    pub fn jobs(&self) -> Exchange {
        self.exchange("jobs", Spread::Direct)
    }

    /// Where events are announced, keyed by topic.
    pub fn events(&self) -> Exchange {
        self.exchange("events", Spread::Topic)
    }

    /// What every worker and relay hears.
    pub fn control(&self) -> Exchange {
        self.exchange("control", Spread::Fanout)
    }

    /// Where messages go that nobody can read.
    pub fn dead(&self) -> Exchange {
        self.exchange("dead", Spread::Fanout)
    }

    /// Nothing is published here: it is there or it is not, and it goes with the broker's data. An exchange, because a cluster has it
    /// on every node, whichever of them is away.
    pub fn mark(&self, mark: Mark) -> Exchange {
        match mark {
            Mark::Filling => self.exchange("filling", Spread::Fanout),
            Mark::Filled => self.exchange("filled", Spread::Fanout),
        }
    }

    /// What must exist before anything is published.
    pub fn exchanges(&self) -> [Exchange; 4] {
        [self.jobs(), self.events(), self.control(), self.dead()]
    }

    /// The routing key of a kind's jobs in a lane: the kind itself for the normal one, which is all that a foreign producer
    /// must know. No kind has a colon.
    pub fn job_key(&self, kind: &str, lane: Lane) -> String {
        match lane {
            Lane::High => format!("{kind}:high"),
            Lane::Normal => kind.to_owned(),
            Lane::Low => format!("{kind}:low"),
        }
    }

    /// The queues of a kind's jobs, one a lane: below 4.0 a quorum queue ignores the priority of a message (measured). All
    /// three are made and consumed together, so that none ever holds jobs that nobody reads; an idle one costs RabbitMQ two
    /// processes, 0.1 MiB and a hundredth of a percent of a core (measured with 200 of them).
    ///
    /// # Errors
    /// As [`Topology::job_queue`].
    pub fn job_queues(&self, kind: &str) -> Result<Vec<Queue>, BrokerError> {
        Lane::ALL.into_iter().map(|lane| self.job_queue(kind, lane)).collect()
    }

    /// The queue of a kind's jobs in a lane.
    ///
    /// # Errors
    /// [`BrokerError::Unroutable`] if the kind is empty or too long to name a queue.
    pub fn job_queue(&self, kind: &str, lane: Lane) -> Result<Queue, BrokerError> {
        let name = self.job_queue_name(kind, lane)?;
        let arguments = vec![
            // Replicated, and the only type whose dead-lettering loses nothing when the broker is killed.
            ("x-queue-type", Value::Text("quorum".into())),
            ("x-dead-letter-exchange", Value::Text(self.dead().name)),
            ("x-dead-letter-strategy", Value::Text("at-least-once".into())),
            // At-least-once dead-lettering demands it: a full queue refuses, it doesn't drop.
            ("x-overflow", Value::Text("reject-publish".into())),
            ("x-delivery-limit", Value::Number(DELIVERY_LIMIT)),
        ];
        Ok(Queue { name, arguments, exchange: self.jobs().name, key: self.job_key(kind, lane), lasting: true })
    }

    /// The name of the queue of a kind's jobs in a lane.
    ///
    /// # Errors
    /// As [`Topology::job_queue`].
    pub fn job_queue_name(&self, kind: &str, lane: Lane) -> Result<String, BrokerError> {
        let name = self.name(&format!("jobs.{}", self.job_key(kind, lane)));
        let fits = !kind.is_empty() && name.len() <= MAX_NAME_BYTES;
        if fits { Ok(name) } else { Err(BrokerError::Unroutable(kind.to_owned())) }
    }

    /// The queue of messages that nobody can read.
    pub fn dead_queue(&self) -> Queue {
        let dead = self.dead().name;
        let arguments = vec![("x-queue-type", Value::Text("quorum".into()))];
        Queue { name: dead.clone(), arguments, exchange: dead, key: String::new(), lasting: true }
    }

    /// A listener's own queue on an exchange, gone with its connection.
    pub fn feed_queue(&self, exchange: &Exchange, listener: &str) -> Queue {
        let key = if exchange.spread == Spread::Topic { "#" } else { "" };
        Queue {
            name: self.name(&format!("feed.{listener}")),
            arguments: vec![("x-max-length", Value::Number(FEED_MAX_LENGTH))],
            exchange: exchange.name.clone(),
            key: key.to_owned(),
            lasting: false,
        }
    }

    fn exchange(&self, name: &str, spread: Spread) -> Exchange {
        Exchange { name: self.name(name), spread }
    }

    fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }
}

/// What a consumer of jobs asks for: how long it may hold a delivery. Obeyed from RabbitMQ 3.12 on, ignored before.
pub fn consumer_arguments(consumer_timeout: Duration) -> Arguments {
    let ms = i64::try_from(consumer_timeout.as_millis()).unwrap_or(i64::MAX);
    vec![("x-consumer-timeout", Value::Number(ms))]
}

/// The `priority` property of a lane: below 5 is normal to RabbitMQ 4, 5 and above is high.
pub const fn priority(lane: Lane) -> u8 {
    match lane {
        Lane::High => 8,
        Lane::Normal => 4,
        Lane::Low => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_the_prefix() {
        let ours = Topology::under("stage-2").unwrap();
        assert_eq!(ours.jobs().name, "stage-2.jobs");
        assert_eq!(ours.job_queue_name("image.resize", Lane::Normal).unwrap(), "stage-2.jobs.image.resize");
        assert_eq!(Topology::default().dead_queue().name, "longshore.dead");
    }

    #[test]
    fn a_foolish_prefix_is_refused_by_name() {
        let long = "x".repeat(MAX_PREFIX_BYTES + 1);
        for bad in ["", "a b", "ä", long.as_str()] {
            assert!(Topology::under(bad).unwrap_err().to_string().contains("broker.prefix"), "{bad:?}");
        }
        assert!(Topology::under(&long[1..]).is_ok());
    }

    #[test]
    fn a_job_queue_never_drops_what_it_cannot_keep() {
        let queue = Topology::default().job_queue("demo", Lane::Low).unwrap();
        let says = |name, value: &str| queue.arguments.contains(&(name, Value::Text(value.into())));
        assert!(says("x-queue-type", "quorum") && says("x-overflow", "reject-publish"));
        assert!(says("x-dead-letter-exchange", "longshore.dead") && says("x-dead-letter-strategy", "at-least-once"));
        assert!(queue.arguments.contains(&("x-delivery-limit", Value::Number(DELIVERY_LIMIT))));
    }

    #[test]
    fn a_kind_that_cannot_name_a_queue_is_unroutable() {
        let room = MAX_NAME_BYTES - "longshore.jobs.".len();
        assert!(Topology::default().job_queue_name(&"k".repeat(room), Lane::Normal).is_ok());
        for bad in [String::new(), "k".repeat(room + 1)] {
            let refused = Topology::default().job_queues(&bad);
            assert!(matches!(refused, Err(BrokerError::Unroutable(_))));
        }
    }

    #[test]
    fn every_lane_has_a_queue_of_its_own_and_the_kind_alone_is_the_key_of_the_normal_one() {
        let queues = Topology::default().job_queues("demo").unwrap();
        let named: Vec<(&str, &str)> = queues.iter().map(|queue| (&*queue.name, &*queue.key)).collect();
        let (high, low) = (("longshore.jobs.demo:high", "demo:high"), ("longshore.jobs.demo:low", "demo:low"));
        assert_eq!(named, [high, ("longshore.jobs.demo", "demo"), low]);
        assert!(priority(Lane::High) > priority(Lane::Normal) && priority(Lane::Normal) > priority(Lane::Low));
    }
}
