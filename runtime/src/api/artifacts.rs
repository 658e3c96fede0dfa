//! Downloads of a completed job's output files. Nothing of an attempt that did not complete its job is ever served.
//! Read [`super::download`] for how.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use longshore_sdk::Artifact;

use super::Api;
use super::auth::Caller;
use super::download::{Handed, Via, disposition, handed, linked, via};
use super::params::{ArtifactInPath, nothing};
use super::problem::Answer;
use crate::job::state::State as JobState;
use crate::ledger::Job;
use crate::storage::direct::Shown;

pub(super) async fn download(
    State(api): State<Arc<Api>>,
    caller: Caller,
    ArtifactInPath(id, name): ArtifactInPath,
    uri: Uri,
    headers: HeaderMap,
) -> Answer<Response> {
    let via = via(&uri)?;
    let found = api.desk(&caller).job(id).await?.and_then(|job| Some((published(&job, &name)?, job)));
    let (artifact, job) = found.ok_or_else(|| nothing("artifact", &uri))?;
    let Artifact { content_type, bytes, sha256, .. } = &artifact;
    if via != Via::Us {
        let shown = Shown { disposition: &disposition(&name), content_type };
        return linked(&api, via, api.storage.link_to_artifact(id, job.attempt, &name, shown).await?);
    }
    let file = Handed { name: &name, content_type, bytes: *bytes, sha256 };
    handed(&headers, file, |range| api.storage.open_artifact(id, job.attempt, &name, range)).await
}

fn published(job: &Job, name: &str) -> Option<Artifact> {
    let completed = job.state == JobState::Completed;
    job.artifacts.iter().find(|artifact| completed && artifact.name == name).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::view::tests::full;

    #[test]
    fn only_a_completed_jobs_own_artifacts_are_published() {
        for state in JobState::ALL {
            let found = published(&full(state), "out.txt").is_some();
            assert_eq!(found, state == JobState::Completed, "{state:?}");
        }
        assert_eq!(published(&full(JobState::Completed), "other.txt"), None);
    }
}
