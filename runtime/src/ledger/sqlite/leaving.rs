//! How a job leaves `running`: pure functions say where to, and one statement carries it out with the attempt's line in the
//! history. Every way out passes here (record, hand-back, rescue), and no other move does. Read [`super::round`] next.

use longshore_sdk::{Artifact, ErrorReport};
use rusqlite::{Connection, named_params};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::columns::{Head, Id, Json, later, moment};
use super::webhooks::tell;
use crate::job::state::State;
use crate::job::verdict::is_poison;
use crate::ledger::history::ending;
use crate::ledger::{Answer, Ended, Event, Settle, evidence};

/// Where a running job goes, and what its row holds then.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) to: State,
    /// When the relay is to publish it, if it is pending.
    due_at: Option<i64>,
    charged: u32,
    crashes: u32,
    crashed_alone: u32,
    error: Option<ErrorReport>,
    result: Option<Box<RawValue>>,
    artifacts: Vec<Artifact>,
    /// The worker that settled it.
    worker: Option<Uuid>,
    /// No delivery stands behind this move: the relay must announce it.
    unannounced: bool,
}

impl Leaving {
    fn to(to: State, head: &Head) -> Self {
        Self {
            to,
            due_at: None,
            charged: head.charged,
            crashes: head.crashes,
            crashed_alone: head.crashed_alone,
            error: None,
            result: None,
            artifacts: vec![],
            worker: None,
            unannounced: false,
        }
    }

    /// Back to pending, with its last error; but a cancel that was accepted is final.
    fn again(head: &Head, due_at: i64) -> Self {
        let error = head.error.clone();
        if head.cancel_requested {
            return Self { error, ..Self::to(State::Canceled, head) };
        }
        Self { due_at: Some(due_at), error, ..Self::to(State::Pending, head) }
    }
}

/// Its attempt ended in its worker's hands. However it ended, it didn't crash: the account of crashes starts anew.
pub(super) fn recorded(head: &Head, settle: &Settle, now: i64) -> Leaving {
    let charged = head.charged + 1;
    let leaving = match settle {
        Settle::Complete { result, artifacts } => Leaving {
            result: Some(result.clone()),
            artifacts: artifacts.clone(),
            ..Leaving::to(State::Completed, head)
        },
        Settle::Retry { wait, error } => {
            Leaving { charged, error: Some(error.clone()), ..Leaving::again(head, later(now, *wait)) }
        }
        Settle::DeadLetter { error } => {
            Leaving { charged, error: Some(error.clone()), ..Leaving::to(State::Failed, head) }
        }
        Settle::Cancel => Leaving::to(State::Canceled, head),
        Settle::HandBack { wait } => Leaving::again(head, later(now, *wait)),
    };
    let worker = head.worker.filter(|_| leaving.to.is_terminal());
    Leaving { crashes: 0, crashed_alone: 0, worker, ..leaving }
}

/// Its attempt never ran, so it proves nothing about its crashes.
pub(super) fn handed_back(head: &Head, now: i64) -> Leaving {
    let leaving = Leaving::again(head, now);
    Leaving { unannounced: true, ..leaving }
}

/// Its worker is gone. Nothing is charged: whose fault it was shows only when it is lost while it runs alone.
pub(super) fn lost(head: &Head, crash_limit: u32, known: &str, now: i64) -> Leaving {
    let crashed_alone = head.crashed_alone + u32::from(head.alone);
    let leaving = if is_poison(crashed_alone, crash_limit) && !head.cancel_requested {
        Leaving { error: Some(poison(known)), ..Leaving::to(State::Failed, head) }
    } else {
        Leaving::again(head, now)
    };
    Leaving { crashes: head.crashes + 1, crashed_alone, unannounced: true, ..leaving }
}

fn poison(known: &str) -> ErrorReport {
    ErrorReport::new("poison", format!("{}{known}", evidence::POISON))
}

/// What is told of an attempt that went with its worker: how, or that it was the one too many.
pub(super) fn loss(leaving: &Leaving, ended: Ended, known: &str) -> ErrorReport {
    let poison = leaving.error.clone().filter(|_| leaving.to == State::Failed);
    let (code, how) = evidence::of_attempt(ended);
    poison.unwrap_or_else(|| ErrorReport::new(code, format!("{how}{known}")))
}

/// Carries it out. The mark of an earlier, unannounced transition stays: clearing it is the relay's.
pub(super) fn leave(
    db: &Connection,
    head: Head,
    leaving: Leaving,
    ended: Ended,
    error: Option<&ErrorReport>,
    now: i64,
) -> Answer<Event> {
    let settled = leaving.to.is_terminal();
    db.prepare_cached(
        "update jobs set state = :to, version = version + 1, changed_at = :now, due_at = :due_at, finished_at = :finished_at, \
         charged = :charged, crashes = :crashes, crashed_alone = :crashed_alone, alone = 0, error = :error, result = :result, \
         artifacts = :artifacts, worker = :worker, unannounced = unannounced or :unannounced, cancel_requested = 0, \
         progress = null, checkpoint = case when not :settled then checkpoint end where seq = :seq",
    )?
    .execute(named_params! {
        ":seq": head.seq,
        ":now": now,
        ":to": leaving.to,
        ":settled": settled,
        ":due_at": leaving.due_at,
        ":finished_at": settled.then_some(now),
        ":charged": leaving.charged,
        ":crashes": leaving.crashes,
        ":crashed_alone": leaving.crashed_alone,
        ":error": leaving.error.as_ref().map(Json),
        ":result": leaving.result.as_deref().map(RawValue::get),
        ":artifacts": (!leaving.artifacts.is_empty()).then_some(Json(&leaving.artifacts)),
        ":worker": leaving.worker.map(Id),
        ":unannounced": leaving.unannounced,
    })?;
    write_line(db, &head, leaving.to, ended, error, now)?;
    let event = ending(Event {
        job: head.job,
        tenant: head.tenant,
        kind: head.kind,
        version: head.version + 1,
        state: leaving.to,
        attempt: head.attempt,
        ended: Some(ended),
        error: error.cloned(),
        progress: None,
        correlation_id: head.correlation_id,
        trace: head.trace,
        at: moment(now)?,
    });
    tell(db, now, &event, head.webhook.as_ref())?;
    Ok(event)
}

fn write_line(
    db: &Connection,
    head: &Head,
    to: State,
    ended: Ended,
    error: Option<&ErrorReport>,
    now: i64,
) -> Answer<()> {
    db.prepare_cached(
        "insert into attempts (seq, attempt, worker, ended, error, started_at, finished_at, started_version, version, state) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute((
        head.seq,
        head.attempt,
        head.worker.map(Id),
        ended.word(),
        error.map(Json),
        head.started_at,
        now,
        head.started_version,
        head.version + 1,
        to,
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_sdk::JobId;

    use super::*;

    fn running(crashed_alone: u32, alone: bool, cancel_requested: bool) -> Head {
        Head {
            seq: 1,
            job: JobId::fresh(),
            tenant: crate::tenant::Tenant::default(),
            kind: "demo".into(),
            state: State::Running,
            version: 2,
            attempt: 1,
            charged: 1,
            crashes: crashed_alone,
            crashed_alone,
            alone,
            worker: Some(Uuid::now_v7()),
            cancel_requested,
            due_at: None,
            started_at: Some(1),
            started_version: Some(2),
            error: None,
            correlation_id: None,
            trace: None,
            shown: None,
            webhook: None,
        }
    }

    fn every_end() -> Vec<Settle> {
        let error = ErrorReport::new("error", "no");
        vec![
            Settle::Complete { result: RawValue::NULL.to_owned(), artifacts: vec![] },
            Settle::Retry { wait: Duration::from_micros(5), error: error.clone() },
            Settle::DeadLetter { error },
            Settle::Cancel,
            Settle::HandBack { wait: Duration::from_micros(5) },
        ]
    }

    #[test]
    fn a_job_that_left_is_due_if_pending_and_has_its_worker_if_settled() {
        for settle in every_end() {
            let leaving = recorded(&running(2, true, false), &settle, 10);
            assert_eq!(leaving.due_at.is_some(), leaving.to == State::Pending, "{leaving:?}");
            assert_eq!(leaving.worker.is_some(), leaving.to.is_terminal(), "{leaving:?}");
            assert_eq!((leaving.crashes, leaving.crashed_alone), (0, 0), "{leaving:?}");
        }
    }

    #[test]
    fn after_an_accepted_cancel_nothing_leads_back_to_pending() {
        let head = running(2, true, true);
        let mut ways: Vec<_> = every_end().iter().map(|settle| recorded(&head, settle, 10)).collect();
        ways.extend([handed_back(&head, 10), lost(&head, 3, "", 10)]);
        assert!(ways.iter().all(|leaving| leaving.to != State::Pending), "{ways:?}");
    }

    #[test]
    fn only_a_crash_alone_brings_a_job_nearer_to_poison() {
        let neighbour = lost(&running(2, false, false), 3, "", 10);
        assert_eq!((neighbour.to, neighbour.crashes, neighbour.crashed_alone), (State::Pending, 3, 2));
        let culprit = lost(&running(2, true, false), 3, "", 10);
        assert_eq!((culprit.to, culprit.crashes, culprit.crashed_alone), (State::Failed, 3, 3));
    }
}
