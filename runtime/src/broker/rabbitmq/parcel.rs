//! Our messages as AMQP wants them, and back: properties built from scratch, never copied from a delivery.
//! Copied headers would carry RabbitMQ's own x-death, by which it drops a message as a cycle without a word (measured below
//! 4.0). It sends nothing; read `publisher.rs` for that.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use longshore_sdk::Trace;
use tokio::sync::mpsc;

use crate::broker::topology::{self, Exchange, MAX_NAME_BYTES, Topology};
use crate::broker::{Announcement, BrokerError, Control, Delivery, JobMessage, Settlement};
use crate::tenant::Tenant;

/// The header that says why a message was buried.
pub const REASON_HEADER: &str = "x-longshore-reason";
/// The headers of W3C Trace Context.
const PARENT_HEADER: &str = "traceparent";
const STATE_HEADER: &str = "tracestate";
/// The header that says whose a job is.
const TENANT_HEADER: &str = "tenant";
/// A reason is cut to this: all headers together must fit in one frame.
const MAX_REASON_BYTES: usize = 4096;
const JSON: &str = "application/json";

/// A message ready to be published, more than once if need be.
pub(super) struct Parcel {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) body: Bytes,
    pub(super) properties: BasicProperties,
    /// Whether it must reach a queue.
    pub(super) mandatory: bool,
}

pub(super) fn job(topology: &Topology, message: &JobMessage) -> Result<Parcel, BrokerError> {
    topology.job_queue_name(&message.kind, message.lane)?;
    let properties = stamped(longshore_sdk::wire::CONTENT_TYPE)
        .with_priority(topology::priority(message.lane))
        .with_type(message.kind.as_str().into());
    let properties = properties.with_headers(message.trace.iter().fold(owner(&message.tenant), traced));
    let properties = identified(properties, Some(&message.job.to_string()), message.correlation_id.as_deref());
    let key = topology.job_key(&message.kind, message.lane);
    Ok(Parcel { body: message.body()?, mandatory: true, ..parcel(topology.jobs(), &key, properties)? })
}

pub(super) fn event(topology: &Topology, announcement: &Announcement) -> Result<Parcel, BrokerError> {
    let properties = identified(stamped("application/cloudevents+json"), Some(&announcement.id), None);
    let properties = properties.with_headers(owner(&announcement.tenant));
    Ok(Parcel { body: announcement.body.clone(), ..parcel(topology.events(), &announcement.topic, properties)? })
}

pub(super) fn control(topology: &Topology, control: &Control) -> Result<Parcel, BrokerError> {
    let body = serde_json::to_vec(control).map_err(crate::broker::link::unavailable)?;
    Ok(Parcel { body: body.into(), ..parcel(topology.control(), "", stamped(JSON))? })
}

pub(super) fn dead(topology: &Topology, delivery: &Delivery, reason: &str) -> Result<Parcel, BrokerError> {
    let mut headers = FieldTable::default();
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    headers.insert(REASON_HEADER.into(), AMQPValue::LongString(reason.into()));
    let mut headers = delivery.trace.iter().fold(headers, traced);
    if let Some(tenant) = delivery.tenant.as_deref().and_then(short) {
        // As long text: RabbitMQ closes the connection over a short one in a table.
        headers.insert(TENANT_HEADER.into(), AMQPValue::LongString(tenant.as_str().into()));
    }
    let mut properties = BasicProperties::default().with_delivery_mode(2).with_timestamp(now()).with_headers(headers);
    if let Some(content_type) = delivery.content_type.as_deref().and_then(short) {
        properties = properties.with_content_type(content_type);
    }
    if let Some(kind) = short(&delivery.kind) {
        properties = properties.with_type(kind);
    }
    let properties = identified(properties, delivery.message_id.as_deref(), delivery.correlation_id.as_deref());
    Ok(Parcel { body: delivery.body.clone(), mandatory: true, ..parcel(topology.dead(), "", properties)? })
}

/// What arrived, as a delivery of `kind` unless the producer names another.
pub(super) fn delivery(
    from: lapin::message::Delivery,
    kind: &str,
    settlements: &mpsc::UnboundedSender<Settlement>,
) -> Delivery {
    let text = |property: &Option<ShortString>| property.as_ref().map(|text| text.as_str().to_owned());
    let named = text(from.properties.kind()).unwrap_or_else(|| kind.to_owned());
    let mut ours = Delivery::new(from.data.into(), named, from.delivery_tag, settlements.clone());
    ours.content_type = text(from.properties.content_type());
    ours.message_id = text(from.properties.message_id());
    ours.correlation_id = text(from.properties.correlation_id());
    ours.trace = from.properties.headers().as_ref().and_then(trace);
    ours.tenant = from.properties.headers().as_ref().and_then(tenant_of);
    ours.redelivered = from.redelivered;
    ours
}

pub(super) fn read_event(from: lapin::message::Delivery) -> Option<Announcement> {
    let id = from.properties.message_id().as_ref()?.as_str().to_owned();
    let tenant = from.properties.headers().as_ref().and_then(tenant_of);
    let tenant = tenant.and_then(|name| name.parse().ok()).unwrap_or_default();
    Some(Announcement { id, tenant, topic: from.routing_key.into(), body: from.data.into() })
}

/// A control of a newer version is no business of ours.
pub(super) fn read_control(from: lapin::message::Delivery) -> Option<Control> {
    serde_json::from_slice(&from.data).ok()
}

fn traced(mut headers: FieldTable, trace: &Trace) -> FieldTable {
    headers.insert(PARENT_HEADER.into(), AMQPValue::LongString(trace.traceparent().into()));
    if let Some(state) = trace.tracestate() {
        headers.insert(STATE_HEADER.into(), AMQPValue::LongString(state.into()));
    }
    headers
}

/// A producer's trace, as its library wrote it: most send long strings, some short ones.
fn trace(headers: &FieldTable) -> Option<Trace> {
    let text = |name: &str| match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    };
    Trace::read(text(PARENT_HEADER)?, text(STATE_HEADER))
}

/// AMQP's short strings end at 255 bytes and lapin panics past them, so a longer text goes without: the ledger has it whole.
fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

fn parcel(exchange: Exchange, key: &str, properties: BasicProperties) -> Result<Parcel, BrokerError> {
    let too_long = || format!("{}... (longer than {MAX_NAME_BYTES} bytes)", &key[..key.floor_char_boundary(32)]);
    let key = short(key).ok_or_else(|| BrokerError::Unroutable(too_long()))?;
    Ok(Parcel { exchange: exchange.name.into(), key, body: Bytes::new(), properties, mandatory: false })
}

/// A tenant's name is short and of plain letters.
fn owner(tenant: &Tenant) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(TENANT_HEADER.into(), AMQPValue::LongString(tenant.as_str().into()));
    headers
}

/// Clients in other languages choose between the two sorts of text as they like.
fn tenant_of(headers: &FieldTable) -> Option<String> {
    match headers.inner().get(TENANT_HEADER)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => Some(String::new()),
    }
}

fn stamped(content_type: &str) -> BasicProperties {
    // Delivery mode 2 is persistent.
    BasicProperties::default().with_content_type(content_type.into()).with_delivery_mode(2).with_timestamp(now())
}

fn identified(properties: BasicProperties, id: Option<&str>, correlation: Option<&str>) -> BasicProperties {
    let properties = match id.and_then(short) {
        Some(id) => properties.with_message_id(id),
        None => properties,
    };
    match correlation.and_then(short) {
        Some(correlation) => properties.with_correlation_id(correlation),
        None => properties,
    }
}

fn now() -> u64 {
    u64::try_from(crate::clock::now().as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Lane;
    use longshore_sdk::JobId;

    fn message(kind: &str, correlation: &str) -> JobMessage {
        JobMessage {
            job: JobId::fresh(),
            tenant: Tenant::default(),
            kind: kind.into(),
            lane: Lane::High,
            correlation_id: Some(correlation.into()),
            trace: None,
        }
    }

    #[test]
    fn a_job_is_persistent_mandatory_and_names_itself() {
        let message = message("demo", "c-1");
        let parcel = job(&Topology::default(), &message).unwrap();
        assert!(parcel.mandatory);
        assert_eq!(*parcel.properties.delivery_mode(), Some(2));
        assert_eq!(*parcel.properties.priority(), Some(8));
        assert_eq!(parcel.properties.message_id().as_ref().unwrap().as_str(), message.job.to_string());
        assert_eq!(longshore_sdk::wire::decode(&parcel.body).unwrap().job, message.job);
    }

    #[test]
    fn texts_too_long_for_amqp_do_no_harm() {
        let long = "ä".repeat(200);
        assert!(job(&Topology::default(), &message("demo", &long)).unwrap().properties.correlation_id().is_none());
        assert!(matches!(job(&Topology::default(), &message(&long, "c")), Err(BrokerError::Unroutable(_))));
        let topic = "t".repeat(256);
        let announcement = Announcement { id: "1".into(), tenant: Tenant::default(), topic, body: Bytes::new() };
        assert!(matches!(event(&Topology::default(), &announcement), Err(BrokerError::Unroutable(_))));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let (settlements, _settled) = mpsc::unbounded_channel();
        let unread = Delivery::new(Bytes::from_static(b"?"), "demo".into(), 1, settlements);
        let parcel = dead(&Topology::default(), &unread, &"é".repeat(5000)).unwrap();
        let headers = parcel.properties.headers().as_ref().unwrap();
        let Some(AMQPValue::LongString(reason)) = headers.inner().get(REASON_HEADER) else { panic!("no reason") };
        assert_eq!(reason.len(), MAX_REASON_BYTES);
    }
}
