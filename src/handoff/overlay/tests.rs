use serde_json::json;

use super::*;
use crate::handoff::testing::{TO, chart, digest, images};

fn overlay_of(values: Value, moved: &[MovedImage]) -> Overlay {
    let chart = chart("demo", values);
    overlay(&Request {
        chart: &chart,
        images: moved,
        to: TO,
        layout: Layout::Strip,
        pull_secret: "pull",
    })
    .unwrap()
}

#[track_caller]
fn check(pairs: &[(&str, &str)], values: Value, expected: Value) {
    let overlay = overlay_of(values, &images(pairs));
    assert_eq!(overlay.values, expected);
    assert_eq!(overlay.left, []);
    let read: Value = serde_saphyr::from_str(&overlay.yaml).unwrap();
    assert_eq!(read, expected);
}

const QUAY: (&str, &str) = ("quay.io/acme/app:v1", "r.local:5000/acme/app");
const HUB: (&str, &str) = ("acme/web:2", "r.local:5000/acme/web");
const NGINX: (&str, &str) = ("nginx:1.27", "r.local:5000/library/nginx");

#[test]
fn full_names_are_rewritten_with_their_tags_as_they_are() {
    check(
        &[QUAY],
        json!({
            "image": "quay.io/acme/app:v1",
            "repository": "quay.io/acme/app",
            "anything": "quay.io/acme/app:{{ .Chart.AppVersion }}",
            "other": "quay.io/acme/other:v1",
            "home": "https://quay.io/acme/app",
            "note": "see quay.io/acme/app",
        }),
        json!({
            "image": "r.local:5000/acme/app:v1",
            "repository": "r.local:5000/acme/app",
            "anything": "r.local:5000/acme/app:{{ .Chart.AppVersion }}",
        }),
    );
}

#[test]
fn a_registry_beside_the_name_is_rewritten_alone() {
    check(
        &[QUAY, HUB],
        json!({
            "a": {"registry": "quay.io", "repository": "acme/app", "tag": "v1"},
            "b": {"registry": "docker.io", "image": "acme/web", "tag": "2"},
            "c": {"registry": "quay.io", "repository": "acme/other"},
            "d": {"hub": "quay.io/acme", "image": "app"},
        }),
        json!({
            "a": {"registry": "r.local:5000"},
            "b": {"registry": "r.local:5000"},
            // Everything that was moved from there is under the same start now.
            "c": {"registry": "r.local:5000"},
            "d": {"hub": "r.local:5000/acme"},
        }),
    );
}

#[test]
fn the_name_changes_too_where_the_layout_changes_it() {
    check(
        &[("quay.io/acme/app:v1", "r.local:5000/mirror/acme-app")],
        json!({"image": {"registry": "quay.io", "repository": "acme/app"}}),
        json!({"image": {"registry": "r.local:5000", "repository": "mirror/acme-app"}}),
    );
}

#[test]
fn one_registry_for_many_names_is_rewritten_once() {
    check(
        &[QUAY, ("quay.io/acme/job:v1", "r.local:5000/m/acme/job")],
        json!({"a": {"image": {"repository": "quay.io/acme/app"}}, "job": "quay.io/acme/job:v1"}),
        json!({"a": {"image": {"repository": "r.local:5000/acme/app"}},
               "job": "r.local:5000/m/acme/job:v1"}),
    );
    check(
        &[
            ("quay.io/acme/app:v1", "r.local:5000/m/acme/app"),
            ("quay.io/acme/job:v1", "r.local:5000/m/acme/job"),
        ],
        json!({
            "global": {"imageRegistry": "quay.io"},
            "app": {"image": {"repository": "acme/app"}},
            "job": {"image": {"name": "acme/job", "tag": "v1"}},
        }),
        json!({"global": {"imageRegistry": "r.local:5000/m"}}),
    );
    // Different starts: the host is common, the paths are written out.
    check(
        &[
            ("quay.io/acme/app:v1", "r.local:5000/x/app"),
            ("quay.io/acme/job:v1", "r.local:5000/y/job"),
        ],
        json!({
            "global": {"imageRegistry": "quay.io/"},
            "app": {"image": {"repository": "acme/app"}},
            "job": {"image": {"repository": "acme/job"}},
        }),
        json!({
            "global": {"imageRegistry": "r.local:5000/"},
            "app": {"image": {"repository": "x/app"}},
            "job": {"image": {"repository": "y/job"}},
        }),
    );
}

#[test]
fn docker_hub_is_implied_only_where_it_is_an_image() {
    check(
        &[HUB, NGINX],
        json!({
            "image": {"repository": "acme/web", "tag": "2"},
            "web": {"image": "nginx:1.27"},
            "with": {"registry": "", "repository": "nginx", "tag": "1.27"},
            "null": {"registry": null, "repository": "acme/web"},
            "elsewhere": {"registry": "ghcr.io", "repository": "acme/web"},
            "ingress": {"className": "nginx", "name": "nginx"},
            "git": {"repo": "nginx"},
            "version": "2",
        }),
        json!({
            "image": {"repository": "r.local:5000/acme/web"},
            "web": {"image": "r.local:5000/library/nginx:1.27"},
            "with": {"registry": "r.local:5000/library"},
            "null": {"registry": "r.local:5000"},
        }),
    );
}

#[test]
fn lists_are_given_whole() {
    check(
        &[QUAY],
        json!({
            "extra": [
                {"name": "keep", "image": "busybox", "n": 1},
                {"name": "app", "image": "quay.io/acme/app:v1"},
            ],
            "args": ["--verbose", "--image=quay.io/acme/app:v1", "--at=0.0.0.0:80"],
            "untouched": ["a"],
        }),
        json!({
            "extra": [
                {"name": "keep", "image": "busybox", "n": 1},
                {"name": "app", "image": "r.local:5000/acme/app:v1"},
            ],
            "args": ["--verbose", "--image=r.local:5000/acme/app:v1", "--at=0.0.0.0:80"],
        }),
    );
}

#[test]
fn registry_namespace_and_name_can_be_three_leaves() {
    check(
        &[QUAY],
        json!({"image": {"registry": "quay.io", "repository": "acme", "name": "app", "tag": "v1"}}),
        json!({"image": {"registry": "r.local:5000"}}),
    );
    check(
        &[("nvcr.io/nvidia/cuda:1", "r.local:5000/nvidia/cuda")],
        json!({"operator": {"repository": "nvcr.io/nvidia", "image": "cuda", "version": "1"}}),
        json!({"operator": {"repository": "r.local:5000/nvidia"}}),
    );
}

#[test]
fn a_namespace_beside_the_registry_changes_with_the_layout() {
    check(
        &[
            (
                "quay.io/jetstack/controller:v1",
                "r.local:5000/m/controller",
            ),
            ("quay.io/jetstack/webhook:v1", "r.local:5000/m/webhook"),
        ],
        json!({"imageRegistry": "quay.io", "imageNamespace": "jetstack", "image": {"name": "x"}}),
        json!({"imageRegistry": "r.local:5000", "imageNamespace": "m"}),
    );
}

#[test]
fn a_registry_without_a_host_is_a_path_at_docker_hub() {
    check(
        &[("otel/relay:1", "r.local:5000/otel/relay")],
        json!({
            "image": {"registry": "otel", "tag": ""},
            "relay": {"image": {"registry": "", "name": "relay"}},
            "own": {"hub": "otel", "image": "relay"},
            "project": {"repository": "otel", "registry": "other"},
        }),
        json!({
            "image": {"registry": "r.local:5000/otel"},
            "own": {"hub": "r.local:5000/otel"},
        }),
    );
}

#[test]
fn defaults_that_istio_hides_are_set_where_users_set_them() {
    check(
        &[("docker.io/istio/pilot:1", "r.local:5000/istio/pilot")],
        json!({"_internal_defaults_do_not_set": {"global": {"hub": "docker.io/istio"}}}),
        json!({"global": {"hub": "r.local:5000/istio"}}),
    );
}

#[test]
fn a_name_that_the_chart_completes_is_rewritten() {
    check(
        &[(
            "quay.io/cilium/operator-generic:v1",
            "r.local:5000/cilium/operator-generic",
        )],
        json!({"image": {"repository": "quay.io/cilium/operator"}}),
        json!({"image": {"repository": "r.local:5000/cilium/operator"}}),
    );
}

#[test]
fn text_with_references_is_rewritten_around_them() {
    check(
        &[QUAY],
        json!({"config": "a: 1\nimage: \"quay.io/acme/app:v1\" # x\nother: quay.io/acme/app:v9\n"}),
        json!({"config": "a: 1\nimage: \"r.local:5000/acme/app:v1\" # x\nother: quay.io/acme/app:v9\n"}),
    );
}

#[test]
fn bitnami_charts_are_told_that_this_is_meant() {
    check(
        &[HUB],
        json!({
            "global": {"security": {"allowInsecureImages": false}, "imageRegistry": ""},
            "db": {"global": {"security": {"allowInsecureImages": false}}},
            "image": {"registry": "docker.io", "repository": "acme/web"},
        }),
        json!({
            "global": {"security": {"allowInsecureImages": true}},
            "db": {"global": {"security": {"allowInsecureImages": true}}},
            "image": {"registry": "r.local:5000"},
        }),
    );
    let values = json!({"global": {"security": {"allowInsecureImages": false}}});
    check(&[HUB], values, json!({}));
}

#[test]
fn pinned_digests_change_with_the_index() {
    let pinned = digest("old");
    let mut moved = images(&[("quay.io/acme/app", "r.local:5000/acme/app")]);
    moved[0].source = format!("quay.io/acme/app:v1@{pinned}").parse().unwrap();
    let new = moved[0].digest;
    let values = json!({
        "image": {"repository": "quay.io/acme/app", "digest": pinned.to_string()},
        "full": format!("quay.io/acme/app@{pinned}"),
    });
    let overlay = overlay_of(values, &moved);
    let expected = json!({
        "image": {"repository": "r.local:5000/acme/app", "digest": new.to_string()},
        "full": format!("r.local:5000/acme/app@{new}"),
    });
    assert_eq!(overlay.values, expected);
}

#[test]
fn what_is_not_certain_is_left_and_said() {
    let moved = images(&[
        ("quay.io/acme/app:v1", "r.local:5000/x/app"),
        ("quay.io/acme/app:v2", "r.local:5000/y/app"),
        ("ghcr.io/a/b:1", "r.local:5000/x/b"),
        ("ghcr.io/c/d:1", "r.local:5000/y/d"),
    ]);
    let values = json!({
        "image": {"repository": "quay.io/acme/app"},
        "second": {"repository": "quay.io/acme/app", "tag": "v2"},
        "defaultRegistry": "ghcr.io",
    });
    let overlay = overlay_of(values, &moved);
    assert_eq!(
        overlay.values,
        json!({"second": {"repository": "r.local:5000/y/app"}})
    );
    let left: Vec<&str> = overlay.left.iter().map(|left| left.path.as_str()).collect();
    assert_eq!(left, ["image.repository", "defaultRegistry"]);
}

#[test]
fn settings_of_the_author_come_last() {
    let mut demo = chart(
        "demo",
        json!({"image": "quay.io/acme/app:v1", "list": ["a"]}),
    );
    demo.set = [
        ("image", "{registryHost}/own:{x}"),
        (r"a.dotted\.key", "{registry}/"),
        ("list[1]", "{pullSecret}"),
    ]
    .map(|(path, value)| (path.to_owned(), value.to_owned()))
    .to_vec();
    let moved = images(&[QUAY]);
    let mut request = Request {
        chart: &demo,
        images: &moved,
        to: TO,
        layout: Layout::Strip,
        pull_secret: "pull",
    };
    request.to.prefix = "p";
    let made = overlay(&request).unwrap();
    assert_eq!(
        made.values,
        json!({
            "image": "r.local:5000/own:{x}",
            "a": {"dotted.key": "r.local:5000/p/"},
            "list": ["a", "pull"],
        })
    );
    let mut wrong = demo.clone();
    wrong.set = vec![("list[5]".to_owned(), "x".to_owned())];
    let request = Request {
        chart: &wrong,
        ..request
    };
    let error = overlay(&request).unwrap_err();
    assert_eq!(
        error.to_string(),
        "chart demo: cannot set `list[5]`: the list has fewer elements"
    );
}

#[test]
fn what_stayed_where_it_was_is_not_in_the_overlay() {
    let values = json!({"image": "r.local:5000/acme/app:v1", "a": ["r.local:5000/acme/app:v1"]});
    check(
        &[("r.local:5000/acme/app:v1", "r.local:5000/acme/app")],
        values,
        json!({}),
    );
}

#[test]
fn changes_say_what_was_there() {
    let overlay = overlay_of(
        json!({"a": {"x.y": {"image": "quay.io/acme/app:v1"}}}),
        &images(&[QUAY]),
    );
    assert_eq!(
        overlay.changed,
        [Change {
            path: r"a.x\.y.image".to_owned(),
            from: Some(json!("quay.io/acme/app:v1")),
            to: json!("r.local:5000/acme/app:v1"),
        }]
    );
    assert_eq!(
        overlay.yaml,
        "# Values for the registry inside; give this file after all others.\n\
         a:\n  x.y:\n    image: \"r.local:5000/acme/app:v1\"\n"
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            "[a-z.:/@{} -]{0,12}".prop_map(Value::from),
            prop::sample::select(vec![
                "quay.io",
                "docker.io/",
                "quay.io/acme",
                "acme/app",
                "app",
                "quay.io/acme/app:v1",
                "quay.io/acme/app",
                "nginx",
                "nginx:1.27",
                "v1",
                "{{ .x }}/acme/app",
            ])
            .prop_map(Value::from),
        ];
        let key = prop::sample::select(vec![
            "image",
            "repository",
            "registry",
            "tag",
            "global",
            "name",
            "hub",
            "imageRegistry",
            "x",
        ]);
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_values_give_an_overlay_that_reads_back_and_holds_only_changes(values in any_values()) {
            let moved = images(&[QUAY, NGINX]);
            let overlay = overlay_of(values, &moved);
            let read: Value = serde_saphyr::from_str(&overlay.yaml).unwrap();
            prop_assert_eq!(&read, &overlay.values);
            prop_assert_eq!(overlay.changed.is_empty(), overlay.values == json!({}));
        }
    }
}
