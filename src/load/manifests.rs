//! Manifests, read back, and tags: in this order, each step for all images before the next.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Conflict, LoadError, LoadRequest,
    index::IndexMode,
    plan::{ImageState, LoadPlan, PlannedImage},
};
use crate::{
    bundle::{BundleError, Class, MemberId},
    oci::{Digest, Document, DocumentKind, Repository, TagOrDigest},
    open::{Medium, OpenError},
    registry::{Client, RegistryError},
};

/// Error codes with which registries say that an index names a child that they do not have.
const MISSING_CHILD: [&str; 3] = [
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_UNKNOWN",
    "MANIFEST_INVALID",
];

/// Pushes the manifests of all images by digest and reads them back. Returns for each destination the
/// digest that its tag is to point to.
///
/// # Errors
/// When the destination refuses one, or does not give back what it took.
pub(super) async fn push(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    request: &LoadRequest,
) -> Result<HashMap<String, Digest>, LoadError> {
    let images = plan
        .images
        .iter()
        .filter(|i| !matches!(i.state, ImageState::Keep(_)));
    let pushes = images.map(|image| async move {
        let digest = match image.state {
            ImageState::Present => read_back_present(client, medium, plan, image).await?,
            _ => push_image(client, medium, plan, request, image).await?,
        };
        Ok::<_, LoadError>((image.destination(), digest))
    });
    stream::iter(pushes)
        .buffer_unordered(request.concurrency.max(1))
        .try_collect()
        .await
}

/// Writes the tags.
///
/// # Errors
/// When the destination refuses one.
pub(super) async fn tag(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    pushed: &HashMap<String, Digest>,
    request: &LoadRequest,
) -> Result<(), LoadError> {
    let new =
        |image: &&PlannedImage| matches!(image.state, ImageState::New | ImageState::Replace(_));
    let mut seen = HashSet::new();
    let images: Vec<_> = plan
        .images
        .iter()
        .filter(new)
        // Two references may share one destination, with one digest.
        .filter(|image| seen.insert(image.destination()))
        .collect();
    check_unmoved(client, medium, &images, pushed, request).await?;
    stream::iter(images.into_iter().map(Ok))
        .try_for_each_concurrent(request.concurrency.max(1), |image| async move {
            let Some(tag) = &image.tag else { return Ok(()) };
            let name = image.destination();
            let media_type = medium.metadata().plan.contents.media_type(image.top);
            let bytes = match plan.variants.smaller(image.top) {
                Some(smaller) if pushed.get(&name) == Some(&smaller.digest) => {
                    smaller.bytes.clone()
                }
                _ => medium.document(image.top).map_err(damaged)?,
            };
            let what = TagOrDigest::Tag(tag.clone());
            client
                .put_manifest(&image.repository, &what, media_type, bytes)
                .await
                .map_err(LoadError::at(&name))
        })
        .await
}

/// The blobs took their time: no tag is moved that somebody else has set meanwhile.
async fn check_unmoved(
    client: &Client,
    medium: &Medium,
    images: &[&PlannedImage],
    pushed: &HashMap<String, Digest>,
    request: &LoadRequest,
) -> Result<(), LoadError> {
    let asked = images.iter().map(|image| async move {
        let Some(tag) = &image.tag else {
            return Ok(None);
        };
        let (name, what) = (image.destination(), TagOrDigest::Tag(tag.clone()));
        let head = client.manifest_head(&image.repository, &what).await;
        let found = head
            .map_err(LoadError::at(&name))?
            .and_then(|head| head.digest)
            .map(|found| image.by_its_own_algorithm(medium, found))
            .transpose()?;
        let planned = match image.state {
            ImageState::Replace(digest) => Some(digest),
            _ => None,
        };
        let moved = found.filter(|found| Some(*found) != planned);
        let moved = moved.filter(|found| pushed.get(&name) != Some(found));
        Ok::<_, LoadError>(moved.map(|present| Conflict {
            destination: name,
            present,
            wanted: image.digest,
        }))
    });
    let asked: Vec<_> = asked.collect();
    let moved: Vec<Option<Conflict>> = stream::iter(asked)
        .buffered(request.concurrency.max(1))
        .try_collect()
        .await?;
    let moved: Vec<Conflict> = moved.into_iter().flatten().collect();
    if moved.is_empty() {
        return Ok(());
    }
    Err(LoadError::Conflict(moved))
}

/// An image whose tag is right already: is it really there?
async fn read_back_present(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    image: &PlannedImage,
) -> Result<Digest, LoadError> {
    let what = match &image.tag {
        Some(tag) => TagOrDigest::Tag(tag.clone()),
        None => TagOrDigest::Digest(image.digest),
    };
    let pulled = client
        .manifest(&image.repository, &what)
        .await
        .map_err(LoadError::at(&image.destination()))?;
    let found = image.by_its_own_algorithm(medium, pulled.digest)?;
    let smaller = plan
        .variants
        .smaller(image.top)
        .map(|variant| variant.digest);
    if found == image.digest || Some(found) == smaller {
        return Ok(found);
    }
    Err(LoadError::ReadBack {
        destination: image.destination(),
        detail: format!("it has {found} now, expected {}", image.digest),
    })
}

async fn push_image(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    request: &LoadRequest,
    image: &PlannedImage,
) -> Result<Digest, LoadError> {
    let contents = &medium.metadata().plan.contents;
    let documents: Vec<MemberId> = contents
        .closure(image.top)
        .into_iter()
        .filter(|id| contents.member(*id).class == Class::Document)
        .collect();
    // Once a child had to be sent in its smaller form, so have its parents.
    let mut smaller: HashSet<MemberId> = HashSet::new();
    let mut top = image.digest;
    for id in documents {
        let media_type = contents.media_type(id);
        let digest = contents.member(id).digest;
        let variant = plan.variants.smaller(id);
        let child_is_smaller = contents
            .references(id)
            .iter()
            .any(|child| smaller.contains(child));
        let may_reduce = request.index != IndexMode::Keep;
        let sent = match variant {
            Some(variant) if request.index == IndexMode::Filter || child_is_smaller => {
                check_may_reduce(image, None)?;
                put(
                    client,
                    image,
                    media_type,
                    variant.digest,
                    variant.bytes.clone(),
                )
                .await?;
                smaller.insert(id);
                variant.digest
            }
            Some(variant) if may_reduce => {
                let bytes = medium.document(id).map_err(damaged)?;
                let what = TagOrDigest::Digest(digest);
                match client
                    .put_manifest(&image.repository, &what, media_type, bytes)
                    .await
                {
                    Ok(()) => digest,
                    Err(error) if misses_child(&error) => {
                        check_may_reduce(image, Some(error))?;
                        let bytes = variant.bytes.clone();
                        put(client, image, media_type, variant.digest, bytes).await?;
                        smaller.insert(id);
                        variant.digest
                    }
                    Err(error) => return Err(LoadError::at(&image.destination())(error)),
                }
            }
            _ => {
                let bytes = medium.document(id).map_err(damaged)?;
                let what = TagOrDigest::Digest(digest);
                match client
                    .put_manifest(&image.repository, &what, media_type, bytes.clone())
                    .await
                {
                    Ok(()) => digest,
                    Err(error) if is_sparse(medium, id) && misses_child(&error) => {
                        return Err(sparse(image, "--index keep forbids a smaller one", error));
                    }
                    Err(error) => return Err(refused(image, media_type, &bytes, error)),
                }
            }
        };
        read_back(client, &image.repository, sent, image).await?;
        if id == image.top {
            top = sent;
        }
    }
    Ok(top)
}

async fn put(
    client: &Client,
    image: &PlannedImage,
    media_type: &str,
    digest: Digest,
    bytes: Bytes,
) -> Result<(), LoadError> {
    let what = TagOrDigest::Digest(digest);
    client
        .put_manifest(&image.repository, &what, media_type, bytes)
        .await
        .map_err(LoadError::at(&image.destination()))
}

/// A smaller index has another digest: where somebody relies on the digest, it must not stand in.
fn check_may_reduce(image: &PlannedImage, error: Option<RegistryError>) -> Result<(), LoadError> {
    if image.source.digest().is_none() {
        return Ok(());
    }
    let reason = "the reference is pinned by digest, so no smaller index can stand in";
    let error = error.unwrap_or_else(|| RegistryError::Usage(reason.to_owned()));
    Err(sparse(image, reason, error))
}

fn sparse(image: &PlannedImage, reason: &'static str, error: RegistryError) -> LoadError {
    LoadError::SparseIndex {
        destination: image.destination(),
        reason,
        error: Box::new(error),
    }
}

/// The destination's refusal of a document. Where that has foreign layers they are the likely
/// reason, which registries do not tell: Distribution says "unknown error", with status 500.
fn refused(
    image: &PlannedImage,
    media_type: &str,
    bytes: &[u8],
    error: RegistryError,
) -> LoadError {
    let status = error.status().map(|status| status.as_u16());
    if matches!(status, Some(400 | 415 | 422 | 500))
        && let Some(origin) = origin_of_foreign_layer(media_type, bytes)
    {
        return LoadError::ForeignLayer {
            destination: image.destination(),
            origin,
            error: Box::new(error),
        };
    }
    LoadError::at(&image.destination())(error)
}

/// Scheme and host of the first URL among a manifest's layers.
fn origin_of_foreign_layer(media_type: &str, bytes: &[u8]) -> Option<String> {
    let document = Document::parse(bytes, media_type).ok()?;
    let DocumentKind::Manifest { layers, .. } = document.kind else {
        return None;
    };
    let url = layers.iter().flat_map(|layer| &layer.urls).next()?;
    let url = url::Url::parse(url).ok()?;
    url.has_host().then(|| url.origin().ascii_serialization())
}

fn is_sparse(medium: &Medium, id: MemberId) -> bool {
    let metadata = medium.metadata();
    crate::oci::media_type::is_index(metadata.plan.contents.media_type(id))
        && !metadata.lock.absent.is_empty()
}

fn misses_child(error: &RegistryError) -> bool {
    error
        .code()
        .is_some_and(|code| MISSING_CHILD.contains(&code))
}

/// What was pushed must come back with its digest.
async fn read_back(
    client: &Client,
    repository: &Repository,
    digest: Digest,
    image: &PlannedImage,
) -> Result<(), LoadError> {
    let failed = |detail: String| LoadError::ReadBack {
        destination: image.destination(),
        detail,
    };
    let pulled = client
        .manifest(repository, &TagOrDigest::Digest(digest))
        .await;
    // The client compares the digest of what comes with the one that it asked for.
    pulled
        .map(|_| ())
        .map_err(|error| failed(error.to_string()))
}

fn damaged(error: BundleError) -> LoadError {
    LoadError::Open(OpenError::Bundle {
        name: "the bundle".to_owned(),
        error,
    })
}
