//! Reads what ffprobe says of a file and keeps what decisions need.
//! It trusts no number of it further than that: sizes are checked against limits and durations against what was really read.
//! Read [`super::ffmpeg`] for how ffprobe is called.

use std::path::{Path, PathBuf};

use longshore_sdk::Fatal;
use serde::Deserialize;

use super::payload::{AudioFacts, MediaFacts, VideoFacts};
use super::sniff::Container;

/// A file and its streams by their numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Probed {
    pub(super) container: Container,
    /// Absolute.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) duration: Option<f64>,
    /// The first time stamp.
    pub(super) start: Option<f64>,
    pub(super) video: Option<PictureTrack>,
    pub(super) audio: Option<SoundTrack>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PictureTrack {
    pub(super) index: u32,
    pub(super) codec: String,
    /// As shown: square pixels, upright.
    pub(super) size: (u32, u32),
    pub(super) fps: Option<f64>,
    /// When its first frame is shown, on the file's own timeline.
    pub(super) start: Option<f64>,
    pub(super) duration: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SoundTrack {
    pub(super) index: u32,
    pub(super) codec: String,
    pub(super) sample_rate: u32,
    pub(super) channels: u32,
    pub(super) duration: Option<f64>,
}

impl Probed {
    /// From ffprobe's JSON.
    pub(super) fn read(json: &[u8], container: Container, path: &Path, bytes: u64) -> Result<Self, Fatal> {
        let report: Report = serde_json::from_slice(json)
            .map_err(|error| Fatal::new("unreadable_media", format!("ffprobe's answer is no report: {error}")))?;
        let video = report.streams.iter().find(|s| s.codec_type == "video" && s.disposition.attached_pic == 0);
        let audio = report.streams.iter().find(|s| s.codec_type == "audio");
        Ok(Self {
            container,
            path: path.to_owned(),
            bytes,
            duration: number(report.format.duration.as_deref()),
            start: report.format.start_time.as_deref().and_then(|start| start.parse().ok()),
            video: video.map(Stream::picture),
            audio: audio.map(Stream::sound),
        })
    }

    /// For the result.
    pub(super) fn facts(&self) -> MediaFacts {
        let video =
            |v: &PictureTrack| VideoFacts { codec: v.codec.clone(), width: v.size.0, height: v.size.1, fps: v.fps };
        let audio =
            |a: &SoundTrack| AudioFacts { codec: a.codec.clone(), sample_rate: a.sample_rate, channels: a.channels };
        MediaFacts {
            container: self.container.name().to_owned(),
            bytes: self.bytes,
            duration_seconds: self.duration,
            video: self.video.as_ref().map(video),
            audio: self.audio.as_ref().map(audio),
        }
    }

    /// The least an output of these tracks must play, when the source knows. The shorter of what the track and the file
    /// claim: a track's own length counts what an edit list cuts off.
    pub(super) fn least_duration(&self, track: Option<f64>) -> Option<f64> {
        let claimed = match (track, self.duration) {
            (Some(track), Some(file)) => Some(track.min(file)),
            (track, file) => track.or(file),
        };
        claimed.filter(|_| self.container.knows_its_duration())
    }
}

/// Whether an output of `got` seconds holds a source of `claimed`: half a second and 2% may be lost to frame
/// boundaries, encoder delay and time stamps that start late.
pub(super) fn is_whole(claimed: f64, got: f64) -> bool {
    got >= claimed * 0.98 - 0.5
}

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    format: Format,
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(Deserialize, Default)]
struct Format {
    duration: Option<String>,
    start_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Stream {
    index: u32,
    codec_type: String,
    codec_name: String,
    width: u32,
    height: u32,
    sample_aspect_ratio: Option<String>,
    avg_frame_rate: Option<String>,
    sample_rate: Option<String>,
    channels: u32,
    start_time: Option<String>,
    duration: Option<String>,
    tags: Tags,
    disposition: Disposition,
    side_data_list: Vec<SideData>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            index: 0,
            codec_type: String::new(),
            codec_name: "unknown".to_owned(),
            width: 0,
            height: 0,
            sample_aspect_ratio: None,
            avg_frame_rate: None,
            sample_rate: None,
            channels: 0,
            start_time: None,
            duration: None,
            tags: Tags::default(),
            disposition: Disposition::default(),
            side_data_list: Vec::new(),
        }
    }
}

#[derive(Deserialize, Default)]
struct Tags {
    /// Matroska's, as hours:minutes:seconds.
    #[serde(rename = "DURATION")]
    duration: Option<String>,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

impl Stream {
    fn picture(&self) -> PictureTrack {
        let rotation = self.side_data_list.iter().find_map(|data| data.rotation).unwrap_or(0.0);
        PictureTrack {
            index: self.index,
            codec: self.codec_name.clone(),
            size: shown((self.width, self.height), fraction(self.sample_aspect_ratio.as_deref(), ':'), rotation),
            fps: fraction(self.avg_frame_rate.as_deref(), '/'),
            start: self.start_time.as_deref().and_then(|start| start.parse().ok()),
            duration: self.duration(),
        }
    }

    fn sound(&self) -> SoundTrack {
        SoundTrack {
            index: self.index,
            codec: self.codec_name.clone(),
            sample_rate: self.sample_rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or(0),
            channels: self.channels,
            duration: self.duration(),
        }
    }

    fn duration(&self) -> Option<f64> {
        number(self.duration.as_deref()).or_else(|| clock(self.tags.duration.as_deref()?))
    }
}

/// Stored pixels made square, then turned upright: the order in which ffmpeg shows them.
fn shown((width, height): (u32, u32), pixel_shape: Option<f64>, rotation: f64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 saturates")]
    let width = (f64::from(width) * pixel_shape.unwrap_or(1.0)).round() as u32;
    let lies = (rotation.abs() % 180.0 - 90.0).abs() < 1.0;
    if lies { (height, width) } else { (width, height) }
}

fn number(text: Option<&str>) -> Option<f64> {
    text?.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0)
}

fn fraction(text: Option<&str>, sign: char) -> Option<f64> {
    let (over, under) = text?.split_once(sign)?;
    Some(number(Some(over))? / number(Some(under))?)
}

fn clock(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?)).filter(|sum| *sum > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_becomes_the_first_picture_that_is_no_cover_and_the_first_sound() {
        let json = br#"{"streams":[
            {"index":0,"codec_type":"video","codec_name":"mjpeg","width":500,"height":500,"disposition":{"attached_pic":1}},
            {"index":1,"codec_type":"audio","codec_name":"aac","sample_rate":"48000","channels":6},
            {"index":2,"codec_type":"video","codec_name":"h264","width":1440,"height":1080,"sample_aspect_ratio":"4:3",
             "avg_frame_rate":"30000/1001","tags":{"DURATION":"00:01:05.500000000"},"side_data_list":[{"rotation":-90}]}
            ],"format":{"duration":"65.6"}}"#;
        let probed = Probed::read(json, Container::Matroska, Path::new("/x"), 7).unwrap();
        let video = probed.video.clone().unwrap();
        assert_eq!((video.index, video.size, video.duration), (2, (1080, 1920), Some(65.5)));
        assert!((video.fps.unwrap() - 29.97).abs() < 0.01);
        assert_eq!(probed.audio.clone().unwrap().channels, 6);
        assert_eq!(probed.least_duration(video.duration), Some(65.5));
        assert_eq!(Probed { container: Container::Mp3, ..probed }.least_duration(None), None);
    }

    #[test]
    fn a_report_without_streams_or_numbers_is_read_without_them() {
        let probed = Probed::read(
            br#"{"streams":[{"codec_type":"video","duration":"N/A"}]}"#,
            Container::Avi,
            Path::new("/x"),
            0,
        )
        .unwrap();
        assert_eq!((probed.duration, probed.audio.is_none(), probed.video.unwrap().size), (None, true, (0, 0)));
        assert!(Probed::read(b"", Container::Avi, Path::new("/x"), 0).is_err());
    }

    #[test]
    fn an_output_is_whole_when_only_a_frame_or_two_are_missing() {
        assert!(is_whole(5.0, 4.9) && is_whole(5.0, 9.0) && is_whole(3600.0, 3590.0));
        assert!(!is_whole(5.0, 2.5) && !is_whole(3600.0, 3500.0));
    }
}
