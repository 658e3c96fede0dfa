//! How the world hears of a job: the road to a worker, the topic exchange, and the feed that wakes whoever waits. It knows no ledger and no broker
//! implementation; an event's content is the row's, so that every road tells the same.

pub mod feed;
pub mod road;
pub mod topic;
