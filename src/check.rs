//! `check`: whether an installation finds all its images inside the gap.
//!
//! Each chart is rendered as it will be installed, with the values and the overlay of the hand-off.
//! Every image that the result names must be at the destination, or be found there by a mirror, with
//! the digest that the bundle's lock has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt as _, stream};

use crate::{
    bundle::Discover,
    helm::{discover::Place, render::Helm},
    installation::{Installation, InstallationError},
    oci::{Digest, Reference, Repository, TagOrDigest},
    registry::{Client, RegistryError},
};

/// Images that are looked for at the same time.
const CONCURRENCY: usize = 8;

/// What a load has brought.
#[derive(Debug, Default)]
pub struct Brought {
    /// By the names at the destination.
    there: HashMap<(Repository, TagOrDigest), Digest>,
    /// By the names from before: where each is now.
    before: BTreeMap<Reference, (Repository, Digest)>,
    /// Hosts whose images nodes find by the names from before, through a mirror.
    mirrored_hosts: BTreeSet<String>,
}

/// An image that an installation names.
#[derive(Clone, Debug)]
pub struct CheckedImage {
    /// The image.
    pub reference: Reference,
    /// Where the rendered chart names it.
    pub places: Vec<Place>,
    /// Whether nodes will find it.
    pub state: ImageState,
}

/// Whether nodes will find an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// It is at the destination, with its digest.
    There,
    /// It is there by the name from before, if nodes are told of the mirror.
    ThroughMirror {
        /// Its name there.
        destination: String,
    },
    /// The destination does not have it.
    Missing,
    /// The destination has another one.
    OtherDigest {
        /// What it has.
        found: Digest,
        /// What the bundle has brought.
        wanted: Digest,
    },
    /// The destination does not say which one it has.
    Unproven,
    /// It is not from the bundle.
    Foreign,
}

impl ImageState {
    /// Whether nodes will get what was meant.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::There | Self::ThroughMirror { .. })
    }
}

impl std::fmt::Display for ImageState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::There => f.write_str("there"),
            Self::ThroughMirror { destination } => write!(f, "by mirror, as {destination}"),
            Self::Missing => f.write_str("MISSING"),
            Self::OtherDigest { found, wanted } => {
                let (found, wanted) = (found.short(), wanted.short());
                write!(f, "ANOTHER IMAGE: {found}, not {wanted}")
            }
            Self::Unproven => f.write_str("OF UNKNOWN DIGEST"),
            Self::Foreign => f.write_str("NOT FROM THIS BUNDLE"),
        }
    }
}

/// One release, checked.
#[derive(Clone, Debug)]
pub struct CheckedRelease {
    /// Its name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// Its images.
    pub images: Vec<CheckedImage>,
}

/// Why a release cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It does not render.
    #[error("release {release}: {error}")]
    Installation {
        /// The release.
        release: String,
        /// Why.
        error: InstallationError,
    },
    /// `helm` will not find the chart, or another one.
    #[error("the chart {chart} {problem}")]
    Chart {
        /// Where it will be looked for.
        chart: String,
        /// What is wrong.
        problem: String,
    },
    /// The destination does not say what it has.
    #[error("{error}")]
    Destination {
        /// The image that it was asked for.
        image: String,
        /// What failed.
        error: Box<RegistryError>,
    },
}

impl CheckError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Installation { error, .. } => error.hint(),
            Self::Chart { .. } => Some(
                "load the bundle again; where another chart has its tag: --on-conflict replace"
                    .to_owned(),
            ),
            Self::Destination { error, .. } => error.hint(),
        }
    }
}

impl Brought {
    /// Nothing yet. Of `mirrored_hosts`, nodes find images by the names from before.
    pub fn new(mirrored_hosts: impl IntoIterator<Item = String>) -> Self {
        Self {
            mirrored_hosts: mirrored_hosts.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds an image: its name from before, where it is now, and its digest there.
    pub fn add(&mut self, source: &Reference, repository: &Repository, digest: Digest) {
        let by_digest = TagOrDigest::Digest(digest);
        let name = match source.tag() {
            Some(tag) => TagOrDigest::Tag(tag.to_owned()),
            None => by_digest.clone(),
        };
        for name in [name, by_digest] {
            self.there.insert((repository.clone(), name), digest);
        }
        self.before
            .insert(source.clone(), (repository.clone(), digest));
    }

    /// Where an image of a rendered chart is to be found, by which digest, and whether by mirror.
    fn find(&self, reference: &Reference) -> Option<(Repository, TagOrDigest, Digest, bool)> {
        let key = (reference.repository().clone(), reference.tag_or_digest());
        if let Some(digest) = self.there.get(&key) {
            return Some((key.0, key.1, *digest, false));
        }
        if !self.mirrored_hosts.contains(key.0.host()) {
            return None;
        }
        let (repository, digest) = self.before.get(reference)?;
        // A mirror is asked for the same tag or digest.
        Some((repository.clone(), key.1, *digest, true))
    }
}

/// Looks whether a chart is where `helm` will look for it.
///
/// # Errors
/// When it is not, when something else is, or when the destination does not answer.
pub async fn check_chart(
    client: &Client,
    repository: &Repository,
    tag: &str,
    wanted: Digest,
) -> Result<(), CheckError> {
    let chart = format!("{repository}:{tag}");
    let name = TagOrDigest::Tag(tag.to_owned());
    let head = client.manifest_head(repository, &name).await;
    let head = head.map_err(|error| CheckError::Destination {
        image: chart.clone(),
        error: Box::new(error),
    })?;
    let problem = match head {
        None => "is not at the destination".to_owned(),
        Some(head) => match head.digest {
            Some(found) if found == wanted => return Ok(()),
            Some(found) => format!("is another one: {}, not {}", found.short(), wanted.short()),
            None => "is of unknown digest".to_owned(),
        },
    };
    Err(CheckError::Chart { chart, problem })
}

/// Renders a release with its overlay and looks for each of its images. None where the release is
/// not to be rendered.
///
/// # Errors
/// When it does not render, or the destination does not answer.
pub async fn check(
    client: &Client,
    helm: &Helm,
    installation: &Installation,
    overlay: &str,
    brought: &Brought,
) -> Result<Option<CheckedRelease>, CheckError> {
    let release = &installation.release;
    if release.discover == Discover::None {
        return Ok(None);
    }
    let found = installation.images_with(helm, overlay).await;
    let found = found.map_err(|error| CheckError::Installation {
        release: release.name.clone(),
        error,
    })?;
    let states = found.into_iter().map(|found| async move {
        let state = state(client, &found.reference, brought).await?;
        Ok(CheckedImage {
            reference: found.reference,
            places: found.places,
            state,
        })
    });
    let images: Vec<Result<CheckedImage, CheckError>> =
        stream::iter(states).buffered(CONCURRENCY).collect().await;
    Ok(Some(CheckedRelease {
        release: release.name.clone(),
        namespace: release.namespace.clone(),
        images: images.into_iter().collect::<Result<_, _>>()?,
    }))
}

async fn state(
    client: &Client,
    reference: &Reference,
    brought: &Brought,
) -> Result<ImageState, CheckError> {
    let Some((repository, name, wanted, by_mirror)) = brought.find(reference) else {
        return Ok(ImageState::Foreign);
    };
    let head = client.manifest_head(&repository, &name).await;
    let head = head.map_err(|error| CheckError::Destination {
        image: reference.to_string(),
        error: Box::new(error),
    })?;
    let found = match head {
        None => return Ok(ImageState::Missing),
        Some(head) => head.digest,
    };
    Ok(match found {
        Some(found) if found != wanted => ImageState::OtherDigest { found, wanted },
        None => ImageState::Unproven,
        _ if by_mirror => ImageState::ThroughMirror {
            destination: match &name {
                TagOrDigest::Tag(tag) => format!("{repository}:{tag}"),
                TagOrDigest::Digest(digest) => format!("{repository}@{digest}"),
            },
        },
        _ => ImageState::There,
    })
}
