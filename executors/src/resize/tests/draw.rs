//! Pictures drawn in code, files made of them, and files read back into pixels.
//! The decoders used for reading back are the codecs' own, not the executor's way through them.

use crate::resize::pixels::{Channels, Pixels};
use crate::resize::plan::Size;
use crate::resize::{jpeg, png, webp};

pub(super) const RED: [u8; 3] = [220, 20, 20];
pub(super) const GREEN: [u8; 3] = [20, 200, 20];
pub(super) const BLUE: [u8; 3] = [20, 20, 220];
pub(super) const YELLOW: [u8; 3] = [230, 230, 20];

/// A picture by a function of its pixels' places.
pub(super) fn rgb(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Pixels {
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    Pixels::new(Size::new(width, height), Channels::Rgb, places.flat_map(|(x, y)| color(x, y)).collect())
}

pub(super) fn plain(width: u32, height: u32, color: [u8; 3]) -> Pixels {
    rgb(width, height, |_, _| color)
}

/// Red, green / blue, yellow.
pub(super) fn quarters(width: u32, height: u32) -> Pixels {
    rgb(width, height, |x, y| match (x < width / 2, y < height / 2) {
        (true, true) => RED,
        (false, true) => GREEN,
        (true, false) => BLUE,
        (false, false) => YELLOW,
    })
}

/// Detail everywhere, so that a file has bytes to cut.
pub(super) fn busy(width: u32, height: u32) -> Pixels {
    let byte = |number: u32| u8::try_from(number % 256).unwrap();
    rgb(width, height, |x, y| [byte(x * 7 + y * 3), byte(x * y), byte((x ^ y) * 5)])
}

pub(super) fn as_jpeg(pixels: &Pixels) -> Vec<u8> {
    jpeg::encode(pixels, 95).unwrap().to_vec()
}

pub(super) fn as_png(pixels: &Pixels) -> Vec<u8> {
    png::encode(pixels).unwrap()
}

pub(super) fn as_webp(pixels: &Pixels) -> Vec<u8> {
    webp::encode(pixels, 95).unwrap().to_vec()
}

/// Reads a JPEG back.
pub(super) fn read_jpeg(file: &[u8]) -> Pixels {
    let image = turbojpeg::decompress(file, turbojpeg::PixelFormat::RGB).unwrap();
    let size = Size::new(u32::try_from(image.width).unwrap(), u32::try_from(image.height).unwrap());
    Pixels::new(size, Channels::Rgb, image.pixels)
}

/// Reads a PNG back.
pub(super) fn read_png(file: &[u8]) -> Pixels {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let channels = match info.color_type {
        ::png::ColorType::Grayscale => Channels::Gray,
        ::png::ColorType::GrayscaleAlpha => Channels::GrayAlpha,
        ::png::ColorType::Rgb => Channels::Rgb,
        ::png::ColorType::Rgba => Channels::Rgba,
        ::png::ColorType::Indexed => panic!("we write no palettes"),
    };
    Pixels::new(Size::new(info.width, info.height), channels, data)
}

/// The pixel at `x`, `y`.
pub(super) fn at(pixels: &Pixels, x: u32, y: u32) -> &[u8] {
    let count = pixels.channels.count();
    let start = (y as usize * pixels.size.width as usize + x as usize) * count;
    &pixels.data[start..start + count]
}

/// Whether two colours are the same but for the codec's losses.
pub(super) fn close(one: &[u8], other: &[u8], by: u8) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= by)
}

/// The colours a quarter of the way in from each corner: top left, top right, bottom left, bottom right.
pub(super) fn corners(pixels: &Pixels) -> [&[u8]; 4] {
    let Size { width, height } = pixels.size;
    let (left, right, top, bottom) = (width / 4, width * 3 / 4, height / 4, height * 3 / 4);
    [at(pixels, left, top), at(pixels, right, top), at(pixels, left, bottom), at(pixels, right, bottom)]
}

/// A JPEG with a segment put right behind its start.
pub(super) fn with_segment(jpeg: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, marker], &length, body, &jpeg[2..]].concat()
}

/// A big-endian TIFF block with the orientation, and a GPS block that says `48 degrees`.
pub(super) fn tiff(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08".to_vec();
    tiff.extend([0, 2]);
    tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    tiff.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
    tiff.extend([0, 0, 0, 0]);
    assert_eq!(tiff.len(), 38);
    tiff.extend([0, 1, 0, 2, 0, 5, 0, 0, 0, 1, 0, 0, 0, 56, 0, 0, 0, 0]);
    tiff.extend([0, 0, 0, 48, 0, 0, 0, 1]);
    tiff
}

pub(super) fn exif(orientation: u8) -> Vec<u8> {
    [b"Exif\0\0", &tiff(orientation)[..]].concat()
}

/// A PNG with a chunk put between header and pixels.
pub(super) fn with_chunk(png: &[u8], name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let checksum = crc32(&[name, body].concat()).to_be_bytes();
    [&png[..33], &length, name, body, &checksum, &png[33..]].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// A WebP in the extended container, with more chunks: colour profile first, pixels, EXIF last.
pub(super) fn extended_webp(simple: &[u8], size: Size, icc: Option<&[u8]>, tiff: Option<&[u8]>) -> Vec<u8> {
    let flags = if icc.is_some() { 0x20 } else { 0 } | if tiff.is_some() { 0x08 } else { 0 };
    let side = |side: u32| (side - 1).to_le_bytes();
    let head = [&[flags, 0, 0, 0], &side(size.width)[..3], &side(size.height)[..3]].concat();
    let mut body = [b"WEBP", &riff(b"VP8X", &head)[..]].concat();
    body.extend(icc.map(|icc| riff(b"ICCP", icc)).unwrap_or_default());
    body.extend_from_slice(&simple[12..]);
    body.extend(tiff.map(|tiff| riff(b"EXIF", tiff)).unwrap_or_default());
    riff(b"RIFF", &body)
}

fn riff(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [name, &length[..], body, &[0][..body.len() % 2]].concat()
}
