//! Manifests, pushed by digest and read back: children before the indexes that name them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    LoadError, LoadRequest,
    index::{IndexMode, Variant},
    plan::{ImageState, LoadPlan, PlannedImage},
    referrers::{Unlisted, unlisted_of_present},
    refusal::RefusalReason,
};
use crate::{
    bundle::{Class, MemberId},
    oci::{Digest, TagOrDigest, media_type},
    open::Medium,
    registry::{Client, RegistryError},
};

/// Error codes with which registries say that they do not have what a document names.
const MISSING_PART: [&str; 4] = [
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_UNKNOWN",
    "MANIFEST_INVALID",
    "BLOB_UNKNOWN",
];

/// What came of pushing the manifests.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    /// For each destination the digest that its tag is to point to.
    pub tops: HashMap<String, Digest>,
    /// What the destination does not list with its subject.
    pub unlisted: Vec<Unlisted>,
}

impl Pushed {
    /// The bytes of an image's manifest or index in the form in which it was pushed.
    pub(super) fn top(
        &self,
        medium: &Medium,
        plan: &LoadPlan,
        image: &PlannedImage,
    ) -> Result<Bytes, LoadError> {
        let pushed = self.tops.get(&image.destination());
        match plan.variants.smaller(image.top) {
            Some(smaller) if pushed == Some(&smaller.digest) => Ok(smaller.bytes.clone()),
            _ => medium.document(image.top).map_err(LoadError::damaged),
        }
    }
}

/// Pushes the manifests of all images by digest and reads them back.
///
/// # Errors
/// When the destination refuses one, or does not give back what it took.
pub(super) async fn push(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    request: &LoadRequest,
) -> Result<Pushed, LoadError> {
    let mut pushed = Pushed::default();
    let deepest = plan.images.iter().map(|image| image.depth).max();
    // What is referred to goes before what refers to it: some registries insist.
    for depth in 0..=deepest.unwrap_or_default() {
        let level = plan.images.iter().filter(|image| image.depth == depth);
        push_level(client, medium, plan, request, level, &mut pushed).await?;
    }
    Ok(pushed)
}

async fn push_level<'i>(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    request: &LoadRequest,
    images: impl Iterator<Item = &'i PlannedImage>,
    pushed: &mut Pushed,
) -> Result<(), LoadError> {
    let images = images.filter(|i| !matches!(i.state, ImageState::Keep(_)));
    let pushes = images.map(|image| async move {
        let push = ImagePush::new(client, medium, plan, request, image);
        let (digest, unlisted) = match image.state {
            ImageState::Present => push.check_present().await?,
            _ => push.run().await?,
        };
        Ok::<_, LoadError>((image.destination(), digest, unlisted))
    });
    let all: Vec<_> = stream::iter(pushes)
        .buffer_unordered(request.concurrency.max(1))
        .try_collect()
        .await?;
    for (destination, digest, unlisted) in all {
        pushed.tops.insert(destination, digest);
        pushed.unlisted.extend(unlisted);
    }
    Ok(())
}

/// One image, document by document.
struct ImagePush<'a> {
    client: &'a Client,
    medium: &'a Medium,
    plan: &'a LoadPlan,
    request: &'a LoadRequest,
    image: &'a PlannedImage,
    /// Every document below the image and the image itself, children before their parents.
    documents: Vec<MemberId>,
    /// What was sent in its smaller form.
    smaller: HashSet<MemberId>,
    unlisted: Vec<Unlisted>,
}

/// The destination's refusal of a document.
struct Refused {
    error: RegistryError,
    /// Blobs of the document that are not there.
    missing: Vec<Digest>,
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        let missing = Vec::new();
        Self { error, missing }
    }
}

impl<'a> ImagePush<'a> {
    fn new(
        client: &'a Client,
        medium: &'a Medium,
        plan: &'a LoadPlan,
        request: &'a LoadRequest,
        image: &'a PlannedImage,
    ) -> Self {
        let contents = &medium.metadata().plan.contents;
        let mut documents = contents.closure(image.top);
        documents.retain(|id| contents.member(*id).class == Class::Document);
        Self {
            client,
            medium,
            plan,
            request,
            image,
            documents,
            smaller: HashSet::new(),
            unlisted: Vec::new(),
        }
    }

    /// Pushes everything; returns the digest of the image as it was sent, and what the destination
    /// does not list.
    async fn run(mut self) -> Result<(Digest, Vec<Unlisted>), LoadError> {
        let mut top = self.image.digest;
        for id in std::mem::take(&mut self.documents) {
            let sent = self.send(id).await?;
            self.read_back(sent).await?;
            if id == self.image.top {
                top = sent;
            }
        }
        Ok((top, self.unlisted))
    }

    /// An image whose tag is right already: is it really there?
    async fn check_present(self) -> Result<(Digest, Vec<Unlisted>), LoadError> {
        let image = self.image;
        let what = match &image.tag {
            // Others may add to a list of referrers at any time.
            Some(tag) if image.lists.is_none() => TagOrDigest::Tag(tag.clone()),
            _ => TagOrDigest::Digest(image.digest),
        };
        let pulled = self
            .client
            .manifest(&image.repository, &what)
            .await
            .map_err(LoadError::at(&image.destination()))?;
        let found = image.by_its_own_algorithm(self.medium, pulled.digest)?;
        let smaller = self.plan.variants.smaller(image.top);
        let smaller = smaller.map(|variant| variant.digest);
        if found != image.digest && Some(found) != smaller {
            return Err(LoadError::ReadBack {
                destination: image.destination(),
                detail: format!("it has {found} now, expected {}", image.digest),
            });
        }
        let variants = (Some(found) == smaller).then_some(&self.plan.variants);
        let documents = &self.documents;
        let unlisted = unlisted_of_present(self.client, self.medium, image, documents, variants);
        Ok((found, unlisted.await?))
    }

    /// Sends a document as it is, or in its smaller form where that is wanted, or needed and
    /// permitted. Returns the digest of what was sent.
    async fn send(&mut self, id: MemberId) -> Result<Digest, LoadError> {
        let smaller = self.plan.variants.smaller(id);
        if let Some(smaller) = smaller
            && (self.request.index == IndexMode::Filter || self.has_smaller_child(id))
        {
            check_may_reduce(self.image, None)?;
            return self.send_smaller(id, smaller).await;
        }
        let digest = self.medium.metadata().plan.contents.member(id).digest;
        let bytes = self.medium.document(id).map_err(LoadError::damaged)?;
        let Err(refused) = self.put_with_parts(id, digest, &bytes).await else {
            return Ok(digest);
        };
        if !self.misses_part(id, &refused.error) {
            return Err(self.refusal(id, &bytes, refused));
        }
        match smaller {
            Some(smaller) => {
                check_may_reduce(self.image, Some(refused.error))?;
                self.send_smaller(id, smaller).await
            }
            None if self.request.index == IndexMode::Keep && self.is_sparse(id) => {
                let reason = "--index keep forbids a smaller one";
                Err(sparse(self.image, reason, refused.error))
            }
            None => Err(self.refusal(id, &bytes, refused)),
        }
    }

    /// Once a child had to be sent in its smaller form, so have its parents.
    fn has_smaller_child(&self, id: MemberId) -> bool {
        let contents = &self.medium.metadata().plan.contents;
        let mut children = contents.references(id).iter();
        children.any(|child| self.smaller.contains(child))
    }

    async fn send_smaller(&mut self, id: MemberId, smaller: &Variant) -> Result<Digest, LoadError> {
        let sent = self.put_with_parts(id, smaller.digest, &smaller.bytes);
        if let Err(refused) = sent.await {
            return Err(self.refusal(id, &smaller.bytes, refused));
        }
        self.smaller.insert(id);
        Ok(smaller.digest)
    }

    /// Puts a document. Where the registry says that it misses a part of it, that may be one which
    /// it has taken a moment ago and does not know of everywhere yet: then its manifests are put
    /// once more, its blobs are looked for, and it is tried again, once. So it is where the registry
    /// says that the digest is not that of the bytes, for it is: Distribution says so of a part that
    /// somebody else sends at the same moment.
    async fn put_with_parts(
        &mut self,
        id: MemberId,
        digest: Digest,
        bytes: &Bytes,
    ) -> Result<(), Refused> {
        match self.put(id, digest, bytes).await {
            Ok(()) => return Ok(()),
            Err(error) if self.misses_part(id, &error) => {}
            Err(error) => return Err(error.into()),
        }
        let contents = &self.medium.metadata().plan.contents;
        let mut missing = Vec::new();
        for part in contents.references(id) {
            let member = contents.member(*part);
            if member.class == Class::Document {
                self.put_child_again(*part).await?;
            } else if !self
                .client
                .blob_exists(&self.image.repository, &member.digest, member.size)
                .await?
            {
                missing.push(member.digest);
            }
        }
        let again = self.put(id, digest, bytes).await;
        again.map_err(|error| Refused { error, missing })
    }

    async fn put_child_again(&mut self, id: MemberId) -> Result<(), RegistryError> {
        let smaller = self.plan.variants.smaller(id);
        if let Some(smaller) = smaller.filter(|_| self.smaller.contains(&id)) {
            return self.put(id, smaller.digest, &smaller.bytes).await;
        }
        // It was read a moment ago; what is wrong with the bundle will be told for the parent.
        let Ok(bytes) = self.medium.document(id) else {
            return Ok(());
        };
        let digest = self.medium.metadata().plan.contents.member(id).digest;
        self.put(id, digest, &bytes).await
    }

    async fn put(
        &mut self,
        id: MemberId,
        digest: Digest,
        bytes: &Bytes,
    ) -> Result<(), RegistryError> {
        let media_type = self.medium.metadata().plan.contents.media_type(id);
        let repository = &self.image.repository;
        let taken = self
            .client
            .put_manifest(
                repository,
                &TagOrDigest::Digest(digest),
                media_type,
                bytes.clone(),
            )
            .await?;
        let unlisted = Unlisted::of(repository, media_type, digest, bytes, taken);
        self.unlisted.extend(unlisted);
        Ok(())
    }

    /// Whether a refusal says that a part of the document is not there. What is no index is also
    /// invalid for other reasons.
    fn misses_part(&self, id: MemberId, error: &RegistryError) -> bool {
        let media_type = self.medium.metadata().plan.contents.media_type(id);
        match error.code() {
            Some("MANIFEST_INVALID") => media_type::is_index(media_type),
            Some(code) => MISSING_PART.contains(&code),
            None => false,
        }
    }

    fn is_sparse(&self, id: MemberId) -> bool {
        let metadata = self.medium.metadata();
        media_type::is_index(metadata.plan.contents.media_type(id))
            && !metadata.lock.absent.is_empty()
    }

    /// Says what the refusal of a document is likely about.
    fn refusal(&self, id: MemberId, bytes: &[u8], refused: Refused) -> LoadError {
        let Refused { error, missing } = refused;
        let destination = self.image.destination();
        let media_type = self.medium.metadata().plan.contents.media_type(id);
        if !missing.is_empty() {
            return LoadError::BlobsMissing {
                destination,
                missing,
                error: Box::new(error),
            };
        }
        match RefusalReason::find(media_type, bytes, &error) {
            Some(reason) => LoadError::Refused {
                destination,
                reason,
                error: Box::new(error),
            },
            None => LoadError::at(&destination)(error),
        }
    }

    /// What was pushed must come back with its digest.
    async fn read_back(&self, digest: Digest) -> Result<(), LoadError> {
        let repository = &self.image.repository;
        let what = TagOrDigest::Digest(digest);
        let pulled = self.client.manifest(repository, &what).await;
        // The client compares the digest of what comes with the one that it asked for.
        pulled.map(|_| ()).map_err(|error| LoadError::ReadBack {
            destination: self.image.destination(),
            detail: error.to_string(),
        })
    }
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
