//! The images of the charts: those that they show, those that the user lists, those of operators, and
//! those that are only suggested.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{ChartFault, ChartOptions, Charts, NotRelocatable};
use crate::{
    bundle::Discover,
    create::CreateError,
    helm::{
        discover::Found,
        operators::{self, Catalogue},
        render::Helm,
        suggest::{self, Source},
    },
    human,
    installation::Installation,
    oci::Reference,
    progress::Progress,
    request::{ChartFacts, Origin, Request},
};

/// What a person should know before the medium leaves.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// Images that charts name where nothing is certain.
    pub suggested: Vec<Suggested>,
    /// Operators that make pods of images which nothing lists.
    pub operators: Vec<String>,
    /// Images that no value of their chart brings to another registry.
    pub not_relocatable: Vec<NotRelocatable>,
}

impl Advice {
    /// Tells what nobody should find out inside.
    pub(in crate::create) fn tell(&self, progress: &dyn Progress) {
        for operator in &self.operators {
            progress.warn(operator);
        }
        for found in &self.not_relocatable {
            let count = human::count(found.strays.len(), "image", "images");
            progress.warn(&format!(
                "{count} of release {} cannot be relocated by values: nodes need a mirror for {}",
                found.release,
                found
                    .strays
                    .iter()
                    .map(|stray| stray.reference.to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
    }
}

/// An image that a chart names in values, annotations or `Images.lock`, and that it does not install
/// with these values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suggested {
    /// The image.
    pub reference: Reference,
    /// The release.
    pub release: String,
    /// Where it is named.
    pub from: String,
}

type Failed = Vec<(String, ChartFault)>;

impl Charts {
    /// Finds the images of all releases; gives back what is wrong with any of them.
    pub(super) async fn find_images(
        &mut self,
        request: &Request,
        options: &ChartOptions,
    ) -> Result<Failed, CreateError> {
        let mut failed = Failed::new();
        let rendered = |i: &Installation| i.release.discover != Discover::None;
        if self.installations.iter().any(rendered) {
            let helm = Helm::find(options.helm.as_deref()).await;
            self.helm = Some(helm.map_err(CreateError::Helm)?);
        }
        let catalogues = catalogues(request)?;
        let mut listed: BTreeSet<Reference> =
            request.images.iter().map(|i| i.reference.clone()).collect();
        let mut found_by = BTreeMap::new();
        for (requested, installation) in request.charts.iter().zip(&self.installations) {
            let release = &installation.release.name;
            let metadata = &installation.chart.metadata;
            let facts = ChartFacts {
                name: &metadata.name,
                version: &metadata.version,
                app_version: Some(metadata.app_version.as_str()).filter(|v| !v.is_empty()),
            };
            for image in &requested.images {
                match image.template.fill(&facts) {
                    Ok(reference) => {
                        listed.insert(reference.clone());
                        self.images.push((reference, image.origin.clone()));
                    }
                    Err(message) => failed.push((release.clone(), ChartFault::Image(message))),
                }
            }
            let found = match (&self.helm, installation.release.discover) {
                (None, _) | (_, Discover::None) => Vec::new(),
                (Some(helm), _) => match installation.images(helm).await {
                    Ok(found) => found,
                    Err(error) => {
                        failed.push((release.clone(), error.into()));
                        continue;
                    }
                },
            };
            self.images.extend(rendered_images(release, &found));
            found_by.insert(release.clone(), found);
        }
        let all: Vec<Found> = found_by.values().flatten().cloned().collect();
        listed.extend(all.iter().map(|found| found.reference.clone()));
        for catalogue in &catalogues {
            for (operator, images) in catalogue.lists_for(&all) {
                for reference in images {
                    listed.insert(reference.clone());
                    let origin = Origin::Operator {
                        operator: operator.to_string(),
                        path: catalogue.name().to_owned(),
                    };
                    self.images.push((reference.clone(), origin));
                }
            }
        }
        self.advice.operators = operators::uncovered(&all, &catalogues)
            .iter()
            .map(ToString::to_string)
            .collect();
        self.suggest(&listed, options);
        Ok(failed)
    }

    /// What the charts only suggest.
    fn suggest(&mut self, listed: &BTreeSet<Reference>, options: &ChartOptions) {
        let mut suggested = BTreeSet::new();
        for installation in &self.installations {
            if installation.release.discover == Discover::None {
                continue;
            }
            let source = Source::of(&installation.chart);
            for suggestion in suggest::suggestions(&source, listed) {
                suggested.insert(Suggested {
                    reference: suggestion.reference,
                    release: installation.release.name.clone(),
                    from: suggestion.from,
                });
            }
        }
        if !options.include_suggested {
            self.advice.suggested = suggested.into_iter().collect();
            return;
        }
        self.images.extend(suggested.into_iter().map(|suggested| {
            let origin = Origin::Suggested {
                release: suggested.release,
                path: suggested.from,
            };
            (suggested.reference, origin)
        }));
    }
}

/// Each place of each image is an origin.
fn rendered_images(release: &str, found: &[Found]) -> Vec<(Reference, Origin)> {
    let places = found.iter().flat_map(|found| {
        found.places.iter().map(|place| {
            let origin = Origin::Rendered {
                release: release.to_owned(),
                object: place.object.clone(),
                path: place.field.clone(),
                template: place.template.clone(),
            };
            (found.reference.clone(), origin)
        })
    });
    places.collect()
}

fn catalogues(request: &Request) -> Result<Vec<Catalogue>, CreateError> {
    let read = |name: &str, path: &Path| Catalogue::read(path, name);
    let catalogues = request.operators.iter();
    catalogues
        .map(|file| read(&file.name, &file.path).map_err(CreateError::Operators))
        .collect()
}
