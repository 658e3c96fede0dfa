//! The kinds there are, with their compiled schemas, so that a payload is refused at the door and not by an attempt.
//! It keeps what it read from the ledger for some seconds, reads again at once for a kind it doesn't know, and never
//! loads a schema from anywhere else. Read [`super::submit`] for who asks.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use longshore_sdk::api::FieldError;
use serde_json::Value;
use tokio::time::Instant;

use super::problem::{Answer, Fault, Refusal};
use crate::ledger::webhooks::is_internal;
use crate::ledger::{self, Kind, Ledger};

/// How long a read is believed.
const FRESH: Duration = Duration::from_secs(5);
/// More violations than this are not listed.
const MAX_ERRORS: usize = 20;
/// A longer message quotes the value at fault, which may be a megabyte; then it is told without.
const MAX_MESSAGE_BYTES: usize = 300;

/// A kind with its compiled schema.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) kind: Kind,
    validator: Validator,
}

type Kinds = BTreeMap<String, Arc<Known>>;

/// What was read last.
#[derive(Default)]
pub(super) struct Schemas {
    read: RwLock<Option<(Instant, Arc<Kinds>)>>,
    /// One reader at a time: a flood of unknown kinds must not become a flood of queries.
    reading: tokio::sync::Mutex<()>,
}

impl Schemas {
    /// The kind called `name`. Many that are asked for at one moment cost one read, however many are unknown.
    pub(super) async fn get(&self, name: &str, asked: Instant, ledger: &dyn Ledger) -> Answer<Arc<Known>> {
        let cached = self.newer_than(asked.checked_sub(FRESH).unwrap_or(asked));
        if let Some(known) = cached.and_then(|kinds| kinds.get(name).cloned()) {
            return Ok(known);
        }
        let kinds = self.read_again(asked, ledger).await?;
        kinds.get(name).cloned().ok_or_else(|| unknown(name, &kinds))
    }

    async fn read_again(&self, asked: Instant, ledger: &dyn Ledger) -> ledger::Answer<Arc<Kinds>> {
        let _turn = self.reading.lock().await;
        // Somebody may have read while this one waited for its turn.
        if let Some(kinds) = self.newer_than(asked) {
            return Ok(kinds);
        }
        let started = Instant::now();
        let mut rows = ledger.kinds().await?;
        // Those that nobody may submit.
        rows.retain(|row| !is_internal(&row.kind));
        let before = self.newer_than_any();
        let kinds: Arc<Kinds> = Arc::new(rows.into_iter().filter_map(|row| compile(row, before.as_deref())).collect());
        *self.read.write().expect("nothing panics while it holds this lock") = Some((started, kinds.clone()));
        Ok(kinds)
    }

    fn newer_than(&self, moment: Instant) -> Option<Arc<Kinds>> {
        let read = self.read.read().expect("nothing panics while it holds this lock");
        read.as_ref().filter(|(at, _)| *at >= moment).map(|(_, kinds)| kinds.clone())
    }

    fn newer_than_any(&self) -> Option<Arc<Kinds>> {
        let read = self.read.read().expect("nothing panics while it holds this lock");
        read.as_ref().map(|(_, kinds)| kinds.clone())
    }
}

impl Known {
    /// What is wrong with a payload, each with its place in the request's body.
    pub(super) fn violations(&self, payload: &Value) -> Vec<FieldError> {
        self.validator.iter_errors(payload).flat_map(|error| violations(&error)).take(MAX_ERRORS).collect()
    }
}

/// Compiles a kind's schema, unless it is the one compiled before.
fn compile(row: Kind, before: Option<&Kinds>) -> Option<(String, Arc<Known>)> {
    let name = row.kind.clone();
    if let Some(known) = before.and_then(|kinds| kinds.get(&name)).filter(|known| same(&known.kind, &row)) {
        return Some((name, known.clone()));
    }
    match jsonschema::options().offline().build(&row.payload_schema) {
        Ok(validator) => Some((name, Arc::new(Known { kind: row, validator }))),
        Err(error) => {
            tracing::error!(job.kind = %name, %error, "the payload schema of this kind cannot be used; its jobs are refused");
            None
        }
    }
}

fn same(known: &Kind, row: &Kind) -> bool {
    known.payload_schema == row.payload_schema && known.policy == row.policy
}

fn unknown(name: &str, kinds: &Kinds) -> Refusal {
    let names: Vec<String> = kinds.keys().cloned().collect();
    let known = if names.is_empty() { "none yet: no worker has registered one".to_owned() } else { names.join(", ") };
    let name: String = name.chars().take(64).collect();
    Refusal::of_field(Fault::UnknownKind, "/kind", format!("is {name:?}, which no worker runs; known are {known}"))
        .with_kinds(names)
}

/// A missing or unexpected property is pointed at itself, not at the object that lacks or has it.
fn violations(error: &ValidationError<'_>) -> Vec<FieldError> {
    let at = format!("/payload{}", error.instance_path());
    let below = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            vec![FieldError { pointer: below(property.as_str().unwrap_or_default()), message: "is required".into() }]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let field = |name: &String| FieldError { pointer: below(name), message: "is no field of this kind".into() };
            unexpected.iter().map(field).collect()
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            match nearest(context, error) {
                Some(meant) => meant.iter().flat_map(violations).collect(),
                None => vec![FieldError { pointer: at, message: "has none of the allowed forms".into() }],
            }
        }
        _ => vec![FieldError { pointer: at, message: message(error) }],
    }
}

/// Which of several forms was meant, so that its mistakes can be told and not "none fits": the one that is wrong only further inside,
/// or else the only one that has the right type.
fn nearest<'a>(
    forms: &'a [Vec<ValidationError<'static>>],
    whole: &ValidationError<'_>,
) -> Option<&'a Vec<ValidationError<'static>>> {
    let here = |error: &&ValidationError<'_>| error.instance_path() == whole.instance_path();
    let of_type = |error: &ValidationError<'_>| matches!(error.kind(), ValidationErrorKind::Type { .. });
    let only = |mut found: Vec<&'a Vec<_>>| if found.len() == 1 { found.pop() } else { None };
    let inside = forms.iter().filter(|errors| !errors.iter().any(|error| here(&error)));
    only(inside.collect()).or_else(|| {
        let right_type = forms.iter().filter(|errors| !errors.iter().any(|error| here(&error) && of_type(error)));
        only(right_type.collect())
    })
}

fn message(error: &ValidationError<'_>) -> String {
    let message = error.to_string();
    if message.len() <= MAX_MESSAGE_BYTES {
        return message;
    }
    let masked = error.masked_with("the value").to_string();
    masked.chars().take(MAX_MESSAGE_BYTES).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use longshore_sdk::Policy;
    use serde_json::json;

    use super::*;

    pub(in crate::api) fn known(schema: Value) -> Arc<Known> {
        let kind =
            Kind { kind: "demo".into(), payload_schema: schema, output_schema: json!({}), policy: Policy::default() };
        compile(kind, None).unwrap().1
    }

    fn thumbnails() -> Arc<Known> {
        known(json!({
            "type": "object",
            "required": ["renditions"],
            "additionalProperties": false,
            "properties": { "renditions": { "type": "array", "items": {
                "type": "object", "required": ["width"], "properties": { "width": { "type": "integer", "minimum": 1 } }
            } } }
        }))
    }

    fn pointers(payload: Value) -> Vec<String> {
        thumbnails().violations(&payload).into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_payload_that_fits_has_no_violation() {
        assert_eq!(pointers(json!({ "renditions": [{ "width": 1 }] })), Vec::<String>::new());
    }

    #[test]
    fn every_violation_is_pointed_at_where_it_lies_in_the_request() {
        let payload = json!({ "renditions": [{ "width": 0 }, {}, { "width": "x" }], "a/b": 1 });
        let mut found = pointers(payload);
        found.sort();
        let places = ["/payload/a~1b", "/payload/renditions/0/width", "/payload/renditions/1/width"];
        assert_eq!(found[..3], places);
        assert_eq!(found[3..], ["/payload/renditions/2/width"]);
        assert_eq!(pointers(json!([])), ["/payload"]);
    }

    #[test]
    fn a_mistake_inside_one_of_several_forms_is_told_of_the_form_that_was_meant() {
        let thumbnail = json!({
            "type": "object", "required": ["width"], "properties": { "width": { "type": "integer" } }
        });
        let source = |name: &str| {
            json!({
                "type": "object", "required": [name], "additionalProperties": false, "properties": { (name): { "type": "string" } }
            })
        };
        let known = known(json!({ "properties": {
            "thumbnail": { "anyOf": [thumbnail, { "type": "null" }] },
            "source": { "oneOf": [source("file"), source("path")] }
        } }));
        let pointers = |payload: Value| -> Vec<String> {
            known.violations(&payload).into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(pointers(json!({ "thumbnail": {} })), ["/payload/thumbnail/width"]);
        assert_eq!(pointers(json!({ "thumbnail": { "width": "x" } })), ["/payload/thumbnail/width"]);
        assert_eq!(pointers(json!({ "source": { "file": 7 } })), ["/payload/source/file"]);
        assert_eq!(pointers(json!({ "source": { "fil": "x" } })), ["/payload/source"]);
    }

    #[test]
    fn a_large_value_or_a_flood_of_violations_does_not_come_back_whole() {
        let large = thumbnails().violations(&json!({ "renditions": "x".repeat(100_000) }));
        assert!(large[0].message.len() <= MAX_MESSAGE_BYTES, "{}", large[0].message.len());
        let flood: Vec<Value> = (0..1000).map(|_| json!({})).collect();
        assert_eq!(pointers(json!({ "renditions": flood })).len(), MAX_ERRORS);
    }

    #[test]
    fn a_schema_that_points_elsewhere_is_not_loaded() {
        let elsewhere = Kind {
            kind: "demo".into(),
            payload_schema: json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
            output_schema: json!({}),
            policy: Policy::default(),
        };
        assert!(compile(elsewhere, None).is_none());
    }

    #[test]
    fn an_unchanged_schema_is_not_compiled_again() {
        let first = thumbnails();
        let before: Kinds = [("demo".to_owned(), first.clone())].into();
        let again = compile(first.kind.clone(), Some(&before)).unwrap().1;
        assert!(Arc::ptr_eq(&first, &again));
    }
}
