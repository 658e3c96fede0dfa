//! A transition as a CloudEvent on the topic exchange. Pure: the same transition makes the same announcement, so a repeat is
//! recognised by its id.

use serde_json::json;

use crate::broker::Announcement;
use crate::job::state::State;
use crate::ledger::Event;

/// The announcement of a transition.
pub fn announcement(event: &Event) -> Announcement {
    let word = word(event);
    let id = format!("{}.{}", event.job, event.version);
    let body = json!({
        "specversion": "1.0",
        "id": id,
        "source": "/longshore",
        "type": format!("longshore.job.{word}"),
        "subject": event.job,
        "time": event.at,
        "datacontenttype": "application/json",
        "data": {
            "job": event.job,
            "kind": event.kind,
            "state": event.state.word(),
            "sequence": event.version,
            "attempt": event.attempt,
            "error": event.error,
            "correlation_id": event.correlation_id,
        },
    });
    Announcement { id, topic: format!("job.{}.{word}", event.kind), body: body.to_string().into() }
}

/// What happened, in one word.
pub fn word(event: &Event) -> &'static str {
    match event.state {
        State::Pending if event.attempt == 0 => "accepted",
        State::Pending if event.error.is_some() => "attempt_failed",
        State::Pending => "requeued",
        State::Running => "started",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Canceled => "canceled",
    }
}

#[cfg(test)]
mod tests {
    use longshore_sdk::JobId;

    use super::*;

    #[test]
    fn a_repeated_announcement_is_recognised_by_its_id() {
        let event = Event {
            job: JobId::fresh(),
            kind: "image.resize".into(),
            version: 3,
            state: State::Completed,
            attempt: 1,
            error: None,
            correlation_id: Some("r-1".into()),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let (one, again) = (announcement(&event), announcement(&event));
        assert_eq!(one, again);
        assert_eq!(one.id, format!("{}.3", event.job));
        assert_eq!(one.topic, "job.image.resize.completed");
        let body: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!(body["data"]["state"], "completed");
    }
}
