//! Errors of the HTTP API: RFC 9457 problems, each with a stable type, a sentence for people and the field at fault.
//! It refuses free-form types: a program branches on one of the constants below and on nothing else.
//! Read [`crate::client`] for a caller that does.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every answer of 400 and above, with content type `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// One of this module's constants: the word for programs.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// What this type means, the same for each occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and the way out.
    pub detail: String,
    /// The address of what it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The fields at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The kinds there are, with [`UNKNOWN_KIND`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
}

/// A field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// JSON pointer into the request's body, e.g. `/payload/renditions/0/width`; a header or a query parameter by name.
    pub pointer: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.detail, self.status, self.problem_type)?;
        self.errors.iter().try_for_each(|error| write!(f, "; {}: {}", error.pointer, error.message))
    }
}

/// 400: the body is no JSON, or a header or parameter has no readable form.
pub const MALFORMED_REQUEST: &str = "urn:longshore:problem:malformed_request";
/// 401: no API key, or one that is unknown or revoked.
pub const UNAUTHENTICATED: &str = "urn:longshore:problem:unauthenticated";
/// 403: the API key has not the right for this.
pub const FORBIDDEN: &str = "urn:longshore:problem:forbidden";
/// 404: nothing here, or nothing of this caller's.
pub const NOT_FOUND: &str = "urn:longshore:problem:not_found";
/// 405: the path is there, the method is not.
pub const METHOD_NOT_ALLOWED: &str = "urn:longshore:problem:method_not_allowed";
/// 408: the request's body came too slowly.
pub const REQUEST_TIMEOUT: &str = "urn:longshore:problem:request_timeout";
/// 409: the job has ended another way than asked for.
pub const ALREADY_FINISHED: &str = "urn:longshore:problem:already_finished";
/// 409: only a dead letter can be replayed.
pub const NOT_A_DEAD_LETTER: &str = "urn:longshore:problem:not_a_dead_letter";
/// 409: another unfinished job of the kind holds the dead letter's `unique_key`; replay it after that one's end.
pub const UNIQUE_KEY_HELD: &str = "urn:longshore:problem:unique_key_held";
/// 409: a request with this idempotency key is still being answered.
pub const IDEMPOTENCY_KEY_IN_FLIGHT: &str = "urn:longshore:problem:idempotency_key_in_flight";
/// 409: the upload stands at another offset than `Upload-Offset` says; HEAD tells at which.
pub const UPLOAD_OFFSET_MISMATCH: &str = "urn:longshore:problem:upload_offset_mismatch";
/// 409: a job has named the file, so it stays.
pub const FILE_IN_USE: &str = "urn:longshore:problem:file_in_use";
/// 409: what was to be sent to a link is not there, or has another size than was told.
pub const UPLOAD_INCOMPLETE: &str = "urn:longshore:problem:upload_incomplete";
/// 409: the storage is a directory, which has no links; send the file through the API.
pub const NO_LINKS: &str = "urn:longshore:problem:no_links";
/// 412: `Tus-Resumable` is missing or of another version than `Tus-Version` lists.
pub const UNKNOWN_TUS_VERSION: &str = "urn:longshore:problem:unknown_tus_version";
/// 413: more bytes than the limit, which the detail names.
pub const TOO_LARGE: &str = "urn:longshore:problem:too_large";
/// 415: another content type than the endpoint reads.
pub const UNSUPPORTED_MEDIA_TYPE: &str = "urn:longshore:problem:unsupported_media_type";
/// 416: the file has no such part.
pub const RANGE_NOT_SATISFIABLE: &str = "urn:longshore:problem:range_not_satisfiable";
/// 422: a field is unknown, missing or out of its range.
pub const INVALID_REQUEST: &str = "urn:longshore:problem:invalid_request";
/// 422: the payload does not fit the kind's schema.
pub const INVALID_PAYLOAD: &str = "urn:longshore:problem:invalid_payload";
/// 422: no such kind; `kinds` lists those there are.
pub const UNKNOWN_KIND: &str = "urn:longshore:problem:unknown_kind";
/// 422: the idempotency key came before with another body.
pub const IDEMPOTENCY_KEY_REUSED: &str = "urn:longshore:problem:idempotency_key_reused";
/// 423: another request appends to this upload; `Retry-After` says when to ask again.
pub const UPLOAD_LOCKED: &str = "urn:longshore:problem:upload_locked";
/// 460: the bytes are others than `Upload-Checksum` says; none of them was kept.
pub const CHECKSUM_MISMATCH: &str = "urn:longshore:problem:checksum_mismatch";
/// 429: more requests than the caller's share; `Retry-After` says when.
pub const RATE_LIMITED: &str = "urn:longshore:problem:rate_limited";
/// 429: the tenant has all of something that it may have, which the detail names.
pub const QUOTA_EXCEEDED: &str = "urn:longshore:problem:quota_exceeded";
/// 500: our fault; the log knows more.
pub const INTERNAL: &str = "urn:longshore:problem:internal";
/// 503: the ledger or the broker does not answer, or the server is full; `Retry-After` says when.
pub const UNAVAILABLE: &str = "urn:longshore:problem:unavailable";

/// Every problem type. A type that was published once stays.
pub const ALL: [&str; 28] = [
    MALFORMED_REQUEST,
    UNAUTHENTICATED,
    FORBIDDEN,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    ALREADY_FINISHED,
    NOT_A_DEAD_LETTER,
    UNIQUE_KEY_HELD,
    IDEMPOTENCY_KEY_IN_FLIGHT,
    UPLOAD_OFFSET_MISMATCH,
    FILE_IN_USE,
    UPLOAD_INCOMPLETE,
    NO_LINKS,
    UNKNOWN_TUS_VERSION,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    RANGE_NOT_SATISFIABLE,
    INVALID_REQUEST,
    INVALID_PAYLOAD,
    UNKNOWN_KIND,
    IDEMPOTENCY_KEY_REUSED,
    UPLOAD_LOCKED,
    CHECKSUM_MISMATCH,
    RATE_LIMITED,
    QUOTA_EXCEEDED,
    INTERNAL,
    UNAVAILABLE,
];
