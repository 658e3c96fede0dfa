//! How fast a worker drains a full queue of jobs that do nothing, beside a raw lapin loop that consumes and acks at the same prefetch on
//! the same broker in the same run. The worker's side is durable: claim and completion are both committed in PostgreSQL (fsync on)
//! before the ack. Rounds alternate; the medians and their ratio are printed, with the versions. Nothing is asserted: speed is the
//! machine's, the ratio is ours.

#[path = "drain/noop.rs"]
mod noop;
#[path = "place.rs"]
mod place;
#[path = "drain/raw.rs"]
mod raw;

use std::time::Duration;

use anyhow::Result;
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;

/// Jobs of one round, rounds of one prefetch.
const JOBS: usize = 30_000;
const ROUNDS: usize = 3;
/// Calls of one round, a multiple of the callers.
const CALLS: usize = 6_400;
const PREFETCHES: [u16; 2] = [1000, 100];

fn main() -> Result<()> {
    // `cargo bench` passes flags of its own harness; there is nothing to choose here.
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        println!("{}", place::place()?);
        println!("durable no-op drain, {JOBS} jobs a round, medians of {ROUNDS} alternating rounds");
        for prefetch in PREFETCHES {
            compare(prefetch).await?;
        }
        submits().await?;
        latency().await
    })
}

async fn compare(prefetch: u16) -> Result<()> {
    let (broker, database) = (RabbitMq::shared().await?, Postgres::shared().await?);
    let (mut theirs, mut ours) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        theirs.push(raw::drain(&broker.vhost().await?, JOBS, prefetch).await?);
        ours.push(noop::drain(&broker.vhost().await?, &database.database().await?, JOBS, prefetch).await?);
    }
    let (theirs, ours) = (median(theirs), median(ours));
    println!(
        "prefetch {prefetch}: raw lapin {:.1} k/s, longshore {:.1} k/s, ratio {:.2}",
        rate(theirs),
        rate(ours),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

async fn submits() -> Result<()> {
    let (broker, database) = (RabbitMq::shared().await?, Postgres::shared().await?);
    let (mut theirs, mut ours) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (idle, submits) = noop::calls(&broker.vhost().await?, &database.database().await?, CALLS).await?;
        theirs.push(idle);
        ours.push(submits);
    }
    let (theirs, ours) = (median(theirs).as_secs_f64(), median(ours).as_secs_f64());
    println!(
        "POST /v1/jobs by {} callers at once: {:.1} k/s, a call that does nothing {:.1} k/s, ratio {:.2}",
        noop::CLIENTS,
        CALLS as f64 / ours / 1e3,
        CALLS as f64 / theirs / 1e3,
        theirs / ours
    );
    Ok(())
}

async fn latency() -> Result<()> {
    let (broker, database) = (RabbitMq::shared().await?, Postgres::shared().await?);
    let mut waits = noop::waits(&broker.vhost().await?, &database.database().await?, 300).await?;
    waits.sort_unstable();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100].as_secs_f64() * 1e3;
    println!("idle, POST over HTTP to the executor's first line: p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn rate(time: Duration) -> f64 {
    JOBS as f64 / time.as_secs_f64() / 1e3
}
