//! Answers for people: short, and the same words as in the API. Pure: text in, text out.
//! It never shows less than what went wrong. Read [`super::screen`] for what moves on a terminal.

use longshore_sdk::ErrorReport;
use longshore_sdk::api::{ArtifactView, AttemptView, FileView, JobList, JobState, JobView, KindView, Waiting};
use serde::Serialize;

const BAR_CELLS: usize = 24;

/// A job, from its state to its files.
pub(super) fn job(view: &JobView) -> String {
    let mut lines = vec![format!("{}  {}  {}", view.id, view.kind, state(view))];
    lines.extend(
        view.progress.as_ref().filter(|_| view.state == JobState::Running).map(|_| field("progress", &step(view))),
    );
    lines.push(field("attempts", &format!("{} ({} of {} charged)", view.attempt, view.charged, view.max_attempts)));
    lines.extend(view.attempts.iter().filter(|attempt| attempt.error.is_some()).map(failed_attempt));
    lines.push(field("times", &times(view)));
    lines.extend(view.error.as_ref().map(|error| field("error", &fault(error))));
    lines.extend(view.result.as_ref().map(|result| field("result", result.get())));
    lines.extend(view.artifacts.iter().map(artifact));
    lines.join("\n")
}

/// A job's state with what it waits for.
pub(super) fn state(view: &JobView) -> String {
    let more = match (view.waiting, view.canceling, view.dead_letter) {
        (Some(waiting), ..) => format!(" ({})", waiting_for(waiting)),
        (_, true, _) => " (canceling)".into(),
        (.., true) => " (dead letter)".into(),
        _ => String::new(),
    };
    format!("{}{more}", word(&view.state))
}

/// One line that moves: state, bar, words, attempt.
pub(super) fn progress(view: &JobView) -> String {
    let again = if view.attempt > 1 { format!("  attempt {}", view.attempt) } else { String::new() };
    match view.state {
        JobState::Running => format!("{}  {}{again}", state(view), step(view)),
        JobState::Completed => format!("{}  {}{again}", state(view), bar(Some(1.0))),
        _ => format!("{}{again}", state(view)),
    }
}

/// A percentage and its bar, in this order so that a narrow terminal cuts the bar; an empty one where the end is not known.
pub(super) fn bar(fraction: Option<f64>) -> String {
    let Some(fraction) = fraction.map(|fraction| fraction.clamp(0.0, 1.0)) else {
        return format!("   ? {}", "░".repeat(BAR_CELLS));
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped: from 0 to 100")]
    let percent = (fraction * 100.0).floor() as usize;
    let full = percent * BAR_CELLS / 100;
    format!("{percent:>3}% {}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

/// An upload, with what to write into a payload.
pub(super) fn file(file: &FileView) -> String {
    format!(
        "{}  {}  {}\n{}",
        file.id,
        file.name,
        size(file.bytes),
        field("payload", &format!("{{\"file\": \"{}\"}}", file.id))
    )
}

/// The kinds, one a line.
pub(super) fn kinds(kinds: &[KindView]) -> String {
    let width = kinds.iter().map(|kind| kind.kind.len()).max().unwrap_or(0);
    let line = |kind: &KindView| {
        let workers = if kind.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", kind.workers) };
        let policy = &kind.policy;
        format!("{:width$}  {workers}, {:?} an attempt, {} attempts", kind.kind, policy.timeout, policy.max_attempts)
    };
    if kinds.is_empty() {
        "no kinds yet: start a worker".into()
    } else {
        kinds.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Jobs, one a line, and how to see the next page.
pub(super) fn page(page: &JobList) -> String {
    let width = page.jobs.iter().map(|job| job.kind.len()).max().unwrap_or(0);
    let line = |job: &JobView| {
        let why = job.error.as_ref().map(|error| format!("  {}: {}", error.code, error.message)).unwrap_or_default();
        format!("{}  {:width$}  {}  {}{why}", job.id, job.kind, job.created_at, state(job))
    };
    let more = page.next.map(|next| format!("more: --before {next}"));
    let lines: Vec<String> = page.jobs.iter().map(line).chain(more).collect();
    if lines.is_empty() { "none".into() } else { lines.join("\n") }
}

/// What was done with many.
pub(super) fn counts(done: &str, many: usize, skipped: usize, more: bool) -> String {
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    let more = if more { "; there may be more: run it again" } else { "" };
    format!("{many} {done}{skipped}{more}")
}

/// Bytes as people say them.
pub(super) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size for people, with one digit behind the point")]
    let of = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", of(1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", of(1_000_000)),
        _ => format!("{:.1} GB", of(1_000_000_000)),
    }
}

fn field(name: &str, value: &str) -> String {
    format!("  {name:<9} {value}")
}

fn step(view: &JobView) -> String {
    let Some(progress) = &view.progress else { return bar(None) };
    let message = progress.message.as_deref().map(|message| format!("  {message}")).unwrap_or_default();
    format!("{}{message}", bar(progress.fraction))
}

fn times(view: &JobView) -> String {
    let created = format!("submitted {}", view.created_at);
    let started = view.started_at.map(|started| format!(", started {started}"));
    let finished = view.finished_at.map(|finished| format!(", ended {finished}"));
    let due = view.due_at.map(|due| format!(", next attempt {due}"));
    [Some(created), started, finished, due].into_iter().flatten().collect()
}

fn failed_attempt(attempt: &AttemptView) -> String {
    let why = attempt.error.as_ref().map(fault).unwrap_or_default();
    let how = attempt.outcome.map(|outcome| word(&outcome)).unwrap_or_default();
    field(&format!("  #{}", attempt.attempt), &format!("{how}: {why}"))
}

fn fault(error: &ErrorReport) -> String {
    let place = error.field.as_deref().map(|field| format!(" (at {field})")).unwrap_or_default();
    format!("{}: {}{place}", error.code, error.message)
}

fn artifact(artifact: &ArtifactView) -> String {
    field("artifact", &format!("{}  {}  {}", artifact.name, size(artifact.bytes), artifact.url))
}

fn waiting_for(waiting: Waiting) -> String {
    word(&waiting).replace('_', " ")
}

/// The word that the API has for it.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view(more: Value) -> JobView {
        let mut view = json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "kind": "image.resize", "state": "pending", "attempt": 0,
            "max_attempts": 5, "charged": 0, "created_at": "2026-01-02T03:04:05Z", "version": 1,
            "urls": {"self": "/v1/jobs/1", "cancel": "/v1/jobs/1/cancel"}
        });
        let (Value::Object(view_fields), Value::Object(more)) = (&mut view, more) else { panic!("objects") };
        view_fields.extend(more);
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn a_bar_fills_from_empty_to_full_and_never_past() {
        assert_eq!(bar(Some(0.5)), format!(" 50% {}{}", "█".repeat(12), "░".repeat(12)));
        assert_eq!(bar(Some(7.0)), format!("100% {}", "█".repeat(24)));
        assert_eq!(bar(Some(0.999)), format!(" 99% {}░", "█".repeat(23)));
        assert_eq!(bar(None), format!("   ? {}", "░".repeat(24)));
    }

    #[test]
    fn a_failed_job_shows_its_error_its_field_and_its_attempts() {
        let error = json!({"code": "not_an_image", "message": "no header", "field": "/source"});
        let attempt = json!({"attempt": 1, "worker": "w", "outcome": "error", "started_at": "2026-01-02T03:04:05Z",
            "error": {"code": "io", "message": "disk away"}});
        let more = json!({"state": "failed", "dead_letter": true, "attempt": 2, "charged": 2, "error": error,
            "attempts": [attempt], "finished_at": "2026-01-02T03:05:05Z"});
        let expected = "\
01890a5d-ac96-774b-bcce-b302099a8057  image.resize  failed (dead letter)
  attempts  2 (2 of 5 charged)
    #1      error: io: disk away
  times     submitted 2026-01-02T03:04:05Z, ended 2026-01-02T03:05:05Z
  error     not_an_image: no header (at /source)";
        assert_eq!(job(&view(more)), expected);
    }

    #[test]
    fn a_waiting_job_says_what_it_waits_for() {
        assert_eq!(state(&view(json!({"waiting": "backing_off"}))), "pending (backing off)");
        assert_eq!(state(&view(json!({"state": "running", "canceling": true}))), "running (canceling)");
    }

    #[test]
    fn progress_shows_the_words_and_the_attempt() {
        let running = json!({"state": "running", "attempt": 2, "progress": {"fraction": 0.25, "message": "rows"}});
        assert_eq!(
            progress(&view(running)),
            format!("running   25% {}{}  rows  attempt 2", "█".repeat(6), "░".repeat(18))
        );
        assert_eq!(progress(&view(json!({"state": "canceled"}))), "canceled");
    }

    #[test]
    fn a_page_shows_a_job_a_line_and_how_to_go_on() {
        let failed = view(json!({"state": "failed", "error": {"code": "io", "message": "disk away"}}));
        let next = Some(failed.id);
        let shown = page(&JobList { jobs: vec![failed, view(json!({"waiting": "queued"}))], next });
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let expected = format!(
            "{id}  image.resize  2026-01-02T03:04:05Z  failed  io: disk away\n\
             {id}  image.resize  2026-01-02T03:04:05Z  pending (queued)\nmore: --before {id}"
        );
        assert_eq!(shown, expected);
        assert_eq!(page(&JobList { jobs: vec![], next: None }), "none");
    }

    #[test]
    fn counts_name_what_was_left() {
        assert_eq!(counts("purged", 3, 0, false), "3 purged");
        assert_eq!(counts("replayed", 2, 1, true), "2 replayed, 1 skipped; there may be more: run it again");
    }

    #[test]
    fn sizes_are_said_in_decimal_units() {
        let said = [999, 1_500, 2_500_000, 3_000_000_000].map(size);
        assert_eq!(said, ["999 B", "1.5 kB", "2.5 MB", "3.0 GB"]);
    }
}
