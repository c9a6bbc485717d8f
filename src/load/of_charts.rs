//! What belongs to a chart: it goes where the chart goes.

use std::collections::HashSet;

use super::LoadError;
use crate::{
    bundle::{BundleError, Class, Contents, EntryKind, MemberId},
    oci::{Document, Reference, Repository},
    open::Medium,
    registry::referrers_tag,
};

/// The entries that are charts or refer to one, directly or not: by a subject, or by a tag that is
/// made of a digest, as cosign and the referrers tag schema have it.
///
/// # Errors
/// When the bundle is damaged.
pub(super) fn find(medium: &Medium) -> Result<HashSet<MemberId>, LoadError> {
    let metadata = medium.metadata();
    let contents = &metadata.plan.contents;
    let mut found = HashSet::new();
    // What may belong to a chart, in its repository: what it is about, by subject or by tag.
    let mut known: HashSet<(&Repository, String)> = HashSet::new();
    let mut candidates = Vec::new();
    let entries = metadata.root.entries.iter().zip(contents.entries());
    for (entry, id) in entries {
        let Some(reference) = &entry.reference else {
            continue;
        };
        let repository = reference.repository();
        if entry.kind == EntryKind::Chart {
            found.insert(*id);
            known.extend(own_tags(contents, *id).map(|tag| (repository, tag)));
        } else {
            candidates.push((reference, *id));
        }
    }
    let charts: HashSet<&Repository> = known.iter().map(|(repository, _)| *repository).collect();
    candidates.retain(|(reference, _)| charts.contains(reference.repository()));
    let mut about = Vec::new();
    for (reference, id) in candidates {
        let bytes = medium.document(id).map_err(damaged(reference))?;
        let document = Document::parse(&bytes, contents.media_type(id)).ok();
        let subject = document.and_then(|document| document.subject);
        let subject = subject.map(|subject| referrers_tag(&subject.digest));
        let tag = reference.tag().map(|tag| {
            let suffixes = [".sig", ".att", ".sbom"];
            let bare = suffixes.iter().find_map(|suffix| tag.strip_suffix(suffix));
            bare.unwrap_or(tag).to_owned()
        });
        let of: Vec<String> = subject.into_iter().chain(tag).collect();
        about.push((reference.repository(), id, of));
    }
    loop {
        let before = found.len();
        for (repository, id, of) in &about {
            let belongs = of
                .iter()
                .any(|tag| known.contains(&(*repository, tag.clone())));
            if belongs && found.insert(*id) {
                known.extend(own_tags(contents, *id).map(|tag| (*repository, tag)));
            }
        }
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// The tags that are made of the digests of a document and of those below it: what is in an index
/// may be referred to as well.
fn own_tags(contents: &Contents, top: MemberId) -> impl Iterator<Item = String> {
    let members = contents.closure(top).into_iter();
    let members = members.map(|id| contents.member(id));
    let documents = members.filter(|member| member.class == Class::Document);
    documents.map(|document| referrers_tag(&document.digest))
}

fn damaged(reference: &Reference) -> impl Fn(BundleError) -> LoadError {
    let image = reference.to_string();
    move |error| LoadError::Damaged {
        error,
        image: image.clone(),
        sent: 0,
        of: 0,
    }
}
