//! Decides what follows when ffmpeg or ffprobe ends badly: whose fault it was, and so whether to try again.
//! What is not known to be the source's fault is tried again, and no local path leaves in a message. Read
//! [`super::ffmpeg`] for who asks.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use longshore_sdk::{Failure, Fatal};
use rustix::process::Signal;

/// What a check of the source or the payload answers: never *try again*.
pub(super) type Checked<T = ()> = Result<T, Fatal>;

/// Lines of stderr that are shown.
const SHOWN_LINES: usize = 6;

/// What ffmpeg writes, and what that means. The first that is found counts, so the machine's troubles come first.
const SIGNS: [(&str, Sign); 22] = [
    ("No space left on device", Sign::DiskFull),
    ("Cannot allocate memory", Sign::OutOfMemory),
    ("failed to map segment from shared object", Sign::OutOfMemory),
    // Said of a broken disk and of a FLAC header cut short alike; the disk may be well again.
    ("Input/output error", Sign::Unknown),
    ("File too large", Sign::OutputTooLarge),
    ("Unknown encoder", Sign::Unsuitable),
    ("Unrecognized option", Sign::Unsuitable),
    ("Option not found", Sign::Unsuitable),
    ("No such filter", Sign::Unsuitable),
    ("error while loading shared libraries", Sign::Unsuitable),
    ("Format not on whitelist", Sign::Unsupported),
    ("not on whitelist", Sign::Unsupported),
    ("Invalid data found when processing input", Sign::Unreadable),
    ("moov atom not found", Sign::Unreadable),
    ("EBML header parsing failed", Sign::Unreadable),
    ("Failed to read frame size", Sign::Unreadable),
    ("could not find codec parameters", Sign::Unreadable),
    ("Could not find codec parameters", Sign::Unreadable),
    ("Decoder (codec none) not found", Sign::Unreadable),
    ("Error while decoding stream", Sign::Unreadable),
    ("does not contain any stream", Sign::Unreadable),
    ("End of file", Sign::Unreadable),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    DiskFull,
    OutOfMemory,
    OutputTooLarge,
    Unsuitable,
    Unsupported,
    Unreadable,
    Killed(i32),
    CpuSpent,
    Unknown,
}

/// What to answer for a program that ended with `status` and without saying that it had finished.
pub(super) fn of(program: &str, status: ExitStatus, stderr: &str) -> Failure {
    let tail = shown(stderr);
    match sign(status, stderr) {
        Sign::Unreadable => {
            let message =
                format!("the source cannot be decoded; it may be cut off or damaged, so upload it again: {tail}");
            unreadable(message).into()
        }
        Sign::Unsupported => {
            let message = format!("the source is not what its first bytes say, or refers to other files: {tail}");
            Fatal::new("unsupported_format", message).at("/source").into()
        }
        Sign::OutputTooLarge => output_too_large().into(),
        Sign::DiskFull => Failure::retry("disk_full", "the worker's scratch directory is full; free space on its disk"),
        Sign::OutOfMemory => {
            let message =
                format!("{program} ran out of memory; raise `limits.max_memory_bytes` if it was the limit: {tail}");
            Failure::retry("out_of_memory", message)
        }
        Sign::Unsuitable => {
            let message =
                format!("this worker's {program} lacks what the job needs (4.4 or later with libx264): {tail}");
            Failure::retry("ffmpeg_unsuitable", message)
        }
        Sign::CpuSpent => Failure::retry("cpu_limit", format!("{program} used up the attempt's processor time")),
        Sign::Killed(signal) => {
            Failure::retry("ffmpeg_killed", format!("{program} was killed by signal {signal}: {tail}"))
        }
        Sign::Unknown => Failure::retry("ffmpeg_failed", format!("{program} ended with {status}: {tail}")),
    }
}

pub(super) fn unreadable(message: impl std::fmt::Display) -> Fatal {
    Fatal::new("unreadable_media", message).at("/source")
}

fn output_too_large() -> Fatal {
    let way_out = "choose a smaller preset or a higher `crf`, or have the operator raise `limits.max_output_bytes`";
    Fatal::new("output_too_large", format!("an output grew past this worker's limit; {way_out}"))
}

fn sign(status: ExitStatus, stderr: &str) -> Sign {
    match status.signal() {
        Some(signal) if signal == Signal::XFSZ.as_raw() => Sign::OutputTooLarge,
        Some(signal) if signal == Signal::XCPU.as_raw() => Sign::CpuSpent,
        Some(signal) => Sign::Killed(signal),
        None if status.success() => Sign::Unknown,
        None => SIGNS.iter().find(|(text, _)| stderr.contains(text)).map_or(Sign::Unknown, |(_, sign)| *sign),
    }
}

/// The last lines, without control characters.
fn shown(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    last.join(" | ").chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(wait_status: i32, stderr: &str) -> (String, bool) {
        match of("ffmpeg", ExitStatus::from_raw(wait_status), stderr) {
            Failure::Fatal(report) => (report.code, true),
            Failure::Retry { error, .. } => (error.code, false),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sources_faults_are_final_and_the_machines_are_tried_again() {
        const EXIT_1: i32 = 1 << 8;
        let expected = [
            (EXIT_1, "x: Invalid data found when processing input", "unreadable_media", true),
            (EXIT_1, "[hls @ 0x1] Format not on whitelist 'mov'", "unsupported_format", true),
            (EXIT_1, "av_interleaved_write_frame(): No space left on device", "disk_full", false),
            (EXIT_1, "Error while decoding stream #0:0: Cannot allocate memory", "out_of_memory", false),
            (EXIT_1, "Unknown encoder 'libx264'", "ffmpeg_unsuitable", false),
            (EXIT_1, "something new", "ffmpeg_failed", false),
            (0, "Error while decoding stream #0:0", "ffmpeg_failed", false),
            (Signal::XFSZ.as_raw(), "", "output_too_large", true),
            (Signal::XCPU.as_raw(), "", "cpu_limit", false),
            (Signal::SEGV.as_raw(), "Invalid data found when processing input", "ffmpeg_killed", false),
        ];
        for (status, stderr, word, fatal) in expected {
            assert_eq!(code(status, stderr), (word.to_owned(), fatal), "{stderr}");
        }
    }

    #[test]
    fn only_the_last_lines_are_shown_and_nothing_a_terminal_obeys() {
        let stderr: String = (0..50).map(|line| format!("line {line} \u{1b}[31m\n")).collect();
        let text = shown(&stderr);
        assert!(text.starts_with("line 44 ") && text.ends_with("line 49 [31m"), "{text}");
    }
}
