//! The uploaded files that a payload names, wherever in it: as long as its job is there, no janitor takes them for unused. A kind's own
//! code decides what it reads; here is only seen what looks like a [`longshore_sdk::Source::File`].

use longshore_sdk::JobId;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::api::desk::Desk;
use crate::ledger::Answer;

/// The most files of one payload that are looked up; they cost a look each.
const MOST: usize = 1000;

/// Marks them as used, before the job is written down: one that is removed meanwhile was removed before.
pub(super) async fn keep(desk: &Desk<'_>, job: JobId, payload: &RawValue) -> Answer<()> {
    let files = named(payload.get());
    if files.is_empty() {
        return Ok(());
    }
    desk.api.ask(desk.api.ledger.use_files(desk.tenant, job, &files)).await
}

fn named(payload: &str) -> Vec<Uuid> {
    // Most payloads name none, and need not be read once more.
    if !payload.contains("\"file\"") {
        return vec![];
    }
    let mut found = vec![];
    collect(&serde_json::from_str(payload).unwrap_or_default(), &mut found);
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    found
}

/// The parser has limited the depth already.
fn collect(value: &Value, found: &mut Vec<Uuid>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("file").and_then(Value::as_str).and_then(|id| id.parse::<Uuid>().ok()));
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use longshore_sdk::Source;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_found_wherever_a_payload_names_it() {
        let [one, other] = [Uuid::now_v7(), Uuid::now_v7()];
        let source = |id: Uuid| serde_json::to_value(Source::file(id.to_string())).unwrap();
        let payload = json!({"source": source(one), "layers": [{"mark": source(other)}, source(one)]});
        let mut both = vec![one, other];
        both.sort_unstable();
        assert_eq!(named(&payload.to_string()), both);
        for none in [json!({"source": {"file": "x"}}), json!({"name": one.to_string()}), json!({"file": 1})] {
            assert!(named(&none.to_string()).is_empty(), "{none}");
        }
    }
}
