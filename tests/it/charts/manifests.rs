//! The manifests of a real hand-off are valid by the schemas of those who read them.

use serde_json::Value;

use crate::{
    handoff::schemas::validate,
    support::{
        distribution::{Options, Registry},
        helm::ChartFiles,
        shop::{Shop, chart},
        tools::{require, run, tool},
    },
};

/// A chart of the Tigera operator's shape.
fn tigera() -> ChartFiles {
    ChartFiles::new("tigera-operator", "v3.30.3")
        .file(
            "values.yaml",
            "installation: {enabled: true, imagePullSecrets: []}\n\
             tigeraOperator: {image: tigera/operator, version: v1.38.6, registry: quay.io}\n",
        )
        .file(
            "templates/operator.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: operator}\nspec:\n  containers:\n    - name: o\n      \
             image: \"{{ .Values.tigeraOperator.registry }}/{{ .Values.tigeraOperator.image }}:{{ .Values.tigeraOperator.version }}\"\n",
        )
        .file(
            "templates/installation.yaml",
            "apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {name: default}\n\
             spec:\n  {{- toYaml .Values.installation | nindent 2 }}\n",
        )
}

#[test]
fn everything_that_is_applied_is_valid() {
    require!("docker-registry", "helm3", "kubernetes-validate");
    let shop = Shop::new();
    let client = shop.upstream.client();
    let image = &shop.images["shop/web:1.0"];
    let calico = ["node", "typha", "kube-controllers", "cni"];
    client.push("tigera/operator", "v1.38.6", image);
    for name in calico {
        client.push(&format!("calico/{name}"), "v3.30.3", image);
    }
    let archive = shop.archive(&tigera());
    let second = shop.archive(&chart());
    let images = calico.map(|name| format!("quay.io/calico/{name}:v3.30.3"));
    shop.spec(&format!(
        "charts:\n  - {{chart: {archive}, namespace: tigera-operator, images: [{}]}}\n  \
         - {{chart: {second}, namespace: market}}\n",
        images.join(", ")
    ));
    let mirror = format!("quay.io={}", shop.upstream.host());
    shop.create("all.bundle", &["--mirror", &mirror]).success();
    let registry = Registry::start(Options::default());
    let handoff = ["--handoff", "handoff", "--pull-secret", "my-credentials"];
    shop.load("all.bundle", registry.host(), &handoff).success();
    let directory = shop.dir().join("handoff");

    let secret = directory.join("pull-secret.yaml");
    for version in ["1.25.0", "1.31.0", "1.37.0"] {
        let mut validate = tool("kubernetes-validate");
        validate.args(["--strict", "-k", version]).arg(&secret);
        run(validate).success();
    }
    // The validator tells right from wrong.
    let text = std::fs::read_to_string(&secret).unwrap();
    let wrong = shop.write("wrong.yaml", text.replace("stringData:", "stringDatum:"));
    let mut validate_wrong = tool("kubernetes-validate");
    validate_wrong.arg("--strict").arg(wrong);
    run(validate_wrong).failure();

    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert_eq!(documents.len(), 2, "one for each namespace");
    for (document, namespace) in documents.iter().zip(["market", "tigera-operator"]) {
        assert_eq!(document["metadata"]["namespace"], namespace);
        assert_eq!(document["metadata"]["name"], "my-credentials");
        validate("pull-secret", document).unwrap();
    }
    for (file, schema) in [
        ("registries.yaml", "registries-yaml"),
        ("openshift-idms.yaml", "openshift-idms"),
        ("openshift-itms.yaml", "openshift-itms"),
        ("imageset.yaml", "imageset"),
    ] {
        let text = std::fs::read_to_string(directory.join(file)).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        validate(schema, &document).unwrap_or_else(|error| panic!("{file}: {error}\n{text}"));
    }
    let set = std::fs::read_to_string(directory.join("imageset.yaml")).unwrap();
    let set: Value = serde_saphyr::from_str(&set).unwrap();
    assert_eq!(set["metadata"]["name"], "calico-v3.30.3");
    for listed in set["spec"]["images"].as_array().unwrap() {
        assert_eq!(listed["digest"], image.digest.to_string(), "{listed}");
    }
    assert_eq!(set["spec"]["images"].as_array().unwrap().len(), 5);
}
