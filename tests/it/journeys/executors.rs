//! Each built-in executor, from the upload to the downloaded output, on real input.

use std::time::Duration;

use anyhow::Result;
use longshore_tests::media;
use longshore_tests::process::run;
use longshore_tests::procfs;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::until;
use serde_json::{Value, json};

super::on_both_stages!(
    a_photograph_is_resized,
    a_video_is_transcoded_with_sound_and_a_thumbnail,
    a_csv_is_imported_and_its_bad_rows_are_rejected_with_their_reasons,
    a_canceled_transcode_leaves_no_process_and_no_output,
    an_input_outside_the_allowed_roots_is_refused,
);

async fn a_photograph_is_resized(stage: Stage) -> Result<()> {
    let photo = media::turned_jpeg(stage.dir.path(), (1600, 1200), 6).await?;
    let file = stage.upload(&photo).await?;
    let renditions = json!([{"name": "thumb", "width": 256}, {"name": "large", "width": 1024, "format": "webp"}]);
    let id = stage.submit("image.resize", json!({"source": {"file": file}, "renditions": renditions})).await?;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    assert_eq!(job["result"]["orientation"], 6, "{job}");
    let stream = probe(&stage.download(&id, "thumb.jpg").await?).await?["streams"][0].clone();
    assert_eq!((&stream["codec_name"], &stream["width"]), (&json!("mjpeg"), &json!(256)));
    assert!(stream["height"].as_u64() > Some(256), "a photograph turned upright is taller than wide: {stream}");
    let stream = probe(&stage.download(&id, "large.webp").await?).await?["streams"][0].clone();
    assert_eq!((&stream["codec_name"], &stream["width"]), (&json!("webp"), &json!(1024)));
    Ok(())
}

async fn a_video_is_transcoded_with_sound_and_a_thumbnail(stage: Stage) -> Result<()> {
    let clip = media::clip(stage.dir.path(), 3, (640, 360)).await?;
    let file = stage.upload(&clip).await?;
    let payload = json!({
        "source": {"file": file},
        "video": {"preset": "h264_480p"},
        "audio": {"format": "m4a", "loudness": -16.0},
        "thumbnail": {"width": 160},
    });
    let id = stage.submit("media.transcode", payload).await?;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    let video = probe(&stage.download(&id, "video.mp4").await?).await?;
    let codecs: Vec<_> =
        video["streams"].as_array().into_iter().flatten().map(|one| one["codec_name"].clone()).collect();
    assert!(codecs.contains(&json!("h264")) && codecs.contains(&json!("aac")), "{video}");
    let seconds: f64 = video["format"]["duration"].as_str().unwrap_or_default().parse()?;
    assert!((seconds - 3.0).abs() < 0.3, "{seconds} s");
    let audio = probe(&stage.download(&id, "audio.m4a").await?).await?;
    assert_eq!(audio["streams"][0]["codec_name"], "aac");
    let thumbnail = probe(&stage.download(&id, "thumbnail.jpg").await?).await?;
    assert_eq!(thumbnail["streams"][0]["width"], 160);
    Ok(())
}

async fn a_csv_is_imported_and_its_bad_rows_are_rejected_with_their_reasons(stage: Stage) -> Result<()> {
    let csv = stage.dir.path().join("orders.csv");
    let mut text = "Order,When,Total\n".to_owned();
    for order in 1..=1000 {
        let total = if order % 100 == 0 { "much".to_owned() } else { format!("{order}.50") };
        text.push_str(&format!("{order},2026-11-22,{total}\n"));
    }
    std::fs::write(&csv, text)?;
    let file = stage.upload(&csv).await?;
    let columns = json!([
        {"name": "id", "from": "Order", "type": "integer", "required": true},
        {"name": "day", "from": "When", "type": "date"},
        {"name": "total", "from": "Total", "type": "decimal"},
    ]);
    let payload = json!({"source": {"file": file}, "table": "orders", "columns": columns});
    let id = stage.submit("csv.import", payload).await?;
    let job = stage.settled(&id).await?;
    assert_eq!(job["state"], "completed", "{job}");
    let result = &job["result"];
    assert_eq!((&result["rows_imported"], &result["rows_rejected"]), (&json!(990), &json!(10)), "{job}");
    let rejects = std::fs::read_to_string(stage.download(&id, "rejects.csv").await?)?;
    assert!(rejects.contains("101,") && rejects.contains("total") && rejects.contains("much"), "{rejects}");
    if let Some(url) = &stage.database_url {
        let client = longshore_tests::postgres::connect(url).await?;
        let row = client.query_one("select count(*), sum(id)::bigint from imports.orders", &[]).await?;
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (990, 500_500 - 5_500));
    }
    Ok(())
}

async fn a_canceled_transcode_leaves_no_process_and_no_output(stage: Stage) -> Result<()> {
    let clip = media::clip(stage.dir.path(), 60, (1280, 720)).await?;
    let file = stage.upload(&clip).await?;
    let payload = json!({"source": {"file": file}, "video": {"preset": "h264_720p"}});
    let id = stage.submit("media.transcode", payload).await?;
    let worker = stage.worker().process().pid();
    let encodes = |job: &Value| job["progress"]["fraction"].as_f64().is_some_and(|fraction| fraction > 0.02);
    stage.when(&id, "to encode", encodes).await?;
    assert!(!procfs::descendants(worker).is_empty(), "an ffmpeg runs");
    stage.http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(202)?;
    let gone = || async { procfs::descendants(worker).is_empty().then_some(()) };
    until("ffmpeg to be gone", Duration::from_secs(2), gone).await;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], &job["artifacts"]), (&json!("canceled"), &json!([])), "{job}");
    stage.http.get(&format!("/v1/jobs/{id}/artifacts/video.mp4")).await?.expect(404)?;
    Ok(())
}

async fn an_input_outside_the_allowed_roots_is_refused(stage: Stage) -> Result<()> {
    let renditions = json!([{"name": "thumb", "width": 256}]);
    let id = stage.submit("image.resize", json!({"source": {"path": "/etc/passwd"}, "renditions": renditions})).await?;
    let job = stage.settled(&id).await?;
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("source_forbidden")), "{job}");
    Ok(())
}

async fn probe(file: &std::path::Path) -> Result<Value> {
    let mut command = std::process::Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json", "-show_streams", "-show_format"]).arg(file);
    Ok(serde_json::from_str(&run("ffprobe", command, PATIENCE).await?)?)
}
