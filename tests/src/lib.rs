//! The world the stories are told in: it owns its RabbitMQ, its PostgreSQL, its S3, its proxies and the `longshore` processes.
//!
//! Nothing here uses a server that was there before, and nothing it starts outlives the test process.
//! Read `process.rs` first (who dies with whom), then `rabbitmq.rs` and `postgres.rs`.

pub mod arrows;
pub mod certificates;
pub mod chaos;
pub mod collector;
pub mod house;
pub mod http;
pub mod issuer;
pub mod longshore;
pub mod media;
pub mod mentions;
pub mod names;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod rabbitmq;
pub mod receiver;
pub mod s3;
pub mod scratch;
pub mod small_disk;
pub mod stage;
pub mod stream;
pub mod tokens;
pub mod tools;
pub mod trial;
pub mod until;
