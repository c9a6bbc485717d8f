//! What refers to what, at a destination that does not keep lists of it by itself: there, clients
//! keep them under tags (distribution specification, "Referrers Tag Schema").

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};

use super::{
    LoadError, LoadRequest,
    index::Variants,
    manifests::Pushed,
    plan::{ImageState, LoadPlan, PlannedImage},
};
use crate::{
    bundle::MemberId,
    oci::{Descriptor, Digest, Document, Repository, TagOrDigest},
    open::Medium,
    registry::{Client, ReferrersTag, Taken, referrers_tag},
};

/// A manifest that the destination took without putting it into the list of its subject.
#[derive(Debug)]
pub(super) struct Unlisted {
    repository: Repository,
    subject: Digest,
    referrer: Descriptor,
}

impl Unlisted {
    /// None where a manifest that was taken has no subject, or where the registry took note of it.
    pub(super) fn of(
        repository: &Repository,
        media_type: &str,
        digest: Digest,
        bytes: &Bytes,
        taken: Taken,
    ) -> Option<Self> {
        let document = Document::parse(bytes, media_type).ok()?;
        let subject = document.subject.as_ref()?.digest;
        (taken.subject != Some(subject)).then(|| Self {
            repository: repository.clone(),
            subject,
            referrer: document.as_referrer(media_type, digest, bytes.len() as u64),
        })
    }
}

/// Finds, among the documents of an image that is there already, what the destination does not list:
/// an earlier load may have ended before it came to the lists. `smaller` where it is there in its smaller
/// form, which names the smaller forms of what is below it.
///
/// # Errors
/// When the destination fails.
pub(super) async fn unlisted_of_present(
    client: &Client,
    medium: &Medium,
    image: &PlannedImage,
    documents: &[MemberId],
    smaller: Option<&Variants>,
) -> Result<Vec<Unlisted>, LoadError> {
    let contents = &medium.metadata().plan.contents;
    let mut unlisted = Vec::new();
    for id in documents {
        let media_type = contents.media_type(*id);
        let (digest, bytes) = match smaller.and_then(|smaller| smaller.smaller(*id)) {
            Some(smaller) => (smaller.digest, smaller.bytes.clone()),
            None => {
                let bytes = medium.document(*id).map_err(LoadError::damaged)?;
                (contents.member(*id).digest, bytes)
            }
        };
        let document = Document::parse(&bytes, media_type).ok();
        let Some(subject) = document.and_then(|document| document.subject) else {
            continue;
        };
        let listed = client.referrers(&image.repository, &subject.digest).await;
        // A list that cannot be read shows nothing; the answer to the manifest will.
        if listed.is_ok_and(|listed| listed.iter().any(|known| known.digest == digest)) {
            continue;
        }
        let what = TagOrDigest::Digest(digest);
        let taken = client
            .put_manifest(&image.repository, &what, media_type, bytes.clone())
            .await
            .map_err(LoadError::at(&image.destination()))?;
        let missing = Unlisted::of(&image.repository, media_type, digest, &bytes, taken);
        unlisted.extend(missing);
    }
    Ok(unlisted)
}

/// Writes the lists: those that travel, and those of what the destination does not list itself.
/// Entries are added to what is there, and nothing is taken away.
///
/// # Errors
/// When the destination refuses one, or does not keep it.
pub(super) async fn list(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    pushed: &Pushed,
    request: &LoadRequest,
) -> Result<(), LoadError> {
    let mut wanted: BTreeMap<(&Repository, Digest), ReferrersTag> = BTreeMap::new();
    for image in &plan.images {
        let is_new = matches!(image.state, ImageState::New | ImageState::Extend(_));
        if let Some(subject) = image.lists.filter(|_| is_new) {
            let list = wanted.entry((&image.repository, subject));
            let list = list.or_insert_with(|| ReferrersTag::new(subject));
            list.lists.push(pushed.top(medium, plan, image)?);
        }
    }
    for Unlisted {
        repository,
        subject,
        referrer,
    } in &pushed.unlisted
    {
        let list = wanted.entry((repository, *subject));
        let list = list.or_insert_with(|| ReferrersTag::new(*subject));
        list.referrers.push(referrer.clone());
    }
    stream::iter(wanted.into_iter().map(Ok))
        .try_for_each_concurrent(
            request.concurrency.max(1),
            |((repository, subject), list)| async move {
                let name = format!("{repository}:{}", referrers_tag(&subject));
                let updated = client.update_referrers_tag(repository, &list).await;
                updated.map_err(LoadError::at(&name))
            },
        )
        .await
}
