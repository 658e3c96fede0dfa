//! What comes out, looked at with tools that the executor did not choose.

use super::*;

/// Integrated loudness of a finished file, by ffmpeg's own scanner.
fn lufs(file: &Path) -> f64 {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-hide_banner", "-i"]).arg(file).args(["-vn", "-af", "ebur128", "-f", "null", "-"]);
    let log = String::from_utf8(ffmpeg.output().unwrap().stderr).unwrap();
    let (_, summary) = log.rsplit_once("I:").unwrap();
    summary.split_whitespace().next().unwrap().parse().unwrap()
}

fn position(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).unwrap()
}

#[tokio::test]
async fn one_source_becomes_a_720p_video_its_sound_and_a_still() {
    let world = World::new();
    let source = world.talkie("in.mp4", "1920x1080", 4.0);
    let wanted = json!({"video": {"preset": "h264_720p"}, "audio": {"format": "m4a"}, "thumbnail": {"width": 320}});
    let done = world.done(&source, wanted).await;

    let facts = done.source.video.unwrap();
    assert_eq!((facts.width, facts.height, facts.fps, done.source.container.as_str()), (1920, 1080, Some(25.0), "mp4"));
    let media = done.video.unwrap().media;
    let (picture, sound) = (media.video.unwrap(), media.audio.unwrap());
    assert_eq!((picture.codec.as_str(), picture.width, picture.height), ("h264", 1280, 720));
    assert_eq!((sound.codec.as_str(), sound.sample_rate, sound.channels), ("aac", 44_100, 2));
    assert!((media.duration_seconds.unwrap() - 4.0).abs() < 0.1, "{:?}", media.duration_seconds);
    let mp4 = std::fs::read(world.staged("video.mp4")).unwrap();
    assert!(position(&mp4, b"moov") < position(&mp4, b"mdat"), "the index comes last");

    let audio = done.audio.unwrap();
    assert_eq!((audio.media.video, audio.loudness, audio.artifact.content_type.as_str()), (None, None, "audio/mp4"));
    let still = done.thumbnail.unwrap();
    assert_eq!((still.width, still.height, still.at_seconds), (320, 180, 0.4));
    assert!(std::fs::read(world.staged("thumbnail.jpg")).unwrap().starts_with(b"\xff\xd8\xff"));
    assert_eq!(world.files("staged"), ["audio.m4a", "thumbnail.jpg", "video.mp4"]);
    assert!(world.files("scratch").is_empty());
}

#[tokio::test]
async fn progress_rises_to_one() {
    let world = World::new();
    let source = world.talkie("in.mp4", "1280x720", 6.0);
    world.done(&source, json!({"video": {"preset": "h264_source"}})).await;
    let seen = world.fractions();
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!((seen.first(), seen.last()), (Some(&0.0), Some(&1.0)));
    let between = seen.iter().filter(|fraction| (0.05..0.95).contains(*fraction)).count();
    assert!(between >= 2, "{seen:?}");
}

#[tokio::test]
async fn sound_reaches_the_loudness_asked_for_by_one_gain() {
    let world = World::new();
    let source = world.talkie("in.mp4", "320x180", 5.0);
    let done = world.done(&source, json!({"audio": {"format": "m4a", "loudness": -16}})).await;
    let report = done.audio.unwrap().loudness.unwrap();
    assert_eq!(report.mode, LoudnessMode::Linear);
    assert!((report.before.integrated_lufs - lufs(&source)).abs() < 0.2, "{report:?}");
    let reached = lufs(&world.staged("audio.m4a"));
    assert!((reached + 16.0).abs() < 1.0, "{reached} LUFS");
    assert!((report.after.integrated_lufs - reached).abs() < 0.2, "{report:?}");
}

// One gain would take the clicks 10 dB past full scale, so loudnorm moves its gain without being asked.
#[tokio::test]
async fn a_gain_that_had_to_move_is_reported() {
    let world = World::new();
    let clicks = "sine=frequency=440,volume='if(lt(mod(t,4),0.002),7,0.4)':eval=frame";
    let source = world.clip("in.wav", &format!("-f lavfi -i {clicks} -t 12"));
    let done = world.done(&source, json!({"audio": {"format": "flac", "loudness": -16}})).await;
    let report = done.audio.unwrap().loudness.unwrap();
    assert_eq!(report.mode, LoudnessMode::Dynamic, "{report:?}");
    assert!(report.after.true_peak_dbtp <= -0.5 && report.before.true_peak_dbtp > -2.0, "{report:?}");
}

#[tokio::test]
async fn silence_stays_silent_and_says_so() {
    let world = World::new();
    let source = world.clip("in.wav", "-f lavfi -i anullsrc=sample_rate=48000 -t 2");
    let done = world.done(&source, json!({"audio": {"format": "wav", "loudness": -16}})).await;
    let report = done.audio.unwrap().loudness.unwrap();
    assert_eq!((report.mode, report.after.integrated_lufs), (LoudnessMode::Unchanged, -70.0));
}

#[tokio::test]
async fn every_container_is_read_and_every_sound_format_is_written() {
    let world = World::new();
    let tone = "-f lavfi -i sine=sample_rate=48000 -t 2";
    for (source, format, codec) in [
        ("in.mkv", "mp3", "mp3"),
        ("in.mp3", "wav", "pcm_s16le"),
        ("in.flac", "m4a", "aac"),
        ("in.ts", "flac", "flac"),
        ("in.avi", "flac", "flac"),
        ("in.ogg", "m4a", "aac"),
        ("in.aac", "wav", "pcm_s16le"),
    ] {
        std::fs::remove_dir_all(world.dir.path().join("staged")).unwrap();
        std::fs::create_dir(world.dir.path().join("staged")).unwrap();
        let file = world.clip(source, tone);
        let audio = world.done(&file, json!({"audio": {"format": format}})).await.audio.unwrap();
        assert_eq!(audio.media.audio.unwrap().codec, codec);
        assert!((audio.media.duration_seconds.unwrap() - 2.0).abs() < 0.2, "{source} to {format}");
        assert_eq!(world.files("staged"), [format!("audio.{format}")]);
    }
}

#[tokio::test]
async fn a_clip_filmed_upright_stays_upright_and_small_ones_stay_small() {
    let world = World::new();
    let lying = world.talkie("lying.mp4", "640x360", 1.0);
    let upright = world.clip("upright.mov", &format!("-i {} -c copy -metadata:s:v rotate=90", lying.display()));
    let done = world.done(&upright, json!({"video": {"preset": "h264_480p", "crf": 30}})).await;
    for facts in [done.source.video.unwrap(), done.video.unwrap().media.video.unwrap()] {
        assert_eq!((facts.width, facts.height), (360, 640));
    }
}

#[tokio::test]
async fn a_recording_that_does_not_say_how_long_it_is_is_read_to_its_end() {
    let world = World::new();
    let live = "-f lavfi -i testsrc2=size=160x90 -f lavfi -i sine -t 2 -live 1 -f matroska";
    let source = world.clip("live.mkv", live);
    let wanted = json!({"video": {"preset": "h264_720p"}, "thumbnail": {"width": 64}});
    let done = world.done(&source, wanted).await;
    assert_eq!((done.source.duration_seconds, done.thumbnail.unwrap().at_seconds), (None, 0.0));
    assert!((done.video.unwrap().media.duration_seconds.unwrap() - 2.0).abs() < 0.2);

    let mut strict = World::new();
    strict.settings.limits.max_duration_seconds = 1;
    assert_eq!(strict.fatal(&source, json!({"video": {"preset": "h264_720p"}})).await.code, "too_long");
}

#[tokio::test]
async fn a_still_from_the_very_end_is_the_last_picture() {
    let world = World::new();
    let source = world.talkie("in.mp4", "160x90", 2.0);
    let still = world.done(&source, json!({"thumbnail": {"width": 64, "at_seconds": 1.999}})).await.thumbnail.unwrap();
    assert!((1.9..1.999).contains(&still.at_seconds), "{still:?}");
}

#[tokio::test]
async fn a_worker_that_drains_finishes_its_transcode() {
    let mut world = World::new();
    let drain = tokio_util::sync::CancellationToken::new();
    drain.cancel();
    world.cancellation = Cancellation::draining_with(drain);
    let source = world.talkie("in.mp4", "160x90", 1.0);
    assert!(world.done(&source, json!({"thumbnail": {"width": 100}})).await.thumbnail.is_some());
}

#[tokio::test]
async fn ffmpeg_is_found_when_it_is_there() {
    let version = Transcoder::available(&TranscodeSettings::default()).await.unwrap();
    assert!(version.starts_with(|first: char| first.is_ascii_alphanumeric()), "{version}");
    let missing = TranscodeSettings { ffprobe: "/nowhere/ffprobe".into(), ..TranscodeSettings::default() };
    assert_eq!(Transcoder::available(&missing).await, None);
    let other = TranscodeSettings { ffmpeg: "/bin/false".into(), ..TranscodeSettings::default() };
    assert_eq!(Transcoder::available(&other).await, None);
}

/// Each frame's time, of a finished file's pictures.
fn frame_times(file: &Path) -> Vec<String> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args([
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "frame=pts_time",
        "-of",
        "default=nk=1:nw=1",
    ]);
    let said = String::from_utf8(ffprobe.arg(file).output().unwrap().stdout).unwrap();
    said.lines().filter(|line| line.parse::<f64>().is_ok()).map(str::to_owned).collect()
}

/// Frames that reorder are what shifts a first segment; a picture that starts late must stay late; and of a last segment of one
/// frame no tool says where it starts.
#[tokio::test]
async fn a_video_in_segments_has_each_frame_at_the_time_it_has_in_one_piece() {
    for (late, rate, length) in
        [("", "25", "7"), ("-itsoffset 0.4 ", "25", "7"), ("", "25", "6.04"), ("", "30000/1001", "8.02")]
    {
        let mut world = World::new();
        let pictures = format!("{late}-f lavfi -i testsrc2=size=320x180:rate={rate}");
        let codecs = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac";
        let source = world.clip("in.mp4", &format!("{pictures} -f lavfi -i sine=frequency=440 -t {length} {codecs}"));
        let mut times = Vec::new();
        for seconds in [0, 2] {
            world.settings.segment_seconds = seconds;
            world.done(&source, json!({"video": {"preset": "h264_source"}})).await;
            times.push(frame_times(&world.staged("video.mp4")));
        }
        let (whole, pieces) = (&times[0], &times[1]);
        let told = format!("{late}{length} s of {rate}");
        assert!(whole.len() > 150 && whole.len() == pieces.len(), "{told}: {} and {}", whole.len(), pieces.len());
        for (one, other) in whole.iter().zip(pieces) {
            let apart = one.parse::<f64>().unwrap() - other.parse::<f64>().unwrap();
            assert!(apart.abs() < 0.002, "{told}: {one} became {other}");
        }
    }
}
