//! The loop of an import: chunks from the parser's thread, each judged, then committed. The same for every target.
//! It keeps nothing of its own between attempts; the target's checkpoint is the truth. Read `target.rs` next.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use longshore_sdk::{Context, Failure, Fatal, Progress, Result};
use tokio::sync::mpsc;

use super::chunk::{Chunk, Parser};
use super::limits::Limits;
use super::payload::{Format, MaxRejects};
use super::plan::Plan;
use super::records::{Bytes, Position, Records};
use super::target::{Checkpoint, Claim, Session, TargetError};

/// The ratio of `max_rejects` says nothing about fewer rows, until the file ends.
const RATIO_FROM_ROWS: u64 = 1_000;
/// The evidence names so many rejects.
const REJECTS_SHOWN: usize = 10;

/// What one attempt is to do.
pub(crate) struct Import<'a> {
    pub(crate) file: &'a Path,
    pub(crate) claim: Claim,
    pub(crate) plan: Arc<Plan>,
    pub(crate) format: &'a Format,
    pub(crate) max_rejects: &'a MaxRejects,
    pub(crate) limits: &'a Limits,
}

impl Import<'_> {
    /// Goes on where the last attempt's last commit ended, up to the end of the file.
    ///
    /// # Errors
    /// Fatal for a file or a table that does not fit; a retry when the target does not answer or a later attempt holds
    /// it; yielded or canceled between two chunks. What is committed stays.
    pub(crate) async fn run<S: Session>(&self, session: &mut S, context: &Context) -> Result<Checkpoint> {
        let from = session.begin(&self.plan, self.claim).await.map_err(TargetError::into_failure)?;
        if from.finished {
            return Ok(from);
        }
        let (send, receive) = mpsc::channel(1);
        let parser = self.parser(session, from, context)?;
        let bytes = parser.records.bytes().clone();
        let parse = context.blocking(move || {
            parser.run(&send);
            Ok(())
        });
        // Both to their end: a parser that panics ends the attempt, and one that nobody hears any more stops.
        let (parsed, committed) = tokio::join!(parse, self.commit_all(session, from, receive, &bytes, context));
        parsed.and(committed)
    }

    fn parser<S: Session>(&self, session: &S, from: Checkpoint, context: &Context) -> Result<Parser> {
        let records = Records::open(self.file, self.claim.source_bytes, from.position, self.format, self.limits)?;
        Ok(Parser {
            records,
            plan: Arc::clone(&self.plan),
            limits: self.limits.clone(),
            form: session.form(self.plan.target_columns().len()),
            from: from.position,
            records_before: from.rows_read(),
            cancellation: context.cancellation().clone(),
        })
    }

    async fn commit_all<S: Session>(
        &self,
        session: &mut S,
        mut done: Checkpoint,
        mut chunks: mpsc::Receiver<Result<Chunk>>,
        bytes: &Bytes,
        context: &Context,
    ) -> Result<Checkpoint> {
        while !done.finished {
            context.check()?;
            if context.should_yield() {
                return Err(Failure::Yielded);
            }
            let Some(chunk) = chunks.recv().await else {
                return Err(Failure::retry("parser_stopped", "the parser's thread ended before the file"));
            };
            done = self.commit(session, done, chunk?, bytes).await?;
            context.progress(progress(done, self.claim.source_bytes));
        }
        Ok(done)
    }

    async fn commit<S: Session>(
        &self,
        session: &mut S,
        done: Checkpoint,
        chunk: Chunk,
        bytes: &Bytes,
    ) -> Result<Checkpoint> {
        let next = done.after(&chunk);
        if too_many(self.max_rejects, next) {
            return Err(evidence(self.max_rejects, done, next, &chunk).into());
        }
        // Only for an error, but the chunk is gone by then.
        let starts = chunk.starts.clone();
        match session.commit(&self.plan, self.claim, chunk, next).await {
            Ok(()) => Ok(next),
            Err(TargetError::Failure(failure)) => Err(failure),
            Err(TargetError::Row { index, message }) => {
                let start = index.and_then(|index| starts.get(index)).copied();
                Err(refused(start, bytes, self.claim.source_bytes, done, &message)?.into())
            }
        }
    }
}

fn progress(done: Checkpoint, bytes: u64) -> Progress {
    Progress::of(done.position.offset, bytes, format!("{} rows, {} refused", done.rows_imported, done.rows_rejected))
}

/// Whether an import that is at `next` has too many rejects to go on.
fn too_many(limit: &MaxRejects, next: Checkpoint) -> bool {
    let (read, rejected) = (next.rows_read(), next.rows_rejected);
    let judged = next.finished || read >= RATIO_FROM_ROWS;
    let over_ratio = |ratio: f64| judged && rejected as f64 > ratio * read as f64;
    limit.rows.is_some_and(|rows| rejected > rows) || limit.ratio.is_some_and(over_ratio)
}

fn evidence(limit: &MaxRejects, done: Checkpoint, next: Checkpoint, chunk: &Chunk) -> Fatal {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    chunk.rejects.iter().for_each(|no| *counts.entry(no.reason).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let shown = chunk.rejects.iter().take(REJECTS_SHOWN).map(|no| match no.column.as_str() {
        "" => format!("line {}: {}", no.line, no.reason),
        column => format!("line {} column {column}: {}", no.line, no.reason),
    });
    let limits = [limit.rows.map(|rows| format!("{rows} rows")), limit.ratio.map(|ratio| format!("a part of {ratio}"))];
    let message = format!(
        "{} of {} rows read were refused, more than {}; in the last chunk {}; {}. {} rows were imported before and stay; \
         mend the file or the columns, or raise max_rejects",
        next.rows_rejected,
        next.rows_read(),
        limits.into_iter().flatten().collect::<Vec<_>>().join(" or "),
        counts.join(", "),
        shown.collect::<Vec<_>>().join("; "),
        done.rows_imported,
    );
    Fatal::new("too_many_rejects", message).at("/max_rejects")
}

fn refused(start: Option<Position>, bytes: &Bytes, end: u64, done: Checkpoint, message: &str) -> Result<Fatal> {
    let line = match start {
        Some(start) => format!("the row at line {}", bytes.start_of(start, end)?.line),
        None => "a row".to_owned(),
    };
    let message =
        format!("the table refuses {line}: {message}. {} rows were imported before and stay", done.rows_imported);
    Ok(Fatal::new("refused_by_table", message).at("/table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(imported: u64, rejected: u64, finished: bool) -> Checkpoint {
        let position = Position { offset: 0, line: 1 };
        Checkpoint { position, rows_imported: imported, rows_rejected: rejected, chunks: 1, finished }
    }

    #[test]
    fn the_ratio_is_judged_from_a_thousand_rows_on_and_at_the_end() {
        let tenth = MaxRejects::default();
        assert!(!too_many(&tenth, at(0, 999, false)));
        assert!(too_many(&tenth, at(899, 101, false)));
        assert!(!too_many(&tenth, at(900, 100, false)));
        assert!(too_many(&tenth, at(4, 1, true)));
        assert!(!too_many(&tenth, at(0, 0, true)));
    }

    #[test]
    fn an_absolute_limit_holds_at_once_and_none_never() {
        let two = MaxRejects { rows: Some(2), ratio: None };
        assert!(!too_many(&two, at(0, 2, true)));
        assert!(too_many(&two, at(10, 3, false)));
        assert!(!too_many(&MaxRejects { rows: None, ratio: None }, at(0, 5_000, true)));
    }
}
