//! The lock: what was asked for, what it resolved to, who asked for it, and what was left out.
//!
//! It is an artifact in every bundle and the file `bundle.lock` beside a bundle.yaml; both are the
//! same canonical JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{lock_rules, release::Release};
use crate::oci::{Digest, Platform, canonical_json, canonical_json::CanonicalJsonError};

/// `apiVersion` of the documents of this format.
pub const API_VERSION: &str = "sneakernet/v1";

/// Everything that decides what a bundle holds. Here and below, fields are in canonical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lock {
    /// What the images refer to and the bundle does not hold, sorted by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Always `sneakernet/v1`.
    pub api_version: String,
    /// The charts, sorted by reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<LockedChart>,
    /// When the references were resolved: RFC 3339, UTC, whole seconds.
    pub created: String,
    /// Plain files, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<LockedFile>,
    /// The images and artifacts, sorted by reference.
    pub images: Vec<LockedImage>,
    /// Always `Lock`.
    pub kind: String,
    /// Name and version of the bundle.
    pub metadata: Metadata,
    /// Platforms that were chosen for all images; empty means all that each image has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Types of referrers (signatures, attestations, SBOMs) that were chosen to come along, sorted;
    /// empty means that none were looked for, none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer_types: Option<Vec<String>>,
    /// How the charts are to be installed, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
}

/// Name and version of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// `[A-Za-z0-9][A-Za-z0-9._+-]{0,62}`.
    pub version: String,
}

/// One image or artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedImage {
    /// How the user wrote it.
    pub as_written: String,
    /// Bytes of all content that the bundle holds for it, what it shares with others included.
    pub content_size: u64,
    /// Digest of its manifest or index.
    pub digest: Digest,
    /// Media type of its manifest or index, as the registry gave it.
    pub media_type: String,
    /// The platforms that the bundle holds of it; empty where the image does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The full reference, for example `docker.io/library/alpine:3.12.1`.
    pub reference: String,
    /// Who asked for it.
    pub requested_by: Vec<Origin>,
    /// Platforms chosen for this image alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_platforms: Vec<Platform>,
    /// Size of its manifest or index in bytes.
    pub size: u64,
}

impl LockedImage {
    /// Whether nobody asked for it but what it refers to.
    pub fn is_only_referrer(&self) -> bool {
        let mut origins = self.requested_by.iter();
        origins.all(|origin| matches!(origin, Origin::Referrer { .. }))
    }
}

/// One Helm chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedChart {
    /// The version of what it installs, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// The packaged chart, byte for byte as its publisher made it.
    pub archive: LockedFile,
    /// Bytes of all content that the bundle holds for it.
    pub content_size: u64,
    /// Dependencies that were fetched to package a directory, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<FetchedDependency>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Media type of its manifest.
    pub media_type: String,
    /// Its name.
    pub name: String,
    /// Who signed it, where its provenance was verified with a keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    /// Its reference in the bundle; `+` in a version is `_` in a tag, as Helm has it.
    pub reference: String,
    /// Who asked for it.
    pub requested_by: Vec<Origin>,
    /// Size of its manifest in bytes.
    pub size: u64,
    /// Where it came from: a repository's URL, `oci://…`, or the name of a file or directory.
    pub source: String,
    /// What its repository's index says of the archive's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<SourceDigest>,
    /// Its version, as its publisher wrote it.
    pub version: String,
}

/// What an index.yaml says of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum SourceDigest {
    /// The one that the archive has.
    Match,
    /// Another one; the user accepted that.
    Mismatch {
        /// What the index says.
        said: String,
    },
    /// Nothing.
    Missing,
}

/// A dependency that was not in the chart's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchedDependency {
    /// Digest of its archive.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// Where it was fetched.
    pub repository: String,
    /// Its version, as its publisher wrote it.
    pub version: String,
}

/// A plain file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedFile {
    /// Digest of its content.
    pub digest: Digest,
    /// Name under which it is carried.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
}

/// Where an image was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Origin {
    /// On the command line.
    Argument,
    /// In a file.
    File {
        /// The line, from 1.
        line: u32,
        /// The file, as it was named.
        path: String,
    },
    /// In an object that a chart makes.
    Rendered {
        /// The object: `Deployment/NAMESPACE/NAME`.
        object: String,
        /// The field in it: `spec.template.spec.containers[0].image`.
        path: String,
        /// The release.
        release: String,
        /// The template that makes the object.
        template: String,
    },
    /// In a chart's values, annotations or `Images.lock`; taken along because the user asked for it.
    Suggested {
        /// Where: `values.yaml image.repository`.
        path: String,
        /// The release.
        release: String,
    },
    /// In the list of what an operator runs.
    Operator {
        /// The operator's image.
        operator: String,
        /// The catalogue that has the list.
        path: String,
    },
    /// At the source, where it refers to something that is in the bundle.
    Referrer {
        /// What it refers to: `quay.io/team/app@sha256:…`.
        subject: String,
    },
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Argument => f.write_str("argument"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Rendered {
                object,
                path,
                release,
                ..
            } => write!(f, "release {release} {object} {path}"),
            Self::Suggested { path, release } => write!(f, "release {release} {path}"),
            Self::Operator { operator, path } => write!(f, "{path} for {operator}"),
            Self::Referrer { subject } => write!(f, "refers to {}", short_subject(subject)),
        }
    }
}

/// Twelve digits of a digest tell people which it is.
fn short_subject(subject: &str) -> &str {
    let digits = subject.rfind(':').map(|colon| colon + 1 + 12);
    digits.and_then(|end| subject.get(..end)).unwrap_or(subject)
}

/// Content that is referred to and not in the bundle, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Absent {
    /// Digest of what is absent; what only it refers to is absent too.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// The platform that it is for, where the index says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Why.
    pub reason: AbsentReason,
    /// Its size in bytes.
    pub size: u64,
    /// Where a foreign layer can be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// Why something was left out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum AbsentReason {
    /// It is for a platform that was not chosen.
    Platform,
    /// It is a foreign (non-distributable) layer.
    Foreign,
}

/// Why bytes are not a lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not JSON of a lock.
    #[error("the lock is not as prescribed: {0}")]
    Shape(#[from] serde_json::Error),
    /// Not canonical.
    #[error("the lock is not canonical: {0}")]
    Canonical(#[from] CanonicalJsonError),
    /// Another kind of document or a later version.
    #[error("this is `{0}`, not a lock of `{API_VERSION}`")]
    Kind(String),
    /// The name of a release or a namespace that is none.
    #[error("`{0}` is not the name of a release or a namespace")]
    Name(String),
    /// The name of a file that no file can have.
    #[error("`{0}` is not a name for a file")]
    File(String),
    /// A chart whose archive has another name than Helm gives it.
    #[error("the archive of the chart {0} does not have its name and version")]
    Archive(String),
    /// Nobody is named who asked for it.
    #[error("the lock does not say who asked for {0}")]
    Unasked(String),
    /// Types of referrers that nobody can choose.
    #[error("the lock's types of referrers have an empty one")]
    ReferrerType,
    /// More releases than a bundle may have.
    #[error("the lock lists more than 1000 releases")]
    TooManyReleases,
    /// Values that are larger than a reader has to take.
    #[error(
        "the values files of the release `{0}` are too large: one may have 4 MiB, and those of all releases together 64 MiB"
    )]
    Values(String),
    /// More files than one artifact can hold.
    #[error("the lock lists more files than one artifact can hold")]
    TooMany,
    /// Not in the prescribed order.
    #[error("the lock's {0} are not in order, or one is there twice")]
    Order(&'static str),
}

impl Lock {
    /// The canonical bytes.
    ///
    /// # Errors
    /// When a size is beyond 2^53 - 1.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalJsonError> {
        canonical_json::to_vec(self)
    }

    /// Reads a lock.
    ///
    /// # Errors
    /// When it is not canonical, of another version, or not in order.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockError> {
        let lock: Self = canonical_json::from_slice(bytes)?;
        if lock.api_version != API_VERSION || lock.kind != "Lock" {
            let shown = format!("{} {}", lock.api_version, lock.kind);
            return Err(LockError::Kind(shown.chars().take(80).collect()));
        }
        lock_rules::check(&lock)?;
        if lock.to_bytes()? != bytes {
            return Err(LockError::Canonical(CanonicalJsonError::NotCanonical));
        }
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_round_trips_and_nothing_may_be_added() {
        let lock = Lock {
            api_version: API_VERSION.into(),
            kind: "Lock".into(),
            metadata: Metadata {
                name: "sample".into(),
                version: "1".into(),
            },
            created: "2026-11-23T04:10:00Z".into(),
            platforms: vec!["linux/amd64".parse().unwrap()],
            images: vec![LockedImage {
                reference: "docker.io/library/alpine:3".into(),
                as_written: "alpine:3".into(),
                media_type: "application/vnd.oci.image.index.v1+json".into(),
                digest: Digest::sha256_of(b"x"),
                size: 1,
                content_size: 100,
                platforms: vec![],
                requested_platforms: vec![],
                requested_by: vec![
                    Origin::Argument,
                    Origin::File {
                        path: "a".into(),
                        line: 3,
                    },
                ],
            }],
            files: vec![],
            charts: vec![],
            referrer_types: None,
            releases: vec![],
            absent: vec![],
        };
        let bytes = lock.to_bytes().unwrap();
        assert_eq!(Lock::parse(&bytes).unwrap(), lock);
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            (r#""kind":"Lock""#, r#""kind":"Lock","zzz":1"#),
            (r#""kind":"Lock""#, r#""kind":"Rock""#),
            ("sneakernet/v1", "sneakernet/v2"),
            (r#""absent":[],"#, ""),
            (r#"{"apiVersion""#, r#"{"absent":[],"apiVersion""#),
        ] {
            let changed = text.replacen(from, to, 1);
            assert!(
                changed == text || Lock::parse(changed.as_bytes()).is_err(),
                "{to}"
            );
        }
    }
}
