//! Every story in one binary: they share one RabbitMQ and one PostgreSQL, and run side by side.
//!
//! A story that harms a server starts its own. Read `longshore_tests` for the world they are told in.

mod chart;
mod cli;
mod contract;
mod docs;
mod failures;
mod journeys;
mod logs;
mod media;
mod metrics;
mod peers;
mod properties;
mod tidy;
mod world;
