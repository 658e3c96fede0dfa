//! Queues and workers as an operator sees them, also while the broker is away.

use longshore_sdk::api::{QueueList, WorkerList};

use super::*;
use crate::broker::Broker;

#[tokio::test]
async fn a_queue_shows_what_waits_runs_and_failed() {
    let world = World::new().await;
    let (waits, runs, dead) = (world.accepted().await, world.accepted().await, world.accepted().await);
    world.start(runs).await;
    world.fail(dead).await;
    let list: QueueList = world.get("/v1/queues").await.json();
    assert_eq!(list.queues.len(), 1, "{list:?}");
    let queue = &list.queues[0];
    assert_eq!((queue.kind.as_str(), queue.waiting, queue.running, queue.dead_letters), ("demo", 1, 1, 1));
    // Nobody consumes: all three lie there, settled or not.
    assert_eq!((queue.ready, queue.consumers), (Some(3), Some(0)));
    let created_at = world.ledger.job(waits).await.unwrap().unwrap().created_at;
    assert_eq!(queue.oldest_waiting, Some(created_at));
}

#[tokio::test]
async fn a_look_at_the_queues_is_shared_for_a_moment() {
    let world = World::new().await;
    let first: QueueList = world.get("/v1/queues").await.json();
    world.accepted().await;
    let second: QueueList = world.get("/v1/queues").await.json();
    assert_eq!(first, second, "asked within a second");
}

#[tokio::test]
async fn without_a_broker_the_ledgers_half_is_shown() {
    let world = World::new().await;
    world.accepted().await;
    world.broker.close().await;
    let list: QueueList = world.get("/v1/queues").await.json();
    let queue = &list.queues[0];
    assert_eq!((queue.ready, queue.consumers, queue.waiting), (None, None, 1));
}

#[tokio::test]
async fn a_worker_shows_its_slots_and_its_lease() {
    let world = World::new().await;
    let list: WorkerList = world.get("/v1/workers").await.json();
    let [worker] = &list.workers[..] else { panic!("{list:?}") };
    assert_eq!((worker.id.clone(), worker.slots, worker.busy), (world.worker.to_string(), 4, 0));
    assert_eq!((worker.host.as_str(), &worker.kinds[..], worker.draining), ("test", &["demo".to_owned()][..], false));
    assert!((0.0..60.0).contains(&worker.lease_age_seconds), "{worker:?}");
    assert!(worker.lease_left_seconds > 0.0 && worker.lease_left_seconds <= LEASE.as_secs_f64(), "{worker:?}");
}
