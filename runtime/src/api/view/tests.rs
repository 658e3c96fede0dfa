//! What a job looks like in each of its states.

use std::time::Duration;

use longshore_sdk::{Artifact, ErrorReport, JobId, Progress};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::*;
use crate::ledger::Priority;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

/// A row with every column filled, so that what a state must not show is there to be shown.
pub(in crate::api) fn full(state: State) -> Job {
    Job {
        id: JobId(Uuid::from_u128(7)),
        tenant: crate::tenant::Tenant::default(),
        kind: "demo.greet".into(),
        state,
        priority: Priority::Normal,
        version: 4,
        attempt: 2,
        charged: 1,
        max_attempts: 5,
        crashes: 0,
        timeout: Duration::from_secs(60),
        payload: raw("{}"),
        result: Some(raw("42")),
        error: Some(ErrorReport::new("timeout", "too long")),
        progress: Some(Progress::from(0.5)),
        artifacts: vec![Artifact {
            name: "out.txt".into(),
            content_type: "text/plain".into(),
            bytes: 5,
            sha256: "ab".into(),
        }],
        metadata: Some(to_raw_value(&serde_json::json!({ "who": "me" })).unwrap()),
        correlation_id: Some("c-1".into()),
        trace: None,
        unique_key: Some("u-1".into()),
        created_at: at(100),
        due_at: Some(at(200)),
        queued_at: None,
        started_at: Some(at(150)),
        finished_at: None,
        worker: Some(Uuid::from_u128(9)),
        cancel_requested: true,
        webhook: None,
    }
}

fn view_at(row: &Job, second: i64) -> JobView {
    job(row, &[], at(second))
}

#[test]
fn a_pending_job_says_what_it_waits_for() {
    let mut row = full(State::Pending);
    assert_eq!(view_at(&row, 199).waiting, Some(Waiting::BackingOff));
    assert_eq!(view_at(&row, 200).waiting, Some(Waiting::Queued));
    row.attempt = 0;
    assert_eq!(view_at(&row, 199).waiting, Some(Waiting::Scheduled));
    row.due_at = None;
    assert_eq!(view_at(&row, 199).waiting, Some(Waiting::Queued));
}

#[test]
fn each_state_shows_only_what_it_has() {
    let shown = |state| {
        let view = view_at(&full(state), 150);
        let parts = [view.progress.is_some(), view.result.is_some(), view.error.is_some(), view.due_at.is_some()];
        (parts, view.artifacts.len(), view.canceling, view.dead_letter)
    };
    assert_eq!(shown(State::Pending), ([false, false, true, true], 0, false, false));
    assert_eq!(shown(State::Running), ([true, false, false, false], 0, true, false));
    assert_eq!(shown(State::Completed), ([false, true, false, false], 1, false, false));
    assert_eq!(shown(State::Failed), ([false, false, true, false], 0, false, true));
    assert_eq!(shown(State::Canceled), ([false, false, false, false], 0, false, false));
}

#[test]
fn addresses_are_relative_and_only_a_dead_letter_can_be_replayed() {
    let completed = view_at(&full(State::Completed), 0);
    let this = "/v1/jobs/00000000-0000-0000-0000-000000000007";
    assert_eq!(completed.urls.this, this);
    assert_eq!(completed.artifacts[0].url, format!("{this}/artifacts/out.txt"));
    assert_eq!(completed.urls.replay, None);
    assert_eq!(view_at(&full(State::Failed), 0).urls.replay, Some(format!("{this}/replay")));
}

#[test]
fn the_running_attempt_follows_the_ended_ones() {
    let first = Attempt {
        attempt: 1,
        worker: None,
        ended: Ended::Lost,
        error: None,
        started_at: at(110),
        finished_at: at(120),
    };
    let ended_since = Attempt { attempt: 2, ended: Ended::Done, ..first.clone() };
    let view = job(&full(State::Running), &[first, ended_since], at(160));
    let told: Vec<_> = view.attempts.iter().map(|attempt| (attempt.attempt, attempt.outcome)).collect();
    assert_eq!(told, [(1, Some(AttemptOutcome::Lost)), (2, None)]);
}

#[test]
fn a_caller_is_told_when_to_ask_again_until_the_job_is_settled() {
    let pending = full(State::Pending);
    assert_eq!(ask_again(&pending, at(190)), Some(10));
    assert_eq!(ask_again(&pending, at(300)), Some(1));
    assert_eq!(ask_again(&pending, at(0)), Some(60));
    assert_eq!(ask_again(&full(State::Running), at(0)), Some(1));
    assert_eq!(ask_again(&full(State::Completed), at(0)), None);
}
