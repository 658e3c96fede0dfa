//! Queues and workers: calls for whoever keeps a Longshore running. They change nothing.
//! Read [`crate::api::QueueView`] for what is told of a queue.

use super::{Client, ClientError};
use crate::api::{QueueList, QueueView, WorkerList, WorkerView};

impl Client {
    /// Every kind's queue: what waits, what runs, and who is there.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn queues(&self) -> Result<Vec<QueueView>, ClientError> {
        let list: QueueList = self.transport.get(&["v1", "queues"], None).await?;
        Ok(list.queues)
    }

    /// The workers with a live lease, the oldest first.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn workers(&self) -> Result<Vec<WorkerView>, ClientError> {
        let list: WorkerList = self.transport.get(&["v1", "workers"], None).await?;
        Ok(list.workers)
    }
}
