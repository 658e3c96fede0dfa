//! A long video in segments, so that a drain or a crash costs seconds of work and not hours: one ffmpeg writes segment after segment,
//! each is kept when it is finished, the checkpoint names them, and a later attempt's ffmpeg starts where the last one ends.
//! Only the picture is cut up: the sound, which would drift at every seam, is encoded once and whole when all are joined.
//! Segments are NUT, because Matroska would round every time stamp to a millisecond. Read [`super::argv`] for the arguments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_sdk::context::Kept;
use longshore_sdk::{Context, Failure, Result};
use serde::{Deserialize, Serialize};

use super::argv;
use super::failure::unreadable;
use super::ffmpeg::Ffmpeg;
use super::passes::Pass;
use super::payload::Video;
use super::probe::{PictureTrack, Probed};
use super::sniff::Container;

/// More would not fit into a checkpoint: longer videos have longer segments.
const MAX_SEGMENTS: f64 = 1_000.0;
/// How often finished segments are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// ffmpeg appends a line to it as each segment ends.
const LIST: &str = "segments.csv";

/// What is done of a video: the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// The source's size: of another source, nothing is done.
    source_bytes: u64,
    /// How far the job was shown to be, so that no later attempt shows less.
    pub(super) reached: f64,
    segments: Vec<Segment>,
    /// The first frame of a segment of which no tool says where it starts, by number, in microseconds: of one or two frames, which
    /// an attempt leaves that is drained soon, or the end of a video. ffmpeg would take it for zero and show the frame twice as late.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: BTreeMap<usize, u64>,
}

/// A finished segment: the attempt that made it, and from when to when it plays, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Segment(u32, u64, u64);

impl Done {
    /// What earlier attempts have done of this source, if all of it is still there.
    pub(super) async fn so_far(source: &Probed, context: &Context) -> Result<Self> {
        let nothing = Self { source_bytes: source.bytes, ..Self::default() };
        let saved = context.checkpoint::<Self>().filter(|done| done.source_bytes == source.bytes);
        let Some(done) = saved else { return Ok(nothing) };
        for (number, segment) in done.segments.iter().enumerate() {
            let Some(input) = context.recall(&kept(segment.0, number)).await? else { return Ok(nothing) };
            std::os::unix::fs::symlink(std::path::absolute(input.path)?, place(context.scratch()?, number))?;
        }
        Ok(done)
    }

    /// Whether there is anything to go on from.
    pub(super) fn is_some(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Where the next segment starts, in seconds.
    fn end(&self) -> f64 {
        self.segments.last().map_or(0.0, |segment| seconds(segment.2))
    }
}

/// How long a segment is to be, where cutting up pays: a source that can be entered at any place, and is long enough.
pub(super) fn length(source: &Probed, picture: &PictureTrack, wanted: u32) -> Option<f64> {
    let enterable = matches!(source.container, Container::Mp4 | Container::Matroska);
    let duration = picture.duration.or(source.duration).filter(|_| enterable && wanted > 0)?;
    let length = f64::from(wanted).max(duration / MAX_SEGMENTS);
    (duration > 2.0 * length).then_some(length)
}

/// Encodes what is missing of the picture; on drain it stops where it is, and what it has is kept.
pub(super) struct Encode<'a> {
    pub(super) ffmpeg: &'a Ffmpeg<'a>,
    pub(super) source: &'a Probed,
    pub(super) picture: &'a PictureTrack,
    pub(super) length: f64,
}

impl Encode<'_> {
    /// Answers with the list of all segments, for [`argv::join`], and where on the timeline the first one starts.
    pub(super) async fn run(self, ask: &Video, mut done: Done, pass: Pass<'_>) -> Result<(PathBuf, f64)> {
        let end = self.picture.duration.or(self.source.duration).unwrap_or(0.0);
        // An attempt that ended while it joined has nothing left to encode: less than a frame is none.
        if end - done.end() > 1.0 / self.picture.fps.unwrap_or(25.0).max(1.0) {
            self.encode(ask, &mut done, &pass).await?;
        }
        let first = done.segments.first().ok_or_else(|| unreadable("no frame could be read from the source"))?;
        let list = self.ffmpeg.scratch.join("segments.ffconcat");
        tokio::fs::write(&list, concat_list(&done)).await?;
        Ok((list, seconds(first.1)))
    }

    async fn encode(&self, ask: &Video, done: &mut Done, pass: &Pass<'_>) -> Result<()> {
        let (from, first) = (done.end(), done.segments.len());
        let size = argv::fit(self.picture.size, ask.preset);
        let limits = &self.ffmpeg.settings.limits;
        let duration = self.picture.duration.or(self.source.duration).unwrap_or(0.0);
        let list = self.ffmpeg.scratch.join(LIST);
        let cuts = argv::Cuts { from, first, length: self.length, duration, list: &list };
        let threads = self.ffmpeg.settings.threads;
        let mut args = argv::video(ask, self.picture.index, size, threads);
        args.extend(argv::segments(&cuts, limits.max_duration_seconds));
        let mut collector = Collector { encode: self, done, first, seen: 0, pass };
        let ran = self.ffmpeg.segment(self.source, from, args, pass, collector.until_stopped()).await;
        match ran {
            Ok(()) => collector.collect().await,
            // ffmpeg told to stop ends its last segment in good order.
            Err(Failure::Yielded) => {
                collector.collect().await?;
                Err(Failure::Yielded)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Keeps what is finished while ffmpeg goes on.
struct Collector<'a, 'b> {
    encode: &'a Encode<'b>,
    done: &'a mut Done,
    /// The number of this attempt's first segment.
    first: usize,
    /// How many of this attempt's are kept.
    seen: usize,
    pass: &'a Pass<'a>,
}

impl Collector<'_, '_> {
    /// Why ffmpeg is to stop before its end.
    async fn until_stopped(&mut self) -> Failure {
        let context = self.encode.ffmpeg.context;
        loop {
            tokio::select! {
                biased;
                () = context.canceled() => return Failure::Canceled,
                () = context.cancellation().yield_requested() => return Failure::Yielded,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if let Err(failure) = self.collect().await {
                return failure;
            }
        }
    }

    async fn collect(&mut self) -> Result<()> {
        let scratch = &self.encode.ffmpeg.scratch;
        let list = tokio::fs::read_to_string(scratch.join(LIST)).await.unwrap_or_default();
        let finished = read_list(&list);
        let fresh = finished.get(self.seen..).unwrap_or_default();
        for (start, end) in fresh {
            self.keep(*start, *end).await?;
            self.seen += 1;
        }
        if fresh.is_empty() {
            return Ok(());
        }
        self.done.reached = self.pass.shown();
        self.encode.ffmpeg.context.save_checkpoint(self.done).await
    }

    /// ffmpeg's list says zero for its first segment, wherever that starts. The segment itself says it, but for the very first:
    /// NUT knows no time below zero, which x264's reordering needs, and so that one alone is shifted by a frame or two.
    fn start(&self, listed: f64, first_frame: Option<f64>) -> f64 {
        if self.seen > 0 {
            return listed;
        }
        if self.first == 0 {
            let (picture, whole) = (self.encode.picture.start, self.encode.source.start);
            return (picture.unwrap_or(0.0) - whole.unwrap_or(0.0)).max(0.0);
        }
        first_frame.unwrap_or_else(|| self.done.end())
    }

    async fn keep(&mut self, listed: f64, end: f64) -> Result<()> {
        let (context, number) = (self.encode.ffmpeg.context, self.done.segments.len());
        let file = place(&self.encode.ffmpeg.scratch, number);
        let mut first_frame = self.encode.ffmpeg.probe(Container::Nut, &file).await?.start;
        if first_frame.is_none() {
            first_frame = self.encode.ffmpeg.first_frame(Container::Nut, &file).await?;
            self.done.entries.extend(first_frame.map(|first| (number, micros(first))));
        }
        // A second name: keeping may take the first one away, and it is still needed for the joining.
        let aside = file.with_extension("kept");
        if tokio::fs::hard_link(&file, &aside).await.is_err() {
            tokio::fs::copy(&file, &aside).await?;
        }
        let kept = context.keep(&name(number), &aside).await?;
        let _ = tokio::fs::remove_file(&aside).await;
        let start = self.start(listed, first_frame);
        self.done.segments.push(Segment(kept.attempt, micros(start), micros(end)));
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("segment-{number:05}.nut")
}

fn place(scratch: &Path, number: usize) -> PathBuf {
    scratch.join(name(number))
}

fn kept(attempt: u32, number: usize) -> Kept {
    Kept { attempt, name: name(number) }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn micros(seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 saturates")]
    let micros = (seconds * 1e6).round() as u64;
    micros
}

/// Start and end of each finished segment. A line that is still being written has no end yet.
fn read_list(list: &str) -> Vec<(f64, f64)> {
    let whole = list.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line: &str| {
        let mut fields = line.rsplit(',');
        let end = fields.next()?.trim().parse().ok()?;
        Some((fields.next()?.parse().ok()?, end))
    };
    whole.lines().map_while(line).collect()
}

/// How ffmpeg is to join them: each lasts until the next one starts, so that a gap in the source stays where it is.
fn concat_list(done: &Done) -> String {
    let mut text = "ffconcat version 1.0\n".to_owned();
    for (number, segment) in done.segments.iter().enumerate() {
        let until = done.segments.get(number + 1).map_or(segment.2, |next| next.1);
        let lasts = seconds(until.saturating_sub(segment.1));
        text.push_str(&format!("file {}\n", name(number)));
        if let Some(entry) = done.entries.get(&number) {
            text.push_str(&format!("inpoint {:.6}\n", seconds(*entry)));
        }
        text.push_str(&format!("duration {lasts:.6}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_still_being_written_is_no_segment() {
        let list = "segment-00000.nut,0.000000,4.004000\nsegment-00001.nut,4.004000,8.0080";
        assert_eq!(read_list(list), [(0.0, 4.004)]);
        assert_eq!(read_list(""), []);
    }

    #[test]
    fn a_segment_lasts_until_the_next_one_starts() {
        let segments = [Segment(1, 500_000, 4_000_000), Segment(2, 4_500_000, 8_000_000)];
        let list = concat_list(&Done { segments: segments.into(), ..Done::default() });
        assert_eq!(
            list.lines().skip(1).collect::<Vec<_>>(),
            ["file segment-00000.nut", "duration 4.000000", "file segment-00001.nut", "duration 3.500000"]
        );
    }

    #[test]
    fn a_checkpoint_of_the_longest_video_fits() {
        let segments = vec![Segment(1_000, 21_600_000_000, 21_600_000_000); 1_001];
        let done = Done { source_bytes: u64::MAX, reached: 0.123_456_789_012_345, segments, entries: BTreeMap::new() };
        let bytes = serde_json::to_vec(&done).unwrap().len();
        assert!(bytes < longshore_sdk::context::MAX_CHECKPOINT_BYTES, "{bytes}");
    }
}
