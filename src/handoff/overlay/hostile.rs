//! Values that a chart can be given to keep this busy: many leaves in one map, many maps, many
//! registries. Work that grows with the square of their number would not end here.

use serde_json::{Map, Value, json};

use super::{Layout, MovedImage, Overlay, Request, overlay};
use crate::handoff::testing::{TO, chart, images};

const MANY: usize = 60_000;

fn overlay_of(values: Value, moved: &[MovedImage]) -> Overlay {
    overlay(&Request {
        chart: &chart("demo", values),
        images: moved,
        to: TO,
        layout: Layout::Strip,
        pull_secret: "pull",
    })
    .unwrap()
}

/// A map with keys `i0KEY`, `i1KEY`, and so on.
fn map(count: usize, key: &str, value: impl Fn(usize) -> String) -> Map<String, Value> {
    (0..count)
        .map(|i| (format!("i{i}{key}"), Value::from(value(i))))
        .collect()
}

fn acme() -> Vec<MovedImage> {
    images(&[
        ("quay.io/acme/app:v1", "r.local:5000/m/acme/app"),
        ("quay.io/acme/job:v1", "r.local:5000/m/acme/job"),
        ("acme/x0:v1", "r.local:5000/m/acme/x0"),
    ])
}

/// Images that were moved to places with nothing in common.
fn scattered(count: usize, name: impl Fn(usize) -> String) -> Vec<MovedImage> {
    let pairs: Vec<(String, String)> = (0..count)
        .map(|i| (name(i), format!("r.local:5000/p{i}/x{i}")))
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
    images(&pairs)
}

#[test]
fn many_names_in_one_map() {
    let values = map(MANY, "image", |_| "acme/x0".to_owned());
    let overlay = overlay_of(Value::Object(values), &acme());
    assert_eq!(overlay.changed.len(), MANY);
    assert_eq!(overlay.values["i59999image"], "r.local:5000/m/acme/x0");
    let values = map(MANY, "image", |i| format!("acme/other{i}"));
    let overlay = overlay_of(Value::Object(values), &acme());
    assert_eq!(overlay.values, json!({}));
}

#[test]
fn many_names_in_each_of_many_nested_maps() {
    let mut values = Value::Object(Map::new());
    for level in 0..60 {
        let mut outer = map(500, "image", |_| "acme/x0".to_owned());
        outer.extend(map(500, "registry", |i| format!("r{i}.example")));
        outer.insert(format!("level{level}"), values);
        values = Value::Object(outer);
    }
    let overlay = overlay_of(values, &acme());
    // With a registry beside them they are not at Docker Hub.
    assert_eq!((overlay.changed.len(), overlay.left.len()), (0, 0));
}

#[test]
fn many_names_with_many_registries_in_one_map() {
    let mut values = map(10_000, "registry", |_| "quay.io".to_owned());
    values.extend(map(50_000, "image", |_| "acme/app".to_owned()));
    let overlay = overlay_of(Value::Object(values), &acme());
    // The nearest one, and those that no name is for.
    assert_eq!(overlay.changed.len(), 10_000);
    assert_eq!(overlay.values["i0registry"], "r.local:5000/m");
    assert_eq!(overlay.notes, [""; 0]);
}

#[test]
fn many_names_with_many_namespaces_in_one_map() {
    let mut values = map(30_000, "imageNamespace", |i| format!("other{i}"));
    values.extend(map(30_000, "image", |_| "app".to_owned()));
    values.extend([
        ("registry".to_owned(), json!("quay.io")),
        ("imageNamespace".to_owned(), json!("acme")),
    ]);
    let overlay = overlay_of(Value::Object(values), &acme());
    assert_eq!(overlay.values, json!({"registry": "r.local:5000/m"}));
}

#[test]
fn many_maps_in_a_list() {
    let list = vec![json!({"image": "acme/app"}); MANY];
    let overlay = overlay_of(json!({"registry": "quay.io", "list": list}), &acme());
    assert_eq!(overlay.values, json!({"registry": "r.local:5000/m"}));
    let list = vec![json!({"image": "quay.io/acme/app:v1"}); MANY];
    let overlay = overlay_of(json!({"list": list}), &acme());
    assert_eq!(overlay.changed.len(), MANY);
    assert_eq!(
        overlay.values["list"][MANY - 1],
        json!({"image": "r.local:5000/m/acme/app:v1"})
    );
}

#[test]
fn many_registries_of_many_images_that_were_scattered() {
    let moved = scattered(2_000, |i| format!("quay.io/acme/x{i}:v1"));
    let mut values = map(MANY / 2, "registry", |_| "quay.io".to_owned());
    values.extend(map(MANY / 2, "repo", |_| "acme".to_owned()));
    let overlay = overlay_of(Value::Object(values), &moved);
    assert_eq!(overlay.values, json!({}));
    assert_eq!(overlay.left.len(), MANY / 2);
}

#[test]
fn many_names_that_many_images_start_with() {
    let moved = scattered(2_000, |i| format!("quay.io/acme/app-{i}:v1"));
    let mut moved_alike = moved.clone();
    for image in &mut moved_alike {
        image.destination = format!("{}:x", image.source.repository())
            .parse::<crate::oci::Reference>()
            .unwrap()
            .repository()
            .clone();
    }
    let values = Value::Object(map(MANY, "image", |_| "quay.io/acme/app".to_owned()));
    assert_eq!(overlay_of(values.clone(), &moved).changed.len(), 0);
    // They are where they were.
    assert_eq!(overlay_of(values, &moved_alike).changed.len(), 0);
}

#[test]
fn many_tags_of_one_repository_and_many_leaves_that_stay() {
    let pairs: Vec<(String, String)> = (0..2_000)
        .map(|i| {
            (
                format!("quay.io/acme/app:v{i}"),
                format!("r.local:5000/p{i}/app"),
            )
        })
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
    let mut values = map(MANY / 2, "image", |_| "quay.io/acme/app".to_owned());
    values.extend(map(MANY / 2, "jobImage", |_| {
        "quay.io/acme/app:v7".to_owned()
    }));
    let overlay = overlay_of(Value::Object(values), &images(&pairs));
    assert_eq!(overlay.changed.len(), MANY / 2);
    assert_eq!(overlay.left.len(), MANY / 2);
}

#[test]
fn long_keys_above_many_leaves_are_left_and_said() {
    let mut values = Map::new();
    let inner = map(10_000, "image", |_| "acme/x0".to_owned());
    let long = "k".repeat(700_000);
    values.insert(long.clone(), Value::Object(inner.clone()));
    values.insert("global".to_owned(), json!({ long: inner }));
    values.insert("image".to_owned(), json!("acme/x0"));
    let overlay = overlay_of(Value::Object(values), &acme());
    assert_eq!(overlay.values, json!({"image": "r.local:5000/m/acme/x0"}));
    assert_eq!(
        overlay.notes,
        [
            "2 parts of the values were not looked at: they are more than 100 keys deep, or the \
             keys that lead to them are longer than 1024 bytes"
        ]
    );
}

#[test]
fn values_deeper_than_any_chart_has_are_left_and_said() {
    let mut values = json!({"image": "acme/x0"});
    for _ in 0..120 {
        values = json!({"image": "acme/x0", "a": values});
    }
    let overlay = overlay_of(values, &acme());
    assert_eq!(overlay.changed.len(), 100);
    assert!(overlay.notes[0].starts_with("2 parts of the values were not looked at"));
}

#[test]
fn only_the_nearest_of_very_many_registries_are_tried() {
    let moved = scattered(300, |i| format!("quay.io/p{i:03}/app{i}:v1"));
    let mut values = Map::new();
    for i in 0..300 {
        values.insert(
            format!("r{i:03}registry"),
            json!(format!("quay.io/p{i:03}")),
        );
    }
    values.extend([
        ("aImage".to_owned(), json!("app99")),
        ("bImage".to_owned(), json!("app299")),
    ]);
    let overlay = overlay_of(Value::Object(values), &moved);
    assert_eq!(overlay.values["r099registry"], "r.local:5000");
    assert_eq!(overlay.values["aImage"], "p99/x99");
    assert_eq!(overlay.values.get("bImage"), None);
    assert_eq!(
        overlay.notes,
        ["1 names in the values were only tried with the nearest of very many registries"]
    );
}
