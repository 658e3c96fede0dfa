//! How an attempt ends. In an executor `?` means *try again*; giving up is said aloud with [`Fatal`].
//! Nothing here decides what follows an ending: that is the runtime's verdict. Read [`crate::attempt`] next.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::context::Artifact;

/// What an executor's `run` answers.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why an attempt did not complete.
///
/// It deliberately does not implement [`std::error::Error`], so that every error does convert into it: `?` on any
/// error makes a [`Failure::Retry`].
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The world was unkind; another attempt may do better.
    Retry {
        /// What went wrong, kept with the attempt.
        error: ErrorReport,
        /// The wait the executor asks for, in place of the policy's backoff (a `Retry-After`, say).
        after: Option<Duration>,
    },
    /// No attempt will ever do better: the job becomes a dead letter.
    Fatal(ErrorReport),
    /// The executor saw its cancellation and stopped.
    Canceled,
    /// The executor saved a checkpoint and handed the job back, because its worker drains. Costs no attempt.
    Yielded,
    /// Not now: the job comes back after this wait, at least [`Failure::SHORTEST_WAIT`]. Costs no attempt.
    Postponed(Duration),
}

impl Failure {
    /// What comes back free of charge comes back no sooner: else it would go in a circle.
    pub const SHORTEST_WAIT: Duration = Duration::from_secs(1);

    /// Come back after `wait`, free of charge: for what is nobody's failure, as a rate limit that says when it ends. How often is
    /// the executor's to bound.
    pub fn postpone(wait: Duration) -> Self {
        Self::Postponed(wait)
    }

    /// Try again after the policy's backoff.
    pub fn retry(code: &str, message: impl fmt::Display) -> Self {
        Self::Retry { error: ErrorReport::new(code, message), after: None }
    }

    /// Try again after `wait`, whatever the policy's backoff says.
    pub fn retry_after(wait: Duration, code: &str, message: impl fmt::Display) -> Self {
        Self::Retry { error: ErrorReport::new(code, message), after: Some(wait) }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry("error", chain(&error))
    }
}

impl From<Fatal> for Failure {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal.0)
    }
}

/// The executor gives the job up: `return Err(Fatal::new("not_an_image", "...").into())`, or `Fatal::new(..)` with `?`.
#[derive(Debug, Clone, PartialEq)]
pub struct Fatal(ErrorReport);

impl Fatal {
    /// `code` is a stable word for programs, `message` a sentence for people that names the way out.
    pub fn new(code: &str, message: impl fmt::Display) -> Self {
        Self(ErrorReport::new(code, message))
    }

    /// Names the field of the payload at fault, as a JSON pointer such as `/renditions/0/width`.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.0.field = Some(pointer.into());
        self
    }
}

/// Turns an error that another attempt cannot cure into a [`Fatal`].
pub trait OrFatal<T> {
    /// `decode(bytes).or_fatal("not_an_image")?`
    ///
    /// # Errors
    /// The [`Fatal`] made of the error's whole chain.
    fn or_fatal(self, code: &str) -> std::result::Result<T, Fatal>;
}

impl<T, E: std::error::Error> OrFatal<T> for std::result::Result<T, E> {
    fn or_fatal(self, code: &str) -> std::result::Result<T, Fatal> {
        self.map_err(|error| Fatal::new(code, chain(&error)))
    }
}

/// An error as it is stored with an attempt and shown by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// A stable word for programs, e.g. `timeout`, `panic`, `not_an_image`.
    pub code: String,
    /// A sentence for people, at most [`ErrorReport::MAX_MESSAGE_BYTES`] long.
    pub message: String,
    /// The payload's field at fault, as a JSON pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ErrorReport {
    /// Longer messages are cut: an ffmpeg log must not fill the ledger.
    pub const MAX_MESSAGE_BYTES: usize = 4096;

    /// A report with its message cut to [`Self::MAX_MESSAGE_BYTES`] at a character's end.
    pub fn new(code: &str, message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        if message.len() > Self::MAX_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(Self::MAX_MESSAGE_BYTES));
            message.push('…');
        }
        // PostgreSQL's text and jsonb hold no NUL.
        Self { code: code.to_owned(), message: message.replace('\0', "\u{fffd}"), field: None }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// How an attempt ended, as [`crate::attempt::run`] saw it.
#[derive(Debug)]
pub enum Outcome {
    /// The executor answered; its artifacts are staged and wait for the commit that publishes them.
    Done {
        /// The executor's output as JSON.
        result: Box<RawValue>,
        /// Staged output files.
        artifacts: Vec<Artifact>,
    },
    /// Another attempt may do better: an error, a timeout, a panic.
    Retry {
        /// What went wrong.
        error: ErrorReport,
        /// The wait the executor asked for.
        after: Option<Duration>,
        /// Who says so. An executor's error may bear the code `timeout` or `panic`, and is its own word all the same.
        seen: Seen,
    },
    /// The executor gave up for good.
    Fatal(ErrorReport),
    /// A cancellation was asked for and obeyed.
    Canceled,
    /// Handed back on drain; costs no attempt.
    Yielded,
    /// Handed back until this wait is over; costs no attempt.
    Postponed(Duration),
    /// Taken away at the end of a drain's grace, within which it neither ended nor yielded; costs no attempt.
    Drained,
    /// The worker's lease ended while the attempt ran: nothing may be recorded for it.
    LeaseLost,
}

/// What a failed attempt was seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It answered with an error.
    Failing,
    /// Its time ran out.
    TimingOut,
    /// It panicked.
    Panicking,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry { error, after } => Self::Retry { error, after, seen: Seen::Failing },
            Failure::Fatal(error) => Self::Fatal(error),
            Failure::Canceled => Self::Canceled,
            Failure::Yielded => Self::Yielded,
            Failure::Postponed(wait) => Self::Postponed(wait.max(Failure::SHORTEST_WAIT)),
        }
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many libraries repeat their source in their own text.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(fail: bool) -> Result<u32> {
        let number: u32 = if fail { "x" } else { "7" }.parse()?;
        Ok(number)
    }

    #[test]
    fn a_question_mark_means_try_again() {
        assert!(matches!(answers(true), Err(Failure::Retry { after: None, .. })));
        assert_eq!(answers(false), Ok(7));
    }

    #[test]
    fn giving_up_is_said_aloud() {
        let failure: Failure = "x".parse::<u32>().or_fatal("not_a_number").map_err(|f| f.at("/n")).unwrap_err().into();
        let Failure::Fatal(report) = failure else { panic!("not fatal: {failure:?}") };
        assert_eq!((report.code.as_str(), report.field.as_deref()), ("not_a_number", Some("/n")));
    }

    #[test]
    fn a_long_message_is_cut_at_a_characters_end() {
        let report = ErrorReport::new("error", "ä".repeat(ErrorReport::MAX_MESSAGE_BYTES));
        assert!(report.message.len() <= ErrorReport::MAX_MESSAGE_BYTES + '…'.len_utf8());
        assert!(report.message.ends_with('…'));
    }

    #[test]
    fn a_nul_never_reaches_the_ledger() {
        assert!(!ErrorReport::new("error", "a\0b").message.contains('\0'));
    }
}
