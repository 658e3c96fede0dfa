//! The ledger as one tenant sees it: there, nobody else's jobs, files and uploads are. What is another's is answered as what is not there,
//! so that nobody can learn that it is. Handlers that show or change something by an id ask here and nowhere else.

use std::sync::Arc;

use longshore_sdk::JobId;
use uuid::Uuid;

use super::Api;
use super::auth::Caller;
use crate::ledger::uploads::{Dooming, Upload};
use crate::ledger::{Answer, Canceling, Event, File, Filter, Job, Ledger, Replaying};
use crate::tenant::Tenant;

/// A tenant's desk.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) api: &'a Api,
    pub(super) tenant: &'a Tenant,
    /// Who sits at it; changes are noted as his.
    caller: Option<&'a Caller>,
}

impl Api {
    /// The desk of whoever asks.
    pub(super) fn desk<'a>(&'a self, caller: &'a Caller) -> Desk<'a> {
        Desk { caller: Some(caller), ..self.desk_of(&caller.tenant) }
    }

    pub(super) fn desk_of<'a>(&'a self, tenant: &'a Tenant) -> Desk<'a> {
        Desk { api: self, tenant, caller: None }
    }
}

impl Desk<'_> {
    pub(super) async fn job(&self, id: JobId) -> Answer<Option<Job>> {
        let found = self.api.ask(self.api.ledger.job(id)).await?;
        Ok(found.filter(|job| job.tenant == *self.tenant))
    }

    pub(super) async fn history(&self, id: JobId) -> Answer<Option<Vec<Event>>> {
        let told = self.api.ask(self.api.ledger.history(id)).await?;
        Ok(told.filter(|events| events.iter().all(|event| event.tenant == *self.tenant)))
    }

    pub(super) async fn list(&self, filter: Filter) -> Answer<Vec<Job>> {
        let filter = Filter { tenant: Some(self.tenant.clone()), ..filter };
        self.api.ask(self.api.ledger.list(&filter)).await
    }

    /// A job never changes hands, so what is ours when it is looked at is ours when it is changed.
    pub(super) async fn cancel(&self, id: JobId) -> Answer<Canceling> {
        if self.owned(&[id]).await?.is_empty() {
            return Ok(Canceling::Unknown);
        }
        self.api.ask(self.ledger().cancel(id)).await
    }

    pub(super) async fn replay(&self, id: JobId) -> Answer<Replaying> {
        if self.owned(&[id]).await?.is_empty() {
            return Ok(Replaying::Unknown);
        }
        self.api.ask(self.ledger().replay(id)).await
    }

    pub(super) async fn purge(&self, ids: &[JobId]) -> Answer<usize> {
        let ours = self.owned(ids).await?;
        self.api.ask(self.ledger().purge(&ours)).await
    }

    pub(super) async fn dead_letters(&self, kind: &str, limit: usize) -> Answer<Vec<JobId>> {
        self.api.ask(self.api.ledger.dead_letters(self.tenant, kind, limit)).await
    }

    pub(super) async fn file(&self, id: Uuid) -> Answer<Option<File>> {
        let found = self.api.ask(self.api.ledger.file(id)).await?;
        Ok(found.filter(|file| file.tenant == *self.tenant))
    }

    pub(super) async fn upload(&self, id: Uuid) -> Answer<Option<Upload>> {
        Ok(self.any_upload(id).await?.filter(|upload| !upload.stand.place.is_direct()))
    }

    /// One whose bytes go past us.
    pub(super) async fn direct_upload(&self, id: Uuid) -> Answer<Option<Upload>> {
        Ok(self.any_upload(id).await?.filter(|upload| upload.stand.place.is_direct()))
    }

    async fn any_upload(&self, id: Uuid) -> Answer<Option<Upload>> {
        let found = self.api.ask(self.api.ledger.upload(id)).await?;
        Ok(found.filter(|upload| upload.tenant == *self.tenant))
    }

    /// An upload never changes hands either.
    pub(super) async fn doom_upload(&self, id: Uuid) -> Answer<Dooming> {
        if self.upload(id).await?.is_none() {
            return Ok(Dooming::Unknown);
        }
        self.api.ask(self.api.ledger.doom_upload(id)).await
    }

    /// The ledger in the caller's hands.
    fn ledger(&self) -> Arc<dyn Ledger> {
        self.caller.map_or_else(|| Arc::clone(&self.api.ledger), |caller| self.api.ledger.by(caller.actor()))
    }

    async fn owned(&self, ids: &[JobId]) -> Answer<Vec<JobId>> {
        self.api.ask(self.api.ledger.owned(self.tenant, ids)).await
    }
}
