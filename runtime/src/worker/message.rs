//! What a delivery says: which job is ready, and, from a producer that bypasses the API, the job itself. Pure: it reads bytes and
//! properties, and names what is wrong with them in words for whoever looks at `longshore.dead`.

use longshore_sdk::{JobId, wire};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::broker::Delivery;
use crate::tenant::Tenant;

/// A readable delivery.
#[derive(Debug)]
pub(super) struct Message {
    /// The job that is ready.
    pub(super) job: JobId,
    /// Whose it is; what the ledger has counts, so this is for a job that it may not have.
    pub(super) tenant: Tenant,
    /// The payload of a job that the ledger may not have.
    pub(super) foreign: Option<Box<RawValue>>,
}

/// Names made from producers' own message ids live in a namespace of ours, so that they meet no other UUID.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c6f_6e67_7368_4f72_a5e5_0000_6d73_6769);

/// # Errors
/// The reason, for people.
pub(super) fn read(delivery: &Delivery) -> Result<Message, String> {
    if delivery.body.len() > wire::MAX_BODY_BYTES {
        return Err(wire::WireError::TooLarge(delivery.body.len()).to_string());
    }
    let tenant = delivery.tenant.as_deref().map(str::parse).transpose();
    let tenant = tenant.map_err(|error| format!("the header tenant is none: {error}"))?.unwrap_or_default();
    match delivery.content_type.as_deref().map(|value| value.split(';').next().unwrap_or(value).trim()) {
        Some(wire::CONTENT_TYPE) => read_envelope(&delivery.body, tenant),
        Some("application/json") => read_json(delivery, tenant),
        Some(other) => Err(format!("content_type is {other:?}; send application/json")),
        None => Err("content_type is missing; send application/json".to_owned()),
    }
}

fn read_envelope(body: &[u8], tenant: Tenant) -> Result<Message, String> {
    let envelope = wire::decode(body).map_err(|error| error.to_string())?;
    let foreign = envelope.payload.map(RawValue::from_string).transpose();
    Ok(Message {
        job: envelope.job,
        tenant,
        foreign: foreign.map_err(|error| format!("the payload is no JSON: {error}"))?,
    })
}

/// The body is the payload, the properties are the rest. Without an id a redelivery would be a second job, so there must be one.
fn read_json(delivery: &Delivery, tenant: Tenant) -> Result<Message, String> {
    let id = delivery.message_id.as_deref().filter(|id| !id.is_empty());
    let id = id.ok_or("message_id is missing; set a unique one, so that a redelivery is recognised")?;
    let text = std::str::from_utf8(&delivery.body).map_err(|error| format!("the body is no UTF-8: {error}"))?;
    let payload: Box<RawValue> = serde_json::from_str(text).map_err(|error| format!("the body is no JSON: {error}"))?;
    Ok(Message { job: foreign_id(id), tenant, foreign: Some(payload) })
}

/// A UUID is taken as it is; any other id becomes the same UUID each time.
fn foreign_id(id: &str) -> JobId {
    id.parse().unwrap_or_else(|_| JobId(Uuid::new_v5(&NAMESPACE, id.as_bytes())))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use longshore_sdk::wire::Envelope;
    use proptest::prelude::*;
    use proptest::test_runner::Config;
    use tokio::sync::mpsc;

    use super::*;

    fn delivery(content_type: Option<&str>, id: Option<&str>, body: &[u8]) -> Delivery {
        let (settlements, _) = mpsc::unbounded_channel();
        let mut delivery = Delivery::new(Bytes::copy_from_slice(body), "demo".into(), 1, settlements);
        delivery.content_type = content_type.map(Into::into);
        delivery.message_id = id.map(Into::into);
        delivery
    }

    #[test]
    fn an_envelope_names_its_job() {
        let envelope = Envelope { job: JobId::fresh(), kind: "demo".into(), payload: None };
        let body = wire::encode(&envelope).unwrap();
        let message = read(&delivery(Some(wire::CONTENT_TYPE), None, &body)).unwrap();
        assert_eq!(message.job, envelope.job);
        assert!(message.foreign.is_none());
    }

    #[test]
    fn a_foreign_producers_own_id_is_the_same_job_each_time() {
        let read = |id: &str| read(&delivery(Some("application/json; charset=utf-8"), Some(id), b"{\"n\":1}")).unwrap();
        assert_eq!(read("order-7").job, read("order-7").job);
        assert_ne!(read("order-7").job, read("order-8").job);
        let uuid = JobId::fresh();
        assert_eq!(read(&uuid.to_string()).job, uuid);
        assert_eq!(read("order-7").foreign.unwrap().get(), "{\"n\":1}");
    }

    #[test]
    fn a_producer_may_say_whose_the_job_is_and_else_it_is_the_houses() {
        let of = |tenant: Option<&str>| {
            let mut delivery = delivery(Some("application/json"), Some("order-7"), b"{}");
            delivery.tenant = tenant.map(str::to_owned);
            read(&delivery).map(|message| message.tenant.to_string())
        };
        assert_eq!((of(None).unwrap(), of(Some("north")).unwrap()), ("default".into(), "north".into()));
        assert!(of(Some("../north")).unwrap_err().contains("tenant"));
    }

    #[test]
    fn what_cannot_be_read_says_why_and_what_to_send() {
        let reason = |content_type, id, body| read(&delivery(content_type, id, body)).unwrap_err();
        assert!(reason(None, Some("a"), b"{}").contains("application/json"));
        assert!(reason(Some("text/plain"), Some("a"), b"{}").contains("text/plain"));
        assert!(reason(Some("application/json"), None, b"{}").contains("message_id"));
        assert!(reason(Some("application/json"), Some("a"), b"{").contains("no JSON"));
        assert!(reason(Some("application/json"), Some("a"), b"\xff").contains("UTF-8"));
        assert!(reason(Some(wire::CONTENT_TYPE), None, b"\x09").contains("version"));
        assert!(reason(Some("application/json"), Some("a"), &vec![b' '; wire::MAX_BODY_BYTES + 1]).contains("bytes"));
    }

    fn types() -> impl Strategy<Value = Option<String>> {
        const KNOWN: [&str; 5] = ["application/json", "application/json; charset=utf-8", wire::CONTENT_TYPE, ";", ""];
        prop::option::of(prop_oneof![prop::sample::select(&KNOWN[..]).prop_map(str::to_owned), ".{0,20}"])
    }

    /// JSON of any shape, JSON that is cut off or goes on, and bytes that are none.
    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let leaf =
            prop_oneof![Just("null".to_owned()), any::<f64>().prop_map(|n| json(&n)), ".*".prop_map(|s| json(&s))];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(",")));
            let pair = (".{0,8}", inner).prop_map(|(key, value)| format!("{}:{value}", json(&key)));
            let object = prop::collection::vec(pair, 0..4).prop_map(|all| format!("{{{}}}", all.join(",")));
            prop_oneof![list, object]
        });
        let cut = (value.clone(), any::<prop::sample::Index>())
            .prop_map(|(text, at)| text.as_bytes()[..at.index(text.len())].to_vec());
        let envelope = (any::<u128>(), ".{0,20}", prop::option::of(value.clone())).prop_map(|(id, kind, payload)| {
            wire::encode(&Envelope { job: JobId(Uuid::from_u128(id)), kind, payload }).unwrap()
        });
        prop_oneof![value.prop_map(String::into_bytes), cut, envelope, prop::collection::vec(any::<u8>(), 0..100)]
    }

    fn json(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn whatever_comes_is_read_or_refused_with_a_reason(
            content_type in types(), id in prop::option::of(".{0,40}"), body in bodies(),
        ) {
            match read(&delivery(content_type.as_deref(), id.as_deref(), &body)) {
                Err(reason) => prop_assert!(!reason.trim().is_empty()),
                Ok(message) => {
                    let named = content_type.as_deref().unwrap_or_default();
                    if named.starts_with("application/json") {
                        let payload = message.foreign.expect("a JSON body is a payload");
                        prop_assert_eq!(payload.get().as_bytes(), body.trim_ascii(), "byte for byte");
                        prop_assert_eq!(message.job, foreign_id(&id.unwrap()));
                    } else {
                        prop_assert_eq!(message.job, wire::decode(&body).unwrap().job);
                    }
                }
            }
        }
    }
}
