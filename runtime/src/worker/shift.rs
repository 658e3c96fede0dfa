//! One identity of a worker, from its enlistment to its end: by drain, when the process is told to stop, or by lapse, when its
//! lease is lost. It takes deliveries and gives each a task; what a task does is [`super::delivery`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use longshore_sdk::CancelReason;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::heartbeat::{self, Pulse};
use super::host;
use super::registry::Registry;
use super::running::Running;
use super::slots::{Seat, Slots, prefetch};
use super::watermark::Watermark;
use super::{Luck, Setup, WorkerSettings};
use crate::broker::{Broker, Consumer, Control, Heard};
use crate::ledger::batch::Rounds;
use crate::ledger::{Answer, Event, Fence, Ledger, WorkerCard};
use crate::notify::topic;
use crate::stop::Stop;
use crate::{clock, metrics};

/// What every task of one identity shares.
pub(super) struct Shift {
    pub(super) worker: Uuid,
    pub(super) settings: WorkerSettings,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) registry: Arc<Registry>,
    pub(super) rounds: Rounds,
    pub(super) slots: Arc<Slots>,
    pub(super) running: Running,
    pub(super) watermark: Arc<Watermark>,
    pub(super) shared: Arc<host::Shared>,
    pub(super) lost_reply: Arc<AtomicBool>,
    pub(super) hints: Arc<Notify>,
    pub(super) luck: Luck,
    /// No more is taken; executors that can yield do.
    pub(super) draining: CancellationToken,
    /// The lease is over; nothing more may be written.
    pub(super) lapsed: CancellationToken,
    /// This identity's loops.
    pub(super) tasks: Stop,
    /// Its deliveries, each a task, from the broker's hand to the ack.
    deliveries: Stop,
}

/// Between two tries to consume or to listen.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// How often progress is stored.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// How long after its end an identity waits for what no longer matters.
const LAST_WAIT: Duration = Duration::from_secs(15);

/// Works under one identity until `stop` is asked or its lease lapses.
pub(super) async fn work(setup: &Setup, stop: &Stop) -> Answer<()> {
    let worker = Uuid::now_v7();
    let card = WorkerCard {
        id: worker,
        host: setup.host.clone(),
        kinds: setup.registry.kinds().map(str::to_owned).collect(),
        slots: setup.settings.slots,
    };
    setup.guard.entering(worker);
    let enlisted = Instant::now();
    let now = setup.ledger.enlist(&card, setup.settings.lease).await?;
    let tasks = Stop::new();
    let shift = Arc::new(Shift::new(setup, worker, Watermark::new(now), tasks));
    let heart_done = CancellationToken::new();
    let heart = heartbeat::start(setup.heart, shift.pulse(setup, &heart_done), enlisted)
        .map_err(|error| crate::ledger::LedgerError::Unavailable(format!("no heartbeat thread: {error}")))?;
    metrics::ours().working(setup.settings.slots, clock::now());
    Arc::clone(&shift).open().await;
    tracing::info!(%worker, slots = setup.settings.slots, kinds = ?card.kinds, "working");
    tokio::select! {
        biased;
        () = stop.asked() => shift.drain().await,
        () = shift.lapsed.cancelled() => shift.abandon().await,
    }
    heart_done.cancel();
    heart.end().await;
    if !shift.lapsed.is_cancelled() && shift.deliveries.finished(Duration::ZERO).await {
        shift.hand_back_the_rest().await?;
        setup.ledger.retire(worker).await?;
    }
    Ok(())
}

impl Shift {
    fn new(setup: &Setup, worker: Uuid, watermark: Watermark, tasks: Stop) -> Self {
        let running = Running::default();
        let shared = host::Shared {
            ledger: Arc::clone(&setup.ledger),
            storage: Arc::clone(&setup.storage),
            running: running.clone(),
            scratch: setup.scratch.clone(),
        };
        Self {
            worker,
            settings: setup.settings.clone(),
            ledger: Arc::clone(&setup.ledger),
            broker: Arc::clone(&setup.broker),
            registry: Arc::clone(&setup.registry),
            rounds: Rounds::start(&tasks, Arc::clone(&setup.ledger), worker),
            slots: Arc::new(Slots::new(setup.settings.slots, &setup.registry)),
            running,
            watermark: Arc::new(watermark),
            shared: Arc::new(shared),
            lost_reply: Arc::default(),
            hints: Arc::clone(&setup.hints),
            luck: Arc::clone(&setup.luck),
            draining: CancellationToken::new(),
            lapsed: CancellationToken::new(),
            tasks,
            deliveries: Stop::new(),
        }
    }

    fn pulse(&self, setup: &Setup, done: &CancellationToken) -> Pulse {
        Pulse {
            worker: self.worker,
            lease: self.settings.lease,
            ledger: Arc::clone(&setup.heart_ledger),
            running: self.running.clone(),
            watermark: Arc::clone(&self.watermark),
            slots: Arc::clone(&self.slots),
            lost_reply: Arc::clone(&self.lost_reply),
            draining: self.draining.clone(),
            lapsed: self.lapsed.clone(),
            peak_memory: setup.heart.peak_memory(),
            done: done.clone(),
        }
    }

    /// Starts to take: a task per kind, one for progress, one for what is told to all workers. The queues come first: a producer that
    /// sees this worker ready may publish to them.
    async fn open(self: Arc<Self>) {
        let declared = self.registry.kinds().map(|kind| self.broker.declare(kind));
        if let Some(error) = join_all(declared).await.into_iter().find_map(Result::err) {
            tracing::warn!(%error, "the queues are not declared yet");
        }
        for (kind, _) in self.registry.entries() {
            self.tasks.spawn("consume", Arc::clone(&self).take(kind.to_owned()));
        }
        self.tasks.spawn("progress", Arc::clone(&self).store_progress());
        self.tasks.spawn("listen", Arc::clone(&self).listen());
    }

    async fn take(self: Arc<Self>, kind: String) {
        let Some(entry) = self.registry.get(&kind) else { return };
        let prefetch = prefetch(self.settings.slots, &entry.policy, self.settings.prefetch_extra);
        while !self.over() {
            match self.broker.consume(&kind, prefetch).await {
                Ok(consumer) => self.take_from(&kind, consumer).await,
                Err(error) => {
                    tracing::warn!(kind, %error, "cannot consume; trying again");
                    self.pause(TROUBLE_PAUSE).await;
                }
            }
        }
    }

    /// Until drain or lapse. What was fetched and not yet taken goes back with the consumer.
    async fn take_from(self: &Arc<Self>, kind: &str, mut consumer: Consumer) {
        loop {
            let seat = tokio::select! {
                biased;
                () = self.draining.cancelled() => break,
                () = self.lapsed.cancelled() => break,
                seat = self.seat_for(kind, &mut consumer) => seat,
            };
            let Some(seat) = seat else { break };
            let Some(delivery) = consumer.take() else { continue };
            let shift = Arc::clone(self);
            self.deliveries.spawn_quiet(async move { shift.deliver(delivery, seat).await });
        }
        consumer.close();
    }

    /// Room for what waits; `None` when nothing will come any more. The delivery is chosen only once there is room, so that
    /// whatever came meanwhile in a higher lane goes first.
    async fn seat_for(&self, kind: &str, consumer: &mut Consumer) -> Option<Seat> {
        if consumer.waiting().await { Some(self.slots.take(kind).await) } else { None }
    }

    async fn store_progress(self: Arc<Self>) {
        while self.pause(PROGRESS_EVERY).await {
            let told = self.running.reports(clock::now());
            let stored = |(fence, event): &(Fence, Event)| Some((*fence, event.progress.clone()?));
            let reports: Vec<_> = told.iter().filter_map(stored).collect();
            if reports.is_empty() {
                continue;
            }
            match self.ledger.save_progress(self.worker, &reports).await {
                Ok(()) => self.tell_progress(told.into_iter().map(|(_, event)| event).collect()).await,
                Err(error) => tracing::debug!(%error, "progress was not stored"),
            }
        }
    }

    /// Once it is stored, so that who hears of it finds it. Progress that the broker does not take is not told again.
    async fn tell_progress(&self, events: Vec<Event>) {
        let told = events.iter().map(topic::announcement);
        let told = join_all(told.map(|told| async move { self.broker.announce(&told).await })).await;
        if let Some(error) = told.into_iter().find_map(Result::err) {
            tracing::debug!(%error, "progress was not announced");
        }
    }

    /// Cancels arrive here at once, and with the next heartbeat if this feed missed them.
    async fn listen(self: Arc<Self>) {
        while !self.lapsed.is_cancelled() && !self.tasks.is_asked() {
            let Ok(mut told) = self.broker.told().await else {
                self.pause(TROUBLE_PAUSE).await;
                continue;
            };
            loop {
                let heard = tokio::select! {
                    biased;
                    () = self.tasks.asked() => return,
                    heard = told.recv() => heard,
                };
                match heard {
                    Some(Heard::Message(Control::Cancel(job))) => self.running.cancel(job, CancelReason::Requested),
                    Some(_) => {}
                    None => break,
                }
            }
        }
    }

    /// Told to stop: take no more, let executors yield or finish, and hand back what does neither within the grace period.
    async fn drain(&self) {
        metrics::ours().draining();
        tracing::info!(running = self.running.count(), "draining");
        self.draining.cancel();
        if !self.deliveries.finished(self.settings.drain_grace).await {
            tracing::warn!(running = self.running.count(), "the grace period is over; handing back the rest");
            self.running.cancel_all(CancelReason::Drained);
        }
        self.end().await;
    }

    /// The lease is lost: what runs here may run elsewhere by now.
    async fn abandon(&self) {
        self.running.cancel_all(CancelReason::LeaseLost);
        self.end().await;
    }

    async fn end(&self) {
        if !self.deliveries.finished(LAST_WAIT).await {
            tracing::error!(
                running = self.running.count(),
                "attempts that cannot be stopped are left behind, fenced off"
            );
        }
        self.tasks.ask();
    }

    /// What the ledger credits to us when nothing runs here any more: left to the rescuer, it would count as lost in a crash.
    async fn hand_back_the_rest(&self) -> Answer<()> {
        if !self.lost_reply.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let rest = self.ledger.credited(self.worker).await?;
        if rest.is_empty() { Ok(()) } else { self.ledger.hand_back(&rest).await }
    }

    fn over(&self) -> bool {
        self.draining.is_cancelled() || self.lapsed.is_cancelled() || self.tasks.is_asked()
    }

    /// Sleeps, unless this identity ends first; says whether it goes on.
    pub(super) async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.lapsed.cancelled() => false,
            slept = self.tasks.sleep(time) => slept,
        }
    }
}
