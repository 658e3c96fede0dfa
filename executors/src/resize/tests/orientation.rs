//! A picture comes out upright, whatever way the camera was held and whatever the container.

use serde_json::json;

use super::draw::*;
use super::host::resize;
use crate::resize::plan::Size;

/// What a viewer sees of red, green / blue, yellow under each EXIF orientation.
const SEEN: [[[u8; 3]; 4]; 8] = [
    [RED, GREEN, BLUE, YELLOW],
    [GREEN, RED, YELLOW, BLUE],
    [YELLOW, BLUE, GREEN, RED],
    [BLUE, YELLOW, RED, GREEN],
    [RED, BLUE, GREEN, YELLOW],
    [BLUE, RED, YELLOW, GREEN],
    [YELLOW, GREEN, BLUE, RED],
    [GREEN, YELLOW, RED, BLUE],
];

fn assert_upright(image: &[u8], orientation: u8, note: &str) {
    let run = resize(image, json!([{"name": "a", "width": 40, "height": 40, "format": "png"}]));
    let done = run.done();
    let lying = orientation >= 5;
    assert_eq!(done.orientation, orientation, "{note}");
    assert_eq!((done.width, done.height), if lying { (48, 96) } else { (96, 48) }, "{note} {orientation}");
    let out = read_png(run.file());
    assert_eq!(out.size, if lying { Size::new(20, 40) } else { Size::new(40, 20) }, "{note} {orientation}");
    for (seen, meant) in corners(&out).iter().zip(SEEN[usize::from(orientation) - 1]) {
        assert!(close(seen, &meant, 12), "{note} {orientation}: {seen:?} where {meant:?} was meant");
    }
}

#[test]
fn a_jpeg_comes_out_upright_from_all_eight_orientations() {
    let jpeg = as_jpeg(&quarters(96, 48));
    for orientation in 1..=8 {
        assert_upright(&with_segment(&jpeg, 0xe1, &exif(orientation)), orientation, "jpeg");
    }
}

#[test]
fn a_png_comes_out_upright_from_all_eight_orientations() {
    let png = as_png(&quarters(96, 48));
    for orientation in 1..=8 {
        assert_upright(&with_chunk(&png, b"eXIf", &tiff(orientation)), orientation, "png");
    }
}

#[test]
fn a_webp_comes_out_upright_from_all_eight_orientations() {
    let webp = as_webp(&quarters(96, 48));
    for orientation in 1..=8 {
        let image = extended_webp(&webp, Size::new(96, 48), None, Some(&tiff(orientation)));
        assert_upright(&image, orientation, "webp");
    }
}

#[test]
fn every_kind_of_pixel_is_turned() {
    let transparent = |x: u32, y: u32| if x < 48 && y < 24 { [9, 9, 9, 0] } else { [200, 100, 50, 255] };
    let places = (0..48).flat_map(|y| (0..96).map(move |x| (x, y)));
    let data = places.flat_map(|(x, y)| transparent(x, y)).collect();
    let rgba = crate::resize::pixels::Pixels::new(Size::new(96, 48), crate::resize::pixels::Channels::Rgba, data);
    let image = with_chunk(&as_png(&rgba), b"eXIf", &tiff(6));
    let out = resize(&image, json!([{"name": "a", "height": 40, "format": "png"}]));
    let out = read_png(out.file());
    let alphas = corners(&out).map(|pixel| pixel[3]);
    assert_eq!(alphas, [255, 0, 255, 255], "the clear corner went from top left to top right");
}

#[test]
fn an_orientation_that_cannot_be_read_costs_no_picture() {
    let jpeg = as_jpeg(&quarters(96, 48));
    let cut = exif(6);
    for body in [&exif(9)[..], &exif(0), b"Exif\0\0garbage", b"Exif\0\0", &cut[..20]] {
        assert_upright(&with_segment(&jpeg, 0xe1, body), 1, "unreadable");
    }
}

#[test]
fn places_and_other_metadata_end_with_the_source() {
    let jpeg = with_segment(&as_jpeg(&quarters(96, 48)), 0xe1, &exif(6));
    let gps = [0, 0, 0, 48, 0, 0, 0, 1];
    assert!(jpeg.windows(8).any(|window| window == gps), "the source tells a place");
    for format in ["jpeg", "png", "webp"] {
        let run = resize(&jpeg, json!([{"name": "a", "width": 40, "format": format}]));
        let file = run.file();
        for trace in [&b"Exif"[..], b"eXIf", b"EXIF", b"ICC", &gps] {
            assert!(!file.windows(trace.len()).any(|window| window == trace), "{format} holds {trace:?}");
        }
    }
}
