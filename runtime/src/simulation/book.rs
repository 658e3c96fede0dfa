//! The ledger as a process of the simulation sees it: every call through [`Process::call`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_sdk::JobId;
use longshore_sdk::webhook::Secret;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::bug::Bug;
use super::careless;
use super::process::Process;
use crate::ledger::retention::{Keep, Removed, Retention};
use crate::ledger::trail::{Actor, Line, NewLine};
use crate::ledger::uploads::{Dooming, Hold, NewUpload, Stand, Upload, Uploads};
use crate::ledger::webhooks::{self, NewDelivery, Try, Webhook, Webhooks};
use crate::ledger::{
    Announced, Answer, ApiKey, Attempt, AuditPage, AuditPatience, Beat, BeatAnswer, Canceling, Census, Claim, Event,
    Fence, File, Filter, Job, Kind, Ledger, NewJob, NewKey, Patience, Pool, Ready, Record, Replaying, Report, Rescued,
    Round, Submitted, Unannounced, Whose, WorkerCard, WorkerRow,
};
use crate::tenant::Tenant;

/// The world's ledger in a process's hands.
pub(super) struct Book(pub(super) Arc<Process>);

impl Book {
    async fn pass<T>(&self, call: &'static str, work: impl Future<Output = Answer<T>>) -> Answer<T> {
        self.0.call(call, self.0.world.ledger_is_away(), work).await
    }

    fn has(&self, bug: Bug) -> bool {
        self.0.world.bug == Some(bug)
    }
}

macro_rules! beside_passed_on {
    ($part:ident: $(fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl $part for Book {
            $(async fn $name(&self, $($arg: $ty),*) -> Answer<$out> {
                self.pass(stringify!($name), self.0.world.ledger.$name($($arg),*)).await
            })+
        }
    };
}

beside_passed_on! {
    Webhooks:
    fn subscribe(webhook: &Webhook, most: usize) -> bool;
    fn webhooks(tenant: &Tenant) -> Vec<Webhook>;
    fn webhook(webhook: Uuid) -> Option<Webhook>;
    fn unsubscribe(webhook: Uuid) -> bool;
    fn rotate(webhook: Uuid, secret: &Secret, overlap: Duration) -> Option<Webhook>;
    fn switch(webhook: Uuid, off: Option<&str>) -> Option<Webhook>;
    fn end_hook(job: JobId, why: &str) -> ();
    fn send(delivery: &NewDelivery) -> ();
    fn errands(deliveries: &[JobId]) -> Vec<Option<webhooks::Errand>>;
    fn delivery(delivery: JobId) -> Option<webhooks::Delivery>;
    fn deliveries(webhook: Uuid, before: Option<JobId>, limit: usize) -> Vec<webhooks::Delivery>;
    fn own_deliveries(job: JobId, before: Option<JobId>, limit: usize) -> Vec<webhooks::Delivery>;
    fn note_tries(tries: &[(JobId, Try)]) -> ();
    fn remove_old_deliveries(age: Duration, limit: usize) -> usize;
}

beside_passed_on! {
    Uploads:
    fn begin_upload(upload: &NewUpload, most: u64) -> bool;
    fn upload(id: Uuid) -> Option<Upload>;
    fn hold_upload(id: Uuid, writer: Uuid, received: u64, lease: Duration) -> Hold;
    fn save_upload(id: Uuid, writer: Uuid, stand: &Stand, lease: Option<Duration>, lives: Duration) -> bool;
    fn finish_upload(file: &File, shown: Duration) -> bool;
    fn doom_upload(id: Uuid) -> Dooming;
    fn expired_uploads(limit: usize) -> Vec<Upload>;
    fn finished_uploads(limit: usize) -> Vec<Upload>;
    fn forget_upload(id: Uuid) -> ();
    fn use_files(of: &Tenant, job: JobId, files: &[Uuid]) -> ();
    fn expired_files(unused: Option<Duration>, limit: usize) -> Vec<(Tenant, Uuid)>;
    fn forget_file(id: Uuid) -> ();
}

#[async_trait]
impl Retention for Book {
    async fn adopt(&self, job: &NewJob) -> Answer<Option<Submitted>> {
        let adopt = async {
            let made = self.0.world.ledger.adopt(job).await?;
            if self.has(Bug::AdoptionUnowed) {
                self.0.world.ledger.mark_announced(&[(job.id, 1)]).await?;
            }
            Ok(made)
        };
        self.pass("adopt", adopt).await
    }

    async fn remove_outlived(&self, keep: Keep, after: Option<JobId>, limit: usize) -> Answer<Removed> {
        self.pass("remove_outlived", self.0.world.ledger.remove_outlived(keep, after, limit)).await
    }

    async fn leftovers(&self, limit: usize) -> Answer<Vec<JobId>> {
        self.pass("leftovers", self.0.world.ledger.leftovers(limit)).await
    }

    async fn forget_leftovers(&self, jobs: &[JobId]) -> Answer<()> {
        self.pass("forget_leftovers", self.0.world.ledger.forget_leftovers(jobs)).await
    }

    async fn forget_foreign(&self, age: Duration, limit: usize) -> Answer<usize> {
        self.pass("forget_foreign", self.0.world.ledger.forget_foreign(age, limit)).await
    }
}

macro_rules! passed_on {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Ledger for Book {
            fn pool(&self) -> Pool {
                self.0.world.ledger.pool()
            }

            // Nobody reads the audit log of a simulation.
            fn by(&self, _: Actor) -> Arc<dyn Ledger> {
                Arc::new(Self(Arc::clone(&self.0)))
            }

            async fn round(&self, worker: Uuid, claims: &[Claim], records: &[Record]) -> Answer<Round> {
                // A round with both is named by what weighs more.
                let name = if records.is_empty() { "claim" } else { "record" };
                let round = self.pass(name, careless::round(&self.0.world, worker, claims, records)).await;
                if self.has(Bug::RefusalBlamedOnTheOutput) { round.map_err(careless::blamed_on_the_output) } else { round }
            }

            async fn submit(&self, jobs: &[NewJob]) -> Answer<Vec<Submitted>> {
                let mut jobs = jobs.to_vec();
                if self.has(Bug::KeyForgotten) {
                    jobs.iter_mut().for_each(|job| job.idempotency = None);
                }
                self.pass("submit", self.0.world.ledger.submit(&jobs)).await
            }

            async fn rescue(&self, crash_limit: u32, whose: Whose) -> Answer<Vec<Rescued>> {
                let rescue = async {
                    match self.has(Bug::NeverRescued) {
                        true => Ok(vec![]),
                        false => self.0.world.ledger.rescue(crash_limit, whose).await,
                    }
                };
                self.pass("rescue", rescue).await
            }

            async fn hand_back(&self, fences: &[Fence]) -> Answer<()> {
                let fences = if self.has(Bug::NeverHandedBack) { &[] } else { fences };
                self.pass("hand_back", self.0.world.ledger.hand_back(fences)).await
            }

            async fn overdue(&self, kind: &str, patience: Patience, limit: usize) -> Answer<Vec<Ready>> {
                let limit = if self.has(Bug::NeverRefilled) { 0 } else { limit };
                self.pass("overdue", self.0.world.ledger.overdue(kind, patience, limit)).await
            }

            async fn unannounced(&self, limit: usize) -> Answer<Vec<Unannounced>> {
                let owed = self.pass("unannounced", self.0.world.ledger.unannounced(limit)).await?;
                Ok(if self.has(Bug::OutboxByCursor) { careless::behind_the_cursor(&self.0, owed) } else { owed })
            }

            async fn mark_queued(&self, jobs: &[(JobId, i64)]) -> Answer<()> {
                self.0.look_at_marks(jobs);
                self.pass("mark_queued", self.0.world.ledger.mark_queued(jobs)).await
            }

            async fn enlist(&self, worker: &WorkerCard, lease: Duration) -> Answer<Timestamp> {
                let lease = careless::by_its_clock(&self.0, lease);
                self.pass("enlist", self.0.world.ledger.enlist(worker, lease)).await
            }

            async fn beat(&self, beat: &Beat, lease: Duration) -> Answer<Option<BeatAnswer>> {
                let lease = careless::by_its_clock(&self.0, lease);
                self.pass("beat", self.0.world.ledger.beat(beat, lease)).await
            }

            $(async fn $name(&self, $($arg: $ty),*) -> Answer<$out> {
                self.pass(stringify!($name), self.0.world.ledger.$name($($arg),*)).await
            })+
        }
    };
}

passed_on! {
    fn add_key(key: &NewKey) -> ();
    fn key(id: &str) -> Option<ApiKey>;
    fn keys(of: Option<&Tenant>) -> Vec<ApiKey>;
    fn end_key(of: Option<&Tenant>, id: &str, within: Option<Duration>) -> bool;
    fn use_key(id: &str) -> ();
    fn migrate() -> ();
    fn now() -> Timestamp;
    fn announced() -> Announced;
    fn unqueue(job: JobId, version: i64) -> ();
    fn job(job: JobId) -> Option<Job>;
    fn attempts(job: JobId) -> Vec<Attempt>;
    fn history(job: JobId) -> Option<Vec<Event>>;
    fn events_since(since: Timestamp, limit: usize) -> Option<Vec<Event>>;
    fn knows_key(of: &Tenant, key: &str) -> bool;
    fn list(filter: &Filter) -> Vec<Job>;
    fn save_checkpoint(fence: Fence, checkpoint: &RawValue) -> bool;
    fn save_progress(worker: Uuid, progress: &[(Fence, Report)]) -> ();
    fn cancel(job: JobId) -> Canceling;
    fn replay(job: JobId) -> Replaying;
    fn owned(tenant: &Tenant, jobs: &[JobId]) -> Vec<JobId>;
    fn count_pending(of: &Tenant, most: u64) -> u64;
    fn dead_letters(whose: &Tenant, kind: &str, limit: usize) -> Vec<JobId>;
    fn purge(jobs: &[JobId]) -> usize;
    fn remove_idle_keys(limit: usize) -> usize;
    fn due(limit: usize) -> Vec<Ready>;
    fn next_due() -> Option<Duration>;
    fn mark_unannounced(jobs: &[(JobId, i64)]) -> ();
    fn mark_announced(jobs: &[(JobId, i64)]) -> ();
    fn census() -> Vec<Census>;
    fn count_dead_letters() -> Vec<(String, u64)>;
    fn audit(after: Option<JobId>, limit: usize, patience: AuditPatience) -> AuditPage;
    fn credited(worker: Uuid) -> Vec<Fence>;
    fn retire(worker: Uuid) -> ();
    fn end_lease(worker: Uuid, ending: &str) -> ();
    fn rescue_orphans(crash_limit: u32) -> Vec<Rescued>;
    fn workers() -> Vec<WorkerRow>;
    fn lead(role: &str, holder: Uuid, lease: Duration) -> bool;
    fn register_kinds(kinds: &[Kind]) -> ();
    fn kinds() -> Vec<Kind>;
    fn add_file(file: &File) -> ();
    fn file(id: Uuid) -> Option<File>;
    fn note(line: &NewLine) -> ();
    fn trail(of: Option<&Tenant>, before: Option<i64>, limit: usize) -> Vec<Line>;
    fn remove_old_lines(age: Duration, limit: usize) -> usize;
}
