//! What a caller of `media.transcode` sends and what a completed job answers.
//! Nothing here becomes an argument of ffmpeg as text: formats are enums and numbers have ranges. Read
//! [`super::argv`] for what they turn into.

use longshore_sdk::{Artifact, Fatal, Payload, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Encode a video, extract its sound, take a still: at least one of the three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transcode {
    /// The file to read: MP4/MOV, Matroska/WebM, AVI, MPEG-TS, WAV, FLAC, MP3, AAC or Ogg.
    pub source: Source,
    /// Asks for `video.mp4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// Asks for `audio.m4a`, or what its format says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Audio>,
    /// Asks for `thumbnail.jpg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<Thumbnail>,
}

impl Payload for Transcode {
    const KIND: &'static str = "media.transcode";
    type Output = Transcoded;
}

/// H.264 and AAC in an MP4 whose index comes first, so that it plays while it loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Video {
    /// The largest picture wanted.
    pub preset: Preset,
    /// x264's constant rate factor: lower is better and larger. 10 to 40, 23 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 40))]
    pub crf: Option<u8>,
}

/// How large the picture may be. It is never enlarged, and its sides become even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// The shorter side has at most 480 pixels.
    #[serde(rename = "h264_480p")]
    H264P480,
    /// The shorter side has at most 720 pixels.
    #[serde(rename = "h264_720p")]
    H264P720,
    /// The shorter side has at most 1080 pixels.
    #[serde(rename = "h264_1080p")]
    H264P1080,
    /// As large as the source.
    #[serde(rename = "h264_source")]
    H264Source,
}

/// The sound alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audio {
    /// How it is stored.
    pub format: AudioFormat,
    /// The loudness wanted in LUFS (EBU R128), -40 to -5, e.g. -16 for podcasts or -23 for broadcast. As it is by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -40.0, max = -5.0))]
    pub loudness: Option<f64>,
}

/// How sound is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AudioFormat {
    /// AAC, 128 kbit/s, at most two channels.
    M4a,
    /// MP3, 160 kbit/s, at most two channels.
    Mp3,
    /// 16-bit PCM.
    Wav,
    /// Lossless.
    Flac,
}

impl AudioFormat {
    /// The artifact's name and media type.
    pub(super) fn published_as(self) -> (&'static str, &'static str) {
        match self {
            Self::M4a => ("audio.m4a", "audio/mp4"),
            Self::Mp3 => ("audio.mp3", "audio/mpeg"),
            Self::Wav => ("audio.wav", "audio/wav"),
            Self::Flac => ("audio.flac", "audio/flac"),
        }
    }
}

/// A still as JPEG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Thumbnail {
    /// From where; a tenth of the way in by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub at_seconds: Option<f64>,
    /// Its width in pixels, 16 to 4096; less when the source is narrower.
    #[schemars(range(min = 16, max = 4096))]
    pub width: u32,
}

impl Transcode {
    /// What no type can say.
    pub(super) fn check(&self) -> Result<(), Fatal> {
        if self.video.is_none() && self.audio.is_none() && self.thumbnail.is_none() {
            return Err(invalid("ask for at least one of `video`, `audio` and `thumbnail`", ""));
        }
        let crf = self.video.as_ref().and_then(|video| video.crf).map(f64::from);
        in_range("crf", crf, 10.0, 40.0, "/video/crf")?;
        let loudness = self.audio.as_ref().and_then(|audio| audio.loudness);
        in_range("loudness", loudness, -40.0, -5.0, "/audio/loudness")?;
        let at_seconds = self.thumbnail.as_ref().and_then(|still| still.at_seconds);
        in_range("at_seconds", at_seconds, 0.0, f64::MAX, "/thumbnail/at_seconds")?;
        let width = self.thumbnail.as_ref().map(|still| f64::from(still.width));
        in_range("width", width, 16.0, 4096.0, "/thumbnail/width")
    }
}

fn in_range(name: &str, value: Option<f64>, min: f64, max: f64, pointer: &str) -> Result<(), Fatal> {
    match value {
        Some(value) if !(min..=max).contains(&value) && max == f64::MAX => {
            Err(invalid(&format!("`{name}` is {value}; it must be at least {min}"), pointer))
        }
        Some(value) if !(min..=max).contains(&value) => {
            Err(invalid(&format!("`{name}` is {value}; it must be from {min} to {max}"), pointer))
        }
        _ => Ok(()),
    }
}

fn invalid(message: &str, pointer: &str) -> Fatal {
    Fatal::new("invalid_payload", message).at(pointer)
}

/// What a completed job answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transcoded {
    /// The source as it was found.
    pub source: MediaFacts,
    /// The video, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoOutput>,
    /// The sound, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioOutput>,
    /// The still, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<ThumbnailOutput>,
}

/// A finished video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VideoOutput {
    /// The file.
    pub artifact: Artifact,
    /// What ffprobe says of it.
    pub media: MediaFacts,
}

/// Finished sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudioOutput {
    /// The file.
    pub artifact: Artifact,
    /// What ffprobe says of it.
    pub media: MediaFacts,
    /// How loud it was and is, if a loudness was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loudness: Option<LoudnessReport>,
}

/// A finished still.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThumbnailOutput {
    /// The file.
    pub artifact: Artifact,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Where it was taken.
    pub at_seconds: f64,
}

/// A media file as ffprobe describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MediaFacts {
    /// The container, told by its first bytes.
    pub container: String,
    /// The file's size.
    pub bytes: u64,
    /// How long it plays; some live recordings do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// The first video stream that is no cover picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoFacts>,
    /// The first audio stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioFacts>,
}

/// A video stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VideoFacts {
    /// As ffmpeg names it, e.g. `h264`.
    pub codec: String,
    /// In square pixels, as shown: after rotation.
    pub width: u32,
    /// In square pixels, as shown: after rotation.
    pub height: u32,
    /// Pictures a second, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
}

/// An audio stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudioFacts {
    /// As ffmpeg names it, e.g. `aac`.
    pub codec: String,
    /// Samples a second.
    pub sample_rate: u32,
    /// How many channels.
    pub channels: u32,
}

/// What normalisation did, measured on the source and on the finished file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoudnessReport {
    /// What was asked for.
    pub target_lufs: f64,
    /// The source.
    pub before: Loudness,
    /// The finished file.
    pub after: Loudness,
    /// What ffmpeg really did.
    pub mode: LoudnessMode,
}

/// Loudness after EBU R128.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Loudness {
    /// Integrated loudness in LUFS; -70 is silence.
    pub integrated_lufs: f64,
    /// Loudness range in LU.
    pub range_lu: f64,
    /// True peak in dBTP; -99 is silence.
    pub true_peak_dbtp: f64,
}

/// How the loudness was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoudnessMode {
    /// One gain for the whole file: the dynamics are untouched.
    Linear,
    /// The gain moves: one gain would have taken the peaks past -1 dBTP or the loudness range is above 20 LU.
    Dynamic,
    /// Silence, or less than 0.4 s of sound, has no loudness to change.
    Unchanged,
}
