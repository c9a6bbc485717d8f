//! What refers to what in a bundle: signatures and the like go where the image or chart goes that
//! they are about.

use std::collections::{BTreeSet, HashMap};

use super::{LoadError, Relocation};
use crate::{
    bundle::{BundleError, Class, Contents, EntryKind, MemberId},
    oci::{Digest, Document, Reference, Repository},
    open::Medium,
    registry::subject_of_tag,
    request::COSIGN_TAGS,
};

/// Where one entry goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Going {
    /// The repositories; whether a chart is there. At least one for an entry with a reference.
    pub(super) to: BTreeSet<(Repository, bool)>,
    /// How far it is from what refers to nothing; subjects are pushed first.
    pub(super) depth: usize,
}

/// Finds where each entry of the root goes; `names` are their references, as they were written. What
/// refers to other entries of its repository, by a subject or by a tag that is made of a digest, goes
/// to all places that these go to.
///
/// # Errors
/// When the bundle is damaged, or a name cannot be used.
pub(super) fn find(
    medium: &Medium,
    names: &[Option<Reference>],
    relocation: &Relocation,
) -> Result<Vec<Going>, LoadError> {
    let metadata = medium.metadata();
    let contents = &metadata.plan.contents;
    // By digest: what is in an index may be referred to as well.
    let mut owners: HashMap<(&Repository, Digest), Vec<usize>> = HashMap::new();
    let named = names.iter().zip(contents.entries()).enumerate();
    let named = named.filter_map(|(at, (name, top))| Some((at, name.as_ref()?, *top)));
    for (at, name, top) in named.clone() {
        for digest in documents(contents, top) {
            let owners = owners.entry((name.repository(), digest)).or_default();
            owners.push(at);
        }
    }
    let mut going = vec![Going::default(); names.len()];
    // What refers to each entry.
    let mut referrers: Vec<Vec<usize>> = vec![Vec::new(); names.len()];
    let mut level = Vec::new();
    let mut about_others = Vec::new();
    for (at, name, top) in named {
        let is_chart = metadata.root.entries[at].kind == EntryKind::Chart;
        let mut is_about_others = false;
        if !is_chart {
            for subject in subjects(medium, name, top)? {
                let owners = owners.get(&(name.repository(), subject));
                for owner in owners.into_iter().flatten().filter(|owner| **owner != at) {
                    referrers[*owner].push(at);
                    is_about_others = true;
                }
            }
        }
        match is_about_others {
            true => about_others.push((at, name)),
            false => {
                let own = match is_chart {
                    true => relocation.chart_destination(name)?,
                    false => relocation.destination(name)?,
                };
                going[at].to.insert((own, is_chart));
                level.push(at);
            }
        }
    }
    drain(&mut going, &referrers, level);
    // What only goes round in a circle goes where it would go by itself.
    for (at, name) in about_others {
        if going[at].to.is_empty() {
            going[at].to.insert((relocation.destination(name)?, false));
            drain(&mut going, &referrers, vec![at]);
        }
    }
    Ok(going)
}

/// Passes on where these go to what refers to them, until nothing is new to anybody.
fn drain(going: &mut [Going], referrers: &[Vec<usize>], mut level: Vec<usize>) {
    while !level.is_empty() {
        let mut next = BTreeSet::new();
        for owner in level {
            for referrer in &referrers[owner] {
                let is_first = going[*referrer].to.is_empty();
                let (to, depth) = (going[owner].to.clone(), going[owner].depth);
                let before = going[*referrer].to.len();
                going[*referrer].to.extend(to);
                if is_first {
                    going[*referrer].depth = depth + 1;
                }
                if going[*referrer].to.len() > before {
                    next.insert(*referrer);
                }
            }
        }
        level = next.into_iter().collect();
    }
}

/// The digests of a document and of those below it.
fn documents(contents: &Contents, top: MemberId) -> impl Iterator<Item = Digest> {
    let members = contents.closure(top).into_iter();
    let members = members.map(|id| contents.member(id));
    let documents = members.filter(|member| member.class == Class::Document);
    documents.map(|document| document.digest)
}

/// What an entry says that it is about.
fn subjects(
    medium: &Medium,
    name: &Reference,
    top: MemberId,
) -> Result<impl Iterator<Item = Digest>, LoadError> {
    let bytes = medium.document(top).map_err(damaged(name))?;
    let media_type = medium.metadata().plan.contents.media_type(top);
    let document = Document::parse(&bytes, media_type).ok();
    let subject = document.and_then(|document| document.subject);
    let of_tag = name.tag().and_then(|tag| {
        let bare = COSIGN_TAGS.iter().find_map(|end| tag.strip_suffix(end));
        subject_of_tag(bare.unwrap_or(tag))
    });
    Ok(subject
        .map(|subject| subject.digest)
        .into_iter()
        .chain(of_tag))
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
