//! What every source of charts gives, and what can go wrong with it.

use bytes::Bytes;

use super::{oci::ChartArtifact, version::VersionError};
use crate::{oci::Digest, registry::RegistryError};

/// Largest chart archive, in bytes.
pub const MAX_ARCHIVE_BYTES: usize = 64 << 20;
/// Largest provenance file, in bytes.
pub const MAX_PROVENANCE_BYTES: usize = 4 << 20;

/// A chart as its publisher packed it. The archive has not been looked into.
#[derive(Clone, Debug)]
pub struct FetchedChart {
    /// Its name, as the source knows it.
    pub name: String,
    /// Its version, as the source writes it.
    pub version: String,
    /// The archive (`.tgz`), unchanged.
    pub archive: Bytes,
    /// The provenance file (`.prov`), unchanged and not verified.
    pub provenance: Option<Bytes>,
    /// Where it came from: the address of the archive without its query, or the full reference
    /// (`oci://…`).
    pub source: String,
    /// What the index of a classic repository says about the digest of the archive.
    pub index_digest: IndexDigest,
    /// The artifact that it came in, if it came from a registry.
    pub artifact: Option<ChartArtifact>,
    /// Whether its publisher advises against it, as far as the source says.
    pub deprecated: bool,
    /// What is to be shown to the user, a sentence each.
    pub notes: Vec<String>,
}

/// The digest that the index of a classic repository gives for an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexDigest {
    /// There is no index: the chart came straight from a registry, where everything has its digest.
    NoIndex,
    /// The index gives none.
    Missing,
    /// It is that of the archive.
    Matches(Digest),
    /// It is another, and that was permitted.
    Mismatch {
        /// The digest in the index.
        expected: Digest,
        /// The digest of the archive.
        actual: Digest,
    },
    /// It is none that can be compared, and that was permitted.
    Unreadable(String),
}

impl FetchedChart {
    /// Notes, and says once, that the publisher advises against the chart.
    pub(super) fn set_deprecated(&mut self, deprecated: bool) {
        if deprecated && !self.deprecated {
            self.deprecated = true;
            let note = "its publisher has marked the chart as deprecated";
            self.notes.push(note.to_owned());
        }
    }
}

/// Why a chart cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address of a repository or chart is none.
    #[error("`{text}` is not the address of a chart {what}: {detail}")]
    Address {
        /// The address, clipped.
        text: String,
        /// `repository` or `registry`.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// The version that was asked for is neither a version nor a constraint.
    #[error("chart `{name}`: {source}")]
    Version {
        /// The chart.
        name: String,
        /// What is wrong with it.
        source: VersionError,
    },
    /// A server failed or refused.
    #[error("chart `{name}`: {source}")]
    Registry {
        /// The chart.
        name: String,
        /// What happened.
        source: Box<RegistryError>,
        /// Whether a credential was kept back, because the index names a server of another origin.
        withheld: bool,
        /// Whether it was a classic repository.
        classic: bool,
    },
    /// What lies at `index.yaml` is no index.
    #[error("{place}/index.yaml is not the index of a chart repository: {detail}{}", at(*line, *column))]
    Index {
        /// The repository.
        place: String,
        /// From one; zero when unknown.
        line: u64,
        /// From one; zero when unknown.
        column: u64,
        /// What is wrong.
        detail: String,
    },
    /// No such chart.
    #[error("{place} has no chart `{name}`")]
    UnknownChart {
        /// The repository or registry.
        place: String,
        /// The name that was asked for.
        name: String,
        /// Charts with similar names.
        near: Vec<String>,
    },
    /// The chart is there, but not in this version.
    #[error("chart `{name}` in {place} has no version `{wanted}`")]
    UnknownVersion {
        /// The repository or registry.
        place: String,
        /// The chart.
        name: String,
        /// The version or constraint that was asked for.
        wanted: String,
        /// Versions that may have been meant.
        near: Vec<String>,
    },
    /// No version was asked for, and there are only pre-releases, or none at all.
    #[error("chart `{name}` in {place} has no stable version")]
    NoStableVersion {
        /// The repository or registry.
        place: String,
        /// The chart.
        name: String,
        /// Its newest versions.
        near: Vec<String>,
    },
    /// An entry of an index cannot be followed.
    #[error("chart `{name}` {version} in {place}: {detail}")]
    Entry {
        /// The repository.
        place: String,
        /// The chart.
        name: String,
        /// Its version.
        version: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The archive does not have the digest that the index gives.
    #[error(
        "chart `{name}` {version}: the archive at {archive} has digest {actual}, but the index says {expected}"
    )]
    IndexDigest {
        /// The chart.
        name: String,
        /// Its version.
        version: String,
        /// Where the archive is.
        archive: String,
        /// What the index says, clipped.
        expected: String,
        /// The digest of the archive.
        actual: Box<Digest>,
    },
    /// What was fetched is no archive.
    #[error("chart `{name}` {version}: what is at {archive} is not a chart archive: {detail}")]
    NotAnArchive {
        /// The chart.
        name: String,
        /// Its version.
        version: String,
        /// Where it came from.
        archive: String,
        /// What it looks like.
        detail: &'static str,
    },
    /// The artifact in the registry is no chart.
    #[error("{reference} is not a Helm chart: {detail}")]
    NotAChart {
        /// The artifact.
        reference: String,
        /// What it is.
        detail: String,
    },
    /// The registry's content never has its digest.
    #[error("{reference}: blob {digest} is damaged at the registry")]
    Damaged {
        /// The artifact.
        reference: String,
        /// The digest that it should have.
        digest: Digest,
    },
}

impl SourceError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let meant = |near: &[String], otherwise: &str| match near {
            [] => Some(otherwise.to_owned()),
            near => Some(format!("there are: {}", near.join(", "))),
        };
        match self {
            Self::Address { what: "registry", .. } => {
                Some("charts in registries are written oci://HOST[:PORT]/PATH/NAME".to_owned())
            }
            Self::Address { .. } => Some(
                "give the address that has the index.yaml below it, for example https://HOST/charts"
                    .to_owned(),
            ),
            Self::Version { source, .. } => source.hint(),
            Self::Registry {
                source,
                withheld: true,
                ..
            } if source.is_denied() => Some(
                "the archive is on another server than the index, which is not shown the credentials of the \
                 repository; --pass-credentials shows them (`passCredentials: true` in bundle.yaml)"
                    .to_owned(),
            ),
            Self::Registry {
                source,
                classic: true,
                ..
            } if source.is_denied() => Some(
                "give the user name and the password of the repository, or keep them in the credentials file \
                 under its host name"
                    .to_owned(),
            ),
            Self::Registry {
                source,
                classic: true,
                ..
            } if source.is_not_found() => {
                Some("check the address: it has the index.yaml of the repository below it".to_owned())
            }
            Self::Registry { source, .. } => source.hint(),
            Self::Index { .. } => {
                Some("check the address: it has the index.yaml of the repository below it".to_owned())
            }
            Self::UnknownChart { near, .. } => {
                meant(near, "check the name and the address of the repository")
            }
            Self::UnknownVersion { near, .. } => meant(near, "no other version was found; check name, version and digest"),
            Self::NoStableVersion { near, .. } => match near.as_slice() {
                [] => Some("there is no version at all".to_owned()),
                near => Some(format!("name a pre-release: {}", near.join(", "))),
            },
            Self::IndexDigest { .. } => Some(
                "the archive or the index was changed since: ask the publisher; or, once you have looked at the \
                 archive, take it: --allow-digest-mismatch (`allowDigestMismatch: true` in bundle.yaml)"
                    .to_owned(),
            ),
            Self::NotAChart { .. } => {
                Some("container images are named as images, not as charts".to_owned())
            }
            Self::Entry { .. } | Self::NotAnArchive { .. } | Self::Damaged { .. } => {
                Some("ask the publisher of the chart".to_owned())
            }
        }
    }
}

fn at(line: u64, column: u64) -> String {
    match line {
        0 => String::new(),
        line => format!(" (line {line}, column {column})"),
    }
}

/// Foreign text, short and on one line.
pub(super) fn clip(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(200).map(clean).collect()
}

/// Refuses what cannot be a gzip file, with what it seems to be instead.
pub(super) fn looks_like_archive(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Ok(()),
        [] => Err("nothing"),
        _ if bytes.trim_ascii_start().starts_with(b"<") => Err("a web page"),
        _ if bytes.starts_with(b"version https://git-lfs") => Err("a pointer to a file in Git LFS"),
        _ => Err("no gzip file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_enough_to_be_passed_around() {
        assert!(
            size_of::<SourceError>() <= 128,
            "{}",
            size_of::<SourceError>()
        );
    }
}
