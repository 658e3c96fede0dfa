//! A transition as a CloudEvent, for the topic exchange and for whoever reads events over HTTP. Pure: the same transition makes
//! the same event, byte for byte, so a repeat is recognised by its id. It decides nothing about who hears it.

use bytes::Bytes;
use longshore_sdk::Trace;
use longshore_sdk::api::{self, EventData, JobState};

use crate::broker::Announcement;
use crate::job::state::State;
use crate::ledger::webhooks::is_internal;
use crate::ledger::{Ended, Event};

/// Whether the world hears of it. Nobody is told of a telling: the deliveries of a job's events would be more than the events. Who
/// follows a delivery by its id is answered from the ledger, if later.
pub fn is_announced(event: &Event) -> bool {
    !is_internal(&event.kind)
}

/// The announcement of a transition.
pub fn announcement(event: &Event) -> Announcement {
    Announcement {
        id: event.id().to_string(),
        tenant: event.tenant.clone(),
        topic: format!("job.{}.{}", event.kind, event.word().word()),
        body: body(event),
    }
}

/// The event as JSON.
pub fn body(event: &Event) -> Bytes {
    serde_json::to_vec(&cloud_event(event)).expect("an event has string keys").into()
}

/// The event as strangers see it.
pub fn cloud_event(event: &Event) -> api::Event {
    let (word, trace) = (event.word(), event.trace.as_ref());
    api::Event {
        specversion: "1.0".into(),
        id: event.id().to_string(),
        source: "/longshore".into(),
        event_type: format!("longshore.job.{}", word.word()),
        subject: event.job,
        tenant: event.tenant.to_string(),
        time: event.at,
        datacontenttype: "application/json".into(),
        data: EventData {
            job: event.job,
            kind: event.kind.clone(),
            event: word,
            state: state(event.state),
            sequence: event.version,
            attempt: event.attempt,
            outcome: event.ended.map(Ended::word).map(str::to_owned),
            error: event.error.clone(),
            progress: event.progress.as_ref().map(|report| report.progress.clone()),
            correlation_id: event.correlation_id.clone(),
            result: None,
            result_url: None,
        },
        traceparent: trace.map(Trace::traceparent).map(str::to_owned),
        tracestate: trace.and_then(Trace::tracestate).map(str::to_owned),
    }
}

/// A state as callers see it, in an event as in a job's view.
pub fn state(state: State) -> JobState {
    match state {
        State::Pending => JobState::Pending,
        State::Running => JobState::Running,
        State::Completed => JobState::Completed,
        State::Failed => JobState::Failed,
        State::Canceled => JobState::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use longshore_sdk::api::EventWord;
    use longshore_sdk::{ErrorReport, JobId};

    use super::*;
    use crate::ledger::Report;

    fn event(state: State, attempt: u32) -> Event {
        let accepted = Event::accepted(
            JobId::fresh(),
            &"north".parse().unwrap(),
            "image.resize",
            Some("r-1"),
            Timestamp::UNIX_EPOCH,
        );
        Event { version: 3, state, attempt, ..accepted }
    }

    #[test]
    fn what_tells_of_jobs_is_not_told_of() {
        let job = event(State::Completed, 1);
        let telling = Event { kind: crate::ledger::webhooks::KIND.into(), ..job.clone() };
        assert_eq!([job, telling].map(|event| is_announced(&event)), [true, false]);
    }

    #[test]
    fn a_repeated_announcement_is_recognised_by_its_id() {
        let event = event(State::Completed, 1);
        let (one, again) = (announcement(&event), announcement(&event));
        assert_eq!(one, again);
        assert_eq!(one.id, format!("{}.3", event.job));
        assert_eq!(one.topic, "job.image.resize.completed");
        let body: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!((&body["data"]["state"], &body["specversion"]), (&"completed".into(), &"1.0".into()));
        assert_eq!((&body["id"], &body["tenant"]), (&one.id.as_str().into(), &"north".into()));
    }

    #[test]
    fn what_is_read_back_is_what_was_said() {
        let said = cloud_event(&event(State::Failed, 2));
        let read: api::Event = serde_json::from_slice(&serde_json::to_vec(&said).unwrap()).unwrap();
        assert_eq!(read, said);
    }

    #[test]
    fn every_transition_has_its_word_and_progress_its_place_under_one() {
        let failed = Event { error: Some(ErrorReport::new("rough_sea", "no")), ..event(State::Pending, 1) };
        let report = Report { n: 4, at: Timestamp::UNIX_EPOCH, progress: "half".into() };
        let progressed = Event { progress: Some(report), ..event(State::Running, 1) };
        let told = [
            (event(State::Pending, 0), EventWord::Accepted),
            (event(State::Running, 1), EventWord::Started),
            (progressed.clone(), EventWord::Progressed),
            (failed, EventWord::AttemptFailed),
            (event(State::Pending, 1), EventWord::Requeued),
            (event(State::Completed, 1), EventWord::Completed),
            (event(State::Failed, 1), EventWord::Failed),
            (event(State::Canceled, 0), EventWord::Canceled),
        ];
        for (event, expected) in told {
            assert_eq!(event.word(), expected);
        }
        assert_eq!(announcement(&progressed).id, format!("{}.3.4", progressed.job));
    }
}
