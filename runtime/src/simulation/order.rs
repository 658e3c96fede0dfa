//! What must hold at every moment, looked at while it happens: an acknowledgement leaves no job on a road where it is not, and what is
//! marked as published was published. The reconciler heals both in the end, so what must hold at the end (`truth.rs`) shows neither.

use longshore_sdk::JobId;

use super::process::Process;
use super::world::World;
use crate::job::state::State;
use crate::ledger::Ledger as _;

impl World {
    /// Looks at what was acknowledged since the last time. Whoever wipes the broker looks first.
    pub(super) async fn look_at_acks(&self) {
        for id in self.broker.acked() {
            let Some(job) = id.parse::<JobId>().ok() else { continue };
            let Some(row) = self.ledger.job(job).await.unwrap() else { continue };
            if row.state == State::Pending && row.queued_at.is_some() && !self.broker.carries(&id) {
                self.find("acknowledged, and the ledger counts on the delivery", format!("{row:?}"));
            }
        }
    }

    /// As a weather that takes everything from the broker.
    pub(super) async fn wipe_the_broker(&self) {
        self.look_at_acks().await;
        self.note("broker", "loses everything");
        self.broker.wipe();
    }
}

impl Process {
    /// The broker has taken a message of this job from this process.
    pub(super) fn has_published(&self, job: JobId) {
        *self.published.lock().unwrap().entry(job).or_default() += 1;
        self.world.carried.lock().unwrap().insert(job);
    }

    /// This process is about to say that these jobs are on the road. Its relay and its reconciler may each have published one, and
    /// then each says so.
    pub(super) fn look_at_marks(&self, jobs: &[(JobId, i64)]) {
        let mut published = self.published.lock().unwrap();
        for (job, version) in jobs {
            let times = published.get_mut(job).filter(|times| **times > 0);
            if let Some(times) = times {
                *times -= 1;
            } else {
                let what = format!("{job} at version {version}, by {}", self.name);
                self.world.find("marked as published, and no broker has taken it", what);
            }
        }
    }
}
