//! Manifests for the cluster: the pull secret, and the mirror sets of OpenShift.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{HandoffError, HandoffFile, Input, mirrors::Mirrors, text, yaml};

/// All manifests.
pub(super) fn files(
    input: &Input<'_>,
    mirrors: &Mirrors,
) -> Result<Vec<HandoffFile>, HandoffError> {
    let mut files = vec![text("pull-secret.yaml".to_owned(), pull_secret(input))];
    for (file, kind, key, only_tagged) in [
        (
            "openshift-idms.yaml",
            "ImageDigestMirrorSet",
            "imageDigestMirrors",
            false,
        ),
        (
            "openshift-itms.yaml",
            "ImageTagMirrorSet",
            "imageTagMirrors",
            true,
        ),
    ] {
        let rules = mirror_rules(mirrors, only_tagged);
        if !rules.is_empty() {
            files.push(text(file.to_owned(), mirror_set(input, kind, key, &rules)));
        }
    }
    Ok(files)
}

/// The namespaces that charts are installed into.
pub(super) fn namespaces<'a>(input: &Input<'a>) -> BTreeSet<&'a str> {
    let of_charts: BTreeSet<&str> = input
        .charts
        .iter()
        .map(|chart| chart.namespace.as_str())
        .collect();
    if of_charts.is_empty() {
        BTreeSet::from(["default"])
    } else {
        of_charts
    }
}

/// A secret that is valid and holds no credentials: a registry without a user.
fn pull_secret(input: &Input<'_>) -> String {
    let empty = json!({"auths": {input.to.host: {}}}).to_string();
    let mut page = "# The pull secret, without credentials: INSTALL.md says how it gets them.\n\
                    # Applied again later, this takes the credentials away.\n"
        .to_owned();
    for namespace in namespaces(input) {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": input.pull_secret, "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": empty},
        });
        page.push_str("---\n");
        page.push_str(&yaml::document(&object));
    }
    page
}

/// One rule for each repository: these objects are for the whole cluster, which has other images
/// of the same hosts.
fn mirror_rules(mirrors: &Mirrors, only_tagged: bool) -> Vec<Value> {
    let mut rules = Vec::new();
    for (host, mirror) in &mirrors.hosts {
        for (path, place) in &mirror.repositories {
            let source = format!("{host}/{path}");
            if only_tagged && !mirrors.tagged.contains(&source) {
                continue;
            }
            rules.push(json!({
                "source": source,
                "mirrors": [place.to_string()],
                "mirrorSourcePolicy": "NeverContactSource",
            }));
        }
    }
    rules
}

/// See the OpenShift API reference, `config.openshift.io/v1`.
fn mirror_set(input: &Input<'_>, kind: &str, key: &str, rules: &[Value]) -> String {
    let object = json!({
        "apiVersion": "config.openshift.io/v1",
        "kind": kind,
        "metadata": {"name": object_name(input)},
        "spec": {key: rules},
    });
    yaml::document(&object)
}

/// A name for an object from the name of the bundle, which may be anything.
fn object_name(input: &Input<'_>) -> String {
    let lower = input.bundle.name.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let name: String = words.join("-").chars().take(200).collect();
    match name.trim_end_matches('-') {
        "" => "bundle".to_owned(),
        name => name.to_owned(),
    }
}
