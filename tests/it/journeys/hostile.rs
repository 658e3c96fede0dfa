//! Input made to harm, or simply broken, as its author meets it through HTTP: each is refused with a word, the field and the way out,
//! no byte of a foreign file gets out, and the worker serves the next job. Read `hostile_callers.rs` for connections that harm.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::media;
use longshore_tests::procfs;
use longshore_tests::stage::Stage;
use serde_json::{Value, json};

super::on_both_stages!(
    a_file_that_is_not_what_it_says_fails_with_a_word_a_field_and_the_way_out,
    a_playlist_named_mp4_shows_nothing_of_the_file_it_points_at,
    a_gigabyte_without_a_line_end_is_refused_and_not_held_in_memory,
    no_spelling_of_a_path_leads_out_of_the_allowed_roots,
    what_cannot_be_a_job_is_refused_at_the_door,
);

/// What every foreign file here holds; it may turn up nowhere.
const SECRET: &str = "the-secret-of-another-tenant";

/// A job that must fail: what it is given, and what its author must be told.
struct Harm {
    what: &'static str,
    kind: &'static str,
    file: Vec<u8>,
    code: &'static str,
    told: &'static str,
}

fn wish(kind: &str, source: &Value) -> Value {
    match kind {
        "image.resize" => json!({"source": source, "renditions": [{"name": "thumb", "width": 64}]}),
        "media.transcode" => json!({"source": source, "video": {"preset": "h264_480p"}}),
        _ => json!({"source": source, "table": "t", "columns": [{"name": "id", "type": "integer"}]}),
    }
}

/// A job that must fail by this code, naming its source.
async fn refused(stage: &Stage, kind: &str, source: Value, code: &str) -> Result<Value> {
    let id = stage.submit(kind, wish(kind, &source)).await?;
    let job = stage.settled(&id).await?;
    ensure!((&job["state"], &job["error"]["code"]) == (&json!("failed"), &json!(code)), "{job}");
    ensure!(job["attempt"] == 1 && job["artifacts"] == json!([]), "tried again, or it left something: {job}");
    ensure!(!job.to_string().contains(&*stage.dir.path().to_string_lossy()), "a path of this machine: {job}");
    Ok(job)
}

/// The worker that met all that is still there, and works.
async fn serves_the_next(stage: &Stage) -> Result<()> {
    let photo = media::jpeg(stage.dir.path(), (160, 120)).await?;
    let source = json!({"file": stage.upload(&photo).await?});
    let job = stage.settled(&stage.submit("image.resize", wish("image.resize", &source)).await?).await?;
    ensure!(job["state"] == "completed", "{job}");
    ensure!(stage.worker_lives(), "the worker went down");
    Ok(())
}

/// A PNG of 20,000 x 20,000 pixels, 1.6 GB when unpacked, in some dozen bytes.
fn png_bomb() -> Vec<u8> {
    let side = 20_000_u32.to_be_bytes();
    let header = [b"IHDR", &side[..], &side, &[8, 6, 0, 0, 0]].concat();
    let data = [b"IDAT", &[0x78, 0x9c, 0x03, 0, 0, 0, 0, 1][..]].concat();
    let chunk = |body: &[u8]| {
        let length = u32::try_from(body.len() - 4).expect("a few bytes").to_be_bytes();
        [&length[..], body, &crc(body).to_be_bytes()].concat()
    };
    [b"\x89PNG\r\n\x1a\n", &chunk(&header)[..], &chunk(&data), &chunk(b"IEND")].concat()
}

/// PNG's checksum.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn harms(photo: &[u8], clip: &[u8]) -> Vec<Harm> {
    let half = |file: &[u8]| file[..file.len() / 2].to_vec();
    let harm = |what, kind, file, code, told| Harm { what, kind, file, code, told };
    let noise: Vec<u8> = (0..50_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        harm("half a photograph", "image.resize", half(photo), "truncated_image", "cannot be decoded whole"),
        harm("a PNG bomb", "image.resize", png_bomb(), "too_many_pixels", "20000"),
        harm("noise for a picture", "image.resize", noise.clone(), "not_an_image", "send JPEG, PNG or WebP"),
        harm("half a video", "media.transcode", half(clip), "unreadable_media", "cut off or damaged"),
        harm("noise for a video", "media.transcode", noise.clone(), "unsupported_format", "MP4/MOV"),
        harm("a CSV of blank lines", "csv.import", b"\n\n\n".to_vec(), "empty_file", "not even a header"),
        harm("a picture for a CSV", "csv.import", photo.to_vec(), "not_text", "is this a CSV file?"),
    ]
}

async fn a_file_that_is_not_what_it_says_fails_with_a_word_a_field_and_the_way_out(stage: Stage) -> Result<()> {
    let photo = std::fs::read(media::jpeg(stage.dir.path(), (320, 240)).await?)?;
    let clip = std::fs::read(media::clip(stage.dir.path(), 2, (320, 180)).await?)?;
    for Harm { what, kind, file, code, told } in harms(&photo, &clip) {
        let path = stage.dir.path().join("harm");
        std::fs::write(&path, file)?;
        let source = json!({"file": stage.upload(&path).await?});
        let job = refused(&stage, kind, source, code).await.context(what)?;
        ensure!(job["error"]["field"] == "/source", "{what}: {job}");
        ensure!(job["error"]["message"].as_str().is_some_and(|text| text.contains(told)), "{what}: {job}");
    }
    serves_the_next(&stage).await
}

async fn a_playlist_named_mp4_shows_nothing_of_the_file_it_points_at(stage: Stage) -> Result<()> {
    // A film of another tenant, which ffmpeg would gladly play from within a playlist.
    let foreign = media::clip(stage.dir.path(), 1, (320, 180)).await?;
    let name = foreign.display();
    let playlists = [
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{name}\n#EXT-X-ENDLIST\n"),
        format!("ffconcat version 1.0\nfile '{name}'\n"),
    ];
    for text in playlists {
        let playlist = stage.dir.path().join("film.mp4");
        std::fs::write(&playlist, text)?;
        let source = json!({"file": stage.upload(&playlist).await?});
        let job = refused(&stage, "media.transcode", source, "unsupported_format").await?;
        ensure!(job["error"]["field"] == "/source", "{job}");
    }
    serves_the_next(&stage).await
}

fn inbox(stage: &Stage) -> PathBuf {
    stage.dir.path().join("inbox")
}

async fn a_gigabyte_without_a_line_end_is_refused_and_not_held_in_memory(stage: Stage) -> Result<()> {
    let path = inbox(&stage).join("line.csv");
    let mut file = File::create(&path)?;
    file.write_all(b"id\n")?;
    // A hole: bytes without a line end that take no disk.
    file.set_len(1 << 30)?;
    let worker = stage.worker().process().pid();
    let before = procfs::peak_kib(worker).context("the worker runs")?;
    let job = refused(&stage, "csv.import", json!({"path": path}), "record_too_large").await?;
    let told = job["error"]["message"].as_str().unwrap_or_default();
    ensure!(told.contains("line 2") && job["error"]["field"] == "/source", "{job}");
    let grown = procfs::peak_kib(worker).context("the worker runs")? - before;
    ensure!(grown < 64 << 10, "{grown} KiB more at the peak");
    serves_the_next(&stage).await
}

async fn no_spelling_of_a_path_leads_out_of_the_allowed_roots(stage: Stage) -> Result<()> {
    let secret = stage.dir.path().join("secret.csv");
    std::fs::write(&secret, format!("id\n{SECRET}\n"))?;
    std::os::unix::fs::symlink(&secret, inbox(&stage).join("link.csv"))?;
    std::os::unix::fs::symlink(stage.dir.path(), inbox(&stage).join("links"))?;
    let spelt = |path: &Path| path.to_string_lossy().into_owned();
    let ways = [
        spelt(&secret),
        spelt(&inbox(&stage).join("../secret.csv")),
        spelt(&inbox(&stage).join("link.csv")),
        spelt(&inbox(&stage).join("links/secret.csv")),
        spelt(&inbox(&stage)),
        "secret.csv".to_owned(),
        "/etc/passwd".to_owned(),
        format!("file://{}", spelt(&secret)),
    ];
    for way in ways {
        let job = refused(&stage, "csv.import", json!({"path": way}), "source_forbidden").await.context(way)?;
        ensure!(!job.to_string().contains(SECRET), "{job}");
        let told = job["error"]["message"].as_str().unwrap_or_default();
        ensure!(told.contains("storage.allowed_roots") && told.contains("POST /v1/files"), "{job}");
    }
    serves_the_next(&stage).await
}

async fn what_cannot_be_a_job_is_refused_at_the_door(stage: Stage) -> Result<()> {
    let unknown =
        stage.http.post("/v1/jobs", &json!({"kind": "image.rezise", "payload": {}})).await?.expect(422)?.json()?;
    ensure!(unknown["type"] == "urn:longshore:problem:unknown_kind", "{unknown}");
    ensure!(unknown["kinds"].as_array().is_some_and(|kinds| kinds.contains(&json!("image.resize"))), "{unknown}");

    let post = |kind: &str, body: Vec<u8>| {
        let request = stage.http.request(reqwest::Method::POST, "/v1/jobs").header("content-type", kind);
        longshore_tests::http::send(request.body(body))
    };
    let large = [br#"{"kind": "trial.work", "payload": {"x": ""#, &vec![b'x'; 50 << 20][..], b"\"}}"].concat();
    // A server that hangs up while it is still sent to is as good as its answer.
    if let Ok(answer) = post("application/json", large).await {
        let told = answer.expect(413)?.json()?;
        ensure!(told["detail"].as_str().is_some_and(|text| text.contains("1048576")), "{told}");
    }
    let form = post("application/x-www-form-urlencoded", b"kind=trial.work".to_vec()).await?.expect(415)?.json()?;
    ensure!(form["detail"].as_str().is_some_and(|text| text.contains("Content-Type: application/json")), "{form}");
    let broken = post("application/json", b"{\"kind\":".to_vec()).await?.expect(400)?.json()?;
    ensure!(broken["detail"].as_str().is_some_and(|text| text.contains("line 1 column 8")), "{broken}");
    let empty = longshore_tests::http::send(stage.http.request(reqwest::Method::POST, "/v1/files?name=a.csv")).await?;
    ensure!(empty.status == 400, "{empty:?}");
    ensure!(stage.http.get("/v1/jobs").await?.expect(200)?.json()?["jobs"] == json!([]), "something was accepted");
    serves_the_next(&stage).await
}
