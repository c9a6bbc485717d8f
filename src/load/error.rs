//! What can stop `load`.

use std::{io, path::PathBuf};

use crate::{
    bundle::BundleError,
    handoff::HandoffError,
    installation::InstallationError,
    oci::{Digest, Reference},
    open::OpenError,
    registry::RegistryError,
};

use super::{refusal::RefusalReason, relocation::RelocationError};

/// Why nothing was tagged.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The bundle is damaged inside.
    #[error("{error}")]
    Damaged {
        /// What is damaged.
        error: BundleError,
        /// An image that needs it.
        image: String,
        /// Blobs that were sent whole before.
        sent: u64,
        /// Blobs that were to be sent.
        of: u64,
    },
    /// The whole of a pipe cannot be read before the first request.
    #[error("--verify-first needs a file: what comes from a pipe can be read only once")]
    VerifyFirstNeedsFile,
    /// Two images would get one name.
    #[error("{} names would be used for two different images", .0.len())]
    Clash(Vec<Clash>),
    /// Tags exist with other images.
    #[error("{} at the destination with another image", crate::human::count(.0.len(), "tag exists", "tags exist"))]
    Conflict(Vec<Conflict>),
    /// A name cannot be used at the destination.
    #[error("{0}")]
    Relocation(#[from] RelocationError),
    /// The destination failed.
    #[error("{error}")]
    Destination {
        /// The image at hand.
        image: String,
        /// What failed.
        error: Box<RegistryError>,
    },
    /// The destination insists on every child of an index, and a smaller index is not allowed.
    #[error(
        "{destination} does not take an index of which only some platforms are there, and {reason}"
    )]
    SparseIndex {
        /// Where it was to go.
        destination: String,
        /// Why no smaller index was made.
        reason: &'static str,
        /// The destination's own words.
        error: Box<RegistryError>,
    },
    /// The destination refuses a manifest, for a reason that can be seen in it.
    #[error("{destination}: the registry refuses the image, {reason}")]
    Refused {
        /// Where it was to go.
        destination: String,
        /// The likely reason.
        reason: RefusalReason,
        /// The destination's own words.
        error: Box<RegistryError>,
    },
    /// The destination refuses a manifest because it does not have blobs that it took before.
    #[error(
        "{destination}: the registry does not have {} of the manifest, which it took before",
        crate::human::count(missing.len(), "blob", "blobs")
    )]
    BlobsMissing {
        /// Where it was to go.
        destination: String,
        /// The blobs.
        missing: Vec<Digest>,
        /// The destination's own words.
        error: Box<RegistryError>,
    },
    /// What was pushed does not come back.
    #[error("{destination}: the registry does not give back what was pushed: {detail}")]
    ReadBack {
        /// Where it went.
        destination: String,
        /// What is wrong.
        detail: String,
    },
    /// The hand-off is to go where something else is.
    #[error("{} {problem}", path.display())]
    HandoffDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// Files in it that would be lost.
        files: Vec<String>,
    },
    /// Nothing can be written where the hand-off is to go.
    #[error("{}: {error}", path.display())]
    HandoffWrite {
        /// What was written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The hand-off cannot be made, which was known before anything was sent.
    #[error("the hand-off cannot be made: {0}")]
    Handoff(HandoffFault),
    /// A registry that takes only whole blobs failed in the middle of one that came from a pipe.
    #[error("{error}; a blob that comes from a pipe cannot be sent again")]
    PipeOnce {
        /// What failed.
        error: Box<RegistryError>,
    },
}

/// Why there is no hand-off of a load that is done otherwise.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}the hand-off cannot be made: {fault}",
    if *.pushed { "everything was pushed, but " } else { "" }
)]
pub struct HandoffFailure {
    /// Whether everything is at the destination; not so in a rehearsal.
    pub pushed: bool,
    /// What failed.
    pub fault: HandoffFault,
}

/// Why a hand-off cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HandoffFault {
    /// It cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The directory was changed while the load went on.
    #[error("{} was changed meanwhile", path.display())]
    Changed {
        /// The directory.
        path: PathBuf,
        /// The files that were added or changed.
        files: Vec<String>,
    },
    /// A name or a setting cannot stand in it.
    #[error("{0}")]
    Names(#[from] HandoffError),
    /// A chart of the bundle cannot be read.
    #[error("the chart {chart} cannot be read: {reason}")]
    Chart {
        /// The chart.
        chart: String,
        /// Why.
        reason: String,
    },
    /// The destination does not give back a chart.
    #[error("{error}")]
    Destination {
        /// The chart.
        place: String,
        /// What failed.
        error: Box<RegistryError>,
    },
    /// Values of the bundle cannot be read.
    #[error("release {release}: {error}")]
    Values {
        /// The release.
        release: String,
        /// Why.
        error: InstallationError,
    },
    /// The bundle is damaged inside.
    #[error("{0}")]
    Damaged(BundleError),
}

impl HandoffFault {
    /// One line for each thing that is wrong, where there are several.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Changed { files, .. } => files.clone(),
            Self::Destination { place, .. } => vec![format!("for {place}")],
            _ => Vec::new(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { .. } => {
                Some("load again when it can be written: only what is missing is sent".into())
            }
            Self::Changed { .. } => Some(
                "move these files elsewhere, then load again: only what is missing is sent".into(),
            ),
            Self::Names(error) => error.hint(),
            Self::Chart { .. } | Self::Values { .. } => Some(
                "the bundle has to be made anew: what it holds for this release cannot be used"
                    .into(),
            ),
            Self::Destination { error, .. } => error.hint(),
            Self::Damaged(error) => error.hint(),
        }
    }
}

/// Two images that would get one name.
#[derive(Clone, Debug)]
pub struct Clash {
    /// The name.
    pub destination: String,
    /// The images.
    pub sources: Vec<(Reference, Digest)>,
}

/// A tag that exists with another image.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The tag's full name.
    pub destination: String,
    /// What it points to.
    pub present: Digest,
    /// What the bundle has for it.
    pub wanted: Digest,
}

impl LoadError {
    /// A document of the bundle cannot be read.
    pub(super) fn damaged(error: BundleError) -> Self {
        Self::Open(OpenError::Bundle {
            name: "the bundle".to_owned(),
            error,
        })
    }

    /// The destination's failure with one image.
    pub(super) fn at(image: &str) -> impl Fn(RegistryError) -> Self {
        let image = image.to_owned();
        move |error| Self::Destination {
            image: image.clone(),
            error: Box::new(error),
        }
    }

    /// One line for each thing that is wrong, where there are several.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Open(error) => error.details(),
            Self::Damaged {
                image, sent, of, ..
            } => vec![
                format!("it is part of {image}"),
                format!(
                    "nothing was tagged; {sent} of {of} blobs that were sent are complete and will \
                     not be sent again"
                ),
            ],
            Self::Clash(clashes) => clashes
                .iter()
                .flat_map(|clash| {
                    let sources = clash.sources.iter();
                    sources.map(|(from, digest)| {
                        format!("{}  from {from} ({})", clash.destination, digest.short())
                    })
                })
                .collect(),
            Self::Conflict(conflicts) => conflicts
                .iter()
                .map(|c| {
                    let (present, wanted) = (c.present.short(), c.wanted.short());
                    format!("{}  is {present}, the bundle has {wanted}", c.destination)
                })
                .collect(),
            Self::Destination { image, .. } if !image.is_empty() => vec![format!("for {image}")],
            Self::SparseIndex { error, .. } | Self::Refused { error, .. } => {
                vec![error.to_string()]
            }
            Self::BlobsMissing { missing, error, .. } => {
                let missing = missing.iter().map(|blob| format!("missing: {blob}"));
                std::iter::once(error.to_string()).chain(missing).collect()
            }
            Self::HandoffDirectory { files, .. } => files.clone(),
            Self::Handoff(fault) => fault.details(),
            _ => Vec::new(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) => error.hint(),
            Self::Damaged { error, .. } => error.hint(),
            Self::VerifyFirstNeedsFile => Some("write the stream to a file first".into()),
            Self::Clash(_) => Some(
                "keep more of the name (--layout host) or give one of them another (--map FROM=TO)"
                    .into(),
            ),
            Self::Conflict(_) => Some(
                "--on-conflict replace moves these tags, --on-conflict keep leaves them as they are"
                    .into(),
            ),
            Self::Relocation(_) => Some("--map FROM=TO gives it another name".into()),
            Self::Destination { error, .. } => error.hint(),
            Self::SparseIndex { .. } => Some(
                "in Distribution 3 set `validation.manifests.indexes.platforms: none` (version 2 has no such setting), \
                 or make the bundle with all platforms; where a tag names the image, a smaller index may stand in for \
                 it (--index auto)"
                    .into(),
            ),
            Self::Refused { reason, .. } => Some(reason.hint()),
            Self::BlobsMissing { .. } => Some(
                "load again: only what is missing is sent; if it happens again, the registry loses what it stores".into(),
            ),
            Self::ReadBack { .. } => {
                Some("the registry or something before it changes or loses content".into())
            }
            Self::HandoffDirectory { files, .. } if !files.is_empty() => {
                Some("move them elsewhere, or name another directory".into())
            }
            Self::HandoffDirectory { .. } => {
                Some("name a directory that does not exist, is empty, or is from an earlier load".into())
            }
            Self::HandoffWrite { .. } => None,
            Self::Handoff(fault) => fault.hint(),
            Self::PipeOnce { .. } => Some("load from a file: bundle load FILE".into()),
        }
    }
}
