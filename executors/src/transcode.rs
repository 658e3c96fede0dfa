//! `media.transcode`: a video for the web, its sound alone, a still, from one source by ffmpeg as a child process.
//! It links no codec and passes no text of a caller to ffmpeg; a crash, a leak or a licence stays outside, and a cancel is a
//! signal. Read [`outputs`] for what is made, [`sniff`] and [`argv`] for what keeps a hostile source in.

mod argv;
mod failure;
mod ffmpeg;
mod loudness;
mod outputs;
mod passes;
mod payload;
mod probe;
mod segments;
mod settings;
mod sniff;

use std::path::Path;
use std::time::Duration;

use longshore_sdk::{Artifact, Context, Executor, Fatal, Policy, Result};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::child::{Child, Limits, Program};
use failure::Checked;
use ffmpeg::Ffmpeg;
use outputs::{Outputs, within_duration};
use passes::Passes;
use probe::Probed;
use segments::Done;
use sniff::Container;

pub use payload::{
    Audio, AudioFacts, AudioFormat, AudioOutput, Loudness, LoudnessMode, LoudnessReport, MediaFacts, Preset, Thumbnail,
    ThumbnailOutput, Transcode, Transcoded, Video, VideoFacts, VideoOutput,
};
pub use settings::{TranscodeLimits, TranscodeSettings};

/// `ffmpeg -version` answers in 60 ms; a program that takes this long is none.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs `media.transcode`.
#[derive(Debug, Clone, Default)]
pub struct Transcoder {
    settings: TranscodeSettings,
}

impl Transcoder {
    /// With the operator's settings.
    pub fn new(settings: TranscodeSettings) -> Self {
        Self { settings }
    }

    /// The version of ffmpeg, if it and ffprobe are there and answer: without it a worker should not offer this kind.
    pub async fn available(settings: &TranscodeSettings) -> Option<String> {
        version(&settings.ffprobe).await?;
        version(&settings.ffmpeg).await
    }

    /// Fetches the source and learns what it is, within the operator's limits.
    async fn open(&self, ask: &Transcode, ffmpeg: &Ffmpeg<'_>) -> Result<Probed> {
        let input = ffmpeg.context.fetch(&ask.source).await?;
        let limits = &self.settings.limits;
        if input.bytes > limits.max_input_bytes {
            let message = format!("the source has {} bytes, more than {}", input.bytes, limits.max_input_bytes);
            return Err(Fatal::new("input_too_large", message).at("/source").into());
        }
        let start = head(&input.path, 0).await?;
        let behind_tag = match sniff::behind_id3(&start) {
            Some(offset) => Some(head(&input.path, offset).await?),
            None => None,
        };
        let container = Container::of_source(&start, behind_tag.as_deref())?;
        let source = ffmpeg.probe(container, &std::path::absolute(&input.path)?).await?;
        within_duration(source.duration, limits.max_duration_seconds)?;
        within_pixels(&source, limits.max_pixels)?;
        Ok(source)
    }
}

impl Executor for Transcoder {
    type Payload = Transcode;

    fn policy(&self) -> Policy {
        Policy {
            timeout: Duration::from_secs(3600),
            cost: 2,
            cancel_grace: Duration::from_secs(3),
            ..Policy::default()
        }
    }

    /// On drain a long video is handed on where it is; sound, stills and short videos go on and are soon done.
    async fn run(&self, ask: Transcode, context: &Context) -> Result<Transcoded> {
        ask.check()?;
        let scratch = std::path::absolute(context.scratch()?)?;
        let ffmpeg = Ffmpeg { settings: &self.settings, context, scratch };
        let source = self.open(&ask, &ffmpeg).await?;
        let done = Done::so_far(&source, context).await?;
        let passes = Passes::of(&ask, context, done.reached);
        let outputs = Outputs { ffmpeg: &ffmpeg, source: &source, passes, done };
        let made = Made::of(&ask, &outputs).await?;
        // Nothing is staged before all is made, so a cancelled or failed attempt stages nothing.
        context.check()?;
        let answer = made.publish(&ask, source.facts(), context).await?;
        context.progress(1.0);
        Ok(answer)
    }
}

/// Finished files under their temporary names.
struct Made {
    thumbnail: Option<(Probed, f64)>,
    audio: Option<(Probed, Option<LoudnessReport>)>,
    video: Option<Probed>,
}

impl Made {
    /// What a job asks for and its source cannot give is said before the first pass that takes long.
    async fn of(ask: &Transcode, outputs: &Outputs<'_>) -> Result<Self> {
        outputs.must_have_tracks(ask)?;
        // What a drain interrupted comes first, or each hand-over would cost the other outputs once more.
        let early = match &ask.video {
            Some(ask) if outputs.done.is_some() => Some(outputs.video(ask).await?),
            _ => None,
        };
        let thumbnail = match &ask.thumbnail {
            Some(ask) => Some(outputs.thumbnail(ask).await?),
            None => None,
        };
        let audio = match &ask.audio {
            Some(ask) => Some(outputs.audio(ask).await?),
            None => None,
        };
        let video = match &ask.video {
            Some(ask) if early.is_none() => Some(outputs.video(ask).await?),
            _ => early,
        };
        Ok(Self { thumbnail, audio, video })
    }

    async fn publish(self, ask: &Transcode, source: MediaFacts, context: &Context) -> Result<Transcoded> {
        let mut answer = Transcoded { source, video: None, audio: None, thumbnail: None };
        if let Some((file, at_seconds)) = self.thumbnail {
            let (width, height) = file.video.as_ref().map_or((0, 0), |picture| picture.size);
            let artifact = stage(context, "thumbnail.jpg", "image/jpeg", &file).await?;
            answer.thumbnail = Some(ThumbnailOutput { artifact, width, height, at_seconds });
        }
        if let (Some((file, loudness)), Some(ask)) = (self.audio, &ask.audio) {
            let (name, content_type) = ask.format.published_as();
            let artifact = stage(context, name, content_type, &file).await?;
            answer.audio = Some(AudioOutput { artifact, media: file.facts(), loudness });
        }
        if let Some(file) = self.video {
            let artifact = stage(context, "video.mp4", "video/mp4", &file).await?;
            answer.video = Some(VideoOutput { artifact, media: file.facts() });
        }
        Ok(answer)
    }
}

async fn stage(context: &Context, name: &str, content_type: &str, file: &Probed) -> Result<Artifact> {
    context.publish(name, content_type, &file.path).await
}

async fn head(file: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(sniff::HEAD_BYTES);
    let mut file = tokio::fs::File::open(file).await?;
    file.seek(std::io::SeekFrom::Start(offset)).await?;
    file.take(sniff::HEAD_BYTES as u64).read_to_end(&mut head).await?;
    Ok(head)
}

fn within_pixels(source: &Probed, max_pixels: u64) -> Checked {
    let Some((width, height)) = source.video.as_ref().map(|picture| picture.size) else { return Ok(()) };
    match u64::from(width) * u64::from(height) {
        0 => Err(failure::unreadable("the source does not say how large its picture is")),
        pixels if pixels > max_pixels => {
            let message = format!("a picture has {width} x {height} pixels, more than this worker's {max_pixels}");
            Err(Fatal::new("too_many_pixels", message).at("/source"))
        }
        _ => Ok(()),
    }
}

/// The third word of the first line: `ffmpeg version 5.1.9 Copyright ...`.
async fn version(program: &Path) -> Option<String> {
    let limits = Limits { cpu_seconds: Some(VERSION_TIMEOUT.as_secs()), ..Limits::default() };
    let program = Program { program: program.to_owned(), args: vec!["-version".into()], dir: "/".into(), limits };
    let mut child = Child::spawn(program).await.ok()?;
    let mut said = Vec::new();
    let keep = |piece: &[u8]| said.extend(piece.iter().take(1024));
    let ended = tokio::time::timeout(VERSION_TIMEOUT, child.drive(keep)).await.ok()?.ok()?;
    let version = String::from_utf8_lossy(&said).split_whitespace().nth(2).map(str::to_owned);
    version.filter(|_| ended.status.success())
}

#[cfg(test)]
mod tests;
