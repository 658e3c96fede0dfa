//! The contract of a broker, for RabbitMQ and for the one in the process: each story below runs against both.
//!
//! No story knows which it talks to. Time never decides: a story waits for a state it can see, such as a queue's depth.

mod kit;

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use longshore_runtime::broker::{Announcement, BrokerError, Control, Depth, Heard, JobMessage, Lane, Mark};
use longshore_sdk::{JobId, Trace, wire};
use longshore_tests::until::until;
use tokio::time::timeout;

use self::kit::{KIND, Kit, SOON, heard, id, job, next};

macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod on_rabbitmq {
            $(#[tokio::test] async fn $story() -> anyhow::Result<()> {
                super::tell(super::Kit::rabbitmq().await?, super::$story).await
            })*
        }
        mod embedded {
            $(#[tokio::test] async fn $story() -> anyhow::Result<()> {
                super::tell(super::Kit::embedded(), super::$story).await
            })*
        }
    };
}

stories![
    a_published_job_is_delivered_once,
    a_dropped_delivery_comes_back_as_redelivered,
    a_job_returned_thirty_times_is_still_there,
    no_more_than_the_prefetch_is_in_hand,
    two_consumers_share_the_work,
    a_delivery_can_be_acked_after_its_consumer_is_gone,
    an_ack_after_the_broker_is_closed_harms_nobody,
    a_closed_consumer_hands_what_it_fetched_to_others_at_once,
    publishing_to_an_unknown_kind_makes_its_queue,
    a_kind_that_names_no_queue_is_unroutable,
    every_lane_reaches_the_consumer,
    a_lane_has_its_share_of_the_turns_and_none_is_starved,
    an_event_reaches_every_listener,
    what_is_told_reaches_everyone,
    depth_counts_what_waits_and_knows_a_missing_queue,
    a_mark_stands_for_all_who_ask_and_no_other_does,
    a_buried_message_is_kept_with_its_reason,
    five_thousand_jobs_published_at_once_all_arrive,
    jobs_acked_out_of_order_are_all_done,
    a_closed_broker_ends_consumers_and_feeds,
];

async fn tell(kit: Kit, story: impl AsyncFnOnce(&Kit) -> Result<()>) -> Result<()> {
    let told = timeout(SOON * 2, story(&kit)).await;
    timeout(SOON, kit.broker.close()).await.context("the broker does not close")?;
    told.context("the story has no end")?
}

async fn a_published_job_is_delivered_once(kit: &Kit) -> Result<()> {
    let mut consumer = kit.broker.consume(KIND, 1).await?;
    let trace = Trace::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("vendor=1,other=2"));
    let sent =
        JobMessage { correlation_id: Some("c-7".into()), trace: trace.clone(), tenant: "north".parse()?, ..job() };
    kit.broker.publish(&sent).await?;
    let got = next(&mut consumer).await?;
    ensure!(wire::decode(&got.body)? == wire::Envelope { job: sent.job, kind: KIND.into(), payload: None });
    ensure!(got.content_type.as_deref() == Some(wire::CONTENT_TYPE) && got.kind == KIND && !got.redelivered);
    ensure!(got.message_id == Some(sent.job.to_string()) && got.correlation_id == sent.correlation_id);
    ensure!(trace.is_some() && got.trace == trace, "{:?}", got.trace);
    ensure!(got.tenant.as_deref() == Some("north"));
    got.ack();
    let another = kit.publish(1).await?;
    let got = next(&mut consumer).await?;
    ensure!(id(&got)? == another[0].job, "the first came twice");
    got.ack();
    Ok(())
}

async fn a_dropped_delivery_comes_back_as_redelivered(kit: &Kit) -> Result<()> {
    let sent = kit.publish(1).await?;
    let mut consumer = kit.broker.consume(KIND, 5).await?;
    drop(next(&mut consumer).await?);
    let again = next(&mut consumer).await?;
    ensure!(id(&again)? == sent[0].job && again.redelivered);
    again.ack();
    Ok(())
}

async fn a_job_returned_thirty_times_is_still_there(kit: &Kit) -> Result<()> {
    kit.publish(1).await?;
    let mut consumer = kit.broker.consume(KIND, 1).await?;
    for _ in 0..30 {
        drop(next(&mut consumer).await?);
    }
    next(&mut consumer).await?.ack();
    Ok(())
}

async fn no_more_than_the_prefetch_is_in_hand(kit: &Kit) -> Result<()> {
    kit.publish(5).await?;
    let mut consumer = kit.broker.consume(KIND, 2).await?;
    let (one, other) = (next(&mut consumer).await?, next(&mut consumer).await?);
    kit.until_ready(3).await;
    one.ack();
    let third = next(&mut consumer).await?;
    kit.until_ready(2).await;
    drop((other, third));
    Ok(())
}

async fn two_consumers_share_the_work(kit: &Kit) -> Result<()> {
    let (mut one, mut other) = (kit.broker.consume(KIND, 1).await?, kit.broker.consume(KIND, 1).await?);
    let sent: HashSet<JobId> = kit.publish(2).await?.iter().map(|message| message.job).collect();
    let (mine, yours) = (next(&mut one).await?, next(&mut other).await?);
    ensure!(HashSet::from([id(&mine)?, id(&yours)?]) == sent);
    mine.ack();
    yours.ack();
    Ok(())
}

async fn a_delivery_can_be_acked_after_its_consumer_is_gone(kit: &Kit) -> Result<()> {
    let mut consumer = kit.broker.consume(KIND, 1).await?;
    kit.publish(1).await?;
    let held = next(&mut consumer).await?;
    drop(consumer);
    held.ack();
    let second = kit.publish(1).await?;
    let mut consumer = kit.broker.consume(KIND, 5).await?;
    ensure!(id(&next(&mut consumer).await?)? == second[0].job, "the acked one came back");
    Ok(())
}

async fn an_ack_after_the_broker_is_closed_harms_nobody(kit: &Kit) -> Result<()> {
    kit.publish(1).await?;
    let mut consumer = kit.broker.consume(KIND, 1).await?;
    let held = next(&mut consumer).await?;
    kit.broker.close().await;
    held.ack();
    ensure!(timeout(SOON, consumer.next()).await?.is_none(), "a closed broker delivers");
    ensure!(!kit.broker.health().connected);
    Ok(())
}

async fn a_closed_consumer_hands_what_it_fetched_to_others_at_once(kit: &Kit) -> Result<()> {
    let mut leaving = kit.broker.consume(KIND, 10).await?;
    kit.publish(5).await?;
    let held = next(&mut leaving).await?;
    kit.until_ready(0).await;
    let mut staying = kit.broker.consume(KIND, 10).await?;
    leaving.close();
    let mut seen = HashSet::new();
    while seen.len() < 4 {
        let delivery = next(&mut staying).await?;
        seen.insert(id(&delivery)?);
        delivery.ack();
    }
    ensure!(!seen.contains(&id(&held)?), "what was in hand was given away");
    ensure!(leaving.next().await.is_none());
    held.ack();
    Ok(())
}

async fn publishing_to_an_unknown_kind_makes_its_queue(kit: &Kit) -> Result<()> {
    ensure!(kit.depth().await?.is_none());
    // At once: all of them find it missing, and none is lost.
    let messages: Vec<JobMessage> = (0..50).map(|_| job()).collect();
    try_join_all(messages.iter().map(|message| kit.broker.publish(message))).await?;
    kit.until_ready(50).await;
    Ok(())
}

async fn a_kind_that_names_no_queue_is_unroutable(kit: &Kit) -> Result<()> {
    for kind in [String::new(), "k".repeat(300)] {
        let message = JobMessage { kind: kind.clone(), ..job() };
        let refused = kit.broker.publish(&message).await;
        ensure!(matches!(refused, Err(BrokerError::Unroutable(_))), "{refused:?}");
        ensure!(matches!(kit.broker.consume(&kind, 1).await, Err(BrokerError::Unroutable(_))));
        ensure!(matches!(kit.broker.declare(&kind).await, Err(BrokerError::Unroutable(_))));
    }
    Ok(())
}

async fn every_lane_reaches_the_consumer(kit: &Kit) -> Result<()> {
    let mut consumer = kit.broker.consume(KIND, 3).await?;
    for lane in [Lane::High, Lane::Normal, Lane::Low] {
        kit.broker.publish(&JobMessage { lane, ..job() }).await?;
        next(&mut consumer).await?.ack();
    }
    Ok(())
}

async fn a_lane_has_its_share_of_the_turns_and_none_is_starved(kit: &Kit) -> Result<()> {
    for lane in [Lane::Low, Lane::Normal, Lane::High] {
        for _ in 0..40 {
            kit.broker.publish(&JobMessage { lane, correlation_id: Some(format!("{lane:?}")), ..job() }).await?;
        }
    }
    let mut consumer = kit.broker.consume(KIND, 100).await?;
    kit.until_ready(0).await;
    let mut first = vec![];
    for _ in 0..20 {
        let delivery = next(&mut consumer).await?;
        first.push(delivery.correlation_id.clone().context("published with one")?);
        delivery.ack();
    }
    let of = |lane: &str| first.iter().filter(|one| *one == lane).count();
    // 12, 6 and 2, but for what is on the wire still when the first is taken.
    ensure!(of("High") >= 10 && of("Normal") >= 4 && of("Low") >= 1, "{first:?}");
    Ok(())
}

async fn an_event_reaches_every_listener(kit: &Kit) -> Result<()> {
    let (mut one, mut other) = (kit.broker.events().await?, kit.broker.events().await?);
    let body = Bytes::from_static(b"{}");
    let event =
        Announcement { id: "e-1".into(), tenant: "north".parse()?, topic: "job.demo.echo.completed".into(), body };
    kit.broker.announce(&event).await?;
    ensure!(heard(&mut one).await? == Heard::Message(event.clone()));
    ensure!(heard(&mut other).await? == Heard::Message(event));
    Ok(())
}

async fn what_is_told_reaches_everyone(kit: &Kit) -> Result<()> {
    let (mut one, mut other) = (kit.broker.told().await?, kit.broker.told().await?);
    for control in [Control::Wake, Control::Cancel(JobId::fresh())] {
        kit.broker.tell(&control).await?;
        ensure!(heard(&mut one).await? == Heard::Message(control));
        ensure!(heard(&mut other).await? == Heard::Message(control));
    }
    Ok(())
}

async fn depth_counts_what_waits_and_knows_a_missing_queue(kit: &Kit) -> Result<()> {
    ensure!(kit.depth().await?.is_none());
    // A question about a missing queue costs RabbitMQ a channel; the next must not suffer.
    ensure!(kit.depth().await?.is_none());
    kit.broker.declare(KIND).await?;
    ensure!(kit.depth().await? == Some(Depth { ready: 0, consumers: 0 }));
    kit.publish(3).await?;
    kit.until_ready(3).await;
    let mut consumer = kit.broker.consume(KIND, 1).await?;
    let _held = next(&mut consumer).await?;
    // The three lanes are subscribed to one after the other, and the lane with the fewest consumers counts.
    let wanted = Some(Depth { ready: 2, consumers: 1 });
    let seen = || async { (kit.depth().await.ok()? == wanted).then_some(()) };
    until("all lanes to be consumed", SOON, seen).await;
    Ok(())
}

async fn a_mark_stands_for_all_who_ask_and_no_other_does(kit: &Kit) -> Result<()> {
    ensure!(!kit.broker.is_marked(Mark::Filled).await? && !kit.broker.is_marked(Mark::Filling).await?);
    kit.broker.mark(Mark::Filling).await?;
    kit.broker.mark(Mark::Filling).await?;
    ensure!(kit.broker.is_marked(Mark::Filling).await? && !kit.broker.is_marked(Mark::Filled).await?);
    kit.broker.mark(Mark::Filled).await?;
    ensure!(kit.broker.is_marked(Mark::Filled).await?);
    Ok(())
}

async fn a_buried_message_is_kept_with_its_reason(kit: &Kit) -> Result<()> {
    kit.publish(1).await?;
    let mut consumer = kit.broker.consume(KIND, 1).await?;
    let unread = next(&mut consumer).await?;
    kit.broker.bury(&unread, "the envelope does not decode").await?;
    let (reason, body) = kit.exhumed().await?;
    ensure!(reason == "the envelope does not decode" && body == unread.body);
    unread.ack();
    Ok(())
}

async fn five_thousand_jobs_published_at_once_all_arrive(kit: &Kit) -> Result<()> {
    let mut consumer = kit.broker.consume(KIND, 200).await?;
    let messages: Vec<JobMessage> = (0..5_000).map(|_| job()).collect();
    let mut missing: HashSet<JobId> = messages.iter().map(|message| message.job).collect();
    let published = try_join_all(messages.iter().map(|message| kit.broker.publish(message)));
    let taken = async {
        while !missing.is_empty() {
            let delivery = next(&mut consumer).await?;
            ensure!(missing.remove(&id(&delivery)?), "one came twice");
            delivery.ack();
        }
        Ok(())
    };
    let (published, taken) = tokio::join!(published, taken);
    published?;
    taken
}

async fn jobs_acked_out_of_order_are_all_done(kit: &Kit) -> Result<()> {
    let mut consumer = kit.broker.consume(KIND, 20).await?;
    let sent: HashSet<JobId> = kit.publish(400).await?.iter().map(|message| message.job).collect();
    let (mut seen, mut hand) = (HashSet::new(), Vec::new());
    while seen.len() < sent.len() {
        let delivery = next(&mut consumer).await?;
        ensure!(seen.insert(id(&delivery)?), "one came twice");
        hand.push(delivery);
        // Fills up, then empties from the middle; the oldest waits longest.
        while hand.len() >= 20 || (seen.len() == sent.len() && !hand.is_empty()) {
            hand.swap_remove(hand.len() / 2).ack();
        }
    }
    ensure!(seen == sent);
    drop(consumer);
    // Whatever was left unacked is given back before the last channel closes, and the next consumer would see it first.
    kit.until_ready(0).await;
    let last = kit.publish(1).await?;
    let mut consumer = kit.broker.consume(KIND, 20).await?;
    ensure!(id(&next(&mut consumer).await?)? == last[0].job, "an acked one came back");
    Ok(())
}

async fn a_closed_broker_ends_consumers_and_feeds(kit: &Kit) -> Result<()> {
    let (mut consumer, mut feed) = (kit.broker.consume(KIND, 1).await?, kit.broker.events().await?);
    kit.broker.close().await;
    ensure!(timeout(SOON, consumer.next()).await?.is_none());
    ensure!(timeout(SOON, feed.recv()).await?.is_none());
    ensure!(matches!(kit.broker.publish(&job()).await, Err(BrokerError::Unavailable(_))));
    Ok(())
}
