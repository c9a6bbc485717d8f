//! What belongs to a chart in a registry: signatures, attestations and the like, as cosign and others
//! keep them beside it.

use std::collections::BTreeSet;

use super::ChartFault;
use crate::{
    oci::{Descriptor, Digest, Document, Reference, Repository, TagOrDigest, media_type},
    registry::{Client, referrers_tag},
};

/// What cosign puts behind the tag that it makes of a digest.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];
/// Deepest chain of what refers to what refers to a chart.
const MAX_DEPTH: usize = 8;
/// Most artifacts that belong to one chart.
const MAX_ARTIFACTS: usize = 1000;

/// Finds everything that refers to a manifest, directly or not; also to the children of an index,
/// be that the manifest itself or one that refers to it.
///
/// # Errors
/// When the registry fails; that there is nothing is no failure.
pub(super) async fn of_chart(
    client: &Client,
    repository: &Repository,
    chart: &Descriptor,
) -> Result<Vec<Reference>, ChartFault> {
    let top = chart.digest;
    let mut found = BTreeSet::new();
    // A list may name what it is about, and its own ancestors: each is asked about once.
    let mut seen = BTreeSet::from([top]);
    let mut level = vec![chart.clone()];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for subject in level {
            found.extend(tags_of(client, repository, &subject.digest).await?);
            let referrers = client.referrers(repository, &subject.digest).await;
            for referrer in referrers.map_err(ChartFault::Signatures)? {
                if seen.insert(referrer.digest) {
                    found.insert(reference(repository, &format!("@{}", referrer.digest))?);
                    next.push(referrer);
                }
            }
            let children = children_of(client, repository, &subject).await?;
            next.extend(children.into_iter().filter(|c| seen.insert(c.digest)));
            if found.len().max(seen.len()) > MAX_ARTIFACTS {
                return Err(ChartFault::Name(format!(
                    "more than {MAX_ARTIFACTS} artifacts refer to {repository}@{top}"
                )));
            }
        }
        if next.is_empty() {
            return Ok(found.into_iter().collect());
        }
        level = next;
    }
    Err(ChartFault::Name(format!(
        "what refers to {repository}@{top} is referred to itself, more than {MAX_DEPTH} deep"
    )))
}

/// The tags that are made of a digest and exist.
async fn tags_of(
    client: &Client,
    repository: &Repository,
    subject: &Digest,
) -> Result<Vec<Reference>, ChartFault> {
    let mut found = Vec::new();
    for suffix in COSIGN.iter().chain(&[""]) {
        let tag = format!("{}{suffix}", referrers_tag(subject));
        let what = TagOrDigest::Tag(tag.clone());
        let head = client.manifest_head(repository, &what).await;
        let head = head.map_err(ChartFault::Signatures)?;
        // Some registries take such a tag for the digest.
        if head.is_some_and(|head| head.digest != Some(*subject)) {
            found.push(reference(repository, &format!(":{tag}"))?);
        }
    }
    Ok(found)
}

async fn children_of(
    client: &Client,
    repository: &Repository,
    subject: &Descriptor,
) -> Result<Vec<Descriptor>, ChartFault> {
    if !media_type::is_index(&subject.media_type) {
        return Ok(Vec::new());
    }
    let what = TagOrDigest::Digest(subject.digest);
    let index = client.manifest(repository, &what).await;
    let index = index.map_err(ChartFault::Signatures)?;
    // What cannot be read is refused where it is taken into the bundle.
    let document = Document::parse(&index.bytes, &index.media_type).ok();
    Ok(document.map_or_else(Vec::new, |document| document.children().to_vec()))
}

fn reference(repository: &Repository, rest: &str) -> Result<Reference, ChartFault> {
    let text = format!("{repository}{rest}");
    text.parse()
        .map_err(|error| ChartFault::Name(format!("{text}: {error}")))
}

#[cfg(test)]
mod tests;
