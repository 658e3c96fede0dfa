//! Photographs of 12 megapixels, drawn here: hills under a sky, with the grain of a sensor, so that a JPEG has detail at
//! every scale. One is held sideways: its EXIF note asks the viewer to turn it. No two runs differ.
//! Read [`super::checks`] for what must become of them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use turbojpeg::{Image, PixelFormat, Subsamp};

const WIDTH: usize = 4032;
const HEIGHT: usize = 3024;
const COUNT: usize = 6;
const QUALITY: i32 = 90;
/// "Turn a quarter clockwise to see it upright."
const SIDEWAYS: u8 = 6;

/// A photograph, and how it should be seen.
pub(super) struct Photo {
    pub(super) name: String,
    pub(super) path: PathBuf,
    orientation: Option<u8>,
}

impl Photo {
    /// Whether its upright form is higher than wide.
    pub(super) fn is_portrait(&self) -> bool {
        self.orientation == Some(SIDEWAYS)
    }

    pub(super) fn describe(&self) -> String {
        let turned = if self.is_portrait() { ", held sideways (EXIF orientation 6)" } else { "" };
        format!("{}, {WIDTH}x{HEIGHT}{turned}", self.name)
    }
}

/// Takes the photographs.
pub(super) fn take(dir: &Path) -> anyhow::Result<Vec<Photo>> {
    let mut pixels = vec![0; WIDTH * HEIGHT * 3];
    (1..=COUNT).map(|number| one(dir, number, &mut pixels)).collect()
}

fn one(dir: &Path, number: usize, pixels: &mut [u8]) -> anyhow::Result<Photo> {
    draw(pixels, WIDTH, number);
    let image = Image { pixels: &*pixels, width: WIDTH, pitch: WIDTH * 3, height: HEIGHT, format: PixelFormat::RGB };
    let jpeg = turbojpeg::compress(image, QUALITY, Subsamp::Sub2x2)?;
    let orientation = (number == COUNT).then_some(SIDEWAYS);
    let name = format!("photo-{number}.jpg");
    let path = dir.join(&name);
    std::fs::write(&path, noted(&jpeg, orientation)).with_context(|| path.display().to_string())?;
    Ok(Photo { name, path, orientation })
}

/// Fills rows of RGB. Each photograph has its own hills and its own hour of the day.
fn draw(pixels: &mut [u8], width: usize, number: usize) {
    let height = pixels.len() / (width * 3);
    let hills: Vec<[usize; 3]> =
        (0..width).map(|x| [1, 2, 3].map(|layer| hill(x, width, height, layer, number))).collect();
    let mut grain = Grain(0x9E37_79B9 ^ number as u32);
    for (y, row) in pixels.chunks_exact_mut(width * 3).enumerate() {
        let sky = sky(y, height, number);
        for (pixel, tops) in row.chunks_exact_mut(3).zip(&hills) {
            let layer = tops.iter().rposition(|top| y >= *top);
            let base = layer.map_or(sky, |layer| [30 + 15 * layer as u8, 90 - 20 * layer as u8, 60 - 12 * layer as u8]);
            let noise = grain.next();
            pixel.iter_mut().zip(base).for_each(|(out, base)| *out = base.saturating_add(noise));
        }
    }
}

fn sky(y: usize, height: usize, number: usize) -> [u8; 3] {
    let down = u8::try_from(y * 120 / height).unwrap_or(120);
    let hour = u8::try_from(number % 8).unwrap_or(0) * 12;
    [70 + hour + down / 2, 100 + down, 230 - hour / 2]
}

/// Where a layer of hills begins in this column, from the top.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a curve within the picture's few thousand pixels"
)]
fn hill(x: usize, width: usize, height: usize, layer: usize, number: usize) -> usize {
    let along = x as f64 / width as f64 * std::f64::consts::TAU;
    let (layer, number) = (layer as f64, number as f64);
    let wave = (along * layer * 1.5 + number).sin() * 0.06 + (along * 7.0 * layer + number * layer).sin() * 0.02;
    ((0.35 + 0.17 * layer + wave) * height as f64) as usize
}

/// A sensor's noise: xorshift, the same every time.
struct Grain(u32);

impl Grain {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 & 15) as u8
    }
}

/// The JPEG with an EXIF segment right behind its start marker (two bytes), where EXIF asks to be.
fn noted(jpeg: &[u8], orientation: Option<u8>) -> Vec<u8> {
    let exif = orientation.map(exif).unwrap_or_default();
    let (start, rest) = jpeg.split_at(2);
    [start, &exif, rest].concat()
}

/// The smallest EXIF there is: one TIFF directory with one entry, tag 0x0112, a short. The first length counts itself.
fn exif(orientation: u8) -> Vec<u8> {
    let head = b"\xFF\xE1\x00\x22Exif\x00\x00MM\x00\x2A\x00\x00\x00\x08\x00\x01";
    let entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00";
    [&head[..], entry, &[orientation, 0, 0], &[0; 4]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photograph_has_sky_hills_and_grain() {
        let (width, height) = (64, 48);
        let mut pixels = vec![0; width * height * 3];
        draw(&mut pixels, width, 1);
        let blue = |row: usize| u32::from(pixels[row * width * 3 + 2]);
        assert!(blue(0) > 200 && blue(height - 1) < 100, "{} {}", blue(0), blue(height - 1));
        let first_row: std::collections::BTreeSet<&u8> = pixels[..width * 3].iter().step_by(3).collect();
        assert!(first_row.len() > 4, "no grain: {first_row:?}");
    }

    #[test]
    fn the_note_about_its_orientation_leaves_it_a_jpeg() {
        let image =
            Image { pixels: &[128_u8; 8 * 16 * 3][..], width: 16, pitch: 48, height: 8, format: PixelFormat::RGB };
        let jpeg = turbojpeg::compress(image, QUALITY, Subsamp::Sub2x2).unwrap();
        let turned = noted(&jpeg, Some(SIDEWAYS));
        let header = turbojpeg::read_header(&turned).unwrap();
        assert_eq!((header.width, header.height, turned.len() - jpeg.len()), (16, 8, 36));
    }
}
