//! `GET /openapi.json`: the API described by OpenAPI 3.1, made from the types that the calls read and answer and from the table of
//! calls in [`calls`]. A call that is not in the table fails the tests, so the document cannot lag behind the router.
//! It decides nothing; `GET /docs` ([`page`]) is the same document for people.

mod asyncapi;
mod calls;
mod events;
mod keys;
mod page;
mod uploads;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::{Html, IntoResponse};
use longshore_sdk::api::Problem;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub(super) use self::asyncapi::asyncapi;
use self::calls::{Call, Parameter, all};
use super::auth::needs::{self, Need};
use super::problem::Fault;

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
static TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());
static PAGE: LazyLock<String> = LazyLock::new(|| page::of(&DOCUMENT));

/// The page is markup and style alone: nothing in it may run or be fetched.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

pub(super) async fn docs() -> ([(HeaderName, &'static str); 1], Html<&'static str>) {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE.as_str()))
}

/// The schema of a body, entered among the document's components.
type Shape = fn(&mut SchemaGenerator) -> Schema;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for call in every() {
        let operation = operation(call, &mut generator);
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.method.to_lowercase()] = operation;
    }
    let problem = shape::<Problem>(&mut generator);
    // Only those that a call names: a path without such a method, say, is no call.
    let named: BTreeSet<u16> = every().flat_map(refused).collect();
    let refusals: Map<String, Value> =
        named.into_iter().map(|status| (refusal_name(status), refusal(status, &problem))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Longshore",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            "contact": {"name": "Whoever operates this installation"},
            "description": "Accepts long work now and finishes it later: a job is submitted and has its id at once; where it stands \
                is asked, waited for or canceled by that id. Every error is an RFC 9457 problem with a stable type.",
        },
        "servers": [{"url": "/"}],
        "tags": calls::TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": refusals,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, or a token (JWT) of the \
                installation's identity provider (`auth.oidc`). A caller on the server's own machine may need none (`auth.anonymous`)."}},
        },
    })
}

/// Problems of every call that is not open to everybody.
const KEPT: [u16; 3] = [401, 403, 429];

/// The calls of the whole table.
fn every() -> impl Iterator<Item = &'static Call> {
    all().chain(keys::CALLS).chain(events::CALLS).chain(uploads::CALLS)
}

fn operation(call: &Call, generator: &mut SchemaGenerator) -> Value {
    let mut answers = Map::new();
    for answer in call.answers {
        let mut told = json!({"description": answer.says});
        if let Some((media, shape)) = answer.body {
            told["content"] = json!({media: {"schema": shape(generator)}});
        }
        if !answer.headers.is_empty() {
            told["headers"] = answer.headers.iter().map(|(name, says)| (*name, header(says))).collect::<Value>();
        }
        answers.insert(answer.status.to_string(), told);
    }
    for status in refused(call) {
        let reference = format!("#/components/responses/{}", refusal_name(status));
        // A probe's 503 is an answer of its own.
        answers.entry(status.to_string()).or_insert_with(|| json!({"$ref": reference}));
    }
    let need = need(call);
    let mut operation = json!({
        "operationId": call.id,
        "tags": [call.tag],
        "summary": call.summary,
        "description": admission(need),
        "responses": answers,
        "security": security(need),
    });
    let parameters: Vec<Value> = in_path(call.path).chain(call.parameters.iter().map(parameter)).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((media, shape)) = call.body {
        operation["requestBody"] = json!({"required": true, "content": {media: {"schema": shape(generator)}}});
    }
    operation
}

fn need(call: &Call) -> Need {
    needs::of(call.method, call.path).unwrap_or(Need::Nothing)
}

/// The statuses of a call's problems.
fn refused(call: &Call) -> impl Iterator<Item = u16> {
    let kept: &[u16] = if matches!(need(call), Need::Nothing | Need::Figures) { &[] } else { &KEPT };
    call.refusals.iter().chain(kept).chain(&calls::ALWAYS).copied()
}

/// Who may call, in words.
fn admission(need: Need) -> String {
    match need {
        Need::Nothing => "Open to everybody: it shows nobody's work.".to_owned(),
        Need::Figures => {
            "Open to everybody, unless auth.open_metrics says otherwise: then it needs the scope `read` of an operator."
                .to_owned()
        }
        Need::Scope(scope) => format!("Needs the scope `{}`, and is about the caller's own tenant.", scope.word()),
        Need::House(scope) => {
            format!("Needs the scope `{}` and the tenant `default`: it is about what all tenants share.", scope.word())
        }
    }
}

/// What a caller must bring: a key with this scope, or nothing.
fn security(need: Need) -> Value {
    match need {
        Need::Nothing | Need::Figures => json!([]),
        Need::Scope(scope) | Need::House(scope) => json!([{"key": [scope.word()]}]),
    }
}

fn header(says: &str) -> Value {
    json!({"description": says, "schema": {"type": "string"}})
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { place, name, says, sort, required } = parameter;
    let schema = match sort.starts_with('{') {
        true => serde_json::from_str(sort).expect("the tests read every schema of the table"),
        false => json!({"type": sort}),
    };
    let mut told = json!({"in": place, "name": name, "description": says, "schema": schema});
    if *required {
        told["required"] = true.into();
    }
    told
}

/// The parts of a path that differ.
fn in_path(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| json!({"in": "path", "name": name, "required": true, "schema": {"type": "string"}}))
}

fn refusal_name(status: u16) -> String {
    format!("Problem{status}")
}

/// The problems of one status, by their types.
fn refusal(status: u16, problem: &Schema) -> Value {
    let of_it = Fault::ALL.iter().filter(|fault| fault.status().as_u16() == status);
    let types: Vec<String> = of_it.map(|fault| format!("`{}`: {}.", fault.word(), fault.title())).collect();
    let mut told = json!({
        "description": types.join(" "),
        "content": {"application/problem+json": {"schema": problem}},
    });
    if matches!(status, 429 | 503) {
        told["headers"] = json!({"Retry-After": header("Seconds after which to ask again.")});
    }
    told
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics::labels;

    #[test]
    fn every_call_of_the_api_is_described_and_no_other() {
        let described: BTreeSet<(String, String)> = DOCUMENT["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, calls)| {
                calls.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        let routed = labels::CALLS.iter().filter(|(_, route)| *route != labels::OTHER);
        let routed: BTreeSet<_> = routed.map(|(method, route)| ((*method).to_owned(), (*route).to_owned())).collect();
        assert_eq!(described, routed, "describe the call in api/spec/calls.rs");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = DOCUMENT.to_string();
        let references: BTreeSet<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            assert!(DOCUMENT.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_refusal_that_a_call_may_answer_is_one_that_there_is() {
        for call in every() {
            for status in call.refusals {
                assert!(
                    Fault::ALL.iter().any(|fault| fault.status().as_u16() == *status),
                    "{} {}: {status}",
                    call.method,
                    call.path
                );
            }
        }
        let ids: BTreeSet<&str> = every().map(|call| call.id).collect();
        assert_eq!(ids.len(), every().count(), "two calls have one operationId");
    }

    #[test]
    fn the_page_shows_every_call_and_runs_nothing() {
        for call in every() {
            let heading = format!("<b>{}</b> <code>{}</code>", call.method, call.path);
            assert!(PAGE.contains(&heading), "{heading}");
        }
        assert!(!PAGE.contains("<script") && !PAGE.contains("http://") && !PAGE.contains("src="));
    }
}
