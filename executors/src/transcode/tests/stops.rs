//! How a transcode ends early: cancelled, at a limit, without its programs, on a source that breaks off.

use std::time::Instant;

use super::*;

/// The processes that work for this world: its directory is among their arguments.
fn working(world: &World) -> usize {
    let marker = world.dir.path().join("scratch").into_os_string().into_string().unwrap();
    let arguments = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = arguments.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    arguments.filter(|arguments| String::from_utf8_lossy(arguments).contains(&marker)).count()
}

#[tokio::test]
async fn a_cancelled_transcode_is_gone_within_two_seconds_and_leaves_nothing() {
    let world = World::new();
    let short = world.talkie("short.mp4", "1280x720", 3.0);
    let long = world.clip("long.mp4", &format!("-stream_loop 40 -i {} -c copy", short.display()));
    let cancel_midway = async {
        let mut seen = world.progress.subscribe();
        let midway = |seen: &Vec<Progress>| seen.iter().any(|p| p.fraction.is_some_and(|f| f > 0.0));
        seen.wait_for(midway).await.unwrap();
        assert_eq!(working(&world), 1, "the check below must be able to see ffmpeg");
        world.cancellation.cancel(longshore_sdk::CancelReason::Requested);
        Instant::now()
    };
    let wanted = json!({"video": {"preset": "h264_source"}});
    let (outcome, canceled_at) = tokio::join!(world.attempt(&long, wanted), cancel_midway);
    let took = canceled_at.elapsed();
    assert!(matches!(outcome, Outcome::Canceled), "{outcome:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!((working(&world), world.files("staged"), world.files("scratch")), (0, vec![], vec![]));
    assert!(world.fractions().iter().all(|fraction| *fraction < 0.9), "it was not midway");
}

#[tokio::test]
async fn an_ffmpeg_that_ignores_sigterm_is_killed() {
    let mut world = World::new();
    let source = world.talkie("in.mp4", "160x90", 1.0);
    let deaf = world.path("deaf");
    let script = "#!/bin/sh\ntrap '' TERM\necho out_time_us=100000\nwhile :; do sleep 1; done\n";
    std::fs::write(&deaf, script).unwrap();
    std::fs::set_permissions(&deaf, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.settings.ffmpeg = deaf;
    let cancel = async {
        let mut seen = world.progress.subscribe();
        seen.wait_for(|seen| seen.iter().any(|p| p.fraction.is_some_and(|f| f > 0.0))).await.unwrap();
        assert!(working(&world) >= 1, "the check below must be able to see it");
        world.cancellation.cancel(longshore_sdk::CancelReason::Requested);
        Instant::now()
    };
    let (outcome, canceled_at) = tokio::join!(world.attempt(&source, json!({"thumbnail": {"width": 64}})), cancel);
    assert!(matches!(outcome, Outcome::Canceled), "{outcome:?}");
    let took = canceled_at.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(working(&world), 0);
}

// The file opens cleanly and exit code 0 is claimed; only `progress=end` is missing.
#[tokio::test]
async fn an_ffmpeg_that_does_not_say_it_finished_has_not() {
    let mut world = World::new();
    let source = world.talkie("in.mp4", "160x90", 1.0);
    let hasty = world.path("hasty");
    std::fs::write(&hasty, "#!/bin/sh\necho progress=continue\n").unwrap();
    std::fs::set_permissions(&hasty, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.settings.ffmpeg = hasty;
    let outcome = world.attempt(&source, json!({"thumbnail": {"width": 64}})).await;
    assert!(matches!(&outcome, Outcome::Retry { error, .. } if error.code == "ffmpeg_failed"), "{outcome:?}");
}

#[tokio::test]
async fn a_worker_without_ffmpeg_names_the_way_out_and_tries_again() {
    let mut world = World::new();
    let source = world.talkie("in.mp4", "160x90", 1.0);
    world.settings.ffmpeg = "/nowhere/ffmpeg".into();
    let outcome = world.attempt(&source, json!({"thumbnail": {"width": 64}})).await;
    let Outcome::Retry { error, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.code, "ffmpeg_missing");
    assert!(error.message.contains("apt install ffmpeg") && error.message.contains("`ffmpeg`"), "{error}");
}

#[tokio::test]
async fn a_source_that_breaks_off_is_given_up_with_both_lengths() {
    let world = World::new();
    let whole = std::fs::read(world.talkie("whole.mp4", "320x180", 5.0)).unwrap();
    let half = world.path("half.mp4");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    for wanted in [json!({"video": {"preset": "h264_480p"}}), json!({"audio": {"format": "wav"}})] {
        let report = world.fatal(&half, wanted).await;
        assert_eq!((report.code.as_str(), report.field.as_deref()), ("unreadable_media", Some("/source")));
        assert!(report.message.contains("says 5.0 s"), "{report}");
    }
}

#[tokio::test]
async fn what_the_source_lacks_is_named_by_the_output_that_needs_it() {
    let world = World::new();
    let mute = world.clip("mute.mp4", "-f lavfi -i testsrc2=size=160x90 -t 1 -c:v libx264 -pix_fmt yuv420p");
    let report = world.fatal(&mute, json!({"audio": {"format": "m4a"}})).await;
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("no_audio_stream", Some("/audio")));
    let report = world.fatal(&mute, json!({"thumbnail": {"width": 64, "at_seconds": 1.5}})).await;
    assert_eq!((report.code.as_str(), report.field.as_deref()), ("past_the_end", Some("/thumbnail/at_seconds")));

    let blind = world.clip("blind.wav", "-f lavfi -i sine -t 1");
    for (field, wanted) in [
        ("/video", json!({"audio": {"format": "m4a"}, "video": {"preset": "h264_720p"}})),
        ("/thumbnail", json!({"thumbnail": {"width": 64}})),
    ] {
        let report = world.fatal(&blind, wanted).await;
        assert_eq!((report.code.as_str(), report.field.as_deref()), ("no_video_stream", Some(field)));
    }
}

#[tokio::test]
async fn every_limit_of_the_operator_holds() {
    let mut world = World::new();
    let source = world.talkie("in.mp4", "320x180", 3.0);
    let generous = TranscodeLimits::default();
    for (limits, code) in [
        (TranscodeLimits { max_duration_seconds: 2, ..generous.clone() }, "too_long"),
        (TranscodeLimits { max_input_bytes: 1000, ..generous.clone() }, "input_too_large"),
        (TranscodeLimits { max_output_bytes: 20_000, ..generous.clone() }, "output_too_large"),
        (TranscodeLimits { max_pixels: 320 * 180 - 1, ..generous.clone() }, "too_many_pixels"),
    ] {
        world.settings.limits = limits;
        assert_eq!(world.fatal(&source, json!({"video": {"preset": "h264_source"}})).await.code, code);
    }
    world.settings.limits = TranscodeLimits { max_memory_bytes: Some(40 << 20), ..generous };
    let outcome = world.attempt(&source, json!({"video": {"preset": "h264_source"}})).await;
    assert!(matches!(&outcome, Outcome::Retry { error, .. } if error.code == "out_of_memory"), "{outcome:?}");
}

#[tokio::test]
async fn a_payload_out_of_range_is_refused_by_its_field() {
    let world = World::new();
    let source = world.clip("in.wav", "-f lavfi -i sine -t 1");
    for (wanted, field) in [
        (json!({}), ""),
        (json!({"video": {"preset": "h264_720p", "crf": 9}}), "/video/crf"),
        (json!({"audio": {"format": "wav", "loudness": 3}}), "/audio/loudness"),
        (json!({"thumbnail": {"width": 15}}), "/thumbnail/width"),
        (json!({"thumbnail": {"width": 64, "at_seconds": -1}}), "/thumbnail/at_seconds"),
        (json!({"video": {"preset": "h264_720p", "filter": "movie=/etc/passwd"}}), "/payload"),
    ] {
        let report = world.fatal(&source, wanted).await;
        assert_eq!((report.code.as_str(), report.field.as_deref()), ("invalid_payload", Some(field)), "{report}");
    }
}

#[tokio::test]
async fn a_transcode_killed_at_any_step_is_done_by_the_next_attempt_with_each_output_once() {
    let mut world = World::new();
    world.settings.segment_seconds = 1;
    let source = world.talkie("in.mp4", "160x90", 4.0);
    let wanted = json!({
        "source": {"path": source}, "video": {"preset": "h264_source"}, "thumbnail": {"width": 64},
    })
    .to_string();
    let run = || {
        let run = longshore_sdk::testkit::TestRun::of(Transcoder::new(world.settings.clone()));
        run.payload_json(&wanted).allow_paths(world.dir.path())
    };
    let steps = longshore_sdk::testkit::kill_at_every_step(run, async |step, report| {
        let names: Vec<_> = report.expect_done().artifacts.iter().map(|staged| staged.artifact.name.clone()).collect();
        assert_eq!(names, ["thumbnail.jpg", "video.mp4"], "killed at step {step}");
        let done: Transcoded = report.output();
        let seconds = done.video.unwrap().media.duration_seconds.unwrap();
        assert!((seconds - 4.0).abs() < 0.1, "killed at step {step}: {seconds} s");
    });
    assert!(steps.await > 10);
}
