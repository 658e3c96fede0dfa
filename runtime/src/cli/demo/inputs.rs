//! Inputs as people have them: a clip with sound, photographs of camera size, customers as CSV with bad rows.
//! Nothing is downloaded; only the clip needs ffmpeg. Read [`super::photos`] for the photographs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::{photos, size_of};

/// How long the clip plays: its transcode leaves time to be killed in the middle.
pub(super) const CLIP_SECONDS: u32 = 30;
pub(super) const CLIP_SIZE: (u32, u32) = (1280, 720);
pub(super) const ROWS: usize = 200_000;
/// One row in so many does not fit the columns.
const BAD_EVERY: usize = 500;
pub(super) const BAD_ROWS: usize = ROWS / BAD_EVERY;

/// What the jobs work on.
pub(super) struct Inputs {
    /// `None` without ffmpeg.
    pub(super) clip: Option<PathBuf>,
    pub(super) photos: Vec<photos::Photo>,
    pub(super) table: PathBuf,
    lines: Vec<String>,
}

impl Inputs {
    pub(super) async fn make(dir: &Path) -> anyhow::Result<Self> {
        let mut inputs = Self { clip: None, photos: Vec::new(), table: dir.join("customers.csv"), lines: Vec::new() };
        inputs.clip = clip(dir.join("clip.mp4")).await?;
        inputs.photos = photos::take(dir)?;
        std::fs::write(&inputs.table, csv()).with_context(|| inputs.table.display().to_string())?;
        inputs.lines = inputs.sizes()?;
        Ok(inputs)
    }

    /// One line each.
    pub(super) fn describe(&self) -> Vec<String> {
        self.lines.clone()
    }

    fn sizes(&self) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        if let Some(clip) = &self.clip {
            let (width, height) = CLIP_SIZE;
            lines.push(format!("clip.mp4, {CLIP_SECONDS} s of {width}x{height} with sound, {}", size_of(clip)?));
        }
        for photo in &self.photos {
            lines.push(format!("{}, {}", photo.describe(), size_of(&photo.path)?));
        }
        lines.push(format!("customers.csv, {ROWS} rows of which {BAD_ROWS} are bad, {}", size_of(&self.table)?));
        Ok(lines)
    }
}

/// Test bars that move, and a tone that beeps.
async fn clip(path: PathBuf) -> anyhow::Result<Option<PathBuf>> {
    let (width, height) = CLIP_SIZE;
    let picture = format!("testsrc2=size={width}x{height}:rate=30:duration={CLIP_SECONDS}");
    let sound = format!("sine=frequency=330:beep_factor=4:sample_rate=48000:duration={CLIP_SECONDS}");
    let mut ffmpeg = tokio::process::Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    ffmpeg.args(["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    ffmpeg.args("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -shortest".split(' ')).arg(&path);
    let made = ffmpeg.stdin(Stdio::null()).kill_on_drop(true).output().await;
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("ffmpeg"),
        Ok(made) => {
            ensure!(made.status.success(), "ffmpeg made no clip: {}", String::from_utf8_lossy(&made.stderr));
            Ok(Some(path))
        }
    }
}

fn csv() -> String {
    let mut text = String::from("id,name,email,balance,joined\n");
    for row in 1..=ROWS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", if row.is_multiple_of(BAD_EVERY) { bad(row) } else { good(row) });
    }
    text
}

fn good(row: usize) -> String {
    let name = match row % 4 {
        0 => format!("\"Sørensen, Åse {row}\""),
        1 => format!("\"Maria \"\"Mia\"\" Rossi {row}\""),
        2 => format!("\"Quay {row}\nHarbour Road\""),
        _ => format!("Ada {row}"),
    };
    let (euros, cents) = (row * 37 % 100_000, row % 100);
    format!(
        "{row},{name},c{row}@example.com,{euros}.{cents:02},20{:02}-{:02}-{:02}",
        row % 25,
        row % 12 + 1,
        row % 28 + 1
    )
}

/// Four mistakes take turns: no number, no such day, a cell too few, a cell too many.
fn bad(row: usize) -> String {
    match row / BAD_EVERY % 4 {
        0 => format!("{row},Wrong,c{row}@example.com,a lot,2024-01-01"),
        1 => format!("{row},Never,c{row}@example.com,1.00,2024-02-31"),
        2 => format!("{row},Short,c{row}@example.com"),
        _ => format!("{row},Long,c{row}@example.com,1.00,2024-01-01,surplus"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_in_five_hundred_is_bad() {
        let text = csv();
        let bad = |word: &str| text.lines().filter(|line| line.contains(&format!(",{word},"))).count();
        assert_eq!(["Wrong", "Never", "Short", "Long"].map(bad), [BAD_ROWS / 4; 4]);
        assert_eq!(text.lines().filter(|line| line.contains("@example.com")).count(), ROWS);
    }
}
