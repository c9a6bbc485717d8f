//! The images that were moved, to be looked up by every part of their names.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

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

/// Where the images of a repository are now.
#[derive(Debug, Default)]
struct Places<'m> {
    all: BTreeSet<&'m Repository>,
    by_tag: BTreeMap<Option<&'m str>, BTreeSet<&'m Repository>>,
}

/// An index of moved images.
#[derive(Debug)]
pub(super) struct Moved<'m> {
    /// By their full names, so that those with the same start stand together.
    repositories: BTreeMap<String, Places<'m>>,
    /// All parts of their paths.
    parts: BTreeSet<&'m str>,
    digests: BTreeMap<Digest, Digest>,
}

impl<'m> Moved<'m> {
    pub(super) fn new(images: &'m [MovedImage]) -> Self {
        let mut repositories: BTreeMap<_, Places<'m>> = BTreeMap::new();
        let mut parts = BTreeSet::new();
        let mut digests = BTreeMap::new();
        for image in images {
            let source = image.source.repository();
            parts.extend(source.path().split('/'));
            let places = repositories.entry(source.to_string()).or_default();
            places.all.insert(&image.destination);
            let tagged = places.by_tag.entry(image.source.tag()).or_default();
            tagged.insert(&image.destination);
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
            parts,
            digests,
        }
    }

    /// Where a repository is now; the tag decides where that alone does not.
    pub(super) fn find(&self, repository: &Repository, tag: Option<&str>) -> Lookup<'m> {
        let Some(Places { all, by_tag }) = self.repositories.get(&repository.to_string()) else {
            return Lookup::Unknown;
        };
        let of_tag = tag.and_then(|tag| by_tag.get(&Some(tag)));
        let places = of_tag.filter(|_| all.len() > 1).unwrap_or(all);
        match places.first() {
            Some(only) if places.len() == 1 => Lookup::At(only),
            _ => Lookup::Several,
        }
    }

    /// Whether this very tag of a repository was moved.
    pub(super) fn has_tag(&self, repository: &Repository, tag: &str) -> bool {
        self.repositories
            .get(&repository.to_string())
            .is_some_and(|places| places.by_tag.contains_key(&Some(tag)))
    }

    /// The digest at the destination, of a pinned one that is another there.
    pub(super) fn new_digest(&self, pinned: Digest) -> Option<Digest> {
        self.digests.get(&pinned).copied()
    }

    /// What `stem` is to become where names that were moved are `stem-SOMETHING`, and all are
    /// `PLACE-SOMETHING` now.
    pub(super) fn place_of_stem(&self, stem: &str) -> Option<String> {
        let mut only: Option<String> = None;
        for (added, places) in self.starting_with(format!("{stem}-")) {
            for place in &places.all {
                let place = place.to_string();
                let start = place.strip_suffix(added)?.strip_suffix('-')?;
                if only.get_or_insert_with(|| start.to_owned()) != start {
                    return None;
                }
            }
        }
        only
    }

    /// Whether all parts of a name occur in names that were moved: a cheap way to tell what none
    /// of them can be.
    pub(super) fn has_parts(&self, name: &str) -> bool {
        name.split('/').all(|part| self.parts.contains(part))
    }

    /// Whether anything was moved from below `base` (`quay.io`, `docker.io/istio`).
    pub(super) fn has_below(&self, base: &str) -> bool {
        self.below(base).next().is_some()
    }

    /// What was moved from below `base`: the rest of the name, and the place now.
    pub(super) fn below(&self, base: &str) -> impl Iterator<Item = (&str, &'m Repository)> {
        self.starting_with(format!("{base}/"))
            .flat_map(|(rest, places)| places.all.iter().map(move |place| (rest, *place)))
    }

    /// The repositories whose names start so, without the start.
    fn starting_with(&self, start: String) -> impl Iterator<Item = (&str, &Places<'m>)> {
        let from = (Bound::Included(start.as_str()), Bound::Unbounded);
        let names = self.repositories.range::<str, _>(from);
        names.map_while(move |(name, places)| Some((name.strip_prefix(&start)?, places)))
    }
}

/// What is left of `place` in front of `/rest`.
pub(super) fn base_of(place: &Repository, rest: &str) -> Option<String> {
    let name = place.to_string();
    let base = name.strip_suffix(rest)?.strip_suffix('/')?;
    Some(base.to_owned())
}
