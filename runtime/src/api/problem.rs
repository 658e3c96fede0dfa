//! How a request is refused: an RFC 9457 problem for the caller and, where there is more to know, a line for the log.
//! A [`Refusal`] cannot hold a success, and what the caller reads never holds SQL, paths or stack traces.
//! The types and what they promise are in [`longshore_sdk::api::problem`].

use std::fmt;
use std::time::Duration;

use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use longshore_sdk::api::problem::{self, FieldError, Problem};

use crate::ledger::LedgerError;
use crate::storage::StorageError;

/// What is wrong, each with its status, its stable type and its title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No readable form.
    Malformed,
    /// No credentials, or none that open the door.
    Unauthenticated,
    /// The caller is known and may not.
    Forbidden,
    /// Nothing here.
    NotFound,
    /// The path is there, the method is not.
    MethodNotAllowed,
    /// The body comes too slowly.
    TooSlow,
    /// The job has ended another way.
    AlreadyFinished,
    /// Only a dead letter can be replayed.
    NotADeadLetter,
    /// Another unfinished job holds the dead letter's unique key.
    UniqueKeyHeld,
    /// The idempotency key came before with another body.
    KeyReused,
    /// The upload stands elsewhere than the caller thinks.
    OffsetMismatch,
    /// A job has named the file, which stays.
    FileInUse,
    /// What was to be sent to a link is not there, or not whole.
    UploadIncomplete,
    /// The storage is a directory, which has no links.
    NoLinks,
    /// Another version of tus than is spoken here.
    UnknownTusVersion,
    /// Over a limit.
    TooLarge,
    /// Another content type than is read here.
    UnsupportedMediaType,
    /// No such part.
    RangeNotSatisfiable,
    /// A field is unknown, missing or out of its range.
    Invalid,
    /// The payload does not fit its schema.
    InvalidPayload,
    /// No such kind.
    UnknownKind,
    /// Somebody else appends to the upload.
    UploadLocked,
    /// The bytes are others than their checksum says.
    ChecksumMismatch,
    /// More calls than the caller's share.
    RateLimited,
    /// More of something than the tenant may have.
    QuotaExceeded,
    /// Our fault.
    Internal,
    /// The ledger, the broker or the storage does not answer.
    Unavailable,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooSlow,
        Self::AlreadyFinished,
        Self::NotADeadLetter,
        Self::UniqueKeyHeld,
        Self::KeyReused,
        Self::OffsetMismatch,
        Self::FileInUse,
        Self::UploadIncomplete,
        Self::NoLinks,
        Self::UnknownTusVersion,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::RangeNotSatisfiable,
        Self::Invalid,
        Self::InvalidPayload,
        Self::UnknownKind,
        Self::UploadLocked,
        Self::ChecksumMismatch,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The status it is answered with.
    pub fn status(self) -> StatusCode {
        self.table().0
    }

    /// Its stable type.
    pub fn word(self) -> &'static str {
        self.table().1
    }

    /// What it means.
    pub fn title(self) -> &'static str {
        self.table().2
    }

    fn table(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, problem::MALFORMED_REQUEST, "The request cannot be read"),
            Self::Unauthenticated => (S::UNAUTHORIZED, problem::UNAUTHENTICATED, "The caller is not known"),
            Self::Forbidden => (S::FORBIDDEN, problem::FORBIDDEN, "The caller may not do this"),
            Self::NotFound => (S::NOT_FOUND, problem::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, problem::METHOD_NOT_ALLOWED, "This path has no such method")
            }
            Self::TooSlow => (S::REQUEST_TIMEOUT, problem::REQUEST_TIMEOUT, "The request came too slowly"),
            Self::AlreadyFinished => (S::CONFLICT, problem::ALREADY_FINISHED, "The job has ended another way"),
            Self::NotADeadLetter => (S::CONFLICT, problem::NOT_A_DEAD_LETTER, "The job is no dead letter"),
            Self::UniqueKeyHeld => {
                (S::CONFLICT, problem::UNIQUE_KEY_HELD, "Another unfinished job holds the unique key")
            }
            Self::OffsetMismatch => (S::CONFLICT, problem::UPLOAD_OFFSET_MISMATCH, "The upload stands elsewhere"),
            Self::FileInUse => (S::CONFLICT, problem::FILE_IN_USE, "A job has named the file"),
            Self::UploadIncomplete => (S::CONFLICT, problem::UPLOAD_INCOMPLETE, "The file has not been sent whole"),
            Self::NoLinks => (S::CONFLICT, problem::NO_LINKS, "The storage has no links"),
            Self::UnknownTusVersion => {
                (S::PRECONDITION_FAILED, problem::UNKNOWN_TUS_VERSION, "Another version of tus is spoken here")
            }
            Self::UploadLocked => (S::LOCKED, problem::UPLOAD_LOCKED, "Somebody else appends to the upload"),
            Self::ChecksumMismatch => {
                (checksum_mismatch(), problem::CHECKSUM_MISMATCH, "The bytes are others than their checksum says")
            }
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, problem::TOO_LARGE, "The request is too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, problem::UNSUPPORTED_MEDIA_TYPE, "This content type is not read here")
            }
            Self::RangeNotSatisfiable => {
                (S::RANGE_NOT_SATISFIABLE, problem::RANGE_NOT_SATISFIABLE, "The file has no such part")
            }
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, problem::INVALID_REQUEST, "A field is not as it should be"),
            Self::InvalidPayload => {
                (S::UNPROCESSABLE_ENTITY, problem::INVALID_PAYLOAD, "The payload does not fit its kind")
            }
            Self::KeyReused => {
                (S::UNPROCESSABLE_ENTITY, problem::IDEMPOTENCY_KEY_REUSED, "The key came before with another body")
            }
            Self::UnknownKind => (S::UNPROCESSABLE_ENTITY, problem::UNKNOWN_KIND, "There is no such kind"),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, problem::RATE_LIMITED, "Too many calls"),
            Self::QuotaExceeded => (S::TOO_MANY_REQUESTS, problem::QUOTA_EXCEEDED, "The tenant has all it may have"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, problem::INTERNAL, "Longshore made a mistake"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, problem::UNAVAILABLE, "Longshore cannot do this now"),
        }
    }
}

/// The status that tus has made for it.
fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST)
}

/// A refused request.
#[derive(Debug)]
pub struct Refusal(Box<Inner>);

#[derive(Debug)]
struct Inner {
    fault: Fault,
    problem: Problem,
    log: Option<String>,
    retry_after: Option<Duration>,
    /// The whole length of the file whose part was asked for.
    whole: Option<u64>,
    /// What would open the door.
    challenge: Option<String>,
    /// What else is told beside the problem.
    headers: HeaderMap,
}

/// What a handler answers.
pub type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// `detail` says what happened this time and names the way out.
    pub fn new(fault: Fault, detail: impl Into<String>) -> Self {
        let (status, word, title) = fault.table();
        let problem = Problem {
            problem_type: word.into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            errors: Vec::new(),
            kinds: None,
        };
        Self(Box::new(Inner {
            fault,
            problem,
            log: None,
            retry_after: None,
            whole: None,
            challenge: None,
            headers: HeaderMap::new(),
        }))
    }

    /// One field, header or parameter at fault.
    pub fn of_field(fault: Fault, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let error = FieldError { pointer: pointer.into(), message: message.into() };
        Self::new(fault, format!("{} {}", error.pointer, error.message)).with_errors(vec![error])
    }

    /// The part that does not answer, what it said (for the log alone), and when to ask again.
    pub fn unavailable(part: &str, log: impl fmt::Display) -> Self {
        let mut refusal = Self::new(Fault::Unavailable, format!("the {part} does not answer; try again in a moment"));
        refusal.0.retry_after = Some(Duration::from_secs(2));
        refusal.logged(log)
    }

    /// Two append to one upload.
    pub(super) fn locked() -> Self {
        let detail = "another request appends to this upload; ask with HEAD where it stands, then go on from there";
        Self::new(Fault::UploadLocked, detail).after(Duration::from_secs(2))
    }

    /// A mistake of ours: the caller learns that it was one, the log learns which.
    pub fn internal(log: impl fmt::Display) -> Self {
        Self::new(Fault::Internal, "the server's log knows more; asking again may help").logged(log)
    }

    /// The whole length, of which a part that does not exist was asked for.
    pub fn no_such_part(whole: u64) -> Self {
        let mut refusal = Self::new(Fault::RangeNotSatisfiable, format!("the file has {whole} bytes"));
        refusal.0.whole = Some(whole);
        refusal
    }

    /// Whether the request is at fault: as it is, it will never go well.
    pub(super) fn is_callers(&self) -> bool {
        self.0.problem.status < 500
    }

    /// The fields at fault.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.problem.errors = errors;
        self
    }

    /// The kinds there are.
    #[must_use]
    pub fn with_kinds(mut self, kinds: Vec<String>) -> Self {
        self.0.problem.kinds = Some(kinds);
        self
    }

    /// When asking again may go well.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// What a caller must bring instead.
    #[must_use]
    pub(super) fn challenged(mut self, with: String) -> Self {
        self.0.challenge = Some(with);
        self
    }

    /// Told beside the problem.
    #[must_use]
    pub(super) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers = headers;
        self
    }

    /// The address of what it happened to.
    #[must_use]
    pub fn about(mut self, instance: impl Into<String>) -> Self {
        self.0.problem.instance = Some(instance.into());
        self
    }

    /// What the caller reads. The one place where a refusal is logged: every one comes through here once.
    pub fn tell(self) -> Problem {
        let Inner { problem, log, .. } = *self.0;
        match log {
            Some(log) => tracing::warn!(status = problem.status, problem = %problem.problem_type, %log, "refused"),
            None => tracing::debug!(status = problem.status, problem = %problem.problem_type, "refused"),
        }
        problem
    }

    /// What is wrong.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// What the caller will read.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    fn logged(mut self, log: impl fmt::Display) -> Self {
        self.0.log = Some(log.to_string());
        self
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_) => Self::unavailable("ledger", error),
            LedgerError::Refused(_) | LedgerError::Unstorable(_) => Self::internal(error),
        }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Missing => Self::new(Fault::NotFound, "the file is not there any more"),
            StorageError::TooLarge { limit } => Self::new(Fault::TooLarge, format!("at most {limit} bytes are taken")),
            StorageError::Interrupted(why) => Self::new(Fault::Malformed, format!("the body broke off: {why}")),
            StorageError::Unavailable(_) => Self::unavailable("storage", error),
            StorageError::Settings(_) => Self::internal(error),
            StorageError::NoLinks => {
                let detail = "the storage is a directory, which has no links: send the file with POST /v1/files, or in pieces \
                    with POST /v1/uploads, and download it without `via`";
                Self::new(Fault::NoLinks, detail)
            }
            StorageError::OtherSize { bytes } => Self::new(
                Fault::UploadIncomplete,
                format!("what was sent has {bytes} bytes; send all of them to the link"),
            ),
            StorageError::Busy => Self::locked(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(mut self) -> Response {
        let (fault, retry_after, whole) = (self.0.fault, self.0.retry_after, self.0.whole);
        let more = std::mem::take(&mut self.0.headers);
        let challenge = self.0.challenge.as_deref().and_then(|text| HeaderValue::try_from(text).ok());
        let problem = self.tell();
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut answer = (fault.table().0, body).into_response();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = retry_after {
            headers.insert(RETRY_AFTER, wait.as_secs().into());
        }
        headers.extend(more);
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(value) = whole.and_then(|whole| HeaderValue::try_from(format!("bytes */{whole}")).ok()) {
            headers.insert(CONTENT_RANGE, value);
        }
        answer
    }
}

#[cfg(test)]
mod tests;
