//! What the stories take for granted about their inputs; ffprobe says what a file really is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_tests::process::run;
use longshore_tests::{media, scratch};
use serde_json::Value;

async fn probe(path: &Path) -> Result<Value> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json", "-show_streams", "-show_format", "-show_frames"]).arg(path);
    Ok(serde_json::from_str(&run("ffprobe", command, Duration::from_secs(60)).await?)?)
}

#[tokio::test]
async fn a_clip_has_picture_and_sound_of_the_length_asked_for() -> Result<()> {
    let dir = scratch::dir("media")?;
    let found = probe(&media::clip(dir.path(), 2, (320, 240)).await?).await?;
    let codecs: Vec<&str> = (0..2).filter_map(|stream| found["streams"][stream]["codec_name"].as_str()).collect();
    ensure!(codecs == ["h264", "aac"], "{codecs:?}");
    let seconds: f64 = found["format"]["duration"].as_str().unwrap_or_default().parse()?;
    ensure!((seconds - 2.0).abs() < 0.1, "{seconds} s");
    Ok(())
}

#[tokio::test]
async fn pictures_are_what_their_names_say() -> Result<()> {
    let dir = scratch::dir("media")?;
    let size = (640, 480);
    let pictures = [
        ("mjpeg", media::jpeg(dir.path(), size).await?),
        ("png", media::png(dir.path(), size).await?),
        ("webp", media::webp(dir.path(), size).await?),
    ];
    for (codec, path) in pictures {
        let stream = &probe(&path).await?["streams"][0];
        ensure!(stream["codec_name"] == codec && stream["width"] == 640 && stream["height"] == 480, "{stream}");
    }
    Ok(())
}

#[tokio::test]
async fn a_turned_photograph_says_so_in_its_exif() -> Result<()> {
    let dir = scratch::dir("media")?;
    let turned = media::turned_jpeg(dir.path(), (640, 480), 6).await?;
    // ffprobe shows the orientation of a frame as a rotation in its side data: 6 is a quarter turn.
    let found = probe(&turned).await?.to_string();
    ensure!(found.contains("\"rotation\":-90"), "no quarter turn in {found}");
    Ok(())
}

#[test]
fn a_csv_has_as_many_rows_and_bad_rows_as_it_says() -> Result<()> {
    let dir = scratch::dir("media")?;
    let csv = media::csv(dir.path(), 1000, 7)?;
    assert_eq!((csv.rows, csv.bad), (1000, 142));
    let text = std::fs::read_to_string(&csv.path)?;
    // A quoted line break is a bare \n, so \r\n ends rows alone.
    assert_eq!(text.matches("\r\n").count(), 1 + csv.rows);
    assert_eq!(text.matches("a lot").count(), 36, "one bad row in four has text for a number");
    assert_eq!(media::csv(dir.path(), 1000, 0)?.bad, 0);
    Ok(())
}
