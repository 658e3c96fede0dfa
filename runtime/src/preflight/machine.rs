//! Whether this machine has what a worker needs: a storage that can be written, room, ffmpeg, and a data directory of its own.
//! Pure: what was found is handed in. Read `app.rs` for who looks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Finding, PreflightSettings, in_words};

/// A shorter lease is lost to a database that takes a second to fail over.
const SHORT_LEASE: Duration = Duration::from_secs(5);

/// What was found on this machine.
#[derive(Debug, Clone)]
pub struct MachineFacts {
    /// Where the storage is.
    pub storage: String,
    /// Why it could not be written, if it could not.
    pub storage_fault: Option<String>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Whether another process has locked it; `None` where nobody locks.
    pub taken: Option<bool>,
    /// Bytes that we may still write there.
    pub free_bytes: Option<u64>,
    /// The version of ffmpeg, if it is there.
    pub ffmpeg: Option<String>,
    /// Whether a kind is to run that needs it; `None` where the kinds say nothing.
    pub needs_ffmpeg: bool,
    /// How long a lease lasts.
    pub lease: Duration,
}

/// Everything that there is to say about it.
pub fn judge(facts: &MachineFacts, settings: &PreflightSettings) -> Vec<Finding> {
    let found =
        [Some(storage(facts)), data_dir(facts), Some(disk(facts, settings)), Some(ffmpeg(facts)), Some(lease(facts))];
    found.into_iter().flatten().collect()
}

fn storage(facts: &MachineFacts) -> Finding {
    let place = &facts.storage;
    let Some(fault) = &facts.storage_fault else {
        return Finding::ok("machine.storage", format!("{place} can be written and read"));
    };
    let why = "no input can be fetched from it and no output published: every job with files fails";
    let change =
        "see that storage.location is there and may be written; a bucket takes its keys from the AWS_* variables";
    // A bucket may be back in a moment; attempts are retried until then.
    Finding::fail("machine.storage", format!("{place}: {fault}"), why, change).that_may_pass()
}

fn data_dir(facts: &MachineFacts) -> Option<Finding> {
    let place = facts.data_dir.display();
    Some(match facts.taken? {
        false => Finding::ok("machine.data_dir", format!("{place} is free")),
        true => Finding::warn(
            "machine.data_dir",
            format!("{place} is in use by another longshore"),
            "only one `longshore dev` at a time can have it",
            "that is as it should be if it is the one you mean; else choose another with --data-dir",
        ),
    })
}

fn disk(facts: &MachineFacts, settings: &PreflightSettings) -> Finding {
    let place = facts.data_dir.display();
    let Some(free) = facts.free_bytes else {
        let why = "inputs are copied there, and outputs made";
        return Finding::warn(
            "machine.disk",
            format!("{place} does not tell its free space"),
            why,
            "see that it is there",
        );
    };
    let told = format!("{} MiB are free in {place}", free / 1024 / 1024);
    if free >= settings.min_free_bytes {
        return Finding::ok("machine.disk", told);
    }
    let why = "inputs are copied there and outputs made: attempts fail when it is full";
    Finding::warn(
        "machine.disk",
        told,
        why,
        "make room, name a larger place with data_dir, or lower preflight.min_free_bytes",
    )
}

fn ffmpeg(facts: &MachineFacts) -> Finding {
    match &facts.ffmpeg {
        Some(version) => Finding::ok("machine.ffmpeg", format!("ffmpeg {version}")),
        None if facts.needs_ffmpeg => Finding::fail(
            "machine.ffmpeg",
            "there is no ffmpeg and ffprobe that answer",
            "this worker is to run media.transcode, and cannot",
            "install ffmpeg, or name it with transcode.ffmpeg and transcode.ffprobe",
        ),
        None => Finding::warn(
            "machine.ffmpeg",
            "there is no ffmpeg and ffprobe that answer",
            "media.transcode is left out here: its jobs wait for another worker",
            "install ffmpeg, or name it with transcode.ffmpeg and transcode.ffprobe",
        ),
    }
}

fn lease(facts: &MachineFacts) -> Finding {
    let told = format!("a lease lasts {}", in_words(facts.lease));
    if facts.lease >= SHORT_LEASE {
        return Finding::ok("settings.lease", told);
    }
    let why = "a database that pauses for longer makes every worker stop what it runs";
    Finding::warn("settings.lease", told, why, "set worker.lease to 5 s or more; 15 s are the default")
}

/// The nearest directory that is there: the one that is to be made is on the same disk.
pub fn nearest(place: &Path) -> &Path {
    let there = place.ancestors().find(|above| !above.as_os_str().is_empty() && above.exists());
    there.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Level;

    fn well() -> MachineFacts {
        MachineFacts {
            storage: "/srv/jobs".into(),
            storage_fault: None,
            data_dir: "/var/lib/longshore".into(),
            taken: Some(false),
            free_bytes: Some(1 << 40),
            ffmpeg: Some("5.1.6".into()),
            needs_ffmpeg: true,
            lease: Duration::from_secs(15),
        }
    }

    fn ill(facts: &MachineFacts) -> Vec<(&'static str, Level)> {
        let findings = judge(facts, &PreflightSettings::default());
        let ill = findings.into_iter().filter(|finding| finding.level != Level::Ok);
        ill.map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_good_machine_has_nothing_to_answer_for() {
        assert_eq!(ill(&well()), []);
        assert_eq!(judge(&MachineFacts { taken: None, ..well() }, &PreflightSettings::default()).len(), 4);
    }

    #[test]
    fn what_is_missing_is_named_by_how_much_it_is_missed() {
        let cases = [
            ("machine.storage", Level::Fail, MachineFacts { storage_fault: Some("read only".into()), ..well() }),
            ("machine.data_dir", Level::Warn, MachineFacts { taken: Some(true), ..well() }),
            ("machine.disk", Level::Warn, MachineFacts { free_bytes: Some(1 << 20), ..well() }),
            ("machine.disk", Level::Warn, MachineFacts { free_bytes: None, ..well() }),
            ("machine.ffmpeg", Level::Fail, MachineFacts { ffmpeg: None, ..well() }),
            ("machine.ffmpeg", Level::Warn, MachineFacts { ffmpeg: None, needs_ffmpeg: false, ..well() }),
            ("settings.lease", Level::Warn, MachineFacts { lease: Duration::from_secs(2), ..well() }),
        ];
        for (check, level, facts) in cases {
            assert_eq!(ill(&facts), [(check, level)], "{facts:?}");
        }
    }

    #[test]
    fn room_is_looked_for_where_the_directory_will_be() {
        let there = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&there.path().join("not/yet")), there.path());
        assert_eq!(nearest(Path::new("not-yet/here")), Path::new("."));
    }
}
