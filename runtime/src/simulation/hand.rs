//! Hands deliveries on to a worker, so that an ack is a call as any other: it may not arrive, and its process may end just before or
//! just after it. What the worker holds is a copy; the delivery itself stays here until the copy is settled.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::process::Process;
use crate::broker::{BrokerError, Consumer, Delivery, Settlement};

/// More than any consumer here may hold.
const ROOM: usize = 1000;

/// What a process takes from this consumer.
pub(super) fn on(process: &Arc<Process>, real: Consumer) -> Consumer {
    let (out, copies) = mpsc::channel(ROOM);
    let closing = Arc::new(CancellationToken::new());
    process.stop.spawn("hand", hand_on(Arc::clone(process), real, out, Arc::clone(&closing)));
    let none = || mpsc::channel(1).1;
    // Every message here is of the lane in the middle.
    Consumer::new([none(), copies, none()], closing)
}

async fn hand_on(
    process: Arc<Process>,
    mut real: Consumer,
    out: mpsc::Sender<Delivery>,
    closing: Arc<CancellationToken>,
) {
    let (settle, mut settlements) = mpsc::unbounded_channel();
    let (mut held, mut tag, mut open) = (BTreeMap::new(), 0, true);
    while open || !held.is_empty() {
        tokio::select! {
            biased;
            () = closing.cancelled(), if open => {
                real.close();
                open = false;
            }
            Some(settlement) = settlements.recv() => match settlement {
                Settlement::Ack(tag) => ack(&process, held.remove(&tag)),
                Settlement::Return(tag) => drop(held.remove(&tag)),
            },
            next = real.next(), if open => match next {
                Some(delivery) => {
                    tag += 1;
                    // Refused by a consumer that is gone, the copy says so as it is dropped.
                    let _ = out.try_send(copy(&delivery, tag, &settle));
                    held.insert(tag, delivery);
                }
                None => open = false,
            },
        }
    }
}

fn copy(delivery: &Delivery, tag: u64, settle: &mpsc::UnboundedSender<Settlement>) -> Delivery {
    let mut copy = Delivery::new(delivery.body.clone(), delivery.kind.clone(), tag, settle.clone());
    copy.content_type.clone_from(&delivery.content_type);
    copy.message_id.clone_from(&delivery.message_id);
    copy.correlation_id.clone_from(&delivery.correlation_id);
    copy.trace.clone_from(&delivery.trace);
    copy.tenant.clone_from(&delivery.tenant);
    copy.redelivered = delivery.redelivered;
    copy
}

/// As on a wire: whoever sends it hears no answer. One that does not arrive leaves the delivery to come again.
fn ack(process: &Arc<Process>, mut delivery: Option<Delivery>) {
    let sender = Arc::clone(process);
    process.stop.spawn("ack", async move {
        let away = sender.world.broker_is_away();
        let settled = async {
            delivery.take().into_iter().for_each(Delivery::ack);
            Ok::<(), BrokerError>(())
        };
        let _ = sender.call("ack", away, settled).await;
    });
}
