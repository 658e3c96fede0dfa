//! A process of the simulation: what it asks of others passes here and meets its fate. Killed, it is not gone but stands still for ever:
//! its deliveries come again, and nobody outside can tell the difference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_sdk::{Failure, JobId};
use tokio_util::sync::CancellationToken;

use super::fate::Fate;
use super::gate::Gate;
use super::world::World;
use crate::broker::BrokerError;
use crate::ledger::LedgerError;
use crate::stop::Stop;

/// Longer than any lease here.
const PAUSE: Duration = Duration::from_secs(7);
const SLOW: Duration = Duration::from_secs(2);

/// One process from its start to its end.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) world: Arc<World>,
    /// Asked: it drains.
    pub(super) stop: Stop,
    pub(super) dead: CancellationToken,
    pub(super) gate: Gate,
    /// How often the broker took a job from it that it has not marked since.
    pub(super) published: Mutex<BTreeMap<JobId, u32>>,
    /// [`super::bug::Bug::OutboxByCursor`]
    pub(super) cursor: Mutex<Option<JobId>>,
    line: Mutex<CancellationToken>,
}

/// An error that says: nobody knows whether it was done.
pub(super) trait Unknown: Sized {
    fn unknown() -> Self;

    /// One that says that it was not done, and will not be. Who has no word for it says that nobody answers.
    fn refused() -> Self {
        Self::unknown()
    }
}

impl Unknown for LedgerError {
    fn unknown() -> Self {
        Self::Unavailable("simulated".into())
    }

    fn refused() -> Self {
        Self::Refused("simulated".into())
    }
}

impl Unknown for BrokerError {
    fn unknown() -> Self {
        Self::Unavailable("simulated".into())
    }
}

impl Unknown for Failure {
    fn unknown() -> Self {
        Self::retry("effects", "simulated")
    }
}

impl Process {
    pub(super) fn start(world: &Arc<World>, name: String) -> Arc<Self> {
        world.note(&name, "starts");
        let process = Arc::new(Self {
            name,
            world: Arc::clone(world),
            stop: Stop::new(),
            dead: CancellationToken::new(),
            gate: Gate::default(),
            published: Mutex::default(),
            cursor: Mutex::default(),
            line: Mutex::default(),
        });
        world.enter(&process);
        process
    }

    /// `kill -9`.
    pub(super) fn kill(&self) {
        self.world.note(&self.name, "is killed");
        self.gate.close();
        self.dead.cancel();
        self.line.lock().unwrap().cancel();
    }

    /// SIGSTOP, and SIGCONT after its lease is over.
    pub(super) fn pause(self: &Arc<Self>) {
        self.world.note(&self.name, "stands still");
        self.gate.close();
        let process = Arc::clone(self);
        // Not through `Stop`, or it would stand behind the gate it is to open.
        #[expect(clippy::disallowed_methods, reason = "nobody waits for it, and it ends with the simulation")]
        tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            if !process.dead.is_cancelled() {
                process.world.note(&process.name, "goes on");
                process.gate.open();
            }
        });
    }

    /// Its connection to the broker breaks.
    pub(super) fn cut(&self) {
        self.world.note(&self.name, "is cut off the broker");
        std::mem::take(&mut *self.line.lock().unwrap()).cancel();
    }

    /// What its consumers hang on.
    pub(super) fn line(&self) -> CancellationToken {
        self.line.lock().unwrap().clone()
    }

    /// Passes a call on, or what becomes of it.
    pub(super) async fn call<T, E: Unknown>(
        self: &Arc<Self>,
        call: &'static str,
        away: bool,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.world.look_at_acks().await;
        let fate = self.world.fate(&self.name, call);
        match fate {
            Some(Fate::Slow) => tokio::time::sleep(self.world.dice.up_to(SLOW)).await,
            Some(Fate::KilledBefore) => self.kill(),
            Some(Fate::Paused) => self.pause(),
            Some(Fate::Fails) => return Err(E::unknown()),
            Some(Fate::Refused) => return Err(E::refused()),
            _ => {}
        }
        self.standing().await;
        if away {
            return Err(E::unknown());
        }
        let answer = work.await;
        match fate {
            Some(Fate::KilledAfter) => self.kill(),
            Some(Fate::ReplyLost) => return Err(E::unknown()),
            _ => {}
        }
        self.standing().await;
        answer
    }

    /// Gives the gate the word: a task that has closed it goes no further.
    async fn standing(&self) {
        if self.gate.is_closed() {
            tokio::task::yield_now().await;
        }
    }
}
