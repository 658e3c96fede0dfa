//! How large renditions come out, what is cut off, and from how large a decode they are made.

use serde_json::{Value, json};

use super::draw::*;
use super::host::{resize, resize_cancelled_on_the_way};
use crate::resize::plan::{Size, dct_eighths, target};
use crate::resize::{Format, Rendition};
use longshore_sdk::Outcome;

fn wish(fields: &Value) -> Rendition {
    let mut wish = json!({"name": "a"});
    wish.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(wish).unwrap()
}

#[test]
fn a_rendition_has_the_size_that_its_fit_says() {
    let source = Size::new(4000, 3000);
    let table = [
        (json!({"width": 1000, "height": 1000}), (1000, 750)),
        (json!({"width": 1000, "height": 100}), (133, 100)),
        (json!({"width": 1000}), (1000, 750)),
        (json!({"height": 300}), (400, 300)),
        (json!({"width": 8000}), (4000, 3000)),
        (json!({"width": 8000, "height": 1500}), (2000, 1500)),
        (json!({"width": 8000, "height": 9000}), (4000, 3000)),
        (json!({"width": 8000, "enlarge": true}), (8000, 6000)),
        (json!({"width": 8000, "height": 9000, "enlarge": true}), (8000, 6000)),
        (json!({"width": 500, "height": 500, "fit": "cover"}), (500, 500)),
        (json!({"width": 5000, "height": 50, "fit": "cover"}), (5000, 50)),
        (json!({"width": 500, "height": 500, "fit": "fill"}), (500, 500)),
        (json!({"width": 400, "fit": "fill"}), (400, 300)),
        (json!({"height": 300, "fit": "cover"}), (400, 300)),
        (json!({"width": 1}), (1, 1)),
    ];
    for (fields, (width, height)) in table {
        assert_eq!(target(&wish(&fields), source), Size::new(width, height), "{fields}");
    }
}

#[test]
fn a_thin_picture_keeps_one_pixel() {
    assert_eq!(target(&wish(&json!({"width": 10})), Size::new(10_000, 3)), Size::new(10, 1));
    assert_eq!(target(&wish(&json!({"height": 10})), Size::new(3, 10_000)), Size::new(1, 10));
}

#[test]
fn a_jpeg_is_decoded_at_the_least_scale_with_twice_the_pixels() {
    let photo = Size::new(4000, 3000);
    let table = [
        (photo, vec![(250, 187)], 1),
        (photo, vec![(256, 192)], 2),
        (photo, vec![(500, 375)], 2),
        (photo, vec![(501, 375)], 3),
        (photo, vec![(1024, 768)], 5),
        (photo, vec![(1000, 750)], 4),
        (photo, vec![(2000, 1500)], 8),
        (photo, vec![(4000, 3000)], 8),
        (photo, vec![(9000, 9000)], 8),
        (photo, vec![(100, 100), (1000, 750), (10, 10)], 4),
        (photo, vec![(10, 750)], 4),
        (photo, vec![], 1),
        (Size::new(9, 9), vec![(1, 1)], 1),
        (Size::new(1, 1), vec![(1, 1)], 8),
    ];
    for (stored, targets, eighths) in table {
        let sizes: Vec<Size> = targets.iter().map(|&(width, height)| Size::new(width, height)).collect();
        assert_eq!(dct_eighths(stored, &sizes), eighths, "{stored} for {targets:?}");
    }
}

#[test]
fn all_renditions_come_from_one_decode() {
    let jpeg = as_jpeg(&quarters(800, 600));
    let picture = crate::resize::picture::Picture::open(&jpeg, &crate::resize::Limits::default()).unwrap();
    let targets = [Size::new(40, 30), Size::new(200, 150), Size::new(80, 60)];
    let decoded = picture.decode(&targets, &crate::resize::Limits::default()).unwrap();
    assert_eq!(decoded.pixels.size, Size::new(400, 300), "half the size, twice the largest rendition");
    assert_eq!(decoded.facts.size, Size::new(800, 600));

    let wishes = json!([
        {"name": "small", "width": 40},
        {"name": "large", "width": 200, "format": "png"},
        {"name": "middle", "width": 80, "format": "webp"},
    ]);
    let run = resize(&jpeg, wishes);
    let done = run.done();
    let told: Vec<_> =
        done.renditions.iter().map(|made| (&*made.artifact, made.width, made.height, made.format)).collect();
    let meant = [
        ("small.jpg", 40, 30, Format::Jpeg),
        ("large.png", 200, 150, Format::Png),
        ("middle.webp", 80, 60, Format::Webp),
    ];
    assert_eq!(told, meant);
    for (made, (name, file)) in done.renditions.iter().zip(&run.staged) {
        assert_eq!((&made.artifact, made.bytes), (name, file.len() as u64));
    }
    let fractions: Vec<_> = run.progress.iter().filter_map(|progress| progress.fraction).collect();
    assert_eq!(fractions, [1.0 / 3.0, 2.0 / 3.0, 1.0]);
}

#[test]
fn each_format_begins_as_it_should() {
    let png = as_png(&quarters(64, 64));
    let begins = |format: &str| resize(&png, json!([{"name": "a", "width": 32, "format": format}])).file().to_vec();
    assert_eq!(begins("jpeg")[..3], [0xff, 0xd8, 0xff]);
    assert_eq!(begins("png")[..8], *b"\x89PNG\r\n\x1a\n");
    let webp = begins("webp");
    assert_eq!((&webp[..4], &webp[8..12]), (&b"RIFF"[..], &b"WEBP"[..]));
}

#[test]
fn cover_cuts_off_both_ends_alike() {
    // Red, then three quarters green, then blue: a square cut of the middle third holds green alone.
    let striped = rgb(240, 80, |x, _| match x {
        0..70 => RED,
        70..170 => GREEN,
        _ => BLUE,
    });
    for image in [as_png(&striped), as_jpeg(&striped), as_webp(&striped)] {
        let run = resize(&image, json!([{"name": "a", "width": 20, "height": 20, "fit": "cover", "format": "png"}]));
        let out = read_png(run.file());
        assert_eq!(out.size, Size::new(20, 20));
        for (x, y) in [(0, 0), (19, 0), (0, 19), (19, 19), (10, 10)] {
            assert!(close(at(&out, x, y), &GREEN, 25), "{:?} at {x}, {y}", at(&out, x, y));
        }
    }
}

#[test]
fn fill_keeps_every_corner() {
    let run = resize(
        &as_png(&quarters(90, 30)),
        json!([{"name": "a", "width": 20, "height": 60, "fit": "fill", "format": "png"}]),
    );
    let out = read_png(run.file());
    assert_eq!(out.size, Size::new(20, 60));
    for (seen, meant) in corners(&out).iter().zip([RED, GREEN, BLUE, YELLOW]) {
        assert!(close(seen, &meant, 5), "{seen:?} for {meant:?}");
    }
}

#[test]
fn quality_is_obeyed() {
    let image = as_png(&busy(256, 256));
    for format in ["jpeg", "webp"] {
        let size = |quality: u8| {
            let run = resize(&image, json!([{"name": "a", "width": 256, "format": format, "quality": quality}]));
            run.file().len()
        };
        assert!(size(20) * 2 < size(95), "{format}: {} against {}", size(20), size(95));
    }
}

#[test]
fn a_cancelled_job_stops_before_its_next_rendition() {
    let wishes = json!([{"name": "one", "width": 8}, {"name": "two", "width": 9}, {"name": "three", "width": 10}]);
    let run = resize_cancelled_on_the_way(&as_png(&quarters(64, 64)), wishes);
    assert!(matches!(run.outcome, Outcome::Canceled), "{:?}", run.outcome);
    assert_eq!(run.staged.len(), 1);
}
