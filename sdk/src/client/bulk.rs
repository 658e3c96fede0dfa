//! Listings, batches, and what is done with dead letters: calls about many jobs at once.
//! Each is one call: the pages and the rounds are the caller's to ask for. Read [`crate::api`] for the shapes.

use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::api::{
    BatchAnswer, BatchRequest, DeadLetterChoice, JobList, JobState, JobView, PurgedMany, ReplayedMany, SubmitRequest,
};
use crate::wire::JobId;

/// Which jobs to list; what is left out narrows nothing.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only those older than this one: [`JobList::next`] of the page before.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Client {
    /// One page of jobs, the newest first.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn list(&self, options: &ListOptions) -> Result<JobList, ClientError> {
        self.page(&["v1", "jobs"], options).await
    }

    /// One page of dead letters, the newest first; `state` is not asked for.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn dead_letters(&self, options: &ListOptions) -> Result<JobList, ClientError> {
        self.page(&["v1", "dead-letters"], &ListOptions { state: None, ..options.clone() }).await
    }

    /// Makes a dead letter ready again.
    ///
    /// # Errors
    /// As [`Client::job`]; a problem of type [`NOT_A_DEAD_LETTER`](crate::api::problem::NOT_A_DEAD_LETTER).
    pub async fn replay(&self, id: JobId) -> Result<JobView, ClientError> {
        self.transport.post_empty(&["v1", "jobs", &id.to_string(), "replay"]).await
    }

    /// Makes many dead letters ready again.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn replay_many(&self, choice: &DeadLetterChoice) -> Result<ReplayedMany, ClientError> {
        self.transport.post_json(&["v1", "dead-letters", "replay"], choice, &[]).await
    }

    /// Removes dead letters for good.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn purge(&self, choice: &DeadLetterChoice) -> Result<PurgedMany, ClientError> {
        self.transport.post_json(&["v1", "dead-letters", "purge"], choice, &[]).await
    }

    /// Submits many jobs in one call; each has its own answer. With a key the whole call may be repeated.
    ///
    /// # Errors
    /// Every [`ClientError`]; one job that is refused is no error of the call.
    pub async fn submit_batch(
        &self,
        jobs: Vec<SubmitRequest>,
        idempotency_key: Option<&str>,
    ) -> Result<BatchAnswer, ClientError> {
        let headers = [("idempotency-key", idempotency_key)];
        self.transport.post_json(&["v1", "jobs", "batch"], &BatchRequest { jobs }, &headers).await
    }

    async fn page<T: DeserializeOwned>(&self, path: &[&str], options: &ListOptions) -> Result<T, ClientError> {
        let mut url = self.transport.url(path);
        for (name, value) in pairs(options) {
            url.query_pairs_mut().append_pair(name, &value);
        }
        let request = self.transport.request(reqwest::Method::GET, url);
        self.transport.call(request.timeout(self.transport.limits().call_timeout)).await
    }
}

fn pairs(options: &ListOptions) -> impl Iterator<Item = (&'static str, String)> {
    let pairs = [
        ("state", options.state.map(|state| state.word().to_owned())),
        ("kind", options.kind.clone()),
        ("before", options.before.map(|id| id.to_string())),
        ("limit", options.limit.map(|limit| limit.to_string())),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_in_the_query() {
        assert_eq!(pairs(&ListOptions::default()).count(), 0);
        let id = JobId::fresh();
        let options = ListOptions { state: Some(JobState::Failed), before: Some(id), limit: Some(7), kind: None };
        let expected = [("state", "failed".to_owned()), ("before", id.to_string()), ("limit", "7".to_owned())];
        assert_eq!(pairs(&options).collect::<Vec<_>>(), expected);
    }
}
