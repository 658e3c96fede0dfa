//! The arguments of ffmpeg and ffprobe, built from enums and numbers alone.
//! No text of a caller gets in: no filter, no option, no format; the one path is a `file:` URL, so that no name is read as an
//! option or a protocol, and both whitelists stand before `-i`. Read [`super::sniff`] for what they let through.

use std::ffi::OsString;
use std::path::Path;

use super::payload::{AudioFormat, Preset, Video};
use super::probe::{Probed, SoundTrack};
use super::settings::TranscodeSettings;
use super::sniff::Container;

/// How often ffmpeg says how far it is. Its own default is half a second.
const STATS_PERIOD_SECONDS: &str = "0.2";
/// No sample lies above it: full scale minus 1 dB, EBU R128's own limit.
pub(super) const TRUE_PEAK_LIMIT_DBTP: f64 = -1.0;

/// A file behind the whitelists.
pub(super) fn guarded(container: Container, file: &Path) -> Vec<OsString> {
    let mut args = words("-protocol_whitelist file,pipe -format_whitelist");
    let demuxer = container.demuxer();
    args.extend([demuxer.into(), "-f".into(), demuxer.into()]);
    args.extend(["-i".into(), file_url(file)]);
    args
}

/// An absolute path behind `file:` is taken as it is: nothing in it is decoded, a colon or a leading dash means nothing.
pub(super) fn file_url(file: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(file);
    url
}

pub(super) fn probe(container: Container, file: &Path) -> Vec<OsString> {
    let streams =
        "index,codec_type,codec_name,width,height,sample_aspect_ratio,avg_frame_rate,sample_rate,channels,duration";
    let entries = format!(
        "format=duration,start_time:stream={streams}:stream_tags=DURATION:stream_disposition=attached_pic:stream_side_data=rotation"
    );
    let mut args = words("-hide_banner -loglevel error -of json -show_entries");
    args.push(entries.into());
    args.extend(guarded(container, file));
    args
}

/// Asks when each packet is shown, one line each.
pub(super) fn frame_times(container: Container, file: &Path) -> Vec<OsString> {
    let mut args = words("-hide_banner -loglevel error -of csv=p=0 -show_entries packet=pts_time");
    args.extend(guarded(container, file));
    args
}

/// What stands before the input in every call of ffmpeg. `info`, because loudness is reported at that level.
pub(super) fn head(settings: &TranscodeSettings) -> Vec<OsString> {
    let threads = settings.threads;
    words(&format!(
        "-hide_banner -nostdin -nostats -loglevel info -progress pipe:1 -stats_period {STATS_PERIOD_SECONDS} -y \
         -filter_threads {threads} -threads {threads}"
    ))
}

/// The picture of [`Video`], in `size`.
pub(super) fn video(ask: &Video, stream: u32, size: (u32, u32), threads: u32) -> Vec<OsString> {
    let (width, height) = size;
    let crf = ask.crf.unwrap_or(23);
    words(&format!(
        "-map 0:{stream} -vf scale={width}:{height},setsar=1,format=yuv420p -c:v libx264 -preset veryfast -crf {crf} \
         -threads {threads}"
    ))
}

/// The sound of a [`Video`], which is the input's of this number, and an index that comes first.
pub(super) fn video_sound(source: &Probed, input: u32) -> Vec<OsString> {
    let mut args = vec![];
    if let Some(sound) = &source.audio {
        let (rate, map) = (output_rate(AudioFormat::M4a, sound.sample_rate), sound.index);
        args.extend(words(&format!("-map {input}:{map} {} -ar {rate}", codec(AudioFormat::M4a))));
        if sound.channels > 2 {
            args.extend(words("-ac 2"));
        }
    }
    args.extend(words("-movflags +faststart"));
    args
}

/// Where a video is cut up.
pub(super) struct Cuts<'a> {
    /// Where on the timeline to start, in seconds.
    pub(super) from: f64,
    /// The number of the first segment.
    pub(super) first: usize,
    pub(super) length: f64,
    pub(super) duration: f64,
    /// For ffmpeg's list of what is finished.
    pub(super) list: &'a Path,
}

/// Frames from a little before `from` on, which keep their place on the source's timeline: a frame's time may be rounded.
pub(super) fn enter(from: f64) -> Vec<OsString> {
    let seek = if from > 0.0 { format!(" -ss {:.6}", (from - 0.002).max(0.0)) } else { String::new() };
    words(&format!("-copyts -start_at_zero{seek}"))
}

/// The output of a picture in segments. A time below zero, which x264's reordering needs, must not shift the first segment
/// alone; frames keep their times as in the one-piece output.
pub(super) fn segments(cuts: &Cuts<'_>, max_duration_seconds: u64) -> Vec<OsString> {
    let Cuts { from, first, length, duration, list } = cuts;
    let longest = max_duration_seconds.saturating_add(1);
    let mut times = String::new();
    let mut at = from + length;
    while at < *duration {
        times.push_str(&format!("{}{:.6}", if times.is_empty() { "" } else { "," }, at - 0.005));
        at += length;
    }
    if times.is_empty() {
        times = format!("{:.6}", at);
    }
    let mut args = words(&format!(
        "-vsync vfr -force_key_frames expr:gte(t,{from:.6}+n_forced*{length:.6}) -sn -dn -an -map_metadata -1 -map_chapters -1 \
         -t {longest} -avoid_negative_ts disabled -f segment -segment_format nut -segment_times {times} \
         -segment_start_number {first} -segment_list_type csv -segment_list"
    ));
    // The pattern lies in the working directory: a percent sign in that one's own name would be part of it.
    args.extend([file_url(list), "segment-%05d.nut".into()]);
    args
}

/// Input 0: segments as `list` names them, the first of which starts at `start`. It reads nothing but what lies beside it.
pub(super) fn join(list: &Path, start: f64) -> Vec<OsString> {
    let mut args = words(&format!(
        "-itsoffset {start:.6} -protocol_whitelist file,pipe -format_whitelist concat,nut -f concat -i"
    ));
    args.push(file_url(list));
    args
}

/// What is done with input 0 of [`join`].
pub(super) fn joined() -> Vec<OsString> {
    words("-map 0:v -c:v copy")
}

/// What stands between input and output of a sound file, after `filters`.
pub(super) fn audio(format: AudioFormat, sound: &SoundTrack, filters: &str) -> Vec<OsString> {
    let (map, rate, codec) = (sound.index, output_rate(format, sound.sample_rate), codec(format));
    let faststart = if format == AudioFormat::M4a { "-movflags +faststart" } else { "" };
    words(&format!("-map 0:{map} -vn -af {filters} {codec} -ar {rate} {faststart}"))
}

/// Measures loudness and writes nothing. `-vn` spares decoding the pictures, 12 times the work (measured).
pub(super) fn measure(sound: &SoundTrack, filters: &str, max_duration_seconds: u64) -> Vec<OsString> {
    let (map, longest) = (sound.index, max_duration_seconds.saturating_add(1));
    words(&format!("-map 0:{map} -vn -af {filters},ebur128=peak=true:framelog=verbose -t {longest} -f null -"))
}

/// One picture.
pub(super) fn thumbnail(stream: u32, (width, height): (u32, u32)) -> Vec<OsString> {
    words(&format!(
        "-map 0:{stream} -vf scale={width}:{height},setsar=1 -frames:v 1 -c:v mjpeg -pix_fmt yuvj420p -q:v 3"
    ))
}

/// The output: nothing of the source's metadata (places, names, devices), no subtitles, data or chapters, and never
/// longer than the limit by more than the second that shows that it was reached.
pub(super) fn output(muxer: &str, max_duration_seconds: u64, file: &Path) -> Vec<OsString> {
    let longest = max_duration_seconds.saturating_add(1);
    let mut args = words(&format!("-sn -dn -map_metadata -1 -map_chapters -1 -t {longest} -f {muxer}"));
    args.push(file_url(file));
    args
}

/// What comes before any other filter: gaps and a late start become silence, so that the sound stays as long as the
/// picture, and the channels are those of the output, so that what is measured is what is stored.
pub(super) fn prepare(format: AudioFormat, sound: &SoundTrack) -> String {
    let stereo = matches!(format, AudioFormat::M4a | AudioFormat::Mp3) && sound.channels > 2;
    format!("aresample=async=1:first_pts=0{}", if stereo { ",aformat=channel_layouts=stereo" } else { "" })
}

fn codec(format: AudioFormat) -> &'static str {
    match format {
        AudioFormat::M4a => "-c:a aac -b:a 128k",
        AudioFormat::Mp3 => "-c:a libmp3lame -b:a 160k",
        AudioFormat::Wav => "-c:a pcm_s16le -rf64 auto",
        AudioFormat::Flac => "-c:a flac",
    }
}

/// Lossy formats know few sample rates; the others keep the source's. Named always, because loudnorm may leave 192 kHz.
fn output_rate(format: AudioFormat, source: u32) -> u32 {
    const LOSSY: [u32; 9] = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
    match format {
        AudioFormat::M4a | AudioFormat::Mp3 if !LOSSY.contains(&source) => 48_000,
        AudioFormat::Wav | AudioFormat::Flac if !(8_000..=192_000).contains(&source) => 48_000,
        _ => source,
    }
}

/// The picture for a preset: its shorter side at most the preset's, never larger than the source, both sides even.
pub(super) fn fit(source: (u32, u32), preset: Preset) -> (u32, u32) {
    let shorter = match preset {
        Preset::H264P480 => 480,
        Preset::H264P720 => 720,
        Preset::H264P1080 => 1080,
        Preset::H264Source => u32::MAX,
    };
    let ratio = f64::from(shorter) / f64::from(source.0.min(source.1));
    scaled(source, ratio)
}

/// Both sides by `ratio`, never enlarged, even and at least 2: yuv420p stores colour for 2 x 2 pixels.
pub(super) fn scaled(source: (u32, u32), ratio: f64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no larger than the source's side")]
    let side = |side: u32| (((f64::from(side) * ratio.min(1.0)).round() as u32) & !1).max(2);
    (side(source.0), side(source.1))
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shrinks_to_its_preset_keeps_its_shape_and_never_grows() {
        assert_eq!(fit((1920, 1080), Preset::H264P720), (1280, 720));
        assert_eq!(fit((1080, 1920), Preset::H264P720), (720, 1280));
        assert_eq!(fit((320, 240), Preset::H264P1080), (320, 240));
        assert_eq!(fit((641, 481), Preset::H264Source), (640, 480));
        assert_eq!(fit((1, 1), Preset::H264P480), (2, 2));
        assert_eq!(fit((1998, 1080), Preset::H264P480), (888, 480));
    }

    #[test]
    fn lossy_formats_get_a_sample_rate_they_know() {
        assert_eq!(output_rate(AudioFormat::M4a, 44_100), 44_100);
        assert_eq!(output_rate(AudioFormat::M4a, 96_000), 48_000);
        assert_eq!(output_rate(AudioFormat::Flac, 96_000), 96_000);
        assert_eq!(output_rate(AudioFormat::Wav, 0), 48_000);
    }

    #[test]
    fn the_whitelists_stand_before_the_input_and_a_path_is_one_url() {
        let args = guarded(Container::Mp4, Path::new("/x/-i:http a%20"));
        let expected =
            ["-protocol_whitelist", "file,pipe", "-format_whitelist", "mov", "-f", "mov", "-i", "file:/x/-i:http a%20"]
                .map(OsString::from);
        assert_eq!(args, expected);
    }
}
