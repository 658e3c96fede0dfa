//! Sources made to harm: garbage, and text that makes ffmpeg open files of other tenants.
//! Each wall is tried alone, and first that the attack works where there is no wall.

use rustix::fs::inotify;

use super::*;

/// Watches a file of another tenant, as the kernel sees it.
struct Bait {
    watch: rustix::fd::OwnedFd,
}

impl Bait {
    fn new(file: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, file, inotify::WatchFlags::OPEN | inotify::WatchFlags::ACCESS).unwrap();
        Self { watch }
    }

    /// Whether it was opened or read since the last look.
    fn was_touched(&self) -> bool {
        let mut events = [0; 4096];
        let mut touched = false;
        while rustix::io::read(&self.watch, &mut events).is_ok_and(|read| read > 0) {
            touched = true;
        }
        touched
    }
}

/// A foreign file, watched, and the three texts named `.mp4` that point at it, each with whether this ffmpeg falls for it.
fn attacks(world: &World) -> (Bait, Vec<PathBuf>) {
    let foreign = world.clip("foreign.ts", "-f lavfi -i testsrc2=size=160x90 -t 1");
    let name = foreign.display();
    let texts = [
        format!("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"),
        "ffconcat version 1.0\nfile foreign.ts\n".to_owned(),
    ];
    let files = texts.iter().enumerate().map(|(number, text)| {
        let file = world.path(&format!("upload-{number}.mp4"));
        std::fs::write(&file, text).unwrap();
        file
    });
    (Bait::new(&foreign), files.collect())
}

#[tokio::test]
async fn a_playlist_named_mp4_is_refused_and_no_byte_of_the_other_file_is_read() {
    let world = World::new();
    let (bait, attacks) = attacks(&world);
    for attack in attacks {
        let bare = Command::new("ffprobe").args(["-v", "error"]).arg(&attack).status().unwrap();
        assert!(bare.success() && bait.was_touched(), "{attack:?} harms no bare ffprobe: the test proves nothing");

        let report = world.fatal(&attack, json!({"video": {"preset": "h264_720p"}, "audio": {"format": "wav"}})).await;
        assert_eq!((report.code.as_str(), report.field.as_deref()), ("unsupported_format", Some("/source")));
        assert!(!bait.was_touched(), "{attack:?}");
    }
}

#[tokio::test]
async fn the_whitelist_holds_without_the_look_at_the_first_bytes() {
    let world = World::new();
    let (bait, attacks) = attacks(&world);
    let context = world.context();
    let scratch = context.scratch().unwrap().to_owned();
    let ffmpeg = Ffmpeg { settings: &world.settings, context: &context, scratch };
    for attack in attacks {
        for container in [Container::Mp4, Container::Matroska, Container::MpegTs, Container::Mp3] {
            let refused = ffmpeg.probe(container, &attack).await;
            assert!(refused.is_err() && !bait.was_touched(), "{attack:?} as {container:?}: {refused:?}");
        }
        // ffmpeg itself, as if ffprobe had let it pass.
        let source = Probed::read(b"{}", Container::Mp4, &attack, 0).unwrap();
        let ask = serde_json::from_value(json!({"source": {"path": "x"}})).unwrap();
        let passes = Passes::of(&ask, &context, 0.0);
        let ran =
            ffmpeg.run(&source, None, vec!["-f".into(), "null".into(), "-".into()], passes.start(passes::Step::Video));
        assert!(ran.await.is_err() && !bait.was_touched(), "{attack:?}");
    }
}

#[tokio::test]
async fn garbage_is_given_up_with_a_clear_word() {
    let world = World::new();
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (head, code) in [
        (&b""[..], "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n", "unsupported_format"),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "unsupported_format"),
        (b"\0\0\0\x20ftypisom", "unreadable_media"),
        (b"\x1a\x45\xdf\xa3", "unreadable_media"),
        (b"ID3\x04\0\0\0\0\0\0", "unreadable_media"),
        (b"RIFF\0\0\0\0WAVE", "unreadable_media"),
        (b"OggS", "unreadable_media"),
    ] {
        let file = world.path("garbage.mp4");
        std::fs::write(&file, if head.is_empty() { vec![] } else { [head, &noise].concat() }).unwrap();
        let report = world.fatal(&file, json!({"audio": {"format": "wav"}})).await;
        assert_eq!((report.code.as_str(), report.field.as_deref()), (code, Some("/source")), "{report}");
    }
}

#[tokio::test]
async fn a_name_that_looks_like_an_option_a_protocol_or_a_pattern_is_only_a_name() {
    let world = World::new();
    for name in ["-i.mp4", "http:x.mp4", "a %03d*?[1].mp4", "concat:a|b.mp4", "ä'\"$(id).mp4"] {
        let source = world.talkie(name, "160x90", 1.0);
        let still = world.done(&source, json!({"thumbnail": {"width": 64}})).await.thumbnail.unwrap();
        assert_eq!(still.width, 64, "{name}");
        std::fs::remove_file(world.staged("thumbnail.jpg")).unwrap();
    }
}
