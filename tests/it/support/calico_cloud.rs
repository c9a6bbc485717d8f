//! A chart in the style of Tigera's `calico-cloud`, and the repository that has it.
//!
//! Like the original it is an installer: what it renders names three images, and the operator
//! that it installs pulls the others, which no template names.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sneakernet::oci::Digest;

use super::helm::ChartFiles;

/// The host of the repository.
pub const HOST: &str = "installer.calicocloud.io";
/// The version of the chart that belongs to Calico Cloud 3.16.1.
pub const VERSION: &str = "3.16.1+0";
/// The installer of that version: its tag is the version with `-g` for `+`.
pub const INSTALLER: &str =
    "us-docker.pkg.dev/tigera-prod-01/calico-cloud-public/cc-operator:3.16.1-g0";

/// The chart, in some version.
pub fn chart(version: &str) -> ChartFiles {
    let crds = ChartFiles::new("calico-cloud-crds", version).file(
        "crds/installers.yaml",
        include_str!("calico_cloud/installer-crd.yaml"),
    );
    let operator = ChartFiles::new("tigera-operator", "1.29.4")
        .file(
            "values.yaml",
            include_str!("calico_cloud/operator-values.yaml"),
        )
        .file(
            "templates/operator.yaml",
            include_str!("calico_cloud/operator.yaml"),
        );
    ChartFiles::new("calico-cloud", version)
        .metadata(&format!(
            "appVersion: v3.16.1\n\
             description: Installs Calico Cloud\n\
             dependencies:\n\
             - {{name: calico-cloud-crds, version: \"{version}\", repository: \"https://{HOST}/charts\"}}\n\
             - {{name: tigera-operator, version: 1.x, repository: \"https://{HOST}/charts\", \
                condition: tigera-operator.enabled}}\n"
        ))
        .file("values.yaml", include_str!("calico_cloud/values.yaml"))
        .file(
            "templates/_helpers.tpl",
            include_str!("calico_cloud/helpers.tpl"),
        )
        .file(
            "templates/deployment.yaml",
            include_str!("calico_cloud/deployment.yaml"),
        )
        .file(
            "templates/secret.yaml",
            include_str!("calico_cloud/secret.yaml"),
        )
        .file(
            "templates/installer.yaml",
            include_str!("calico_cloud/installer.yaml"),
        )
        .file(
            "templates/uninstall.yaml",
            include_str!("calico_cloud/uninstall.yaml"),
        )
        .subchart(&crds)
        .subchart(&operator)
}

/// What the repository serves, by path: archives, and the index with their digests and with URLs
/// that are relative to it.
pub fn repository() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut entries: Vec<Value> = Vec::new();
    for version in ["3.17.0-1.0", VERSION, "3.15.1+2"] {
        let chart = chart(version);
        let archive = chart.archive();
        let digest = Digest::sha256_of(&archive).to_string();
        entries.push(json!({
            "apiVersion": "v2",
            "name": "calico-cloud",
            "version": version,
            "appVersion": "v3.16.1",
            "created": "2023-04-05T06:07:08Z",
            "digest": digest.trim_start_matches("sha256:"),
            "urls": [chart.archive_name()],
        }));
        files.insert(format!("/charts/{}", chart.archive_name()), archive);
    }
    let index = json!({"apiVersion": "v1", "entries": {"calico-cloud": entries}});
    // JSON is YAML, too.
    let index = serde_json::to_vec_pretty(&index).expect("JSON");
    files.insert("/charts/index.yaml".to_owned(), index);
    files
}
