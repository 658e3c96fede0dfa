//! How the world hears of a job: the road to a worker, the topic exchange, the feed that wakes whoever waits, and the window of what
//! happened lately. It knows no implementation of ledger or broker; an event's content is the row's, so that every road tells the same.

pub mod feed;
pub mod road;
pub mod topic;
pub mod webhook;
pub mod window;
