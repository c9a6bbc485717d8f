//! Collects what is found, each reference once.

use std::collections::{BTreeMap, BTreeSet};

use super::{BadImage, DiscoverError, Discovery, Found, ImageProblem, Place, Unsure, clip};
use crate::oci::Reference;

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
        let found = self.found.into_iter().map(|(reference, places)| Found {
            reference,
            places: places.into_iter().collect(),
        });
        Ok(Discovery {
            found: found.collect(),
            unsure: self.unsure.into_iter().collect(),
        })
    }
}
