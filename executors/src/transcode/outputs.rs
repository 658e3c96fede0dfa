//! Makes each output under a temporary name and looks at it before anyone else may.
//! Nothing is published here: a job's outputs are staged together, when the last one is good. Read [`super::argv`] for
//! their encoding and [`super::loudness`] for the two passes of the sound.

use std::ffi::OsString;

use longshore_sdk::{Fatal, Result};

use super::argv;
use super::failure::{Checked, unreadable};
use super::ffmpeg::Ffmpeg;
use super::loudness::{self, Measured};
use super::passes::{Passes, Step};
use super::payload::{Audio, AudioFormat, LoudnessMode, LoudnessReport, Thumbnail, Transcode, Video};
use super::probe::{PictureTrack, Probed, SoundTrack, is_whole};
use super::segments::{self, Done, Encode};
use super::sniff::Container;

/// One attempt's workplace.
pub(super) struct Outputs<'a> {
    pub(super) ffmpeg: &'a Ffmpeg<'a>,
    pub(super) source: &'a Probed,
    pub(super) passes: Passes<'a>,
    /// What earlier attempts have done of the video.
    pub(super) done: Done,
}

impl Outputs<'_> {
    /// Names the output that the source cannot give.
    pub(super) fn must_have_tracks(&self, ask: &Transcode) -> Checked {
        ask.video.as_ref().map(|_| self.picture("/video")).transpose()?;
        ask.thumbnail.as_ref().map(|_| self.picture("/thumbnail")).transpose()?;
        ask.audio.as_ref().map(|_| self.sound("/audio")).transpose()?;
        Ok(())
    }

    pub(super) async fn video(&self, ask: &Video) -> Result<Probed> {
        let picture = self.picture("/video")?;
        let size = argv::fit(picture.size, ask.preset);
        let file = match segments::length(self.source, picture, self.ffmpeg.settings.segment_seconds) {
            Some(length) => self.in_segments(ask, picture, length).await?,
            None => self.in_one_piece(ask, picture, size).await?,
        };
        let sound = self.source.audio.as_ref().and_then(|sound| sound.duration);
        // The longer of the two tracks decides how long the file plays.
        let longest = picture.duration.map(|picture| picture.max(sound.unwrap_or(0.0)));
        self.must_be_whole(&file, longest)?;
        must_be(file.video.as_ref().is_some_and(|made| made.size == size), "picture")?;
        must_be(file.audio.is_some() == self.source.audio.is_some(), "sound")?;
        Ok(file)
    }

    async fn in_one_piece(&self, ask: &Video, picture: &PictureTrack, size: (u32, u32)) -> Result<Probed> {
        let mut args = argv::video(ask, picture.index, size, self.ffmpeg.settings.threads);
        args.extend(argv::video_sound(self.source, 0));
        Ok(self.make("video.part", "mp4", Container::Mp4, None, args, Step::Video).await?.0)
    }

    /// The picture in segments, which a later attempt can go on from; then both tracks together.
    async fn in_segments(&self, ask: &Video, picture: &PictureTrack, length: f64) -> Result<Probed> {
        let encode = Encode { ffmpeg: self.ffmpeg, source: self.source, picture, length };
        let (list, start) = encode.run(ask, self.done.clone(), self.passes.start(Step::Video)).await?;
        let file = self.ffmpeg.scratch.join("video.part");
        let mut args = argv::joined();
        args.extend(argv::video_sound(self.source, 1));
        args.extend(argv::output("mp4", self.ffmpeg.settings.limits.max_duration_seconds, &file));
        self.ffmpeg.join(self.source, argv::join(&list, start), args, self.passes.start(Step::Video)).await?;
        self.ffmpeg.probe(Container::Mp4, &file).await
    }

    pub(super) async fn audio(&self, ask: &Audio) -> Result<(Probed, Option<LoudnessReport>)> {
        let sound = self.sound("/audio")?;
        let prepare = argv::prepare(ask.format, sound);
        let Some(target) = ask.loudness else {
            return Ok((self.encode(ask.format, sound, &prepare).await?.0, None));
        };
        let before = self.measure(self.source, sound, &prepare, Step::Measure).await?;
        let (file, mode) = match before.filter(target) {
            Some(normalize) => {
                let (file, log) = self.encode(ask.format, sound, &format!("{prepare},{normalize}")).await?;
                (file, loudness::mode(&log).ok_or_else(|| no_report("loudnorm"))?)
            }
            None => (self.encode(ask.format, sound, &prepare).await?.0, LoudnessMode::Unchanged),
        };
        let made = file.audio.as_ref().ok_or_else(|| unreadable("no sound could be read from the source"))?;
        let after = self.measure(&file, made, "anull", Step::Check).await?;
        let report = LoudnessReport { target_lufs: target, before: before.loudness, after: after.loudness, mode };
        Ok((file, Some(report)))
    }

    pub(super) async fn thumbnail(&self, ask: &Thumbnail) -> Result<(Probed, f64)> {
        let picture = self.picture("/thumbnail")?;
        let at = self.still_at(ask, picture)?;
        let size = argv::scaled(picture.size, f64::from(ask.width) / f64::from(picture.size.0));
        let args = argv::thumbnail(picture.index, size);
        let jpeg = Container::Jpeg;
        let (file, _) = self.make("thumbnail.part", "mjpeg", jpeg, Some(at), args, Step::Thumbnail).await?;
        must_be(file.video.as_ref().is_some_and(|made| made.size == size), "picture")?;
        Ok((file, at))
    }

    async fn encode(&self, format: AudioFormat, sound: &SoundTrack, filters: &str) -> Result<(Probed, String)> {
        let (muxer, container) = match format {
            AudioFormat::M4a => ("ipod", Container::Mp4),
            AudioFormat::Mp3 => ("mp3", Container::Mp3),
            AudioFormat::Wav => ("wav", Container::Wav),
            AudioFormat::Flac => ("flac", Container::Flac),
        };
        let args = argv::audio(format, sound, filters);
        let (file, log) = self.make("audio.part", muxer, container, None, args, Step::Audio).await?;
        self.must_be_whole(&file, sound.duration)?;
        must_be(file.audio.is_some(), "sound")?;
        Ok((file, log))
    }

    async fn measure(&self, input: &Probed, sound: &SoundTrack, filters: &str, step: Step) -> Result<Measured> {
        let args = argv::measure(sound, filters, self.ffmpeg.settings.limits.max_duration_seconds);
        let log = self.ffmpeg.run(input, None, args, self.passes.start(step)).await?;
        Measured::read(&log).ok_or_else(|| no_report("ebur128"))
    }

    async fn make(
        &self,
        name: &str,
        muxer: &str,
        container: Container,
        seek: Option<f64>,
        mut args: Vec<OsString>,
        step: Step,
    ) -> Result<(Probed, String)> {
        let file = self.ffmpeg.scratch.join(name);
        args.extend(argv::output(muxer, self.ffmpeg.settings.limits.max_duration_seconds, &file));
        let log = self.ffmpeg.run(self.source, seek, args, self.passes.start(step)).await?;
        // ffmpeg makes no file at all when it found no frame to write.
        must_be(tokio::fs::metadata(&file).await.is_ok_and(|made| made.len() > 0), "frame")?;
        Ok((self.ffmpeg.probe(container, &file).await?, log))
    }

    /// Whether the source ended where it said it would, and within the limit, which one that says nothing meets only here.
    fn must_be_whole(&self, made: &Probed, track: Option<f64>) -> Checked {
        let got = made.duration.unwrap_or(0.0);
        let least = self.source.least_duration(track);
        must_be(got > 0.0, "frame")?;
        if let Some(claimed) = least.filter(|claimed| !is_whole(*claimed, got)) {
            let message = format!("the source breaks off: it says {claimed:.1} s and only {got:.1} s can be read");
            return Err(unreadable(message));
        }
        within_duration(Some(got), self.ffmpeg.settings.limits.max_duration_seconds)
    }

    fn picture(&self, asked: &str) -> Checked<&PictureTrack> {
        let none = || Fatal::new("no_video_stream", "the source has no picture; leave this output out").at(asked);
        self.source.video.as_ref().ok_or_else(none)
    }

    fn sound(&self, asked: &str) -> Checked<&SoundTrack> {
        let none = || Fatal::new("no_audio_stream", "the source has no sound; leave this output out").at(asked);
        self.source.audio.as_ref().ok_or_else(none)
    }

    /// Never later than the start of the last picture: ffmpeg finds none after that.
    fn still_at(&self, ask: &Thumbnail, picture: &PictureTrack) -> Checked<f64> {
        let end = picture.duration.or(self.source.duration).unwrap_or(f64::MAX);
        let last = (end - 1.5 / picture.fps.unwrap_or(1.0)).max(0.0);
        match (ask.at_seconds, self.source.duration) {
            (Some(at), Some(duration)) if at >= duration => {
                let message = format!("{at} s is past the end: the source plays {duration:.1} s");
                Err(Fatal::new("past_the_end", message).at("/thumbnail/at_seconds"))
            }
            (Some(at), _) => Ok(at.min(last)),
            (None, duration) => Ok((duration.unwrap_or(0.0) / 10.0).min(last)),
        }
    }
}

/// Refuses a source that plays longer than the operator allows.
pub(super) fn within_duration(duration: Option<f64>, max_seconds: u64) -> Checked {
    #[expect(clippy::cast_precision_loss, reason = "exact for the first 285 million years")]
    let max = max_seconds as f64;
    match duration.filter(|duration| *duration > max) {
        None => Ok(()),
        Some(long) => {
            let message = format!("the source plays {long:.0} s, more than this worker's {max_seconds} s; cut it up");
            Err(Fatal::new("too_long", message).at("/source"))
        }
    }
}

fn must_be(there: bool, what: &str) -> Checked {
    if there { Ok(()) } else { Err(unreadable(format!("no {what} could be read from the source"))) }
}

/// Another version of ffmpeg, perhaps; not the source's fault.
fn no_report(filter: &str) -> longshore_sdk::Failure {
    longshore_sdk::Failure::retry(
        "ffmpeg_unsuitable",
        format!("ffmpeg's {filter} filter logged no report that is known here"),
    )
}
