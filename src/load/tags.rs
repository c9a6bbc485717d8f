//! Tags: the last thing that a load writes.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Conflict, LoadError, LoadRequest,
    manifests::Pushed,
    plan::{ImageState, LoadPlan, PlannedImage},
};
use crate::{oci::TagOrDigest, open::Medium, registry::Client};

/// The images whose tags are to be written, each tag once: two references may share one
/// destination, with one digest. Lists of referrers are not among them: they are added to.
fn to_write(plan: &LoadPlan) -> impl Iterator<Item = &PlannedImage> {
    let mut seen = HashSet::new();
    let images = plan.images.iter();
    images
        .filter(|image| matches!(image.state, ImageState::New | ImageState::Replace(_)))
        .filter(|image| image.lists.is_none())
        .filter(move |image| seen.insert(image.destination()))
}

/// The blobs took their time: no tag is moved that somebody else has set meanwhile.
///
/// # Errors
/// With all tags that somebody has set.
pub(super) async fn check_unmoved(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    pushed: &Pushed,
    request: &LoadRequest,
) -> Result<(), LoadError> {
    let asked = to_write(plan).map(|image| async move {
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
        let moved = moved.filter(|found| pushed.tops.get(&name) != Some(found));
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

/// Writes the tags.
///
/// # Errors
/// When the destination refuses one.
pub(super) async fn write(
    client: &Client,
    medium: &Medium,
    plan: &LoadPlan,
    pushed: &Pushed,
    request: &LoadRequest,
) -> Result<(), LoadError> {
    let images: Vec<_> = to_write(plan).map(Ok).collect();
    stream::iter(images)
        .try_for_each_concurrent(request.concurrency.max(1), |image| async move {
            let Some(tag) = &image.tag else { return Ok(()) };
            let media_type = medium.metadata().plan.contents.media_type(image.top);
            let bytes = pushed.top(medium, plan, image)?;
            let what = TagOrDigest::Tag(tag.clone());
            let written = client.put_manifest(&image.repository, &what, media_type, bytes);
            let written = written.await.map(|_| ());
            written.map_err(LoadError::at(&image.destination()))
        })
        .await
}
