//! A job's events, rebuilt from its row and its attempts: each attempt's line keeps the versions it began and ended with and
//! where it led, the row keeps the rest. Pure, and the only place that knows how, so that a repeat is equal to the first
//! telling. It keeps nothing of its own: an event costs no row. Read [`super::Event`] next.

use jiff::Timestamp;
use longshore_sdk::{ErrorReport, JobId, Trace};
use serde::{Deserialize, Serialize};

use super::{Ended, Event, Report, Unannounced};
use crate::job::state::State;
use crate::tenant::Tenant;

/// What a history needs of a job's row.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub(super) job: JobId,
    pub(super) tenant: Tenant,
    pub(super) kind: String,
    pub(super) version: i64,
    pub(super) state: State,
    pub(super) attempt: u32,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    /// The version that the last attempt began with; `None` if an older program started it.
    pub(super) started_version: Option<i64>,
    pub(super) progress: Option<Report>,
    pub(super) replays: Vec<Replay>,
    pub(super) correlation_id: Option<String>,
    pub(super) trace: Option<Trace>,
}

/// An attempt that ended.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) attempt: u32,
    pub(super) ended: Ended,
    pub(super) error: Option<ErrorReport>,
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
    /// The three are `None` if an older program wrote the line.
    pub(super) started_version: Option<i64>,
    pub(super) version: Option<i64>,
    pub(super) state: Option<State>,
}

/// A dead letter was made ready again: the one transition that neither an attempt nor the row's last state tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replay {
    pub(super) version: i64,
    pub(super) at_us: i64,
}

/// Everything that happened, in order.
pub(super) fn events(outline: &Outline, lines: &[Line]) -> Vec<Event> {
    let mut events = vec![outline.accepted()];
    for line in lines {
        events.extend([outline.began(line), outline.ended(line)]);
    }
    events.extend(outline.replays.iter().filter_map(|replay| outline.replayed(replay, lines)));
    let canceled = events.iter().any(|event| event.state == State::Canceled);
    match outline.state {
        State::Running => events.extend(outline.running()),
        State::Canceled if !canceled => events.push(outline.canceled()),
        State::Pending | State::Completed | State::Failed | State::Canceled => {}
    }
    events.sort_by_key(Event::id);
    events
}

/// All of these histories; `None` for more than `limit` jobs. What happened to them before is among it: it may have been announced
/// with what happened last.
pub(super) fn of_all(jobs: Vec<Unannounced>, limit: usize) -> Option<Vec<Event>> {
    (jobs.len() <= limit).then(|| jobs.into_iter().flat_map(|job| job.events).collect())
}

/// The event of an attempt's end. The statement that ends it tells the same by the same rule.
pub(super) fn ending(event: Event) -> Event {
    // What a canceled attempt fell over on its way out is its attempt's to tell.
    let error = if event.state == State::Canceled { None } else { event.error };
    Event { error, ..event }
}

impl Outline {
    fn accepted(&self) -> Event {
        let accepted =
            Event::accepted(self.job, &self.tenant, &self.kind, self.correlation_id.as_deref(), self.created_at);
        Event { trace: self.trace.clone(), ..accepted }
    }

    fn began(&self, line: &Line) -> Event {
        let version = line.started_version.unwrap_or(2 * i64::from(line.attempt));
        self.start(version, line.attempt, line.started_at)
    }

    fn start(&self, version: i64, attempt: u32, at: Timestamp) -> Event {
        Event { version, state: State::Running, attempt, at, ..self.accepted() }
    }

    fn ended(&self, line: &Line) -> Event {
        let last = line.attempt == self.attempt && self.state.is_terminal();
        let (state, version) = match last {
            true => (self.state, self.version),
            false => (State::Pending, 2 * i64::from(line.attempt) + 1),
        };
        ending(Event {
            version: line.version.unwrap_or(version),
            state: line.state.unwrap_or(state),
            attempt: line.attempt,
            ended: Some(line.ended),
            error: line.error.clone(),
            at: line.finished_at,
            ..self.accepted()
        })
    }

    fn replayed(&self, replay: &Replay, lines: &[Line]) -> Option<Event> {
        let before = lines.iter().filter(|line| line.version.is_none_or(|version| version < replay.version));
        let at = Timestamp::from_microsecond(replay.at_us).ok()?;
        let attempt = before.map(|line| line.attempt).max()?;
        Some(Event { version: replay.version, attempt, at, ..self.accepted() })
    }

    fn running(&self) -> Vec<Event> {
        let Some(at) = self.started_at else { return vec![] };
        let start = self.start(self.started_version.unwrap_or(self.version), self.attempt, at);
        let progress = self.progress.clone();
        let progressed = progress.map(|report| Event { at: report.at, progress: Some(report), ..start.clone() });
        [start].into_iter().chain(progressed).collect()
    }

    /// While it was pending: no attempt ended with it.
    fn canceled(&self) -> Event {
        Event {
            version: self.version,
            state: State::Canceled,
            attempt: self.attempt,
            at: self.changed_at,
            ..self.accepted()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn outline(state: State, version: i64, attempt: u32) -> Outline {
        Outline {
            job: JobId::fresh(),
            tenant: Tenant::default(),
            kind: "demo".into(),
            version,
            state,
            attempt,
            created_at: at(1),
            changed_at: at(99),
            started_at: (attempt > 0).then(|| at(50)),
            started_version: (attempt > 0).then_some(version),
            progress: None,
            replays: vec![],
            correlation_id: None,
            trace: None,
        }
    }

    fn line(attempt: u32, ended: Ended, versions: (i64, i64), state: State) -> Line {
        Line {
            attempt,
            ended,
            error: (ended == Ended::Error).then(|| ErrorReport::new("rough_sea", "no")),
            started_at: at(versions.0),
            finished_at: at(versions.1),
            started_version: Some(versions.0),
            version: Some(versions.1),
            state: Some(state),
        }
    }

    fn told(events: &[Event]) -> Vec<(i64, State, u32)> {
        events.iter().map(|event| (event.version, event.state, event.attempt)).collect()
    }

    #[test]
    fn a_dead_letter_that_was_replayed_tells_its_whole_life_in_order() {
        let lines = [line(1, Ended::Error, (2, 3), State::Failed), line(2, Ended::Done, (6, 7), State::Completed)];
        let replays = vec![Replay { version: 4, at_us: 4_000_000 }];
        let events = events(&Outline { replays, ..outline(State::Completed, 7, 2) }, &lines);
        let life = [
            (1, State::Pending, 0),
            (2, State::Running, 1),
            (3, State::Failed, 1),
            (4, State::Pending, 1),
            (6, State::Running, 2),
            (7, State::Completed, 2),
        ];
        assert_eq!(told(&events), life);
        assert_eq!(events[3].at, at(4));
    }

    #[test]
    fn a_running_attempt_tells_its_start_and_its_latest_progress_under_it() {
        let progress = Some(Report { n: 3, at: at(60), progress: "half".into() });
        // A cancel was asked for since: that moves the version and tells nothing.
        let asked = Outline { progress, started_version: Some(2), ..outline(State::Running, 3, 1) };
        let events = events(&asked, &[]);
        let ids: Vec<_> = events.iter().map(|event| (event.id().sequence, event.id().progress)).collect();
        assert_eq!(ids, [(1, 0), (2, 0), (2, 3)]);
    }

    #[test]
    fn a_job_canceled_while_it_waited_is_told_once() {
        let fresh = events(&outline(State::Canceled, 2, 0), &[]);
        assert_eq!(told(&fresh), [(1, State::Pending, 0), (2, State::Canceled, 0)]);
        let lines = [line(1, Ended::Error, (2, 3), State::Pending)];
        let waiting = events(&outline(State::Canceled, 4, 1), &lines);
        assert_eq!(told(&waiting)[2..], [(3, State::Pending, 1), (4, State::Canceled, 1)]);
        let lines = [line(1, Ended::Canceled, (2, 4), State::Canceled)];
        assert_eq!(events(&outline(State::Canceled, 4, 1), &lines).len(), 3);
    }

    #[test]
    fn what_an_older_program_wrote_is_told_with_numbers_that_rise() {
        let old = |attempt, ended| Line {
            started_version: None,
            version: None,
            state: None,
            ..line(attempt, ended, (1, 1), State::Pending)
        };
        let lines = [old(1, Ended::Error), old(2, Ended::Done)];
        let events = events(&outline(State::Completed, 6, 2), &lines);
        let life: Vec<i64> = events.iter().map(|event| event.version).collect();
        assert_eq!(life, [1, 2, 3, 4, 6]);
        assert_eq!(events.last().unwrap().state, State::Completed);
    }
}
