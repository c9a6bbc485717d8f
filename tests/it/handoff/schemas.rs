//! The manifests are valid by schemas that were written from the documentation of their readers.

use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use sneakernet::{
    handoff::{Destination, MovedChart},
    oci::{Digest, Repository},
};

use super::{hand_off, moved};

const TO: Destination<'static> = Destination {
    host: "registry.local:5000",
    prefix: "mirror",
    plain_http: false,
    ca_file: Some("/etc/ssl/certs/registry.crt"),
};

fn schema(name: &str) -> Value {
    let path = format!(
        "{}/tests/it/handoff/schemas/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).expect("a schema");
    serde_json::from_str(&text).expect("JSON")
}

/// What is wrong with a document, if anything.
pub fn validate(name: &str, document: &Value) -> Result<(), String> {
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    let location = format!("https://example.test/{name}");
    compiler
        .add_resource(&location, schema(name))
        .expect("a schema");
    let mut schemas = Schemas::new();
    let index = compiler
        .compile(&location, &mut schemas)
        .unwrap_or_else(|error| panic!("{error:#}"));
    schemas
        .validate(document, index)
        .map_err(|error| format!("{error:#}"))
}

fn calico() -> MovedChart {
    MovedChart {
        name: "tigera-operator".to_owned(),
        version: "v3.30.3".to_owned(),
        destination: Repository::new("registry.local:5000", "mirror/charts/tigera-operator")
            .expect("a repository"),
        digest: Digest::sha256_of(b"chart"),
        values: json!({
            "installation": {"imagePullSecrets": []},
            "tigeraOperator": {"image": "tigera/operator", "registry": "quay.io"},
        }),
        user_values: Vec::new(),
        release: "calico".to_owned(),
        namespace: "tigera-operator".to_owned(),
        kube_version: None,
        set: Vec::new(),
    }
}

#[test]
fn manifests_are_valid_by_the_documentation_of_their_readers() {
    let images = [
        "quay.io/tigera/operator:v1.38.6",
        "quay.io/calico/node:v3.30.3",
        "nginx:1.27",
        "localhost:5001/a/b.c_d--e:1",
    ];
    let digest = Digest::sha256_of(b"image");
    let handoff = hand_off(
        TO,
        &images.map(|name| moved(name, digest, &TO)),
        &[calico()],
    );
    for (file, schema) in [
        ("registries.yaml", "registries-yaml"),
        ("openshift-idms.yaml", "openshift-idms"),
        ("openshift-itms.yaml", "openshift-itms"),
        ("imageset.yaml", "imageset"),
        ("pull-secret.yaml", "pull-secret"),
    ] {
        let found = handoff.files.iter().find(|found| found.path == file);
        let text = String::from_utf8(found.expect(file).content.clone()).expect("UTF-8");
        let document: Value = serde_saphyr::from_str(&text).expect("YAML");
        validate(schema, &document).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"));
    }
}

#[test]
fn the_schemas_tell_right_from_wrong() {
    let mut set = json!({
        "apiVersion": "operator.tigera.io/v1",
        "kind": "ImageSet",
        "metadata": {"name": "calico-v3.30.3"},
        "spec": {"images": [
            {"image": "calico/node", "digest": Digest::sha256_of(b"").to_string()},
        ]},
    });
    validate("imageset", &set).unwrap();
    set["spec"]["images"][0]["image"] = json!("quay.io/calico/node");
    validate("imageset", &set).unwrap_err();
    let mirror = json!({"mirrors": {"quay.io": {"endpoints": ["https://r.local"]}}});
    validate("registries-yaml", &mirror).unwrap_err();
    let mirror = json!({"mirrors": {"quay.io": {"rewrite": {"(": "x"}}}});
    validate("registries-yaml", &mirror).unwrap_err();
    for (name, key) in [("openshift-idms", "Digest"), ("openshift-itms", "Tag")] {
        let (kind, list) = (format!("Image{key}MirrorSet"), format!("image{key}Mirrors"));
        let mut set = json!({
            "apiVersion": "config.openshift.io/v1",
            "kind": kind,
            "metadata": {"name": "a"},
            "spec": {list.as_str(): [{"source": "quay.io", "mirrors": ["r.local:5000/a"]}]},
        });
        validate(name, &set).unwrap();
        set["spec"][&list][0]["mirrors"][0] = json!("https://r.local:5000/a");
        validate(name, &set).unwrap_err();
    }
}
