//! `GET /asyncapi.json`: what is announced on RabbitMQ, described by AsyncAPI 3.0, made from the types that are announced. It speaks
//! of the topic exchange alone; the same events as a stream over HTTP are in [`super`].

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use longshore_sdk::api::{Event, EventWord};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::shape;

static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(in crate::api) async fn asyncapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

fn document() -> Value {
    // AsyncAPI's own schemas are of draft 7; the difference to later drafts is not met here.
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let payload = shape::<Event>(&mut generator);
    let words = EventWord::ALL.map(EventWord::word);
    let named = |to: &str| -> Map<String, Value> {
        words.iter().map(|word| ((*word).to_owned(), json!({"$ref": format!("{to}/{word}")}))).collect()
    };
    let told: Vec<Value> =
        words.iter().map(|word| json!({"$ref": format!("#/channels/events/messages/{word}")})).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Longshore",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0"},
            "contact": {"name": "Whoever operates this installation"},
            "tags": [{"name": "jobs", "description": "What happens to them, from acceptance to their end."}],
            "description": "Whatever happens to a job, as a CloudEvent: at least once, always with the same id, seldom out of order.",
        },
        "servers": {"rabbitmq": {
            "host": "localhost:5672",
            "protocol": "amqp",
            "protocolVersion": "0-9-1",
            "description": "As its own machine sees it; where an installation has its RabbitMQ, its operator says (`broker.url`).",
        }},
        "defaultContentType": "application/cloudevents+json",
        "channels": {"events": {
            "address": "job.{kind}.{event}",
            "servers": [{"$ref": "#/servers/rabbitmq"}],
            "description": "The routing key of an event on the topic exchange. Another `broker.prefix` begins the exchange's name.",
            "parameters": {
                "kind": {"description": "The job's kind, which may have dots."},
                "event": {"description": "What happened.", "enum": words},
            },
            "messages": named("#/components/messages"),
            "bindings": {"amqp": {
                "is": "routingKey",
                "exchange": {"name": "longshore.events", "type": "topic", "durable": true, "autoDelete": false},
                "bindingVersion": "0.3.0",
            }},
        }},
        "operations": {"announce": {
            "action": "send",
            "summary": "Longshore announces; whoever binds a queue to the exchange listens.",
            "description": "Before the transition is acknowledged, and again when that is not sure: who has seen an id has seen the event.",
            "channel": {"$ref": "#/channels/events"},
            "messages": told,
        }},
        "components": {
            "messages": words.iter().map(|word| ((*word).to_owned(), message(word, &payload))).collect::<Map<_, _>>(),
            "schemas": generator.take_definitions(true),
        },
    })
}

fn message(word: &str, event: &schemars::Schema) -> Value {
    let name = format!("longshore.job.{word}");
    let data = json!({"properties": {"event": {"const": word}}});
    let this = json!({"properties": {"specversion": {"const": "1.0"}, "type": {"const": name}, "data": data}});
    json!({
        "name": name,
        "contentType": "application/cloudevents+json",
        "headers": {"type": "object", "properties": {"tenant": {"type": "string", "description": "Whose job it is."}}},
        "payload": {"allOf": [event, this]},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::broker::topology::Topology;

    #[test]
    fn every_reference_leads_somewhere() {
        let text = document().to_string();
        let references: BTreeSet<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 15, "{references:?}");
        for reference in references {
            assert!(document().pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_exchange_and_the_keys_are_those_that_are_used() {
        let channel = &document()["channels"]["events"];
        assert_eq!(channel["bindings"]["amqp"]["exchange"]["name"], Topology::default().events().name);
        let event = crate::ledger::Event::accepted(
            longshore_sdk::JobId::fresh(),
            &Default::default(),
            "a.b",
            None,
            jiff::Timestamp::UNIX_EPOCH,
        );
        let key = crate::notify::topic::announcement(&event).topic;
        let address = channel["address"].as_str().unwrap();
        assert_eq!(address.replace("{kind}", "a.b").replace("{event}", "accepted"), key);
        assert_eq!(channel["messages"].as_object().unwrap().len(), EventWord::ALL.len());
    }
}
