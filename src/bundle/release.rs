//! A release: how a chart of the bundle is to be installed. Name, namespace, Kubernetes version and
//! values travel as an artifact whose subject is the chart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    lock::LockedFile,
    root::{RELEASE_TYPE, TITLE, artifact_descriptor, artifact_manifest},
};
use crate::oci::{Descriptor, canonical_json, canonical_json::CanonicalJsonError, media_type};

/// One release. Its canonical JSON is the first layer of its artifact; fields are in canonical
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// API versions that the cluster has beside those of its Kubernetes version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
    /// The chart's reference in the bundle.
    pub chart: String,
    /// Whether the chart's objects were searched for images.
    pub discover: Discover,
    /// The Kubernetes version that the chart was rendered for, where one was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_version: Option<String>,
    /// The release's name.
    pub name: String,
    /// The namespace that it is installed into.
    pub namespace: String,
    /// Values that are set on the other side, in the order of their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relocate: Vec<Setting>,
    /// Values files in the order in which they apply: the layers behind this document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<LockedFile>,
}

/// How the images of a chart were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Discover {
    /// By rendering the chart.
    #[default]
    Render,
    /// By rendering the chart with the hooks that test it.
    RenderWithTests,
    /// Not at all: they were listed.
    None,
}

/// A value that is set on the other side, when the registry is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The path of the value, with dots: `installer.registry`.
    pub path: String,
    /// The value; `{registry}`, `{imagePath}` and `{pullSecret}` stand for what is known then.
    pub value: String,
}

/// The artifact of a release.
#[derive(Clone, Debug)]
pub struct ReleaseArtifact {
    /// Its manifest's descriptor: what the root lists.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The content of the first layer.
    pub document: Vec<u8>,
}

impl Release {
    /// The artifact of this release of `chart`; the values files are layers too.
    ///
    /// # Errors
    /// When a size is beyond 2^53 - 1.
    pub fn artifact(&self, chart: &Descriptor) -> Result<ReleaseArtifact, CanonicalJsonError> {
        let document = canonical_json::to_vec(self)?;
        let mut layers = vec![Descriptor::of(RELEASE_TYPE, &document)];
        layers.extend(self.values.iter().map(|file| Descriptor {
            digest: file.digest,
            size: file.size,
            annotations: [(TITLE.to_owned(), file.name.clone())].into(),
            ..Descriptor::of(media_type::YAML, b"")
        }));
        let subject = Descriptor {
            digest: chart.digest,
            size: chart.size,
            ..Descriptor::of(&chart.media_type, b"")
        };
        let manifest = artifact_manifest(RELEASE_TYPE, &layers, Some(&subject))?;
        Ok(ReleaseArtifact {
            descriptor: artifact_descriptor(RELEASE_TYPE, &manifest),
            manifest,
            document,
        })
    }
}
