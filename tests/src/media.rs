//! Realistic inputs, made on the spot: clips with sound, photographs of camera size, CSV files with bad rows.
//!
//! Nothing is downloaded and no binary lies in the repository; ffmpeg draws it all, the same bytes for the same request
//! and version. Read `it/media.rs` for what is promised about each.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::run;

/// Drawing a 12-megapixel picture takes seconds on a busy machine.
const DRAWING: Duration = Duration::from_secs(180);

/// Width and height in pixels.
pub type Size = (u32, u32);

/// The size of a 12-megapixel photograph.
pub const PHOTO: Size = (4032, 3024);

/// An MP4 with H.264 and AAC: moving test bars with a clock, and a tone.
pub async fn clip(dir: &Path, seconds: u32, size: Size) -> Result<PathBuf> {
    let picture = format!("testsrc2=size={}x{}:rate=25:duration={seconds}", size.0, size.1);
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let codecs = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -shortest";
    let args = [&["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound][..], &words(codecs)].concat();
    ffmpeg(dir, "clip.mp4", &args).await
}

/// A JPEG with detail at every scale, as a photograph has.
pub async fn jpeg(dir: &Path, size: Size) -> Result<PathBuf> {
    picture(dir, "photo.jpg", size, "-q:v 3 -pix_fmt yuvj420p").await
}

/// A PNG of the same scene.
pub async fn png(dir: &Path, size: Size) -> Result<PathBuf> {
    picture(dir, "photo.png", size, "-pix_fmt rgb24").await
}

/// A lossy WebP of the same scene.
pub async fn webp(dir: &Path, size: Size) -> Result<PathBuf> {
    picture(dir, "photo.webp", size, "-c:v libwebp -quality 80").await
}

/// The JPEG with an EXIF orientation from 1 to 8, as a camera held sideways writes it: the pixels are the same, only the
/// note in the header asks the viewer to turn them.
pub async fn turned_jpeg(dir: &Path, size: Size, orientation: u8) -> Result<PathBuf> {
    let upright = std::fs::read(jpeg(dir, size).await?)?;
    let path = dir.join(format!("turned-{orientation}.jpg"));
    std::fs::write(&path, with_orientation(&upright, orientation).context("ffmpeg made no JPEG")?)?;
    Ok(path)
}

/// A CSV file and what an honest import of it must find.
#[derive(Clone, Debug)]
pub struct Csv {
    /// The file.
    pub path: PathBuf,
    /// Rows below the header, good and bad.
    pub rows: usize,
    /// Rows that don't fit the columns' types or number.
    pub bad: usize,
}

/// Customers as CSV: `id,name,email,balance,joined`, with quoted commas, quotes, line breaks and accents in good rows.
/// Every `bad_every`-th row is bad in one of four ways; 0 means none is.
pub fn csv(dir: &Path, rows: usize, bad_every: usize) -> Result<Csv> {
    let mut text = String::from("id,name,email,balance,joined\r\n");
    let is_bad = |row: &usize| bad_every > 0 && row.is_multiple_of(bad_every);
    for row in 1..=rows {
        text.push_str(&if is_bad(&row) { bad_row(row, row / bad_every) } else { good_row(row) });
        text.push_str("\r\n");
    }
    let path = dir.join(format!("customers-{rows}-{bad_every}.csv"));
    std::fs::write(&path, text)?;
    Ok(Csv { path, rows, bad: (1..=rows).filter(is_bad).count() })
}

fn good_row(row: usize) -> String {
    let name = match row % 5 {
        0 => format!("\"Customer, {row}\""),
        1 => format!("Zoë Müller {row}"),
        2 => format!("\"Anna \"\"{row}\"\" Smith\""),
        3 => format!("\"Two\nlines {row}\""),
        _ => format!("Customer {row}"),
    };
    let mut line = String::new();
    let (euros, cents, month, day) = (row * 37 % 100_000, row % 100, row % 12 + 1, row % 28 + 1);
    write!(line, "{row},{name},c{row}@example.com,{euros}.{cents:02},2024-{month:02}-{day:02}")
        .expect("writing to a string can't fail");
    line
}

/// The four ways take turns: a missing column, text for a number, a day that doesn't exist, a column too many.
fn bad_row(row: usize, turn: usize) -> String {
    match turn % 4 {
        0 => format!("{row},Short,c{row}@example.com"),
        1 => format!("{row},Wrong,c{row}@example.com,a lot,2024-01-01"),
        2 => format!("{row},Never,c{row}@example.com,1.00,2024-02-31"),
        _ => format!("{row},Long,c{row}@example.com,1.00,2024-01-01,surplus"),
    }
}

async fn picture(dir: &Path, name: &str, size: Size, encoding: &str) -> Result<PathBuf> {
    // The set's edge is fine detail, the inner colours are smooth: both ends of what an encoder meets.
    let scene = format!("mandelbrot=size={}x{}:rate=1:maxiter=120:start_scale=1.2", size.0, size.1);
    let args = [&["-f", "lavfi", "-i", &scene, "-frames:v", "1"][..], &words(encoding)].concat();
    ffmpeg(dir, name, &args).await
}

async fn ffmpeg(dir: &Path, name: &str, args: &[&str]) -> Result<PathBuf> {
    let path = dir.join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]).args(args).args(["-bitexact"]).arg(&path);
    run("ffmpeg", command, DRAWING).await?;
    Ok(path)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The JPEG with an EXIF segment right behind its start marker, where EXIF asks to be.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Option<Vec<u8>> {
    let rest = jpeg.strip_prefix(b"\xFF\xD8")?;
    Some([b"\xFF\xD8", &exif(orientation)[..], rest].concat())
}

/// The smallest EXIF there is: one TIFF directory, little endian, with one entry, the orientation (tag 0x0112, a short).
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II\x2A\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let body = [b"Exif\x00\x00", &tiff[..]].concat();
    // The length counts its own two bytes.
    let length = u16::try_from(body.len() + 2).expect("a few dozen bytes").to_be_bytes();
    [b"\xFF\xE1", &length[..], &body].concat()
}
