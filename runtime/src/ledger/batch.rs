//! Group commit without a timer: while one batch commits, the next gathers. A lone request goes at once; under load the
//! batches grow by themselves. It decides nothing: order and meaning are the ledger's. This is what makes a durable runtime
//! fast (one fsync for a hundred jobs), see the measurements in ARCHITECTURE.md.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Answer, Claim, Claimed, Ledger, LedgerError, NewJob, Record, Recorded, Round, Submitted};
use crate::metrics;
use crate::stop::Stop;

/// Rows in one commit at most. Measured: gains end near 500 rows, and a reply waits for its whole batch.
pub const MAX_BATCH: usize = 500;

/// Gathers questions of one sort, asks them together, and hands each asker its answer.
pub struct Group<Q, A> {
    asks: mpsc::Sender<Ask<Q, A>>,
}

type Ask<Q, A> = (Q, oneshot::Sender<Answer<A>>);

impl<Q, A> Clone for Group<Q, A> {
    fn clone(&self) -> Self {
        Self { asks: self.asks.clone() }
    }
}

impl<Q: Clone + Send + Sync + 'static, A: Send + 'static> Group<Q, A> {
    /// Starts a committer, which ends when the last clone of the group is gone. `commit` answers in the order it was asked.
    pub fn start<F>(stop: &Stop, commit: impl Fn(Vec<Q>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer<Vec<A>>> + Send,
    {
        let (asks, mut gathered) = mpsc::channel::<Ask<Q, A>>(2 * MAX_BATCH);
        stop.spawn("ledger batch", async move {
            let mut batch = Vec::with_capacity(MAX_BATCH);
            while gathered.recv_many(&mut batch, MAX_BATCH).await > 0 {
                answer_all(&commit, batch.drain(..).unzip()).await;
            }
        });
        Self { asks }
    }

    /// # Errors
    /// Those of the commit that this question was part of: after [`LedgerError::Unavailable`] it may or may not have happened.
    pub async fn ask(&self, question: Q) -> Answer<A> {
        let gone = || LedgerError::Unavailable("the ledger's committer has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        self.asks.send((question, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn answer_all<Q, A, F>(
    commit: &impl Fn(Vec<Q>) -> F,
    (questions, replies): (Vec<Q>, Vec<oneshot::Sender<Answer<A>>>),
) where
    Q: Clone,
    F: Future<Output = Answer<Vec<A>>>,
{
    // An asker that has gone away is answered too: its question may have been committed.
    match commit(questions.clone()).await {
        Ok(answers) => replies.into_iter().zip(answers).for_each(|(reply, answer)| drop(reply.send(Ok(answer)))),
        // One question the ledger refuses must not fail its neighbours.
        Err(LedgerError::Refused(_) | LedgerError::Unstorable(_)) if questions.len() > 1 => {
            for (question, reply) in questions.into_iter().zip(replies) {
                let alone = commit(vec![question]).await;
                drop(reply.send(alone.map(|mut answers| answers.remove(0))));
            }
        }
        Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
    }
}

/// Submits of all the requests of an API process.
pub type Submits = Group<NewJob, Submitted>;

/// Starts the submits' committer.
pub fn submits(stop: &Stop, ledger: Arc<dyn Ledger>) -> Submits {
    Group::start(stop, move |jobs: Vec<NewJob>| {
        metrics::ours().ledger_batch(jobs.len());
        let ledger = Arc::clone(&ledger);
        async move { ledger.submit(&jobs).await }
    })
}

/// Claims and records of all the slots of one worker.
#[derive(Clone)]
pub struct Rounds {
    group: Group<Step, Told>,
}

#[derive(Clone)]
enum Step {
    Claim(Claim),
    Record(Box<Record>),
}

enum Told {
    Claimed(Claimed),
    Recorded(Box<Recorded>),
}

impl Rounds {
    /// Starts the committer of one worker's identity.
    pub fn start(stop: &Stop, ledger: Arc<dyn Ledger>, worker: Uuid) -> Self {
        let commit = move |steps: Vec<Step>| {
            metrics::ours().ledger_batch(steps.len());
            let ledger = Arc::clone(&ledger);
            async move { one_round(ledger.as_ref(), worker, steps).await }
        };
        Self { group: Group::start(stop, commit) }
    }

    /// # Errors
    /// [`LedgerError::Unavailable`]: the job may be ours without our knowing. The heartbeat finds it and hands it back.
    pub async fn claim(&self, claim: Claim) -> Answer<Claimed> {
        match self.group.ask(Step::Claim(claim)).await? {
            Told::Claimed(claimed) => Ok(claimed),
            Told::Recorded(_) => unreachable!("answers come in the order of their questions"),
        }
    }

    /// # Errors
    /// [`LedgerError::Unavailable`]: ask again; if it was recorded, the answer is [`Recorded::Before`].
    pub async fn record(&self, record: Record) -> Answer<Recorded> {
        match self.group.ask(Step::Record(Box::new(record))).await? {
            Told::Recorded(recorded) => Ok(*recorded),
            Told::Claimed(_) => unreachable!("answers come in the order of their questions"),
        }
    }
}

async fn one_round(ledger: &dyn Ledger, worker: Uuid, steps: Vec<Step>) -> Answer<Vec<Told>> {
    let (mut claims, mut records) = (vec![], vec![]);
    let order: Vec<bool> = steps.iter().map(|step| matches!(step, Step::Claim(_))).collect();
    for step in steps {
        match step {
            Step::Claim(claim) => claims.push(claim),
            Step::Record(record) => records.push(*record),
        }
    }
    let Round { claims, records } = ledger.round(worker, &claims, &records).await?;
    let (mut claims, mut records) = (claims.into_iter(), records.into_iter());
    let answers = order.into_iter().map(|is_claim| {
        if is_claim { claims.next().map(Told::Claimed) } else { records.next().map(Box::new).map(Told::Recorded) }
    });
    Ok(answers.map(|told| told.expect("a round answers each question")).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn refusing_threes(sizes: Arc<Mutex<Vec<usize>>>) -> impl Fn(Vec<u32>) -> std::future::Ready<Answer<Vec<u32>>> {
        move |batch| {
            sizes.lock().unwrap().push(batch.len());
            std::future::ready(if batch.contains(&3) {
                Err(LedgerError::Refused("three".into()))
            } else {
                Ok(batch.into_iter().map(|n| n * 10).collect())
            })
        }
    }

    #[tokio::test]
    async fn one_refused_question_does_not_fail_its_neighbours() {
        let (stop, sizes) = (Stop::new(), Arc::default());
        let group = Group::start(&stop, refusing_threes(Arc::clone(&sizes)));
        let answers = futures_util::future::join_all((1..=4).map(|n| group.ask(n))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        assert_eq!(answers, [Some(10), Some(20), None, Some(40)]);
        assert_eq!(*sizes.lock().unwrap(), [4, 1, 1, 1, 1], "four asked together, then each alone");
    }

    #[tokio::test]
    async fn the_committer_ends_with_its_last_asker() {
        let stop = Stop::new();
        let group: Group<u32, u32> = Group::start(&stop, |batch| std::future::ready(Ok(batch)));
        assert_eq!(group.ask(1).await.unwrap(), 1);
        drop(group);
        assert!(stop.finished(std::time::Duration::from_secs(5)).await, "the committer still runs");
    }
}
