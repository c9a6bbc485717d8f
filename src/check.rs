//! `check`: whether an installation finds all its images inside the gap.
//!
//! Each chart must be where `helm` will look for it. It is rendered as it will be installed, with
//! the values and the overlay of the hand-off. Every image that the result names, and every other
//! one that was brought, must be at the destination, or be found there by a mirror, with the digest
//! that the bundle's lock has.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use futures_util::{StreamExt as _, stream};

use crate::{
    bundle::{Discover, Release},
    handoff::OnlyByMirror,
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

/// An image that an installation names, or that was brought for it.
#[derive(Clone, Debug)]
pub struct CheckedImage {
    /// The image.
    pub reference: Reference,
    /// Where the rendered chart names it.
    pub places: Vec<Place>,
    /// Whether nodes will find it.
    pub state: ImageState,
}

/// Whether nodes will find an image, or `helm` a chart.
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
    /// The destination did not answer.
    Unanswered {
        /// What failed.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
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
            Self::Unanswered { error, .. } => write!(f, "NO ANSWER: {error}"),
        }
    }
}

/// A chart where `helm` will look for it.
#[derive(Clone, Debug)]
pub struct CheckedChart {
    /// `HOST/PATH/NAME:TAG`.
    pub name: String,
    /// Whether it is there.
    pub state: ImageState,
}

impl CheckedChart {
    /// The state, in words for a chart.
    pub fn state_text(&self) -> String {
        match &self.state {
            ImageState::Missing => "is not at the destination".to_owned(),
            ImageState::OtherDigest { found, wanted } => {
                format!("is another one: {}, not {}", found.short(), wanted.short())
            }
            ImageState::Unproven => "is of unknown digest".to_owned(),
            ImageState::Unanswered { error, .. } => format!("could not be looked for: {error}"),
            ImageState::There | ImageState::ThroughMirror { .. } | ImageState::Foreign => {
                "is there".to_owned()
            }
        }
    }
}

/// One release, checked.
#[derive(Debug)]
pub struct CheckedRelease {
    /// Its name.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// Its chart; none in a rehearsal, for which nothing has been sent.
    pub chart: Option<CheckedChart>,
    /// Whether it was rendered.
    pub rendering: Rendered,
    /// Its images.
    pub images: Vec<CheckedImage>,
}

/// Whether a release was rendered.
#[derive(Debug)]
pub enum Rendered {
    /// It was: its images are known.
    Yes,
    /// It is not to be, by `discover: none`.
    Unwanted,
    /// Its chart is not there: `helm` would fail, or install another one.
    NoChart,
    /// There is no `helm` to do it.
    NoHelm,
    /// It cannot be.
    Failed(CheckError),
}

impl Rendered {
    /// Why there are no images, in a few words.
    pub fn why_not(&self) -> Option<String> {
        match self {
            Self::Yes => None,
            Self::Unwanted => Some("not rendered (discover: none)".to_owned()),
            Self::NoHelm => Some("not rendered (no helm)".to_owned()),
            Self::NoChart => Some("not rendered: its chart is not there".to_owned()),
            Self::Failed(error) => Some(format!("not rendered: {error}")),
        }
    }
}

impl CheckedRelease {
    /// Whether nothing was found that is in the way of an installation.
    pub fn is_good(&self) -> bool {
        let chart = self.chart.as_ref().is_none_or(|c| c.state.is_good());
        let failed = matches!(self.rendering, Rendered::NoChart | Rendered::Failed(_));
        chart && !failed && self.images.iter().all(|image| image.state.is_good())
    }
}

/// Everything that was checked.
#[derive(Debug, Default)]
pub struct Checked {
    /// The releases, in their order.
    pub releases: Vec<CheckedRelease>,
    /// Images that were brought and that no rendered release names.
    pub others: Vec<CheckedImage>,
}

impl Checked {
    /// Images that rendered releases name as before, and that are found by a mirror.
    pub fn only_by_mirror(&self) -> Vec<OnlyByMirror> {
        let releases = self.releases.iter();
        let images = releases.flat_map(|release| release.images.iter().map(move |i| (release, i)));
        let found = images.filter_map(|(release, image)| {
            let ImageState::ThroughMirror { destination } = &image.state else {
                return None;
            };
            Some(OnlyByMirror {
                image: image.reference.to_string(),
                destination: destination.clone(),
                release: release.release.clone(),
                places: image.places.iter().map(place_text).collect(),
            })
        });
        found.collect()
    }
}

/// An object and the field in it that names an image.
pub fn place_text(place: &Place) -> String {
    format!("{} {}", place.object, place.field)
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
    /// The chart at the destination cannot be read.
    #[error("the chart {chart}: {problem}")]
    Chart {
        /// Where it is.
        chart: String,
        /// What is wrong.
        problem: String,
    },
    /// The destination does not give what it has.
    #[error("{error}")]
    Destination {
        /// What it was asked for.
        what: String,
        /// What failed.
        error: Box<RegistryError>,
    },
}

impl CheckError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            // What the error itself advises is for those who make bundles.
            Self::Installation { .. } => Some(
                "correct the values in the hand-off, then `bundle check` it again; what is wrong in \
                 the chart needs another bundle"
                    .to_owned(),
            ),
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

/// Looks whether releases will find what they need.
#[derive(Debug)]
pub struct Checker<'a> {
    /// None in a rehearsal: what was planned is taken to be there.
    client: Option<&'a Client>,
    helm: Option<&'a Helm>,
    brought: &'a Brought,
    /// What the destination has said, so that nothing is asked twice.
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    known: HashMap<(Repository, TagOrDigest), ImageState>,
    /// A destination to which there is no connection is not asked again and again.
    broken: Option<ImageState>,
    /// The names from before of images that a rendered release names.
    named: BTreeSet<(Repository, Digest)>,
}

impl<'a> Checker<'a> {
    /// A checker of what was brought. Without `helm` nothing is rendered, without a client nobody is
    /// asked.
    pub fn new(client: Option<&'a Client>, helm: Option<&'a Helm>, brought: &'a Brought) -> Self {
        Self {
            client,
            helm,
            brought,
            answers: Mutex::default(),
        }
    }

    /// Looks whether a chart is where `helm` will look for it: by its tag and by its digest.
    pub async fn chart(
        &self,
        repository: &Repository,
        tag: &str,
        wanted: Digest,
    ) -> Option<CheckedChart> {
        self.client?;
        let tag = TagOrDigest::Tag(tag.to_owned());
        Some(CheckedChart {
            name: name_of(repository, &tag),
            state: self.both(repository, &tag, wanted).await,
        })
    }

    /// Checks one release; its chart and values are asked for only if they are needed.
    pub async fn release(
        &self,
        release: &Release,
        chart: Option<CheckedChart>,
        installation: impl AsyncFnOnce() -> Result<(Installation, String), CheckError>,
    ) -> CheckedRelease {
        let is_there = chart.as_ref().is_none_or(|chart| chart.state.is_good());
        let mut images = Vec::new();
        let rendering = match self.helm {
            _ if release.discover == Discover::None => Rendered::Unwanted,
            Some(helm) if is_there => {
                let found = async {
                    let (installation, overlay) = installation().await?;
                    self.images(helm, &installation, &overlay).await
                };
                match found.await {
                    Ok(found) => {
                        images = found;
                        Rendered::Yes
                    }
                    Err(error) => Rendered::Failed(error),
                }
            }
            Some(_) => Rendered::NoChart,
            None => Rendered::NoHelm,
        };
        CheckedRelease {
            release: release.name.clone(),
            namespace: release.namespace.clone(),
            chart,
            rendering,
            images,
        }
    }

    /// A release whose chart could not be read.
    pub fn unread(&self, release: &Release, chart: Option<CheckedChart>) -> CheckedRelease {
        CheckedRelease {
            release: release.name.clone(),
            namespace: release.namespace.clone(),
            chart,
            rendering: match (self.helm, release.discover) {
                (_, Discover::None) => Rendered::Unwanted,
                (None, _) => Rendered::NoHelm,
                (Some(_), _) => Rendered::NoChart,
            },
            images: Vec::new(),
        }
    }

    /// Looks for what was brought and no rendered release has named.
    pub async fn others(&self) -> Vec<CheckedImage> {
        let named = std::mem::take(&mut self.answers().named);
        let others = self.brought.before.iter();
        let others =
            others.filter(|(_, (place, digest))| !named.contains(&(place.clone(), *digest)));
        let states = others.map(|(source, (repository, digest))| async move {
            let name = match source.tag() {
                Some(tag) => TagOrDigest::Tag(tag.to_owned()),
                None => TagOrDigest::Digest(*digest),
            };
            let moved = name_of(repository, &name);
            CheckedImage {
                reference: moved.parse().unwrap_or_else(|_| source.clone()),
                places: Vec::new(),
                state: self.both(repository, &name, *digest).await,
            }
        });
        stream::iter(states).buffered(CONCURRENCY).collect().await
    }

    async fn images(
        &self,
        helm: &Helm,
        installation: &Installation,
        overlay: &str,
    ) -> Result<Vec<CheckedImage>, CheckError> {
        let found = installation.images_with(helm, overlay).await;
        let found = found.map_err(|error| CheckError::Installation {
            release: installation.release.name.clone(),
            error,
        })?;
        let states = found.into_iter().map(|found| async move {
            CheckedImage {
                state: self.state(&found.reference).await,
                reference: found.reference,
                places: found.places,
            }
        });
        Ok(stream::iter(states).buffered(CONCURRENCY).collect().await)
    }

    async fn state(&self, reference: &Reference) -> ImageState {
        let Some((repository, name, wanted, by_mirror)) = self.brought.find(reference) else {
            return ImageState::Foreign;
        };
        let named = (repository.clone(), wanted);
        self.answers().named.insert(named);
        match self.ask(&repository, &name, wanted).await {
            ImageState::There if by_mirror => ImageState::ThroughMirror {
                destination: name_of(&repository, &name),
            },
            state => state,
        }
    }

    /// By the name, and by the digest: a registry can lose either.
    async fn both(
        &self,
        repository: &Repository,
        name: &TagOrDigest,
        wanted: Digest,
    ) -> ImageState {
        match self.ask(repository, name, wanted).await {
            ImageState::There => {
                let digest = TagOrDigest::Digest(wanted);
                self.ask(repository, &digest, wanted).await
            }
            state => state,
        }
    }

    async fn ask(&self, repository: &Repository, name: &TagOrDigest, wanted: Digest) -> ImageState {
        let Some(client) = self.client else {
            return ImageState::There;
        };
        let key = (repository.clone(), name.clone());
        {
            let answers = self.answers();
            if let Some(known) = answers.broken.as_ref().or(answers.known.get(&key)) {
                return known.clone();
            }
        }
        let state = match client.manifest_head(repository, name).await {
            Ok(None) => ImageState::Missing,
            Ok(Some(head)) => match head.digest {
                Some(found) if found != wanted => ImageState::OtherDigest { found, wanted },
                Some(_) => ImageState::There,
                None => ImageState::Unproven,
            },
            Err(error) => {
                let state = ImageState::Unanswered {
                    error: error.to_string(),
                    hint: error.hint(),
                };
                if matches!(error, RegistryError::Connection { .. }) {
                    self.answers().broken = Some(state.clone());
                }
                state
            }
        };
        self.answers().known.insert(key, state.clone());
        state
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        // What is in it is whole at any time.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(repository: &Repository, name: &TagOrDigest) -> String {
    match name {
        TagOrDigest::Tag(tag) => format!("{repository}:{tag}"),
        TagOrDigest::Digest(digest) => format!("{repository}@{digest}"),
    }
}
