//! What the demo tells while it happens: a line for people, or a JSON object a line, on stdout.
//! It believes nothing and decides nothing. Read [`super::checks`] for what is believed.

use std::cell::Cell;

use serde::Serialize;

use crate::cli::{jobs, tell};

/// The story so far.
pub(super) struct Story {
    json: bool,
    /// A line without a name of its own goes on with this one.
    step: Cell<&'static str>,
}

#[derive(Serialize)]
struct Line<'a> {
    step: &'a str,
    told: &'a str,
}

impl Story {
    pub(super) fn new(json: bool) -> Self {
        Self { json, step: Cell::new("") }
    }

    /// One more line.
    pub(super) fn say(&self, step: &'static str, told: &str) {
        if !step.is_empty() {
            self.step.set(step);
        }
        // A story needs no listener.
        let _ = self.line(step, told).and_then(|line| tell(&line));
    }

    fn line(&self, step: &str, told: &str) -> anyhow::Result<String> {
        if self.json { jobs::json(&Line { step: self.step.get(), told }) } else { Ok(format!("{step:<8} {told}")) }
    }
}
