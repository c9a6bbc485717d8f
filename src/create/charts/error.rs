//! What can be wrong with a chart.

use std::io;

use crate::{
    handoff::HandoffError,
    helm::{
        chart::ChartError, package::PackageError, provenance::ProvenanceError, source::SourceError,
    },
    installation::InstallationError,
    oci::Digest,
};

/// Why one chart cannot be carried.
#[derive(Debug, thiserror::Error)]
pub enum ChartFault {
    /// Its source did not give it.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// What is on this machine is no chart that can be carried.
    #[error("{0}")]
    Chart(#[from] ChartError),
    /// What its repository or registry gave is none, or is another one.
    #[error("{0}")]
    Foreign(ChartError),
    /// A directory cannot be packaged.
    #[error("{0}")]
    Package(#[from] PackageError),
    /// A file cannot be read.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// It declares dependencies that it does not hold.
    #[error("the chart declares dependencies that are not in it: {}", .0.join(", "))]
    Dependencies(Vec<String>),
    /// A dependency cannot be fetched.
    #[error("{0}")]
    Dependency(String),
    /// It has another version.
    #[error("its version is {found}, `{wanted}` was asked for")]
    Version {
        /// What was asked for.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// It cannot have a name in the bundle.
    #[error("{0}")]
    Name(String),
    /// Another chart has its name and version.
    #[error(
        "{chart} comes from {other} too, with other content: inside, only one can have this name"
    )]
    SameName {
        /// Name and version.
        chart: String,
        /// Where the other one comes from.
        other: String,
    },
    /// The release cannot be called so.
    #[error("{0}")]
    Release(String),
    /// The lock does not know it.
    #[error("it is not in the lock, or its version is not")]
    NotLocked,
    /// The lock knows other content.
    #[error("version {version} was {}, is {} now", locked.short(), found.short())]
    Moved {
        /// The version.
        version: String,
        /// Digest of the archive in the lock.
        locked: Digest,
        /// Digest of what is there.
        found: Digest,
    },
    /// It was to be signed and is not.
    #[error("it has no provenance, and --keyring asks for one")]
    NoProvenance,
    /// Its provenance is not good.
    #[error("{0}")]
    Provenance(#[from] ProvenanceError),
    /// Its values cannot be used.
    #[error("{file}: {message}")]
    Values {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// Its directory holds what looks like it should stay.
    #[error("its directory holds files that look as if they should not leave this machine")]
    PrivateFiles(Vec<String>),
    /// Its values hold what looks like secrets.
    #[error("its values hold what looks like secrets, which would leave with the medium")]
    Secrets(Vec<String>),
    /// Lists of what it suggests cannot be read.
    #[error("lists of suggested images cannot be read, and --include-suggested wants all of them")]
    Unreadable(Vec<String>),
    /// An image with gaps cannot be filled in.
    #[error("{0}")]
    Image(String),
    /// It does not render.
    #[error("{0}")]
    Installation(#[from] InstallationError),
    /// Its values for another registry cannot be made.
    #[error("{0}")]
    Handoff(#[from] HandoffError),
}

impl ChartFault {
    /// Particulars, one a line.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Secrets(fields) | Self::PrivateFiles(fields) | Self::Unreadable(fields) => {
                fields.clone()
            }
            _ => Vec::new(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Source(error) => return error.hint(),
            Self::Chart(error) | Self::Foreign(error) => return error.hint(),
            Self::Package(error) => return error.hint(),
            Self::Provenance(error) => return error.hint(),
            Self::Installation(error) => return error.hint(),
            Self::Handoff(error) => return error.hint(),
            Self::Dependencies(_) => {
                "`helm install` refuses such a chart: ask its publisher for a complete archive, or give its unpacked directory, whose dependencies are fetched"
            }
            Self::NotLocked | Self::Moved { .. } => {
                "make the lock anew: bundle plan; or leave it out: --no-lock; an interrupted run that is gone on with: --no-resume"
            }
            Self::NoProvenance => "leave --keyring out, or ask the chart's publisher to sign it",
            Self::PrivateFiles(_) => {
                "list them in the chart's .helmignore, or take them along: --allow-secrets"
            }
            Self::Secrets(_) => {
                "leave them out and set them inside with another values file, or list the fields in `allowSecrets` of bundle.yaml (--allow-secrets=FIELD), or take all: --allow-secrets"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether it is the source's fault, and not that of what was asked for.
    pub fn is_of_source(&self) -> bool {
        match self {
            Self::Source(SourceError::Address { .. } | SourceError::Version { .. }) => false,
            Self::Source(_)
            | Self::Foreign(_)
            | Self::Moved { .. }
            | Self::NoProvenance
            | Self::Provenance(_) => true,
            _ => false,
        }
    }
}
