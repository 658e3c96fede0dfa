//! What a webhook says: the event as it is on the topic exchange and on the streams, with the same id, and a completed job's result
//! where it fits. Pure, so that a repeat is equal to the first telling. How it is signed is [`super::post`]'s.

use std::collections::BTreeMap;

use longshore_sdk::api;
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::job::state::State;
use crate::ledger::Event;
use crate::ledger::webhooks::Delivery;
use crate::notify::topic::{body, cloud_event};

/// The event, in at most `limit` bytes where its result is what makes it longer.
pub fn of(event: &Event, result: Option<&RawValue>, limit: usize) -> Vec<u8> {
    let Some(result) = result.filter(|_| event.state == State::Completed) else { return body(event).to_vec() };
    let with = with_result(&cloud_event(event), result);
    if with.len() <= limit { with } else { with_link(cloud_event(event)) }
}

/// The result goes in byte for byte: a number read and written again might be another.
fn with_result(event: &api::Event, result: &RawValue) -> Vec<u8> {
    let (mut whole, mut data) = (fields(event), fields(&event.data));
    data.insert("result".to_owned(), result.to_owned());
    whole.insert("data".to_owned(), raw(&data));
    serde_json::to_vec(&whole).expect("an event has string keys")
}

fn with_link(mut event: api::Event) -> Vec<u8> {
    event.data.result_url = Some(format!("/v1/jobs/{}", event.subject));
    serde_json::to_vec(&event).expect("an event has string keys")
}

/// What is said in a test: that it is one.
pub fn test(delivery: &Delivery) -> Vec<u8> {
    let said = json!({
        "specversion": "1.0",
        "id": delivery.id,
        "source": "/longshore",
        "type": "longshore.webhook.test",
        "subject": delivery.id,
        "time": delivery.created_at,
        "datacontenttype": "application/json",
        "data": {"webhook": delivery.webhook, "event": delivery.event},
    });
    said.to_string().into_bytes()
}

fn fields(value: &impl Serialize) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(raw(value).get()).expect("it is an object")
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("our own types have string keys")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use longshore_sdk::JobId;

    use super::*;
    use crate::tenant::Tenant;

    fn completed() -> Event {
        let accepted =
            Event::accepted(JobId::fresh(), &Tenant::default(), "image.resize", Some("r-1"), Timestamp::UNIX_EPOCH);
        Event { version: 3, state: State::Completed, attempt: 1, ..accepted }
    }

    fn result(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn it_is_the_event_of_the_topic_with_the_result_as_it_was_stored() {
        let event = completed();
        let exact = r#"{"pixels":123456789012345678901234567890,"ratio":0.1000000000000000055}"#;
        let said = of(&event, Some(&result(exact)), 10_000);
        assert!(String::from_utf8(said.clone()).unwrap().contains(exact));
        let mut read: api::Event = serde_json::from_slice(&said).unwrap();
        assert!(read.data.result.take().is_some());
        assert_eq!(read, cloud_event(&event));
    }

    #[test]
    fn a_result_that_does_not_fit_is_a_link() {
        let event = completed();
        let large = result(&format!("\"{}\"", "x".repeat(5_000)));
        let said = of(&event, Some(&large), 5_000);
        assert!(said.len() < 1_000);
        let read: api::Event = serde_json::from_slice(&said).unwrap();
        assert_eq!((read.data.result, read.data.result_url), (None, Some(format!("/v1/jobs/{}", event.job))));
        // One that just fits is there.
        let fits = of(&event, Some(&large), 6_000);
        assert!(fits.len() > 5_000 && fits.len() <= 6_000);
    }

    #[test]
    fn any_other_event_is_the_topics_byte_for_byte() {
        let failed = Event { state: State::Failed, ..completed() };
        assert_eq!(of(&failed, Some(&result("1")), 10_000), body(&failed));
        let silent = completed();
        assert_eq!(of(&silent, None, 10_000), body(&silent));
    }
}
