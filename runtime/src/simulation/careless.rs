//! How the mistakes of `bug.rs` are made, where they take more than a line. Each goes through the same door as the right way, so that
//! it meets the same fates.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bug::Bug;
use super::process::Process;
use super::world::World;
use crate::broker::{Announcement, Broker, Consumer, Delivery, JobMessage};
use crate::ledger::{Answer, Claim, Claimed, Fence, Ledger, LedgerError, Record, Recorded, Round, Unannounced};

/// How long what was put off lies about.
const LATER: Duration = Duration::from_millis(400);
/// How far a wrong clock is ahead.
const AHEAD: Duration = Duration::from_secs(2 * 3600);

/// [`Bug::AckBeforeRecord`]: hands on copies of what it has acknowledged.
pub(super) fn acked_when_it_comes(process: &Arc<Process>, mut real: Consumer) -> Consumer {
    let (one, copies) = mpsc::channel(1);
    let (nobody, _) = mpsc::unbounded_channel();
    process.stop.spawn("hasty", async move {
        while let Some(delivery) = real.next().await {
            let mut copy = Delivery::new(delivery.body.clone(), delivery.kind.clone(), 0, nobody.clone());
            copy.content_type.clone_from(&delivery.content_type);
            copy.message_id.clone_from(&delivery.message_id);
            copy.correlation_id.clone_from(&delivery.correlation_id);
            delivery.ack();
            if one.send(copy).await.is_err() {
                return;
            }
        }
    });
    let none = || mpsc::channel(1).1;
    Consumer::new([none(), copies, none()], Arc::new(CancellationToken::new()))
}

/// [`Bug::AnnounceAfterAck`]
pub(super) fn announce_later(process: &Arc<Process>, announcement: &Announcement) {
    let (world, announcement) = (Arc::clone(&process.world), announcement.clone());
    process.stop.spawn("late", async move {
        tokio::time::sleep(world.dice.up_to(LATER)).await;
        if !world.broker_is_away() {
            world.hear(&announcement);
        }
    });
}

/// [`Bug::PublishWithoutConfirm`]
pub(super) fn publish_unheard(process: &Arc<Process>, message: &JobMessage) {
    let (world, message) = (Arc::clone(&process.world), message.clone());
    process.stop.spawn("wire", async move {
        tokio::time::sleep(world.dice.up_to(LATER)).await;
        if !world.broker_is_away() {
            let _ = world.broker.publish(&message).await;
        }
    });
}

/// [`Bug::ClaimByLookThenUpdate`]
pub(super) async fn look_then_claim(world: &World, worker: Uuid, claims: &[Claim]) -> Answer<Vec<Claimed>> {
    let free = world.ledger.free(worker, claims).await?;
    tokio::time::sleep(world.dice.up_to(LATER)).await;
    world.ledger.take(worker, claims, &free).await
}

/// [`Bug::RecordWithoutFence`]
pub(super) async fn record_for_anybody(world: &World, worker: Uuid, records: &[Record]) -> Answer<Vec<Recorded>> {
    let mut recorded = vec![];
    for record in records {
        let row = world.ledger.job(record.fence.job).await?;
        let holder = row.and_then(|row| Some(Fence { job: row.id, attempt: row.attempt, worker: row.worker? }));
        let (fence, worker) = holder.map_or((record.fence, worker), |fence| (fence, fence.worker));
        let mut round = world.ledger.round(worker, &[], &[Record { fence, ..record.clone() }]).await?;
        recorded.append(&mut round.records);
    }
    Ok(recorded)
}

/// [`Bug::RefusalBlamedOnTheOutput`]
pub(super) fn blamed_on_the_output(error: LedgerError) -> LedgerError {
    match error {
        LedgerError::Refused(why) => LedgerError::Unstorable(why),
        other => other,
    }
}

/// A round in which claims, or records, are made as the mistake makes them.
pub(super) async fn round(world: &World, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round> {
    let none_can_be_stored = |record: &Record| {
        record.fence.attempt == 1 && world.effects.lock().unwrap().unstorable.contains(&record.fence.job)
    };
    if records.iter().any(none_can_be_stored) {
        return Err(LedgerError::Unstorable("simulated".into()));
    }
    match world.bug {
        Some(Bug::ClaimByLookThenUpdate) => {
            let records = world.ledger.round(worker, &[], records).await?.records;
            Ok(Round { claims: look_then_claim(world, worker, claims).await?, records })
        }
        Some(Bug::RecordWithoutFence) => {
            let records = record_for_anybody(world, worker, records).await?;
            Ok(Round { claims: world.ledger.round(worker, claims, &[]).await?.claims, records })
        }
        _ => world.ledger.round(worker, claims, records).await,
    }
}

/// [`Bug::LeaseByWallClock`]: what a worker takes for so long from now.
pub(super) fn by_its_clock(process: &Process, lease: Duration) -> Duration {
    // Every other process's clock is wrong.
    let wrong =
        process.world.bug == Some(Bug::LeaseByWallClock) && process.name.bytes().map(u32::from).sum::<u32>() % 2 == 0;
    if wrong { lease + AHEAD } else { lease }
}

/// [`Bug::OutboxByCursor`]: only what lies behind the last look.
pub(super) fn behind_the_cursor(process: &Process, mut owed: Vec<Unannounced>) -> Vec<Unannounced> {
    let mut cursor = process.cursor.lock().unwrap();
    owed.retain(|owed| cursor.is_none_or(|last| owed.job > last));
    *cursor = owed.iter().map(|owed| owed.job).max().or(*cursor);
    owed
}
