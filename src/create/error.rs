//! What can stop `create`.

use std::{io, path::PathBuf};

use super::{ChartFault, ReferrerFault};
use crate::{
    bundle::BundleError,
    helm::{operators::CatalogueError, provenance::ProvenanceError, render::HelmError},
    oci::{Digest, DocumentError, Platform, Reference},
    registry::RegistryError,
    trust::TrustError,
};

/// Why no bundle was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Nothing was asked for.
    #[error("there is nothing to pack: no image and no file was named")]
    Nothing,
    /// Some references did not resolve. All of them are listed.
    #[error("{} of {total} images could not be resolved", failed.len())]
    Resolve {
        /// Those that failed.
        failed: Vec<(Reference, Unresolved)>,
        /// How many there were.
        total: usize,
    },
    /// Some charts cannot be carried. All of them are listed.
    #[error("{} of {total} charts cannot be carried", failed.len())]
    Charts {
        /// Charts or releases that failed.
        failed: Vec<(String, ChartFault)>,
        /// How many charts there were.
        total: usize,
    },
    /// What refers to some manifests is not known. Of each repository, one is listed.
    #[error("it could not be found out what signatures, attestations and the like there are")]
    Referrers {
        /// What was asked about.
        failed: Vec<(String, ReferrerFault)>,
    },
    /// There is no `helm` to render with.
    #[error("{0}")]
    Helm(HelmError),
    /// The keyring cannot be used.
    #[error("{0}")]
    Keyring(ProvenanceError),
    /// A catalogue of operators cannot be used.
    #[error("{0}")]
    Operators(CatalogueError),
    /// The lock does not fit the request.
    #[error("the lock does not fit what is asked for: {0}")]
    Lock(String),
    /// What was asked for makes a bundle that no reader takes.
    #[error("no reader takes such a bundle: {0}")]
    Unreadable(String),
    /// A blob could not be fetched.
    #[error("{reference}: {error}")]
    Fetch {
        /// An image that needs the blob.
        reference: String,
        /// What failed.
        error: RegistryError,
    },
    /// A registry delivers content that does not have its digest, again and again.
    #[error("{reference}: the registry's content for {digest} does not have this digest")]
    Content {
        /// An image that needs the blob.
        reference: String,
        /// The blob.
        digest: Digest,
    },
    /// A plain file cannot be carried.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The bundle cannot be put together.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// The key cannot sign.
    #[error("{0}")]
    Trust(#[from] TrustError),
    /// The output exists.
    #[error("{} exists", .0.display())]
    OutputExists(PathBuf),
    /// The output is something that is not replaced.
    #[error("{} is not a regular file", .0.display())]
    OutputKind(PathBuf),
    /// Another run writes the same output.
    #[error("another run is writing {}", .0.display())]
    Locked(PathBuf),
    /// The result does not fit.
    #[error("{}: the bundle needs {needed} bytes, {available} are free", path.display())]
    Space {
        /// The output.
        path: PathBuf,
        /// Bytes that it needs at least.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The file system cannot hold a file of this size.
    #[error("{}: the bundle needs {needed} bytes, but this file system (FAT) holds no file of 4 GiB or more", path.display())]
    FileTooLarge {
        /// The output.
        path: PathBuf,
        /// Bytes that it needs at least.
        needed: u64,
    },
    /// Writing failed.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
}

/// Why one reference did not resolve.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// The registry did not give it.
    #[error("{error}{}", spelled_alike(.near))]
    Registry {
        /// What the registry said.
        error: RegistryError,
        /// Tags that are spelled alike.
        near: Vec<String>,
    },
    /// A document cannot be carried.
    #[error("{digest}: {error}")]
    Document {
        /// The document.
        digest: Digest,
        /// Why.
        error: DocumentError,
    },
    /// The registry's content for a digest is something else.
    #[error("the registry's content for {0} does not have this digest")]
    Content(Digest),
    /// A platform was asked for that the image does not have.
    #[error("there is no image for {wanted}; there are: {}", list(.offered))]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        offered: Vec<Platform>,
    },
    /// Indexes nested too deeply.
    #[error("indexes are nested more than 8 deep")]
    Depth,
    /// The lock names another digest than the reference pins.
    #[error("the lock says {locked}, the registry has {found} now")]
    Moved {
        /// What the lock says.
        locked: Digest,
        /// What is there.
        found: Digest,
    },
}

fn spelled_alike(tags: &[String]) -> String {
    if tags.is_empty() {
        String::new()
    } else {
        format!(" (tags near it: {})", tags.join(", "))
    }
}

fn list(platforms: &[Platform]) -> String {
    platforms
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

impl CreateError {
    /// The failure to write `path`.
    pub(super) fn write(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Write { path, error }
    }

    /// One line for each thing that is wrong, where there are several.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Resolve { failed, .. } => failed
                .iter()
                .map(|(reference, why)| format!("{reference}  {why}"))
                .collect(),
            Self::Referrers { failed } => failed
                .iter()
                .map(|(subject, why)| format!("{subject}  {why}"))
                .collect(),
            Self::Charts { failed, .. } => failed
                .iter()
                .flat_map(|(chart, why)| {
                    let first = format!("{chart}  {why}");
                    std::iter::once(first).chain(why.details())
                })
                .collect(),
            Self::Trust(error) => error.details(),
            _ => Vec::new(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing => Some("--image REF, --images-from FILE or -f bundle.yaml".into()),
            Self::Resolve { failed, .. } => failed.iter().find_map(|(_, why)| match why {
                Unresolved::Registry { error, .. } => error.hint(),
                Unresolved::Platform { .. } => {
                    Some("choose other platforms for this image in bundle.yaml: {image: REF, platforms: [..]}".into())
                }
                Unresolved::Moved { .. } => Some(
                    "make the lock anew: bundle plan; an interrupted run that is gone on with: --no-resume"
                        .into(),
                ),
                Unresolved::Document { .. } | Unresolved::Content(_) | Unresolved::Depth => None,
            }),
            Self::Referrers { failed } => {
                let of_registry = failed.iter().find_map(|(_, why)| match why {
                    ReferrerFault::Registry(error) => error.hint(),
                    _ => None,
                });
                let without = "--no-referrers leaves all of them out, --referrer-type takes those of one type";
                Some(of_registry.map_or_else(|| without.to_owned(), |hint| format!("{hint}; {without}")))
            }
            Self::Charts { failed, .. } => failed.iter().find_map(|(_, why)| why.hint()),
            Self::Helm(error) => error.hint(),
            Self::Keyring(error) => error.hint(),
            Self::Operators(error) => error.hint(),
            Self::Lock(_) => Some(
                "make the lock anew: bundle plan; or leave it out: --no-lock; an interrupted run that is gone on with: --no-resume"
                    .into(),
            ),
            Self::Fetch { error, .. } => error.hint(),
            Self::Content { .. } => {
                Some("something between here and the registry changes what passes; try again".into())
            }
            Self::Bundle(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::OutputExists(_) => Some("--force replaces it".into()),
            Self::FileTooLarge { .. } => {
                Some("format the medium with exFAT, ext4 or NTFS, or make several bundles".into())
            }
            Self::Space { .. } => Some("make room or name another place with -o".into()),
            Self::Write { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                Some("make room and run the same command: it goes on where it stopped".into())
            }
            Self::Unreadable(_) => Some("make several bundles of it".into()),
            Self::File { .. } | Self::OutputKind(_) | Self::Locked(_) | Self::Write { .. } => None,
        }
    }
}
