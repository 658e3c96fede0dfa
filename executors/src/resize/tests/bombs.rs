//! Files that lie, are cut off, or would take the machine down: each is refused in words, and none panics.

use serde_json::{Value, json};

use super::draw::*;
use super::host::{resize, resize_within};
use crate::resize::Limits;
use crate::resize::plan::Size;

fn wish() -> Value {
    json!([{"name": "a", "width": 16}])
}

/// Only a signature and a header: whoever tried to decode it would say it is cut off.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    let ihdr = with_chunk(&[0; 33], b"IHDR", &header)[33..58].to_vec();
    [b"\x89PNG\r\n\x1a\n", &ihdr[..]].concat()
}

#[test]
fn a_png_bomb_is_refused_by_its_header() {
    for (width, height) in [(20_000, 20_000), (50_000_001, 1), (0x7fff_ffff, 0x7fff_ffff)] {
        let run = resize(&png_header(width, height), wish());
        let error = run.fatal();
        assert_eq!((&*error.code, error.field.as_deref()), ("too_many_pixels", Some("/source")));
        assert!(error.message.contains(&width.to_string()), "{}", error.message);
    }
    assert_eq!(resize(&png_header(1_000, 1_000), wish()).fatal().code, "truncated_image");
}

#[test]
fn a_jpeg_bomb_is_refused_by_its_header() {
    let mut jpeg = as_jpeg(&plain(16, 16, RED));
    let frame = jpeg.windows(2).position(|window| window == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    assert_eq!(resize(&jpeg, wish()).fatal().code, "too_many_pixels");
}

#[test]
fn a_webp_bomb_is_refused_by_its_header() {
    let mut webp = as_webp(&plain(16, 16, RED));
    let start = webp.windows(3).position(|window| window == [0x9d, 0x01, 0x2a]).unwrap() + 3;
    webp[start..start + 4].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    assert_eq!(resize(&webp, wish()).fatal().code, "too_many_pixels");
}

#[test]
fn the_limits_can_be_set() {
    let png = as_png(&busy(100, 100));
    let tight = |limits: Limits| resize_within(limits, &png, wish());
    let error = tight(Limits { max_pixels: 9_999, ..Limits::default() });
    assert_eq!(error.fatal().code, "too_many_pixels");
    tight(Limits { max_pixels: 10_000, ..Limits::default() }).done();
    let bytes = png.len() as u64;
    let error = tight(Limits { max_input_bytes: bytes - 1, ..Limits::default() });
    assert_eq!((&*error.fatal().code, error.fatal().field.as_deref()), ("input_too_large", Some("/source")));
    tight(Limits { max_input_bytes: bytes, ..Limits::default() }).done();
    let error = tight(Limits { max_side: 15, ..Limits::default() });
    assert_eq!(error.fatal().field.as_deref(), Some("/renditions/0/width"));
    tight(Limits { max_side: 16, ..Limits::default() }).done();
}

#[test]
fn the_defaults_are_as_documented() {
    let defaults: Limits = serde_json::from_value(json!({})).unwrap();
    assert_eq!(defaults, Limits::default());
    let told = json!({"max_pixels": 50_000_000, "max_input_bytes": 67_108_864, "max_side": 16_384, "max_scans": 100});
    assert_eq!(serde_json::to_value(defaults).unwrap(), told);
}

#[test]
fn a_jpeg_of_endless_scans_is_refused() {
    let pixels = busy(64, 64);
    let mut turbo = turbojpeg::Compressor::new().unwrap();
    turbo.set_progressive(true).unwrap();
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: &pixels.data[..], width: 64, pitch: 192, height: 64, format };
    let jpeg = turbo.compress_to_vec(image).unwrap();
    resize(&jpeg, wish()).done();
    let run = resize_within(Limits { max_scans: 2, ..Limits::default() }, &jpeg, wish());
    assert_eq!(run.fatal().code, "too_many_scans");
}

#[test]
fn a_text_that_unfolds_into_memory_is_not_unfolded() {
    // A zTXt chunk whose body is no zlib at all: whoever unpacks it fails.
    let png = with_chunk(&as_png(&quarters(64, 64)), b"zTXt", b"key\0\0not zlib");
    resize(&png, wish()).done();
}

#[test]
fn a_profile_that_unfolds_into_memory_is_dropped_or_refused() {
    let mut info = ::png::Info::with_size(16, 16);
    info.icc_profile = Some(vec![0; 40 * 1024 * 1024].into());
    let mut png = Vec::new();
    let mut encoder = ::png::Encoder::with_info(&mut png, info).unwrap();
    encoder.set_color(::png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 16 * 16 * 3]).unwrap();
    writer.finish().unwrap();
    assert!(png.len() < 1024 * 1024, "{} bytes of bomb", png.len());
    assert!(!resize(&png, wish()).done().color_converted);
}

/// Cuts a file at its head byte by byte, then at many places, then at its tail byte by byte.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = (length / 150).max(1);
    (0..length).filter(move |cut| *cut < 100 || *cut + 40 > length || cut % step == 0)
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let picture = busy(120, 90);
    let mut turbo = turbojpeg::Compressor::new().unwrap();
    turbo.set_progressive(true).unwrap();
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: &picture.data[..], width: 120, pitch: 360, height: 90, format };
    let files = [
        ("jpeg", with_segment(&as_jpeg(&picture), 0xe1, &exif(6))),
        ("progressive jpeg", turbo.compress_to_vec(image).unwrap()),
        ("png", as_png(&picture)),
        ("webp", as_webp(&picture)),
        ("webp with a profile", extended_webp(&as_webp(&picture), Size::new(120, 90), Some(&[1; 99]), None)),
    ];
    for (name, file) in files {
        resize(&file, wish()).done();
        for cut in cuts(file.len()) {
            let run = resize(&file[..cut], wish());
            let code = &run.fatal().code;
            assert!(
                matches!(&**code, "not_an_image" | "truncated_image" | "damaged_image"),
                "{name} cut at {cut} of {}: {code}",
                file.len()
            );
            assert!(cut < 12 || code != "not_an_image", "{name} cut at {cut}");
        }
        assert_eq!(resize(&file[..file.len() * 3 / 4], wish()).fatal().code, "truncated_image", "{name}");
    }
}

#[test]
fn a_file_with_any_byte_changed_ends_in_an_answer() {
    let picture = busy(60, 45);
    let tagged = with_segment(&as_jpeg(&picture), 0xe1, &exif(6));
    for (name, file) in [("jpeg", tagged), ("png", as_png(&picture)), ("webp", as_webp(&picture))] {
        for place in cuts(file.len()) {
            let mut changed = file.clone();
            changed[place] ^= 0xff;
            let run = resize_within(Limits { max_pixels: 1_000_000, ..Limits::default() }, &changed, wish());
            let answered =
                matches!(run.outcome, longshore_sdk::Outcome::Done { .. } | longshore_sdk::Outcome::Fatal(_));
            assert!(answered, "{name} changed at {place}: {:?}", run.outcome);
        }
    }
}

#[test]
fn what_is_no_image_is_called_so() {
    let avif = b"\0\0\0\x20ftypavif";
    let table: [(&[u8], &str); 10] = [
        (b"", "not_an_image"),
        (b"hello", "not_an_image"),
        (b"push graphic-context", "not_an_image"),
        (b"GIF89a", "unsupported_format"),
        (b"II*\0", "unsupported_format"),
        (avif, "unsupported_format"),
        (b"<svg xmlns=", "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"%!PS-Adobe", "unsupported_format"),
        (&[0; 64], "not_an_image"),
    ];
    for (bytes, code) in table {
        let run = resize(bytes, wish());
        assert_eq!((&*run.fatal().code, run.fatal().field.as_deref()), (code, Some("/source")), "{bytes:?}");
    }
}

#[test]
fn an_animated_webp_is_refused_in_words() {
    let mut webp = extended_webp(&as_webp(&quarters(64, 64)), Size::new(64, 64), None, None);
    webp[20] |= 0x02;
    let run = resize(&webp, wish());
    assert_eq!(run.fatal().code, "unsupported_format");
    assert!(run.fatal().message.contains("animation"));
}
