//! Collects what is found, each reference once.

use std::collections::{BTreeMap, BTreeSet};

use super::{BadImage, DiscoverError, Discovery, Found, ImageProblem, Place, Unsure, clip};
use crate::oci::Reference;

/// Why a repository alone is not taken.
pub(super) const NO_VERSION: &str = "it has neither tag nor digest";

#[derive(Debug, Default)]
pub(super) struct Sink {
    found: BTreeMap<Reference, BTreeSet<Place>>,
    unsure: BTreeSet<Unsure>,
    bad: Vec<BadImage>,
}

impl Sink {
    pub fn found(&mut self, reference: Reference, place: Place) {
        self.found.entry(reference).or_default().insert(place);
    }

    pub fn unsure(&mut self, text: &str, why: &'static str, place: Place) {
        let text = clip(text);
        self.unsure.insert(Unsure { text, place, why });
    }

    pub fn bad(&mut self, problem: ImageProblem, place: Place) {
        self.bad.push(BadImage { place, problem });
    }

    pub fn finish(self) -> Result<Discovery, DiscoverError> {
        if !self.bad.is_empty() {
            return Err(DiscoverError::Images(self.bad));
        }
        // A name without a version whose version stands in the next field is not uncertain.
        let explained: BTreeSet<&Place> = (self.found.values().flatten())
            .chain((self.unsure.iter()).filter_map(|u| (u.why != NO_VERSION).then_some(&u.place)))
            .collect();
        let unsure = (self.unsure.iter())
            .filter(|u| u.why != NO_VERSION || !explained.contains(&u.place))
            .cloned()
            .collect();
        let found = self.found.into_iter().map(|(reference, places)| Found {
            reference,
            places: places.into_iter().collect(),
        });
        Ok(Discovery {
            found: found.collect(),
            unsure,
        })
    }
}
