//! How fast events reach a receiver and jobs are taken in. Webhooks: events that are written down and due, until a receiver on this machine
//! has them all, beside a loop that posts the same bodies, signed, to the same receiver and records nothing. Submits: the time of one
//! `POST /v1/jobs`, in the ledger and confirmed by the broker before its answer, beside a handler that only reads the same JSON.
//! Nothing is asserted: speed is the machine's, the ratio is ours. `BENCH_DELIVERIES` and `BENCH_CALLS` make it smaller.

#[path = "place.rs"]
mod place;
#[path = "webhooks/submit.rs"]
mod submit;
#[path = "webhooks/tell.rs"]
mod tell;

use std::time::Duration;

use anyhow::Result;

/// Alternating rounds of each comparison.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        println!("{}", place::place()?);
        webhooks(number("BENCH_DELIVERIES", 5_000)).await?;
        for callers in [1, 16] {
            submits(number("BENCH_CALLS", 3_200), callers).await?;
        }
        Ok(())
    })
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn webhooks(count: usize) -> Result<()> {
    let (mut theirs, mut ours) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let told = tell::by_a_worker(count).await?;
        theirs.push(tell::by_a_bare_loop(&told.bodies).await?);
        ours.push(told.a_second);
    }
    let (theirs, ours) = (middle(theirs), middle(ours));
    println!(
        "webhooks, {count} due events to one receiver, medians of {ROUNDS}: bare loop {theirs:.0} /s, longshore {ours:.0} /s, ratio {:.2}",
        ours / theirs
    );
    Ok(())
}

async fn submits(calls: usize, callers: usize) -> Result<()> {
    let (ours, theirs) = (submit::Ours::start().await?, submit::Bare::start()?);
    let (mut of_ours, mut of_theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        of_theirs.extend(submit::times(&theirs.http, calls / ROUNDS, callers).await?);
        of_ours.extend(submit::times(&ours.http, calls / ROUNDS, callers).await?);
    }
    of_theirs.sort_unstable();
    of_ours.sort_unstable();
    for share in [50, 99] {
        let (theirs, ours) = (at(&of_theirs, share), at(&of_ours, share));
        println!(
            "POST /v1/jobs, callers at once: {callers}, p{share}: bare axum handler {theirs:.2} ms, longshore {ours:.2} ms, {:.1} times",
            ours / theirs
        );
    }
    Ok(())
}

/// In milliseconds.
fn at(sorted: &[Duration], share: usize) -> f64 {
    sorted[(sorted.len() - 1) * share / 100].as_secs_f64() * 1e3
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}
