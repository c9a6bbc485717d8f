//! What belongs to a chart in a registry: signatures, attestations and the like, as cosign and others
//! keep them beside it.

use std::collections::BTreeSet;

use super::ChartFault;
use crate::{
    oci::{Digest, Reference, Repository, TagOrDigest},
    registry::{Client, referrers_tag},
};

/// What cosign puts behind the tag that it makes of a digest.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];
/// Deepest chain of what refers to what refers to a chart.
const MAX_DEPTH: usize = 8;
/// Most artifacts that belong to one chart.
const MAX_ARTIFACTS: usize = 1000;

/// Finds everything that refers to a manifest, directly or not.
///
/// # Errors
/// When the registry fails; that there is nothing is no failure.
pub(super) async fn of_chart(
    client: &Client,
    repository: &Repository,
    chart: Digest,
) -> Result<Vec<Reference>, ChartFault> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::from([chart]);
    let mut level = vec![chart];
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for subject in level {
            for suffix in COSIGN.iter().chain(&[""]) {
                let tag = format!("{}{suffix}", referrers_tag(&subject));
                let what = TagOrDigest::Tag(tag.clone());
                let head = client.manifest_head(repository, &what).await;
                let head = head.map_err(ChartFault::Signatures)?;
                // Some registries take such a tag for the digest.
                if head.is_some_and(|head| head.digest != Some(subject)) {
                    found.insert(reference(repository, &format!(":{tag}"))?);
                }
            }
            let referrers = client.referrers(repository, &subject).await;
            for referrer in referrers.map_err(ChartFault::Signatures)? {
                if seen.insert(referrer.digest) {
                    found.insert(reference(repository, &format!("@{}", referrer.digest))?);
                    next.push(referrer.digest);
                }
            }
            if found.len() > MAX_ARTIFACTS {
                return Err(ChartFault::Name(format!(
                    "more than {MAX_ARTIFACTS} artifacts refer to {repository}@{chart}"
                )));
            }
        }
        if next.is_empty() {
            return Ok(found.into_iter().collect());
        }
        level = next;
    }
    Err(ChartFault::Name(format!(
        "what refers to {repository}@{chart} is referred to itself, more than {MAX_DEPTH} deep"
    )))
}

fn reference(repository: &Repository, rest: &str) -> Result<Reference, ChartFault> {
    let text = format!("{repository}{rest}");
    text.parse()
        .map_err(|error| ChartFault::Name(format!("{text}: {error}")))
}
