//! The images that were moved, to be looked up by every part of their names.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    handoff::MovedImage,
    oci::{Digest, Repository},
};

/// What is known about a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<'m> {
    /// Nothing of it was moved.
    Unknown,
    /// It is here now.
    At(&'m Repository),
    /// Its images are in several repositories now, and the tag does not tell which.
    Several,
}

/// An index of moved images.
#[derive(Debug)]
pub(super) struct Moved<'m> {
    repositories: BTreeMap<&'m Repository, BTreeMap<Option<&'m str>, BTreeSet<&'m Repository>>>,
    digests: BTreeMap<Digest, Digest>,
}

impl<'m> Moved<'m> {
    pub(super) fn new(images: &'m [MovedImage]) -> Self {
        let mut repositories: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        let mut digests = BTreeMap::new();
        for image in images {
            repositories
                .entry(image.source.repository())
                .or_default()
                .entry(image.source.tag())
                .or_default()
                .insert(&image.destination);
            if let Some(pinned) = image
                .source
                .digest()
                .filter(|pinned| *pinned != image.digest)
            {
                digests.insert(pinned, image.digest);
            }
        }
        Self {
            repositories,
            digests,
        }
    }

    /// Where a repository is now; the tag decides where that alone does not.
    pub(super) fn find(&self, repository: &Repository, tag: Option<&str>) -> Lookup<'m> {
        let Some(tags) = self.repositories.get(repository) else {
            return Lookup::Unknown;
        };
        let all: BTreeSet<_> = tags.values().flatten().copied().collect();
        let of_tag = tag.and_then(|tag| tags.get(&Some(tag)));
        let places = of_tag.filter(|_| all.len() > 1).unwrap_or(&all);
        match places.first() {
            Some(only) if places.len() == 1 => Lookup::At(only),
            _ => Lookup::Several,
        }
    }

    /// Whether this very tag of a repository was moved.
    pub(super) fn has_tag(&self, repository: &Repository, tag: &str) -> bool {
        self.repositories
            .get(repository)
            .is_some_and(|tags| tags.contains_key(&Some(tag)))
    }

    /// The digest at the destination, of a pinned one that is another there.
    pub(super) fn new_digest(&self, pinned: Digest) -> Option<Digest> {
        self.digests.get(&pinned).copied()
    }

    /// What `stem` is to become where names that were moved are `stem-SOMETHING`, and all are
    /// `PLACE-SOMETHING` now.
    pub(super) fn place_of_stem(&self, stem: &str) -> Option<String> {
        let (directory, last) = stem.rsplit_once('/')?;
        let mut places = BTreeSet::new();
        for (rest, place) in self.below(directory) {
            let Some(added) = rest
                .strip_prefix(last)
                .filter(|added| added.starts_with('-'))
            else {
                continue;
            };
            places.insert(place.to_string().strip_suffix(added)?.to_owned());
        }
        let only = places.pop_first()?;
        places.is_empty().then_some(only)
    }

    /// What was moved from below `base` (`quay.io`, `docker.io/istio`): the rest of the name, and
    /// the place now.
    pub(super) fn below(&self, base: &str) -> Vec<(String, &'m Repository)> {
        let start = format!("{base}/");
        let mut found = Vec::new();
        for (repository, tags) in &self.repositories {
            if let Some(rest) = repository.to_string().strip_prefix(&start) {
                for place in tags.values().flatten() {
                    found.push((rest.to_owned(), *place));
                }
            }
        }
        found
    }
}

/// What is left of `place` in front of `/rest`.
pub(super) fn base_of(place: &Repository, rest: &str) -> Option<String> {
    let name = place.to_string();
    let base = name.strip_suffix(rest)?.strip_suffix('/')?;
    Some(base.to_owned())
}
