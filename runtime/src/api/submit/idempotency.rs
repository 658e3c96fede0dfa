//! `Idempotency-Key`: a caller who lost an answer repeats the request and gets the job of the first. A key is no secret and
//! no lock: 409 for "in flight" is never needed, because the ledger's unique index lets one insert win and shows the winner's job
//! to all others. Read [`super::accept`] for what a repeat does.

use std::time::Duration;

use axum::http::HeaderMap;
use longshore_sdk::api::SubmitRequest;
use sha2::{Digest, Sha256};

use crate::api::problem::{Answer, Fault, Refusal};
use crate::ledger::Idempotency;

/// The header's name, as it is told to people.
pub(super) const HEADER: &str = "Idempotency-Key";
/// A longer key is refused.
const MAX_KEY_BYTES: usize = 255;

/// The request's key, if it has one.
pub(super) fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| key_is_valid(key) && given.next().is_none());
    let wrong = || Refusal::of_field(Fault::Malformed, HEADER, "must be one key of 1 to 255 visible ASCII characters");
    key.map(|key| Some(key.to_owned())).ok_or_else(wrong)
}

/// The rule for keys of both sorts.
pub(super) fn key_is_valid(key: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What the ledger keeps of a keyed request.
pub(super) fn of(key: String, request: &SubmitRequest, lives: Duration) -> Answer<Idempotency> {
    Ok(Idempotency { key, fingerprint: fingerprint(request)?, lives })
}

/// Of what is asked for, not of how it is written: spaces and the order of fields make no other request.
fn fingerprint(request: &SubmitRequest) -> Answer<[u8; 32]> {
    let unread = |error| Refusal::of_field(Fault::InvalidPayload, "/payload", format!("cannot be read: {error}"));
    let canonical = serde_json::to_value(request).map_err(unread)?.to_string();
    // A kind holds no line feed, so no other kind and body give these bytes.
    Ok(Sha256::digest(format!("{}\n{canonical}", request.kind)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(keys: &[&str]) -> Answer<Option<String>> {
        key(&keys.iter().map(|key| (HEADER.parse().unwrap(), key.parse().unwrap())).collect())
    }

    fn print(body: &str) -> [u8; 32] {
        fingerprint(&serde_json::from_str(body).unwrap()).unwrap()
    }

    #[test]
    fn a_key_has_1_to_255_visible_characters_and_comes_once() {
        let longest = "k".repeat(255);
        assert_eq!(with(&[&longest]).unwrap(), Some(longest.clone()));
        assert_eq!(with(&[]).unwrap(), None);
        for odd in [&[""][..], &["a b"], &["caf\u{e9}"], &[&format!("{longest}k")], &["a", "a"]] {
            assert_eq!(with(odd).unwrap_err().problem().errors[0].pointer, HEADER, "{odd:?}");
        }
    }

    #[test]
    fn the_same_request_written_otherwise_has_the_same_fingerprint_and_no_other_has() {
        let first = print(r#"{"kind": "a.b", "payload": {"x": 1, "y": [1, 2]}, "max_attempts": 2}"#);
        assert_eq!(print(r#"{"max_attempts":2,"payload":{"y":[1,2],"x":1},"kind":"a.b"}"#), first);
        for other in [
            r#"{"kind": "a.c", "payload": {"x": 1, "y": [1, 2]}, "max_attempts": 2}"#,
            r#"{"kind": "a.b", "payload": {"x": 1, "y": [2, 1]}, "max_attempts": 2}"#,
            r#"{"kind": "a.b", "payload": {"x": 1, "y": [1, 2]}, "max_attempts": 3}"#,
            r#"{"kind": "a.b", "payload": {"x": 1, "y": [1, 2]}}"#,
        ] {
            assert_ne!(print(other), first, "{other}");
        }
    }
}
