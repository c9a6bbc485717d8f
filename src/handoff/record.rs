//! `handoff.json`: what a hand-off is about, for `bundle check` and other programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bundle::{API_VERSION, Name, Release},
    oci::Digest,
};

/// The name of the file.
pub const RECORD_FILE: &str = "handoff.json";
/// Largest record that is read, in bytes.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;
/// The value of `kind`.
const KIND: &str = "Handoff";

/// What a hand-off is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Always `sneakernet/v1`.
    pub api_version: String,
    /// Always `Handoff`.
    pub kind: String,
    /// Name and version of the bundle.
    pub bundle: Name,
    /// Digest of its root.
    pub root: Digest,
    /// The registry that the content is in: `HOST[:PORT][/PREFIX]`.
    pub destination: String,
    /// Hosts whose images nodes find by the names from before, if they are told of the mirror.
    pub mirrored_hosts: Vec<String>,
    /// The images.
    pub images: Vec<RecordedImage>,
    /// The releases, in the order of their installation.
    pub releases: Vec<RecordedRelease>,
    /// Whether the releases were rendered and checked when this was written.
    pub checked: bool,
    /// Images that releases name as before, so that only a mirror brings them to nodes; known where
    /// the releases were checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_by_mirror: Vec<OnlyByMirror>,
    /// All other files of the hand-off, sorted by path, so that what a user has added or changed is
    /// told from what may be replaced.
    pub files: Vec<RecordedFile>,
}

/// A file of the hand-off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedFile {
    /// Its path below the directory of the record.
    pub path: String,
    /// The digest of its content.
    pub digest: Digest,
}

/// An image that nodes find through a mirror and not otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnlyByMirror {
    /// Its name, as the rendered chart has it.
    pub image: String,
    /// Its name at the destination.
    pub destination: String,
    /// The release.
    pub release: String,
    /// Objects and fields that name it.
    pub places: Vec<String>,
}

/// An image and where it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedImage {
    /// The name that it had.
    pub source: String,
    /// The repository that it is in now.
    pub repository: String,
    /// The digest that it has there.
    pub digest: Digest,
}

/// A release and where its parts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedRelease {
    /// What the bundle says of it.
    pub release: Release,
    /// The repository that its chart is in now.
    pub repository: String,
    /// The digest of the chart's manifest.
    pub chart: Digest,
    /// The digest of the chart's archive.
    pub archive: Digest,
    /// The size of the chart's archive in bytes.
    pub archive_size: u64,
    /// Values files, below the directory of the record, in the order in which they apply.
    pub values: Vec<String>,
    /// The overlay, below the directory of the record.
    pub overlay: String,
}

/// Why a text is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON of a record.
    #[error("not as prescribed: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of document.
    #[error("not a hand-off of `{API_VERSION}`")]
    Kind,
    /// A path that leads out of the directory.
    #[error("`{0}` is not a path in the hand-off")]
    Path(String),
}

impl Record {
    /// `kind` and `apiVersion`.
    pub fn heading() -> (String, String) {
        (API_VERSION.to_owned(), KIND.to_owned())
    }

    /// The file's content.
    ///
    /// # Errors
    /// Never, as far as known: every field is one of JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When it is none, or names a file outside of its directory.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes)?;
        if (record.api_version.clone(), record.kind.clone()) != Self::heading() {
            return Err(RecordError::Kind);
        }
        let releases = record.releases.iter();
        let paths: Vec<&String> = releases
            .flat_map(|r| r.values.iter().chain([&r.overlay]))
            .chain(record.files.iter().map(|file| &file.path))
            .collect();
        let outside = |path: &&&String| {
            let bad = |part: &str| matches!(part, "" | "." | "..");
            path.split('/').any(bad) || path.contains(['\\', '\0'])
        };
        if let Some(path) = paths.iter().find(outside) {
            return Err(RecordError::Path(path.chars().take(120).collect()));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Discover;

    #[test]
    fn a_record_round_trips_and_stays_in_its_directory() {
        let (api_version, kind) = Record::heading();
        let digest = Digest::sha256_of(b"x");
        let mut record = Record {
            api_version,
            kind,
            bundle: Name {
                name: "demo".into(),
                version: "1".into(),
            },
            root: digest,
            destination: "registry.local:5000".into(),
            mirrored_hosts: vec!["quay.io".into()],
            images: vec![RecordedImage {
                source: "quay.io/a/b:1".into(),
                repository: "registry.local:5000/a/b".into(),
                digest,
            }],
            releases: vec![RecordedRelease {
                release: Release {
                    api_versions: vec![],
                    chart: "localhost/demo:1".into(),
                    discover: Discover::Render,
                    kube_version: None,
                    name: "demo".into(),
                    namespace: "default".into(),
                    relocate: vec![],
                    values: vec![],
                },
                repository: "registry.local:5000/charts/demo".into(),
                chart: digest,
                archive: digest,
                archive_size: 1,
                values: vec!["values/demo/values.yaml".into()],
                overlay: "values-demo.yaml".into(),
            }],
            checked: true,
            only_by_mirror: vec![OnlyByMirror {
                image: "quay.io/a/b:1".into(),
                destination: "registry.local:5000/a/b:1".into(),
                release: "demo".into(),
                places: vec!["Pod/x spec.containers[0].image".into()],
            }],
            files: vec![RecordedFile {
                path: "INSTALL.md".into(),
                digest,
            }],
        };
        let bytes = record.to_bytes().unwrap();
        assert_eq!(Record::parse(&bytes).unwrap(), record);
        for outside in ["../x", "/etc/passwd", "a//b", "a/../../b", ".", ""] {
            record.releases[0].values = vec![outside.into()];
            let bytes = record.to_bytes().unwrap();
            assert!(Record::parse(&bytes).is_err(), "{outside:?}");
        }
        record.releases[0].values.clear();
        record.files[0].path = "../INSTALL.md".into();
        assert!(Record::parse(&record.to_bytes().unwrap()).is_err());
        assert!(Record::parse(b"{}").is_err());
    }
}
