//! Whether the outputs are what was asked for, found out by other means than those that made them: ffprobe, the headers of
//! the downloaded images, SQLite itself. A job that did not complete fails its check with its error; no check is skipped.
//! Read [`super::flight`] for what was asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use longshore_sdk::JobId;
use longshore_sdk::api::{AttemptOutcome, JobState, JobView};
use longshore_sdk::client::Client;
use serde_json::Value;

use super::flight::{Subject, Work};
use super::home::Home;
use super::inputs::{BAD_ROWS, CLIP_SECONDS, CLIP_SIZE, Inputs, ROWS};
use super::rows;
use crate::cli::show;

/// A frame is a thirtieth of a second, and an AAC packet 21 ms.
const SECONDS_OFF: f64 = 0.2;

/// What was checked.
pub(super) struct Checks(Vec<Result<String, String>>);

impl Checks {
    pub(super) async fn run(client: &Client, home: &Home, inputs: &Inputs, works: &[Work]) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for work in works {
            let bench = Bench { client, home, work };
            let checked = bench.check().await.map_err(|error| format!("{}: {error:#}", work.name));
            all.push(checked.map(|seen| format!("{}: {seen} ({})", work.name, took(work))));
        }
        let expected = inputs.photos.len() + 1 + usize::from(inputs.clip.is_some());
        ensure!(all.len() == expected, "{} jobs were followed, not {expected}", all.len());
        Ok(Self(all))
    }

    pub(super) fn all_passed(&self) -> bool {
        self.0.iter().all(Result::is_ok)
    }

    /// One line each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|check| check.as_ref().map_or_else(|why| format!("FAILED  {why}"), |seen| format!("ok  {seen}")))
            .collect()
    }
}

struct Bench<'a> {
    client: &'a Client,
    home: &'a Home,
    work: &'a Work,
}

impl Bench<'_> {
    /// What was seen to be right.
    async fn check(&self) -> anyhow::Result<String> {
        let view = self.work.view.as_ref().context("nothing is known of it")?;
        ensure!(view.state == JobState::Completed, "{}", show::job(view));
        match self.work.subject {
            Subject::Clip => self.clip(view).await,
            Subject::Photo { portrait } => self.photo(portrait).await,
            Subject::Table => self.table(view).await,
        }
    }

    async fn clip(&self, view: &JobView) -> anyhow::Result<String> {
        let lost = view.attempts.iter().any(|attempt| attempt.outcome == Some(AttemptOutcome::Lost));
        ensure!(view.attempt >= 2 && lost, "it was to be killed in mid-job, but attempt {} did it all", view.attempt);
        let video = self.download("video.mp4").await?;
        let seen = probe(&video).await?;
        let wanted =
            MediaSeen { codecs: vec!["aac".into(), "h264".into()], size: Some(CLIP_SIZE), seconds: seen.seconds };
        ensure!(seen == wanted, "video.mp4 is {seen:?}");
        let off = (seen.seconds - f64::from(CLIP_SECONDS)).abs();
        ensure!(off <= SECONDS_OFF, "video.mp4 plays {} s, not {CLIP_SECONDS}", seen.seconds);
        let sound = probe(&self.download("audio.m4a").await?).await?;
        ensure!(sound.codecs == ["aac"], "audio.m4a is {sound:?}");
        let still = image_size(&self.download("thumbnail.jpg").await?)?;
        ensure!(still == (640, 360), "thumbnail.jpg is {still:?}");
        let ((width, height), attempt) = (CLIP_SIZE, view.attempt);
        Ok(format!(
            "h264/aac {width}x{height}, {:.1} s, sound, still; attempt 1 was killed, attempt {attempt} finished",
            seen.seconds
        ))
    }

    async fn photo(&self, portrait: bool) -> anyhow::Result<String> {
        // The frame is 1600x1200: a portrait fills its height.
        let wanted = if portrait { (900, 1200) } else { (1600, 1200) };
        let web = image_size(&self.download("web.jpg").await?)?;
        ensure!(web == wanted, "web.jpg is {web:?}, not {wanted:?}");
        let square = image_size(&self.download("square.webp").await?)?;
        ensure!(square == (320, 320), "square.webp is {square:?}");
        let turned = if portrait { ", turned upright" } else { "" };
        Ok(format!("JPEG {}x{}, WebP {}x{}{turned}", web.0, web.1, square.0, square.1))
    }

    async fn table(&self, view: &JobView) -> anyhow::Result<String> {
        let result: Value =
            view.result.as_ref().map(|result| serde_json::from_str(result.get())).transpose()?.unwrap_or_default();
        let count = |field: &str| result[field].as_u64().with_context(|| format!("the result has no {field}"));
        let (read, imported, rejected) = (count("rows_read")?, count("rows_imported")?, count("rows_rejected")?);
        ensure!(read == ROWS as u64 && rejected == BAD_ROWS as u64, "{read} rows were read, {rejected} rejected");
        ensure!(imported + rejected == read, "{imported} imported and {rejected} rejected are not {read}");
        let there = rows::customers(&self.home.imports_db())?;
        ensure!(there == imported, "the table has {there} rows, not {imported}");
        let rejects = std::fs::read_to_string(self.download("rejects.csv").await?)?;
        let told = rejects.lines().count() - 1;
        ensure!(told == BAD_ROWS, "rejects.csv tells of {told} rows, not {BAD_ROWS}");
        Ok(format!("{read} rows read = {imported} in the table + {rejected} in rejects.csv"))
    }

    async fn download(&self, artifact: &str) -> anyhow::Result<PathBuf> {
        let stem = Path::new(&self.work.name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.home.outputs.join(format!("{stem}-{artifact}"));
        let id: JobId = self.work.id;
        self.client.download(id, artifact, &path).await.with_context(|| artifact.to_owned())?;
        Ok(path)
    }
}

#[derive(Debug, PartialEq)]
struct MediaSeen {
    /// By name.
    codecs: Vec<String>,
    size: Option<(u32, u32)>,
    seconds: f64,
}

async fn probe(path: &Path) -> anyhow::Result<MediaSeen> {
    let mut ffprobe = tokio::process::Command::new("ffprobe");
    let entries = "stream=codec_name,width,height:format=duration";
    ffprobe.args(["-v", "error", "-of", "json", "-show_entries", entries]).arg(path).kill_on_drop(true);
    let told = ffprobe.output().await.context("ffprobe")?;
    ensure!(told.status.success(), "ffprobe: {}", String::from_utf8_lossy(&told.stderr));
    seen(&serde_json::from_slice(&told.stdout)?).with_context(|| format!("ffprobe says little of {}", path.display()))
}

fn seen(told: &Value) -> Option<MediaSeen> {
    let streams = told["streams"].as_array()?;
    let mut codecs: Vec<String> =
        streams.iter().filter_map(|one| Some(one["codec_name"].as_str()?.to_owned())).collect();
    codecs.sort();
    let side = |one: &Value, name: &str| u32::try_from(one[name].as_u64()?).ok();
    let size = streams.iter().find_map(|one| Some((side(one, "width")?, side(one, "height")?)));
    Some(MediaSeen { codecs, size, seconds: told["format"]["duration"].as_str()?.parse().ok()? })
}

/// A JPEG's or a WebP's width and height, by its header.
fn image_size(path: &Path) -> anyhow::Result<(u32, u32)> {
    let bytes = std::fs::read(path)?;
    if bytes.starts_with(b"RIFF") {
        return webp_size(&bytes).with_context(|| format!("{} is no WebP", path.display()));
    }
    let header = turbojpeg::read_header(&bytes)?;
    Ok((u32::try_from(header.width)?, u32::try_from(header.height)?))
}

/// Simple files begin with a VP8 frame, extended ones (with a profile, say) with a VP8X chunk.
fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let at = |index: usize| bytes.get(index).copied().map(u32::from);
    let two = |index| Some((at(index)? | at(index + 1)? << 8) & 0x3FFF);
    let three = |index| Some((at(index)? | at(index + 1)? << 8 | at(index + 2)? << 16) + 1);
    match bytes.get(8..16)? {
        b"WEBPVP8 " if bytes.get(23..26)? == b"\x9D\x01\x2A" => Some((two(26)?, two(28)?)),
        b"WEBPVP8X" => Some((three(24)?, three(27)?)),
        _ => None,
    }
}

fn took(work: &Work) -> String {
    let span =
        work.view.as_ref().and_then(|view| Some(view.finished_at?.duration_since(view.created_at).as_secs_f64()));
    span.map(|seconds| format!("{seconds:.1} s from submit to end")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webp_says_its_size_in_either_form() {
        let simple = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9D\x01\x2A\x40\x01\xF0\x00";
        assert_eq!(webp_size(simple), Some((320, 240)));
        let extended = b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0\x3F\x01\x00\xEF\x00\x00";
        assert_eq!(webp_size(extended), Some((320, 240)));
        assert_eq!(webp_size(b"RIFF\0\0\0\0WEBPVP8 "), None);
    }

    #[test]
    fn what_ffprobe_tells_is_read_whatever_the_order() {
        let told = serde_json::json!({"streams": [{"codec_name": "h264", "width": 2, "height": 1}, {"codec_name": "aac"}],
            "format": {"duration": "1.5"}});
        let expected = MediaSeen { codecs: vec!["aac".into(), "h264".into()], size: Some((2, 1)), seconds: 1.5 };
        assert_eq!(seen(&told), Some(expected));
        assert_eq!(seen(&serde_json::json!({"streams": []})), None);
    }
}
