//! Colours arrive as they were meant: through profiles, transparency, gray, inks and every depth of a PNG.

use std::io::Write as _;

use moxcms::ColorProfile;
use serde_json::{Value, json};

use super::draw::*;
use super::host::resize;
use crate::resize::pixels::{Channels, Pixels};
use crate::resize::plan::Size;

fn png_wish() -> Value {
    json!([{"name": "a", "width": 16, "format": "png"}])
}

/// Display P3's (200, 60, 40) in sRGB by the two standards' matrices and their common curve, computed outside.
const P3: [u8; 3] = [200, 60, 40];
const P3_IN_SRGB: [u8; 3] = [217, 42, 23];

fn p3() -> Vec<u8> {
    ColorProfile::new_display_p3().encode().unwrap()
}

#[test]
fn a_wide_gamut_jpeg_is_converted_to_srgb() {
    let jpeg = as_jpeg(&plain(64, 64, P3));
    let icc = [b"ICC_PROFILE\0\x01\x01", &p3()[..]].concat();
    let run = resize(&with_segment(&jpeg, 0xe2, &icc), png_wish());
    assert!(run.done().color_converted);
    let out = read_png(run.file());
    assert!(close(at(&out, 8, 8), &P3_IN_SRGB, 3), "{:?}", at(&out, 8, 8));
    let untagged = resize(&jpeg, png_wish());
    assert!(!untagged.done().color_converted);
    assert!(close(at(&read_png(untagged.file()), 8, 8), &P3, 3));
}

#[test]
fn a_profile_in_several_parts_is_joined_in_their_order() {
    let (jpeg, profile) = (as_jpeg(&plain(64, 64, P3)), p3());
    let (first, second) = profile.split_at(profile.len() / 2);
    let part = |number: u8, part: &[u8]| [b"ICC_PROFILE\0", &[number, 2][..], part].concat();
    let one = with_segment(&jpeg, 0xe2, &part(1, first));
    let both = with_segment(&one, 0xe2, &part(2, second));
    assert!(resize(&both, png_wish()).done().color_converted);
    assert!(!resize(&one, png_wish()).done().color_converted, "half a profile is none");
}

#[test]
fn a_wide_gamut_png_is_converted_to_srgb() {
    let mut info = ::png::Info::with_size(64, 64);
    info.icc_profile = Some(p3().into());
    for (channels, color) in [(Channels::Rgb, &[200, 60, 40][..]), (Channels::Rgba, &[200, 60, 40, 128])] {
        let image = raw_png(info.clone(), png_color(channels), ::png::BitDepth::Eight, &color.repeat(64 * 64));
        let run = resize(&image, png_wish());
        assert!(run.done().color_converted);
        let out = read_png(run.file());
        assert_eq!(out.channels, channels);
        assert!(close(&at(&out, 8, 8)[..3], &P3_IN_SRGB, 3), "{:?}", at(&out, 8, 8));
        assert_eq!(at(&out, 8, 8).get(3), color.get(3));
    }
}

#[test]
fn a_wide_gamut_webp_is_converted_to_srgb() {
    let webp = as_webp(&plain(64, 64, P3));
    let run = resize(&extended_webp(&webp, Size::new(64, 64), Some(&p3()), None), png_wish());
    assert!(run.done().color_converted);
    assert!(close(at(&read_png(run.file()), 8, 8), &P3_IN_SRGB, 4));
}

#[test]
fn a_gray_profile_is_converted_too() {
    let linear = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    let mut info = ::png::Info::with_size(64, 64);
    info.icc_profile = Some(linear.into());
    let image = raw_png(info, ::png::ColorType::Grayscale, ::png::BitDepth::Eight, &[55; 64 * 64]);
    let run = resize(&image, png_wish());
    assert!(run.done().color_converted);
    // 55 / 255 of the light is 128 in sRGB.
    assert!(close(at(&read_png(run.file()), 8, 8), &[128; 3], 2), "{:?}", at(&read_png(run.file()), 8, 8));
}

#[test]
fn a_profile_that_does_not_fit_costs_no_picture() {
    let jpeg = as_jpeg(&plain(64, 64, P3));
    let gray = ColorProfile::new_gray_with_gamma(2.2).encode().unwrap();
    for profile in [&b"garbage"[..], b"", &gray, &p3()[..200]] {
        let icc = [b"ICC_PROFILE\0\x01\x01", profile].concat();
        let run = resize(&with_segment(&jpeg, 0xe2, &icc), png_wish());
        assert!(!run.done().color_converted);
        assert!(close(at(&read_png(run.file()), 8, 8), &P3, 3));
    }
}

fn clear_over_red() -> Vec<u8> {
    // Left half clear, and blue where nobody sees it; right half red.
    let color = |x: usize| if x % 64 < 32 { [0, 0, 255, 0] } else { [255, 0, 0, 255] };
    as_png(&Pixels::new(Size::new(64, 64), Channels::Rgba, (0..64 * 64).flat_map(color).collect()))
}

#[test]
fn transparency_is_laid_on_the_background_in_a_jpeg() {
    for (background, meant) in [(json!(null), [255, 255, 255]), (json!("#20C040"), [0x20, 0xc0, 0x40])] {
        let mut wish = json!({"name": "a", "width": 32});
        if !background.is_null() {
            wish["background"] = background;
        }
        let run = resize(&clear_over_red(), json!([wish]));
        let out = read_jpeg(run.file());
        assert!(close(at(&out, 4, 16), &meant, 6), "{:?}", at(&out, 4, 16));
        assert!(close(at(&out, 28, 16), &[255, 0, 0], 6), "{:?}", at(&out, 28, 16));
    }
}

#[test]
fn hidden_colours_do_not_bleed_through_the_edge() {
    let run = resize(&clear_over_red(), json!([{"name": "a", "width": 31, "format": "png"}]));
    let out = read_png(run.file());
    let row: Vec<&[u8]> = (0..31).map(|x| at(&out, x, 15)).collect();
    assert!(row.iter().any(|pixel| (1..255).contains(&pixel[3])), "no edge in {row:?}");
    for pixel in row.iter().filter(|pixel| pixel[3] > 8) {
        assert!(pixel[0] > 240 && pixel[2] < 15, "the hidden blue shows in {pixel:?}");
    }
}

#[test]
fn transparency_survives_a_webp() {
    let image = clear_over_red();
    let run = resize(&image, json!([{"name": "a", "width": 32, "format": "webp"}]));
    let again = resize(run.file(), png_wish());
    let out = read_png(again.file());
    assert_eq!((at(&out, 2, 8)[3], at(&out, 13, 8)[3]), (0, 255));
}

#[test]
fn a_gray_jpeg_stays_gray() {
    let gray = Pixels::new(Size::new(64, 64), Channels::Gray, vec![90; 64 * 64]);
    let run =
        resize(&as_jpeg(&gray), json!([{"name": "a", "width": 32}, {"name": "b", "width": 32, "format": "webp"}]));
    let [(_, jpeg), (_, webp)] = &run.staged[..] else { panic!("{:?}", run.outcome) };
    assert_eq!(turbojpeg::read_header(jpeg).unwrap().colorspace, turbojpeg::Colorspace::Gray);
    assert!(close(at(&read_png(resize(webp, png_wish()).file()), 8, 8), &[90; 3], 3));
}

#[test]
fn inks_become_light() {
    // As Adobe stores it: 255 is no ink. Cyan and yellow full, magenta and black none: green.
    let inks = [0u8, 255, 0, 255].repeat(64 * 64);
    let format = turbojpeg::PixelFormat::CMYK;
    let image = turbojpeg::Image { pixels: &inks[..], width: 64, pitch: 256, height: 64, format };
    let mut turbo = turbojpeg::Compressor::new().unwrap();
    turbo.set_quality(95).unwrap();
    turbo.set_subsamp(turbojpeg::Subsamp::None).unwrap();
    let jpeg = turbo.compress_to_vec(image).unwrap();
    let out = resize(&jpeg, png_wish());
    assert!(close(at(&read_png(out.file()), 8, 8), &[0, 255, 0], 4), "{:?}", at(&read_png(out.file()), 8, 8));
    // Without the marker the same bytes are ink: magenta and black full.
    let plain = String::from_utf8_lossy(&jpeg).find("Adobe").map(|_| replaced(&jpeg, b"Adobe", b"Other")).unwrap();
    let out = resize(&plain, png_wish());
    assert!(close(at(&read_png(out.file()), 8, 8), &[0, 0, 0], 4), "{:?}", at(&read_png(out.file()), 8, 8));
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let start = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..start], to, &bytes[start + from.len()..]].concat()
}

fn png_color(channels: Channels) -> ::png::ColorType {
    match channels {
        Channels::Gray => ::png::ColorType::Grayscale,
        Channels::GrayAlpha => ::png::ColorType::GrayscaleAlpha,
        Channels::Rgb => ::png::ColorType::Rgb,
        Channels::Rgba => ::png::ColorType::Rgba,
    }
}

fn raw_png(info: ::png::Info<'_>, color: ::png::ColorType, depth: ::png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::with_info(&mut file, info).unwrap();
    encoder.set_color(color);
    encoder.set_depth(depth);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    file
}

#[test]
fn every_depth_of_a_png_is_read() {
    use ::png::BitDepth::{Eight, Four, One, Sixteen};
    use ::png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    let mut info = ::png::Info::with_size(64, 64);
    info.palette = Some(vec![1, 2, 3, 200, 100, 50].into());
    let mut clear = info.clone();
    clear.trns = Some(vec![0, 128].into());
    let bare = ::png::Info::with_size(64, 64);
    let table: [(&::png::Info<'_>, _, _, &[u8], &[u8]); 9] = [
        (&bare, Grayscale, One, &[0xff], &[255]),
        (&bare, Grayscale, Sixteen, &[0x80, 0x12], &[0x80]),
        (&bare, GrayscaleAlpha, Eight, &[7, 255], &[7, 255]),
        (&bare, GrayscaleAlpha, Sixteen, &[70, 1, 255, 255], &[70, 255]),
        (&bare, Rgb, Sixteen, &[200, 0, 100, 0, 50, 0], &[200, 100, 50]),
        (&bare, Rgba, Sixteen, &[200, 0, 100, 0, 50, 0, 255, 255], &[200, 100, 50, 255]),
        (&info, Indexed, Four, &[0x11], &[200, 100, 50]),
        (&info, Indexed, One, &[0xff], &[200, 100, 50]),
        (&clear, Indexed, Eight, &[1], &[200, 100, 50, 128]),
    ];
    for (info, color, depth, pixel, meant) in table {
        let bits = color.samples() * depth as usize;
        let data = pixel.repeat(64 * 64 * bits / 8 / pixel.len());
        let run = resize(&raw_png(info.clone(), color, depth, &data), png_wish());
        let out = read_png(run.file());
        assert!(close(at(&out, 8, 8), meant, 1), "{color:?} {depth:?}: {:?} for {meant:?}", at(&out, 8, 8));
    }
}

/// One pass of Adam7 for each of its seven grids, uncompressed but for the filter byte of each row.
fn interlaced(pixels: &Pixels) -> Vec<u8> {
    let grids = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];
    let Size { width, height } = pixels.size;
    let mut rows = Vec::new();
    for (left, top, right, down) in grids {
        for y in (top..height).step_by(down) {
            rows.push(0);
            (left..width).step_by(right).for_each(|x| rows.extend_from_slice(at(pixels, x, y)));
        }
    }
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 1]].concat();
    // A chunk goes in behind the header of this frame, so the pixels go in first.
    let frame =
        [b"\x89PNG\r\n\x1a\n".to_vec(), vec![0; 25], vec![0, 0, 0, 0], b"IEND\xae\x42\x60\x82".to_vec()].concat();
    let filled = with_chunk(&frame, b"IDAT", &stored_zlib(&rows));
    let ihdr = with_chunk(&[0; 33], b"IHDR", &header)[33..58].to_vec();
    [&filled[..8], &ihdr, &filled[33..]].concat()
}

/// A zlib stream of stored blocks.
fn stored_zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let count = bytes.chunks(60_000).count();
    for (index, block) in bytes.chunks(60_000).enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        stream.push(u8::from(index + 1 == count));
        stream.write_all(&length.to_le_bytes()).unwrap();
        stream.write_all(&(!length).to_le_bytes()).unwrap();
        stream.extend_from_slice(block);
    }
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    stream.write_all(&(b << 16 | a).to_be_bytes()).unwrap();
    stream
}

#[test]
fn an_interlaced_png_is_read() {
    let run = resize(&interlaced(&quarters(96, 48)), json!([{"name": "a", "width": 40, "format": "png"}]));
    for (seen, meant) in corners(&read_png(run.file())).iter().zip([RED, GREEN, BLUE, YELLOW]) {
        assert!(close(seen, &meant, 1), "{seen:?} for {meant:?}");
    }
}
