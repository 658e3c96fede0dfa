//! Runs ffmpeg and ffprobe for one attempt: starts, listens, stops, and says how they ended.
//! An ending is good only with exit code 0 *and* `progress=end`: ffmpeg ended by a signal leaves a file that opens cleanly
//! and is cut short (measured). Read [`super::argv`] for the arguments and [`super::failure`] for bad endings.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_sdk::{Context, Failure, Result};

use super::passes::Pass;
use super::probe::Probed;
use super::settings::TranscodeSettings;
use super::sniff::Container;
use super::{argv, failure};
use crate::child::{Child, Ended, Program};

/// Between SIGTERM and SIGKILL. ffmpeg obeys in 0.1 s (measured); the attempt's own grace is 3 s.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// ffprobe's answer for the fields we ask for: some hundred bytes a stream.
const MAX_PROBE_BYTES: usize = 1024 * 1024;
/// A line of `-progress` has some thirty bytes.
const MAX_LINE_BYTES: usize = 1024;

/// The two programs, for one attempt.
pub(super) struct Ffmpeg<'a> {
    pub(super) settings: &'a TranscodeSettings,
    pub(super) context: &'a Context,
    /// Absolute, as a `file:` URL wants it.
    pub(super) scratch: PathBuf,
}

impl Ffmpeg<'_> {
    /// Asks ffprobe about `file`, to be read as `container` and nothing else.
    pub(super) async fn probe(&self, container: Container, file: &Path) -> Result<Probed> {
        let bytes = tokio::fs::metadata(file).await?.len();
        let json = self.ask_ffprobe(argv::probe(container, file), file).await?;
        Ok(Probed::read(&json, container, file, bytes)?)
    }

    /// When the first frame of a short `file` is shown, in seconds; none if it has none. It reads the whole file.
    pub(super) async fn first_frame(&self, container: Container, file: &Path) -> Result<Option<f64>> {
        let lines = self.ask_ffprobe(argv::frame_times(container, file), file).await?;
        let times = String::from_utf8_lossy(&lines);
        Ok(times.lines().filter_map(|line| line.trim_matches(',').parse().ok()).min_by(f64::total_cmp))
    }

    async fn ask_ffprobe(&self, args: Vec<OsString>, file: &Path) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        let keep = |piece: &[u8]| {
            let room = MAX_PROBE_BYTES - answer.len();
            answer.extend_from_slice(&piece[..piece.len().min(room)]);
        };
        let ended = self.execute("ffprobe", &self.settings.ffprobe, args, keep, self.canceled()).await?;
        if !ended.status.success() {
            return Err(failure::of("ffprobe", ended.status, &self.without_paths(&ended.stderr, file)));
        }
        Ok(answer)
    }

    /// Runs ffmpeg on `input`, from `seek` seconds on, and answers its log's end.
    pub(super) async fn run(
        &self,
        input: &Probed,
        seek: Option<f64>,
        after: Vec<OsString>,
        pass: Pass<'_>,
    ) -> Result<String> {
        let mut before = vec![];
        before.extend(seek.into_iter().flat_map(|at| [OsString::from("-ss"), format!("{at:.3}").into()]));
        self.transcode(input, before, after, Share { pass: &pass, from: 0.0 }, self.canceled()).await
    }

    /// Runs ffmpeg on `input` from `from` on, until it ends or `until` says why it must.
    pub(super) async fn segment(
        &self,
        input: &Probed,
        from: f64,
        after: Vec<OsString>,
        pass: &Pass<'_>,
        until: impl Future<Output = Failure>,
    ) -> Result<()> {
        self.transcode(input, argv::enter(from), after, Share { pass, from }, until).await.map(drop)
    }

    /// Joins what `list` (see [`argv::join`]) names with the sound of `input`.
    pub(super) async fn join(
        &self,
        input: &Probed,
        list: Vec<OsString>,
        after: Vec<OsString>,
        pass: Pass<'_>,
    ) -> Result<()> {
        self.transcode(input, list, after, Share { pass: &pass, from: 0.0 }, self.canceled()).await.map(drop)
    }

    async fn canceled(&self) -> Failure {
        self.context.canceled().await;
        Failure::Canceled
    }

    async fn transcode(
        &self,
        input: &Probed,
        before: Vec<OsString>,
        after: Vec<OsString>,
        Share { pass, from }: Share<'_>,
        until: impl Future<Output = Failure>,
    ) -> Result<String> {
        let mut args = argv::head(self.settings);
        args.extend(before);
        args.extend(argv::guarded(input.container, &input.path));
        args.extend(after);
        let mut reports = Reports::default();
        let listen = |piece: &[u8]| {
            reports.read(piece);
            pass.reached(from + reports.seconds, input.duration);
        };
        let ended = self.execute("ffmpeg", &self.settings.ffmpeg, args, listen, until).await?;
        if ended.status.success() && reports.ended {
            pass.done();
            return Ok(ended.stderr);
        }
        Err(failure::of("ffmpeg", ended.status, &self.without_paths(&ended.stderr, &input.path)))
    }

    async fn execute(
        &self,
        name: &str,
        program: &Path,
        args: Vec<OsString>,
        on_stdout: impl FnMut(&[u8]) + Send,
        until: impl Future<Output = Failure>,
    ) -> Result<Ended> {
        self.context.check()?;
        let limits = self.settings.child_limits(self.context.timeout());
        let program = Program { program: program.to_owned(), args, dir: self.scratch.clone(), limits };
        let mut child = Child::spawn(program).await.map_err(|error| cannot_start(name, &error))?;
        let ended = tokio::select! {
            biased;
            stop = until => Err(stop),
            ended = child.drive(on_stdout) => Ok(ended),
        };
        match ended {
            Ok(ended) => Ok(ended?),
            Err(stop) => {
                child.stop(STOP_GRACE).await;
                Err(stop)
            }
        }
    }

    /// Where things lie on this machine is no business of the caller's.
    fn without_paths(&self, text: &str, input: &Path) -> String {
        let hide = |text: String, path: &Path, word: &str| text.replace(&*path.to_string_lossy(), word);
        hide(hide(text.to_owned(), input, "source"), &self.scratch, "scratch")
    }
}

fn cannot_start(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            let way_out =
                format!("install it (Debian: `apt install ffmpeg`) or set `{name}` in the settings to its path");
            Failure::retry("ffmpeg_missing", format!("this worker has no {name} to run: {error}; {way_out}"))
        }
        _ => Failure::retry("ffmpeg_unavailable", format!("{name} cannot be started: {error}")),
    }
}

/// A pass, and where in the source this run of ffmpeg enters it: ffmpeg counts its time from there, whatever the frames' times are.
struct Share<'a> {
    pass: &'a Pass<'a>,
    from: f64,
}

/// What ffmpeg has said on `-progress` so far.
#[derive(Debug, Default)]
struct Reports {
    line: Vec<u8>,
    seconds: f64,
    ended: bool,
}

impl Reports {
    fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take(&String::from_utf8_lossy(&line));
            } else if self.line.len() < MAX_LINE_BYTES {
                self.line.push(byte);
            }
        }
    }

    /// `out_time_us` is `N/A` at first and may be negative, when a stream starts before zero.
    fn take(&mut self, line: &str) {
        match line.trim().split_once('=') {
            Some(("out_time_us", micros)) => {
                let micros = micros.parse::<f64>().ok().filter(|micros| micros.is_finite());
                self.seconds = self.seconds.max(micros.unwrap_or(0.0) / 1e6);
            }
            Some(("progress", "end")) => self.ended = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_across_pieces_and_time_never_runs_back() {
        let mut reports = Reports::default();
        reports.read(b"out_time_us=N/A\nprogress=continue\nout_time");
        assert_eq!((reports.seconds, reports.ended), (0.0, false));
        reports.read(b"_us=1500000\nout_time_us=-7\nprogress=en");
        assert_eq!((reports.seconds, reports.ended), (1.5, false));
        reports.read(b"d\n");
        assert!(reports.ended);
    }

    #[test]
    fn a_line_without_end_fills_no_memory() {
        let mut reports = Reports::default();
        reports.read(&vec![b'x'; 10 * MAX_LINE_BYTES]);
        assert_eq!(reports.line.len(), MAX_LINE_BYTES);
        reports.read(b"\nprogress=end\n");
        assert!(reports.ended);
    }
}
