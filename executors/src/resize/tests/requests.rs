//! A request that cannot be met is refused with the field at fault, by the schema and by the executor alike.

use longshore_sdk::erase;
use serde_json::{Value, json};

use super::draw::*;
use super::host::resize;
use crate::resize::{Limits, Resizer};

fn refused(renditions: Value) -> (String, Option<String>) {
    let run = resize(&as_png(&quarters(32, 32)), renditions);
    (run.fatal().code.clone(), run.fatal().field.clone())
}

#[test]
fn a_bad_field_is_named_by_its_pointer() {
    let table = [
        (json!([]), "/renditions"),
        (Value::from(vec![json!({"name": "a", "width": 9}); 17]), "/renditions"),
        (json!([{"name": "a", "width": 0}]), "/renditions/0/width"),
        (json!([{"name": "a", "width": 16_385}]), "/renditions/0/width"),
        (json!([{"name": "a", "width": 9, "height": 0}]), "/renditions/0/height"),
        (json!([{"name": "a", "height": u32::MAX}]), "/renditions/0/height"),
        (json!([{"name": "a"}]), "/renditions/0/width"),
        (json!([{"name": "", "width": 9}]), "/renditions/0/name"),
        (json!([{"name": "../a", "width": 9}]), "/renditions/0/name"),
        (json!([{"name": ".a", "width": 9}]), "/renditions/0/name"),
        (json!([{"name": "a".repeat(101), "width": 9}]), "/renditions/0/name"),
        (json!([{"name": "a", "width": 9}, {"name": "a", "width": 8, "format": "png"}]), "/renditions/1/name"),
        (json!([{"name": "a", "width": 9, "quality": 0}]), "/renditions/0/quality"),
        (json!([{"name": "a", "width": 9, "quality": 101}]), "/renditions/0/quality"),
        (json!([{"name": "a", "width": 9, "background": "red"}]), "/renditions/0/background"),
        (json!([{"name": "a", "width": 9, "background": "#12345"}]), "/renditions/0/background"),
        (json!([{"name": "a", "width": 9, "background": "#+12345"}]), "/renditions/0/background"),
        (json!([{"name": "a", "width": 16_384, "format": "webp"}]), "/renditions/0/width"),
        (json!([{"name": "a", "width": 9, "sharpen": true}]), "/payload"),
        (json!([{"name": "a", "width": -1}]), "/payload"),
    ];
    for (renditions, pointer) in table {
        let meant = ("invalid_payload".to_owned(), Some(pointer.to_owned()));
        assert_eq!(refused(renditions.clone()), meant, "{renditions}");
    }
}

#[test]
fn a_rendition_that_would_come_out_too_large_is_refused_before_decoding() {
    let tall = as_png(&plain(2, 400, RED));
    let run = resize(&tall, json!([{"name": "a", "width": 9}, {"name": "b", "width": 100, "enlarge": true}]));
    assert_eq!((&*run.fatal().code, run.fatal().field.as_deref()), ("rendition_too_large", Some("/renditions/1")));
    let huge = json!([{"name": "a", "width": 16_384, "height": 16_384, "fit": "fill"}]);
    assert_eq!(refused(huge), ("rendition_too_large".to_owned(), Some("/renditions/0".to_owned())));
}

#[test]
fn the_schema_tells_the_same_bounds() {
    let schema = erase(Resizer::new(Limits::default())).payload_schema();
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["properties"]["renditions"]["minItems"], json!(1));
    assert_eq!(schema["properties"]["renditions"]["maxItems"], json!(16));
    let rendition = &schema["$defs"]["Rendition"];
    let field = |name: &str| &rendition["properties"][name];
    assert_eq!(rendition["additionalProperties"], json!(false));
    assert_eq!(rendition["anyOf"], json!([{"required": ["width"]}, {"required": ["height"]}]));
    for side in ["width", "height"] {
        assert_eq!((&field(side)["minimum"], &field(side)["maximum"]), (&json!(1), &json!(16_384)));
    }
    assert_eq!((&field("quality")["minimum"], &field("quality")["maximum"]), (&json!(1), &json!(100)));
    assert_eq!(field("quality")["default"], json!(85));
    assert_eq!((&field("name")["minLength"], &field("name")["maxLength"]), (&json!(1), &json!(100)));
    assert_eq!(field("background")["default"], json!("#ffffff"));
    assert_eq!(rendition["required"], json!(["name"]));
}

#[test]
fn an_attempt_may_take_two_minutes_and_one_slot() {
    let policy = erase(Resizer::default()).policy();
    assert_eq!((policy.timeout.as_secs(), policy.cost), (120, 1));
}

#[tokio::test]
async fn a_resize_killed_at_any_step_is_done_by_the_next_attempt_with_each_rendition_once() {
    use longshore_sdk::testkit::{TestRun, kill_at_every_step};
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("in.png");
    std::fs::write(&picture, as_png(&busy(64, 48))).unwrap();
    let wish =
        json!({"source": {"file": "one"}, "renditions": [{"name": "a", "width": 16}, {"name": "b", "width": 32}]});
    let wish = wish.to_string();
    let run = || {
        let resizer = Resizer::new(Limits::default());
        TestRun::of(resizer).payload_json(&wish).file("one", &picture)
    };
    let steps = kill_at_every_step(run, async |step, report| {
        let names: Vec<_> = report.expect_done().artifacts.iter().map(|one| one.artifact.name.clone()).collect();
        assert_eq!(names, ["a.jpg", "b.jpg"], "killed at step {step}");
    });
    assert!(steps.await >= 6);
}
