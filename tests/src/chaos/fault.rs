//! Everything that can go wrong: its name, its target, and its lane. How often each comes is `plan.rs`'s, how each is done `faults.rs`'s.

use std::time::Duration;

/// Everything that is done to the system from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a worker.
    WorkerKill,
    /// SIGSTOP of a worker until its lease is over, then SIGCONT.
    WorkerPause,
    /// SIGTERM of a worker, and a new one.
    WorkerRoll,
    /// `kill -9` of an API process.
    ApiKill,
    /// SIGTERM of an API process, and a new one.
    ApiRoll,
    /// `kill -9` of the single broker, and a start on the same data.
    BrokerKill,
    /// The same with its data thrown away.
    BrokerWipe,
    /// The broker takes no messages: connection.blocked.
    MemoryAlarm,
    /// The broker's patience with an unacknowledged delivery is short: it closes the channels of long work.
    AckTimeout,
    /// `kill -9` of the node that leads the queue of the jobs.
    LeaderKill,
    /// `kill -9` of PostgreSQL, postmaster and backends.
    DatabaseKill,
    /// A restart of PostgreSQL in good order.
    DatabaseRestart,
    /// PostgreSQL is away for long.
    DatabaseOutage,
    /// Every connection through one of the proxies is reset.
    Cut,
    /// One of the proxies says nothing more, and then resets.
    HalfOpen,
    /// A broker's proxy says nothing more for so long that the heartbeats of both sides are missed, and then resets.
    Silence,
    /// One of the proxies delays every byte.
    Delay,
    /// One of the proxies lets few bytes through.
    Throttle,
    /// There is no room for artifacts.
    DiskFull,
    /// Ids of jobs of all ages are published again, several times, in any order.
    Duplicates,
}

impl Fault {
    /// How many lanes there are.
    pub(super) const LANES: usize = 5;
    /// All of them, as the report lists them.
    pub const ALL: [Self; 20] = [
        Self::WorkerKill,
        Self::WorkerPause,
        Self::WorkerRoll,
        Self::ApiKill,
        Self::ApiRoll,
        Self::BrokerKill,
        Self::BrokerWipe,
        Self::MemoryAlarm,
        Self::AckTimeout,
        Self::LeaderKill,
        Self::DatabaseKill,
        Self::DatabaseRestart,
        Self::DatabaseOutage,
        Self::Cut,
        Self::HalfOpen,
        Self::Silence,
        Self::Delay,
        Self::Throttle,
        Self::DiskFull,
        Self::Duplicates,
    ];

    /// What the report calls it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::WorkerKill => "worker killed (`kill -9`)",
            Self::WorkerPause => "worker paused past its lease",
            Self::WorkerRoll => "worker rolled (SIGTERM)",
            Self::ApiKill => "API killed",
            Self::ApiRoll => "API rolled (SIGTERM)",
            Self::BrokerKill => "broker killed and restarted",
            Self::BrokerWipe => "broker's data wiped",
            Self::MemoryAlarm => "broker's memory alarm",
            Self::AckTimeout => "acknowledgements timed out",
            Self::LeaderKill => "quorum leader killed",
            Self::DatabaseKill => "PostgreSQL killed",
            Self::DatabaseRestart => "PostgreSQL restarted",
            Self::DatabaseOutage => "PostgreSQL away for long",
            Self::Cut => "connections cut",
            Self::HalfOpen => "connections half open",
            Self::Silence => "connections silent past the heartbeat",
            Self::Delay => "network delayed",
            Self::Throttle => "network throttled",
            Self::DiskFull => "disk full",
            Self::Duplicates => "deliveries repeated out of order",
        }
    }

    /// How soon the system should have recovered: from a worker's end within its lease and 2 s, from a server's within 2 s after it
    /// answers again.
    pub fn target(self, lease: Duration) -> Option<Duration> {
        let after = Duration::from_secs(2);
        match self {
            Self::WorkerKill | Self::WorkerPause => Some(lease + after),
            Self::BrokerKill | Self::BrokerWipe | Self::DatabaseKill | Self::DatabaseRestart | Self::DatabaseOutage => {
                Some(after)
            }
            _ => None,
        }
    }

    /// What is counted of its effect, where that comes in numbers. The others show or do not.
    pub const fn unit(self) -> Option<&'static str> {
        match self {
            Self::WorkerKill => Some("attempts lost"),
            Self::MemoryAlarm => Some("connections blocked"),
            Self::AckTimeout => Some("channels closed"),
            Self::Cut | Self::HalfOpen => Some("connections"),
            Self::Silence => Some("heartbeats missed"),
            Self::Delay => Some("bytes late"),
            Self::Throttle => Some("bytes in drips"),
            Self::DiskFull => Some("attempts failed"),
            Self::Duplicates => Some("deliveries repeated"),
            _ => None,
        }
    }

    /// Whether a server, or the way to it, is away meanwhile.
    pub const fn takes_away(self) -> bool {
        self.lane() >= 2 && !matches!(self, Self::Duplicates)
    }

    /// Who carries it out: faults of one lane come one after the other.
    pub(super) const fn lane(self) -> usize {
        match self {
            Self::WorkerKill | Self::WorkerPause | Self::ApiKill => 0,
            Self::WorkerRoll | Self::ApiRoll => 1,
            Self::BrokerKill | Self::BrokerWipe | Self::MemoryAlarm | Self::AckTimeout | Self::LeaderKill => 2,
            // A broker that is killed meanwhile would miss no heartbeats.
            Self::Silence => 2,
            Self::DatabaseKill | Self::DatabaseRestart | Self::DatabaseOutage => 3,
            Self::Cut | Self::HalfOpen | Self::Delay | Self::Throttle | Self::DiskFull | Self::Duplicates => 4,
        }
    }
}
