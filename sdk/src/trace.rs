//! Where a request has its place in a distributed trace, as W3C Trace Context writes it: `traceparent`, and `tracestate` beside
//! it. It is carried and never made here; what cannot be read is dropped without a word, for the standard says so: a caller's
//! broken trace is no reason to refuse a job. Read [`crate::Context::trace`] for what an executor does with it.

use std::fmt;
use std::str::FromStr;

/// `00-<trace>-<parent>-<flags>`.
const PARENT_BYTES: usize = 55;
/// A longer `tracestate` is left out, as the standard allows.
const MAX_STATE_BYTES: usize = 512;

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// What two headers say; `None` where the first cannot be read. The second alone means nothing.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let parent = parent(traceparent.trim())?;
        Some(Self { parent, state: tracestate.map(str::trim).filter(|state| state_is_valid(state)).map(str::to_owned) })
    }

    /// The header `traceparent`.
    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    /// The header `tracestate`: what the tracing systems on the way want to know of it.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.parent[3..35]
    }
}

/// A later version is read as the first, which it must begin with, and goes on as the first.
fn parent(text: &str) -> Option<String> {
    let version = text.get(..2)?;
    let whole = text.len() == PARENT_BYTES || (version != "00" && text.as_bytes().get(PARENT_BYTES) == Some(&b'-'));
    if !whole || version == "ff" {
        return None;
    }
    let known = text.get(..PARENT_BYTES)?;
    let mut parts = known.split('-');
    let lengths = [2, 32, 16, 2].map(|length| parts.next().filter(|part| part.len() == length && is_hex(part)));
    let [_, trace, span, _] = lengths;
    let real = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|digit| digit != b'0'));
    let read = parts.next().is_none() && lengths.iter().all(Option::is_some) && real(trace) && real(span);
    read.then(|| format!("00{}", &known[2..]))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn state_is_valid(state: &str) -> bool {
    (1..=MAX_STATE_BYTES).contains(&state.len()) && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// As it is kept: the parent, and after a space the state.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "{} {state}", self.parent),
            None => f.write_str(&self.parent),
        }
    }
}

/// A text that is no place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place in a trace is a W3C traceparent, and after a space its tracestate")]
pub struct NoTrace;

impl FromStr for Trace {
    type Err = NoTrace;

    fn from_str(text: &str) -> Result<Self, NoTrace> {
        let (parent, state) = text.split_once(' ').map_or((text, None), |(parent, state)| (parent, Some(state)));
        Self::read(parent, state).ok_or(NoTrace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_kept_is_read_back() {
        for state in [None, Some("vendor=t61rcWkgMzE,other=1 2")] {
            let trace = Trace::read(PARENT, state).unwrap();
            assert_eq!(trace.to_string().parse(), Ok(trace.clone()));
            assert_eq!((trace.traceparent(), trace.tracestate()), (PARENT, state));
            assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        }
    }

    #[test]
    fn a_later_version_goes_on_as_the_first() {
        for later in
            [PARENT.replacen("00-", "cc-", 1), format!("{}-what-the-future-is-like", PARENT.replacen("00-", "cc-", 1))]
        {
            assert_eq!(Trace::read(&later, None).unwrap().traceparent(), PARENT);
        }
    }

    #[test]
    fn what_is_no_trace_is_dropped() {
        let bad = [
            "".to_owned(),
            "00".to_owned(),
            PARENT.to_uppercase(),
            PARENT.replacen("00-", "ff-", 1),
            format!("{PARENT}-more"),
            PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            PARENT.replace('-', "_"),
            PARENT.replace("b7ad6b7169203331", "b7ad6b716920333-"),
            "é".repeat(40),
        ];
        for text in bad {
            assert_eq!(Trace::read(&text, None), None, "{text}");
        }
    }

    #[test]
    fn a_state_that_no_header_holds_is_left_out() {
        for state in ["", "a\nb", "é", &"a".repeat(513)] {
            assert_eq!(Trace::read(PARENT, Some(state)).unwrap().tracestate(), None, "{state:?}");
        }
    }
}
