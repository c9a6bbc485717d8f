use serde_json::json;

use super::*;
use crate::handoff::{
    files,
    overlay::{Overlay, overlay},
    testing::{TO, chart, images, input},
};

fn overlay_of(name: &str, values: Value, moved: &[MovedImage]) -> Overlay {
    let chart = chart(name, values);
    overlay(&Request {
        chart: &chart,
        images: moved,
        to: TO,
        layout: Layout::Strip,
        pull_secret: "pull",
    })
    .unwrap()
}

fn operator_values() -> Value {
    json!({
        "imagePullSecrets": {},
        "installation": {"enabled": true, "imagePullSecrets": []},
        "tigeraOperator": {"image": "tigera/operator", "version": "v1.38.6", "registry": "quay.io"},
        "calicoctl": {"image": "docker.io/calico/ctl", "tag": "v3.30.3"},
    })
}

#[test]
fn the_operator_gets_a_registry_with_a_slash() {
    let moved = images(&[
        (
            "quay.io/tigera/operator:v1.38.6",
            "r.local:5000/m/tigera/operator",
        ),
        ("quay.io/calico/node:v3.30.3", "r.local:5000/m/calico/node"),
    ]);
    let made = overlay_of("tigera-operator", operator_values(), &moved);
    assert_eq!(
        made.values,
        json!({
            "installation": {
                "registry": "r.local:5000/m/",
                "imagePullSecrets": [{"name": "pull"}],
            },
            "tigeraOperator": {"registry": "r.local:5000/m"},
        })
    );
    assert!(made.notes.is_empty());
}

#[test]
fn one_path_for_all_is_an_image_path() {
    let moved = images(&[
        (
            "quay.io/tigera/operator:v1.38.6",
            "r.local:5000/m/x-operator",
        ),
        ("quay.io/calico/node:v3.30.3", "r.local:5000/m/x-node"),
        ("docker.io/calico/ctl:v3.30.3", "r.local:5000/m/x-ctl"),
    ]);
    let made = overlay_of("tigera-operator", operator_values(), &moved);
    assert_eq!(
        made.values,
        json!({
            "installation": {
                "registry": "r.local:5000/",
                "imagePath": "m",
                "imagePrefix": "x-",
                "imagePullSecrets": [{"name": "pull"}],
            },
            "tigeraOperator": {"registry": "r.local:5000", "image": "m/x-operator"},
            "calicoctl": {"image": "r.local:5000/m/x-ctl"},
        })
    );
}

#[test]
fn scattered_images_are_said_to_be_out_of_reach() {
    let moved = images(&[
        ("quay.io/tigera/operator:v1.38.6", "r.local:5000/a/operator"),
        ("quay.io/calico/node:v3.30.3", "r.local:5000/b/node"),
    ]);
    let made = overlay_of("tigera-operator", operator_values(), &moved);
    assert_eq!(made.values.get("installation"), None);
    assert!(made.notes[0].contains("--layout last2"), "{:?}", made.notes);
}

#[test]
fn calico_cloud_gets_its_installer_settings() {
    let cloud = json!({"installer": {"registry": "", "imagePath": ""}, "apiKey": "x"});
    let moved = images(&[
        (
            "quay.io/tigera/cnx-node:v3.16.1",
            "r.local:5000/tigera/cnx-node",
        ),
        (
            "us-docker.pkg.dev/tigera-prod-01/calico-cloud-public/cc-operator:v1",
            "r.local:5000/calico-cloud-public/cc-operator",
        ),
        ("alpine:3.12.1", "r.local:5000/alpine"),
    ]);
    let made = overlay_of("calico-cloud", cloud.clone(), &moved);
    assert_eq!(
        made.values,
        json!({
            "installer": {"registry": "r.local:5000/"},
            "imagePullSecrets": {"name": "pull"},
        })
    );
    let moved = images(&[
        ("quay.io/tigera/cnx-node:v3.16.1", "r.local:5000/m/cnx-node"),
        (
            "us-docker.pkg.dev/a/calico-cloud-public/cc-operator:v1",
            "r.local:5000/m/cc-operator",
        ),
    ]);
    let made = overlay_of("calico-cloud", cloud, &moved);
    assert_eq!(
        made.values["installer"],
        json!({"registry": "r.local:5000/", "imagePath": "m"})
    );
}

#[test]
fn placeholders_are_what_the_operator_needs() {
    let moved = images(&[("quay.io/calico/node:v3.30.3", "r.local:5000/m/node")]);
    let mut demo = chart("tigera-operator", operator_values());
    demo.set = vec![("a".to_owned(), "{registry}/{imagePath}".to_owned())];
    let made = overlay(&Request {
        chart: &demo,
        images: &moved,
        to: TO,
        layout: Layout::Flat,
        pull_secret: "pull",
    });
    assert_eq!(made.unwrap().values["a"], "r.local:5000/m");
}

fn set_of(pairs: &[(&str, &str)]) -> Option<String> {
    let moved = images(pairs);
    let charts = [chart("tigera-operator", operator_values())];
    let made = files(&input(&moved, &charts)).unwrap();
    let file = made
        .files
        .into_iter()
        .find(|file| file.path == "imageset.yaml")?;
    Some(String::from_utf8(file.content).unwrap())
}

#[test]
fn the_image_set_has_every_digest_by_default_path() {
    let pairs = [
        (
            "quay.io/tigera/operator:v1.38.6",
            "r.local:5000/tigera/operator",
        ),
        ("quay.io/calico/node:v3.30.3", "r.local:5000/calico/node"),
        ("quay.io/calico/ctl:v3.30.3", "r.local:5000/calico/ctl"),
        ("nginx:1", "r.local:5000/library/nginx"),
    ];
    let moved = images(&pairs);
    let (_, object) = set_of(&pairs)
        .unwrap()
        .split_once("apiVersion")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(
        object,
        format!(
            ": \"operator.tigera.io/v1\"\nkind: \"ImageSet\"\nmetadata:\n  name: \"calico-v3.30.3\"\n\
             spec:\n  images:\n    - digest: \"{}\"\n      image: \"calico/node\"\n    \
             - digest: \"{}\"\n      image: \"tigera/operator\"\n",
            moved[1].digest, moved[0].digest
        )
    );
}

#[test]
fn the_product_is_told_by_its_components() {
    let set = set_of(&[
        (
            "quay.io/tigera/operator:v1.29.4",
            "r.local:5000/tigera/operator",
        ),
        (
            "quay.io/tigera/cnx-node:v3.16.1",
            "r.local:5000/tigera/cnx-node",
        ),
        ("quay.io/tigera/typha:v3.16.1", "r.local:5000/tigera/typha"),
        (
            "quay.io/tigera/skimble:v1.6.0",
            "r.local:5000/tigera/skimble",
        ),
    ]);
    assert!(set.unwrap().contains("name: \"enterprise-v3.16.1\""));
    assert_eq!(set_of(&[("nginx:1", "r.local:5000/library/nginx")]), None);
}

#[test]
fn two_digests_for_one_image_make_no_set() {
    let mut moved = images(&[
        ("quay.io/calico/node:v3.30.3", "r.local:5000/calico/node"),
        ("quay.io/calico/node:v3.30.4", "r.local:5000/calico/node"),
    ]);
    moved[1].digest = crate::handoff::testing::digest("other");
    let charts = [chart("tigera-operator", operator_values())];
    let made = files(&input(&moved, &charts)).unwrap();
    assert!(!made.files.iter().any(|file| file.path == "imageset.yaml"));
    assert!(
        made.notes
            .iter()
            .any(|note| note.contains("more than one digest"))
    );
}
