//! What goes where: destinations, clashes between images, what is there already.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Clash, Conflict, LoadError, LoadRequest, OnConflict, belonging,
    index::{IndexMode, Variants},
};
use crate::{
    bundle::{Class, EntryKind, Lock, LockedImage, MemberId},
    oci::{Digest, Reference, Repository, TagOrDigest, media_type},
    open::Medium,
    registry::{Client, ManifestHead, subject_of_tag},
};

/// One image on its way.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// What it is.
    pub kind: EntryKind,
    /// Whether nodes may pull it: it is no chart, belongs to none, and is there for more than that it
    /// refers to an image.
    pub is_for_nodes: bool,
    /// How far it is from what refers to nothing; subjects are pushed first.
    pub depth: usize,
    /// The name that it had.
    pub source: Reference,
    /// The repository that it goes to.
    pub repository: Repository,
    /// The tag that it gets; none when it is pinned by digest only.
    pub tag: Option<String>,
    /// What it lists the referrers of, where its tag is one of the referrers tag schema. Such a list
    /// is added to the one at the destination, if there is one.
    pub lists: Option<Digest>,
    /// Its manifest or index.
    pub top: MemberId,
    /// Digest of its manifest or index.
    pub digest: Digest,
    /// What the destination has.
    pub state: ImageState,
}

/// What the destination has of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// The tag points to it, or (without a tag) the manifest is there.
    Present,
    /// As [`Self::Present`], but something that its index refers to is not there.
    Incomplete,
    /// The tag does not exist.
    New,
    /// The tag points to another image and is moved.
    Replace(Digest),
    /// The tag points to another image and stays.
    Keep(Digest),
    /// The tag holds another list of referrers, to which this one is added.
    Extend(Digest),
}

impl PlannedImage {
    /// The full name at the destination.
    pub fn destination(&self) -> String {
        match &self.tag {
            Some(tag) => format!("{}:{tag}", self.repository),
            None => format!("{}@{}", self.repository, self.digest),
        }
    }

    /// The image's own digest in place of one that a registry names for the same bytes: under a tag
    /// most know no algorithm but SHA-256. Any other digest stays what it is.
    ///
    /// # Errors
    /// When the image's document cannot be read from the medium.
    pub(super) fn by_its_own_algorithm(
        &self,
        medium: &Medium,
        found: Digest,
    ) -> Result<Digest, LoadError> {
        if found.algorithm() == self.digest.algorithm() {
            return Ok(found);
        }
        let bytes = medium.document(self.top).map_err(LoadError::damaged)?;
        match found.of_same_algorithm(&bytes) == found {
            true => Ok(self.digest),
            false => Ok(found),
        }
    }

    /// Whether anything is to be pushed for it.
    pub fn is_to_be_pushed(&self) -> bool {
        !matches!(self.state, ImageState::Present)
    }
}

/// A blob and the repositories that need it.
#[derive(Clone, Debug)]
pub struct PlannedBlob {
    /// The blob.
    pub id: MemberId,
    /// Paths at the destination, at least one.
    pub repositories: Vec<Repository>,
    /// An image that needs it.
    pub image: u32,
    /// Whether the first of the repositories has it.
    pub present: bool,
}

/// Everything that a load will do.
#[derive(Debug)]
pub struct LoadPlan {
    /// The images, sorted by source.
    pub images: Vec<PlannedImage>,
    /// The blobs, in the order in which they are in the bundle.
    pub blobs: Vec<PlannedBlob>,
    /// What the indexes of which only some platforms are in the bundle become.
    pub variants: Variants,
}

impl LoadPlan {
    /// Blobs that are to be sent, and their bytes.
    pub fn to_send(&self, medium: &Medium) -> (u64, u64) {
        let contents = &medium.metadata().plan.contents;
        let sizes = self
            .blobs
            .iter()
            .filter(|b| !b.present)
            .map(|b| contents.member(b.id).size);
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }
}

/// Where everything goes, without asking anybody.
///
/// # Errors
/// When a name cannot be used or two images would get one name.
pub(super) fn destinations(
    medium: &Medium,
    request: &LoadRequest,
) -> Result<Vec<PlannedImage>, LoadError> {
    let metadata = medium.metadata();
    let mut images = Vec::new();
    let mut names: BTreeMap<String, BTreeSet<(Reference, Digest)>> = BTreeMap::new();
    let entries = &metadata.root.entries;
    let written = entries.iter().map(|entry| {
        let reference = entry.reference.clone()?;
        Some(as_written(&metadata.lock, reference))
    });
    let written: Vec<_> = written.collect();
    let going = belonging::find(medium, &written, &request.relocation)?;
    let tops = metadata.plan.contents.entries();
    let each = entries.iter().zip(tops).zip(written).zip(going);
    let each =
        each.filter_map(|(((entry, top), source), going)| Some((entry, top, source?, going)));
    let each = each.flat_map(|(entry, top, source, going)| {
        let one = move |place| (entry, top, source.clone(), going.depth, place);
        going.to.into_iter().map(one)
    });
    for (entry, top, source, depth, (repository, with_chart)) in each {
        let image = PlannedImage {
            kind: entry.kind,
            repository,
            is_for_nodes: !with_chart && !is_only_referrer(&metadata.lock, &source),
            depth,
            tag: source.tag().map(str::to_owned),
            lists: source
                .tag()
                .filter(|_| entry.descriptor.media_type == media_type::OCI_INDEX)
                .and_then(subject_of_tag),
            top: *top,
            digest: entry.descriptor.digest,
            state: ImageState::New,
            source,
        };
        if image.lists.is_none() {
            let sources = names.entry(image.destination()).or_default();
            sources.insert((image.source.clone(), image.digest));
        }
        images.push(image);
    }
    let clashes: Vec<Clash> = names
        .into_iter()
        .filter(|(_, sources)| {
            let digests: BTreeSet<_> = sources.iter().map(|(_, digest)| digest).collect();
            digests.len() > 1
        })
        .map(|(destination, sources)| Clash {
            destination,
            sources: sources.into_iter().collect(),
        })
        .collect();
    if clashes.is_empty() {
        Ok(images)
    } else {
        Err(LoadError::Clash(clashes))
    }
}

/// The same reference in the user's own spelling, which the root does not have and the lock has.
fn as_written(lock: &Lock, reference: Reference) -> Reference {
    locked(lock, &reference)
        .and_then(|image| image.as_written.parse().ok())
        .filter(|written| *written == reference)
        .unwrap_or(reference)
}

fn locked<'l>(lock: &'l Lock, reference: &Reference) -> Option<&'l LockedImage> {
    let full = reference.to_string();
    // They are sorted by reference; a lock that is not has been refused.
    let place = lock.images.binary_search_by(|i| i.reference.cmp(&full));
    place.ok().map(|at| &lock.images[at])
}

/// Whether nobody asked for it but what it refers to.
fn is_only_referrer(lock: &Lock, reference: &Reference) -> bool {
    locked(lock, reference).is_some_and(LockedImage::is_only_referrer)
}

/// Asks the destination what it has.
///
/// # Errors
/// When it does not answer, or has tags that must not be moved.
pub(super) async fn make(
    client: &Client,
    medium: &Medium,
    request: &LoadRequest,
    images: Vec<PlannedImage>,
) -> Result<LoadPlan, LoadError> {
    let variants = Variants::find(medium, request.index)?;
    let asked = images
        .into_iter()
        .map(|image| ask(client, medium, &variants, request, image));
    let images: Vec<PlannedImage> = stream::iter(asked)
        .buffered(request.concurrency.max(1))
        .try_collect()
        .await?;
    let conflicts: Vec<Conflict> = images
        .iter()
        .filter_map(|image| match image.state {
            ImageState::Replace(present) | ImageState::Keep(present) => Some(Conflict {
                destination: image.destination(),
                present,
                wanted: image.digest,
            }),
            ImageState::New
            | ImageState::Present
            | ImageState::Incomplete
            | ImageState::Extend(_) => None,
        })
        .collect();
    if request.on_conflict == OnConflict::Refuse && !conflicts.is_empty() {
        return Err(LoadError::Conflict(conflicts));
    }
    let blobs = needed_blobs(medium, &images);
    let contents = &medium.metadata().plan.contents;
    let asked = blobs.into_iter().map(|mut blob| {
        let image = images[blob.image as usize].destination();
        async move {
            let member = contents.member(blob.id);
            let first = &blob.repositories[0];
            blob.present = client
                .blob_exists(first, &member.digest, member.size)
                .await
                .map_err(LoadError::at(&image))?;
            Ok::<_, LoadError>(blob)
        }
    });
    let blobs = stream::iter(asked)
        .buffered(request.concurrency.max(1))
        .try_collect()
        .await?;
    Ok(LoadPlan {
        images,
        blobs,
        variants,
    })
}

/// Whether the destination has every manifest below an index. (A registry takes a manifest only when
/// it has its blobs.)
async fn has_manifests(
    client: &Client,
    medium: &Medium,
    variants: &Variants,
    image: &PlannedImage,
) -> Result<bool, LoadError> {
    let contents = &medium.metadata().plan.contents;
    for id in contents.closure(image.top) {
        let member = contents.member(id);
        let other = id != image.top && member.class == Class::Document;
        if !other || variants.smaller(id).is_some() {
            continue;
        }
        let what = TagOrDigest::Digest(member.digest);
        let head = client.manifest_head(&image.repository, &what).await;
        if head.map_err(LoadError::at(&image.destination()))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn ask(
    client: &Client,
    medium: &Medium,
    variants: &Variants,
    request: &LoadRequest,
    mut image: PlannedImage,
) -> Result<PlannedImage, LoadError> {
    let what = match &image.tag {
        Some(tag) => TagOrDigest::Tag(tag.clone()),
        None => TagOrDigest::Digest(image.digest),
    };
    let head = client
        .manifest_head(&image.repository, &what)
        .await
        .map_err(LoadError::at(&image.destination()))?;
    let smaller = variants.smaller(image.top).map(|variant| variant.digest);
    let expected = match request.index {
        IndexMode::Filter => vec![smaller.unwrap_or(image.digest)],
        IndexMode::Keep => vec![image.digest],
        IndexMode::Auto => vec![Some(image.digest), smaller]
            .into_iter()
            .flatten()
            .collect(),
    };
    let present = match head {
        None => None,
        Some(ManifestHead {
            digest: Some(digest),
            ..
        }) => Some(digest),
        // There is something under this name, only the registry does not say properly what.
        Some(_) => {
            let pulled = client.manifest(&image.repository, &what).await;
            Some(pulled.map_err(LoadError::at(&image.destination()))?.digest)
        }
    };
    let present = match present {
        Some(digest) => Some(image.by_its_own_algorithm(medium, digest)?),
        None => None,
    };
    image.state = match present {
        None => ImageState::New,
        Some(digest) if expected.contains(&digest) => {
            // An index may be there without what it names, of a bundle with fewer platforms.
            match has_manifests(client, medium, variants, &image).await? {
                true => ImageState::Present,
                false => ImageState::Incomplete,
            }
        }
        Some(digest) if image.lists.is_some() => ImageState::Extend(digest),
        Some(digest) if request.on_conflict == OnConflict::Keep => ImageState::Keep(digest),
        Some(digest) => ImageState::Replace(digest),
    };
    Ok(image)
}

/// Every blob that an image to be pushed needs, once, with all repositories that need it.
fn needed_blobs(medium: &Medium, images: &[PlannedImage]) -> Vec<PlannedBlob> {
    let contents = &medium.metadata().plan.contents;
    let mut needed: BTreeMap<MemberId, PlannedBlob> = BTreeMap::new();
    let mut seen: HashMap<MemberId, BTreeSet<&Repository>> = HashMap::new();
    for (number, image) in (0_u32..).zip(images) {
        if !image.is_to_be_pushed() || matches!(image.state, ImageState::Keep(_)) {
            continue;
        }
        for document in contents.closure(image.top) {
            if contents.member(document).class != Class::Document {
                continue;
            }
            for id in contents.references(document) {
                if contents.member(*id).class == Class::Document {
                    continue;
                }
                if !seen.entry(*id).or_default().insert(&image.repository) {
                    continue;
                }
                let blob = needed.entry(*id).or_insert_with(|| PlannedBlob {
                    id: *id,
                    repositories: Vec::new(),
                    image: number,
                    present: false,
                });
                blob.repositories.push(image.repository.clone());
            }
        }
    }
    needed.into_values().collect()
}
