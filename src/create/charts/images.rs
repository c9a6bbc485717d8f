//! The images of the charts: those that they show, those that the user lists, those of operators, and
//! those that are only suggested.

use std::{collections::BTreeSet, io::Read as _, path::Path};

use super::{ChartFault, ChartOptions, Charts, NotRelocatable};
use crate::{
    bundle::Discover,
    create::CreateError,
    helm::{
        chart::Chart,
        discover::{self, Discovery, Found},
        operators::{self, Catalogue, OperatorImages, Uncovered},
        render::Helm,
        suggest::{self, ChartSource},
    },
    human,
    installation::Installation,
    oci::Reference,
    progress::Progress,
    request::{ChartFacts, Origin, Request, RequestedFile, read_contained_list},
};

/// What a person should know before the medium leaves.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// Images that charts name where nothing is certain.
    pub suggested: Vec<Suggested>,
    /// What may name an image, and does not say which.
    pub unsure: Vec<Unsure>,
    /// Whether the system did not let `helm` be kept from the network.
    pub helm_has_network: bool,
    /// Operators that make pods of images which nothing lists.
    pub operators: Vec<String>,
    /// Lists of images in charts that cannot be read.
    pub unreadable: Vec<String>,
    /// Releases that do not render with values for another registry, and why.
    pub fixed_values: Vec<(String, String)>,
    /// Images that no value of their chart brings to another registry.
    pub not_relocatable: Vec<NotRelocatable>,
}

impl Advice {
    /// Tells what nobody should find out inside.
    pub(in crate::create) fn tell(&self, progress: &dyn Progress) {
        let told = [
            (
                self.unsure.len(),
                "may name an image and does not say which",
                "place",
                "places",
            ),
            (
                self.suggested.len(),
                "only suggested by a chart",
                "image is",
                "images are",
            ),
        ];
        for (count, what, one, many) in told {
            if count > 0 {
                let count = human::count(count, one, many);
                progress.warn(&format!("{count} {what}: bundle plan shows"));
            }
        }
        if self.helm_has_network {
            progress.warn("this system does not let helm run without a network; nothing but that kept the charts' templates from using it");
        }
        for list in &self.unreadable {
            progress.warn(&format!(
                "a list of images in a chart cannot be read: {list}"
            ));
        }
        for operator in &self.operators {
            progress.warn(operator);
        }
        for (release, why) in &self.fixed_values {
            progress.warn(&format!(
                "release {release} does not render with values for another registry, so nodes need a mirror for its images: {why}"
            ));
        }
        for found in &self.not_relocatable {
            let count = human::count(found.strays.len(), "image", "images");
            let names = found.strays.iter().map(|stray| stray.reference.to_string());
            let names = names.collect::<Vec<_>>().join(", ");
            let release = &found.release;
            progress.warn(&match found.except_with_last2 {
                true => format!(
                    "release {release} is to be loaded with --layout last2, or nodes need a mirror for \
                     {count} that no value relocates otherwise: {names}"
                ),
                false => format!(
                    "{count} of release {release} cannot be relocated by values: nodes need a mirror \
                     for {names}"
                ),
            });
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

/// Something in a release that may name an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsure {
    /// The release.
    pub release: String,
    /// What, where and why.
    pub unsure: discover::Unsure,
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
            let helm = helm.map_err(CreateError::Helm)?;
            self.advice.helm_has_network = !helm.is_offline();
            self.helm = Some(helm);
        }
        let catalogues = Catalogues::read(request)?;
        let mut listed: BTreeSet<Reference> =
            request.images.iter().map(|i| i.reference.clone()).collect();
        for (requested, installation) in request.charts.iter().zip(&self.installations) {
            let release = &installation.release.name;
            let metadata = &installation.chart.metadata;
            let facts = ChartFacts {
                name: &metadata.name,
                version: &metadata.version,
                app_version: metadata.app_version.as_deref(),
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
                (None, _) | (_, Discover::None) => Discovery::default(),
                (Some(helm), _) => match installation.images(helm).await {
                    Ok(found) => found,
                    Err(error) => {
                        failed.push((release.clone(), error.into()));
                        continue;
                    }
                },
            };
            listed.extend(found.found.iter().map(|found| found.reference.clone()));
            self.images.extend(rendered_images(release, &found.found));
            let unsure = found.unsure.into_iter().map(|unsure| Unsure {
                release: release.clone(),
                unsure,
            });
            self.advice.unsure.extend(unsure);
        }
        if let Err(fault) = self.suggest(&mut listed, options) {
            failed.push(fault);
        }
        for (reference, origin) in catalogues.images(&mut listed)? {
            self.images.push((reference, origin));
        }
        self.advice
            .suggested
            .retain(|suggested| !listed.contains(&suggested.reference));
        // What is listed covers an operator just as what is found does.
        let all: Vec<Found> = listed.into_iter().map(named_only).collect();
        let uncovered = operators::uncovered(&all, &catalogues.all);
        self.advice.operators = uncovered.iter().map(uncovered_text).collect();
        Ok(failed)
    }

    /// What the charts only suggest: taken if the user wants that, or else told.
    fn suggest(
        &mut self,
        listed: &mut BTreeSet<Reference>,
        options: &ChartOptions,
    ) -> Result<(), (String, ChartFault)> {
        let mut suggested = BTreeSet::new();
        for installation in &self.installations {
            let release = &installation.release.name;
            if installation.release.discover == Discover::None {
                continue;
            }
            let mut sources = Vec::new();
            add_sources(&installation.chart, String::new(), &mut sources);
            let sources: Vec<_> = sources.iter().map(Source::borrowed).collect();
            let found = suggest::suggestions(&sources, listed);
            if options.include_suggested && !found.unreadable.is_empty() {
                return Err((release.clone(), ChartFault::Unreadable(found.unreadable)));
            }
            self.advice.unreadable.extend(found.unreadable);
            suggested.extend(found.images.into_iter().map(|suggestion| Suggested {
                reference: suggestion.reference,
                release: release.clone(),
                from: suggestion.from.join(", "),
            }));
        }
        if !options.include_suggested {
            self.advice.suggested = suggested.into_iter().collect();
            return Ok(());
        }
        for suggested in suggested {
            listed.insert(suggested.reference.clone());
            let origin = Origin::Suggested {
                release: suggested.release,
                path: suggested.from,
            };
            self.images.push((suggested.reference, origin));
        }
        Ok(())
    }
}

/// A chart or a sub-chart with its folder in the archive.
struct Source<'c> {
    folder: String,
    chart: &'c Chart,
}

impl Source<'_> {
    fn borrowed(&self) -> ChartSource<'_> {
        ChartSource {
            folder: &self.folder,
            values: &self.chart.values,
            annotations: &self.chart.metadata.annotations,
            images_lock: self.chart.images_lock.as_deref(),
        }
    }
}

fn add_sources<'c>(chart: &'c Chart, folder: String, sources: &mut Vec<Source<'c>>) {
    for sub_chart in &chart.dependencies {
        let below = format!("{folder}charts/{}/", sub_chart.metadata.name);
        add_sources(sub_chart, below, sources);
    }
    sources.push(Source { folder, chart });
}

fn named_only(reference: Reference) -> Found {
    let places = Vec::new();
    Found { reference, places }
}

fn uncovered_text(uncovered: &Uncovered) -> String {
    let operator = uncovered.operator;
    format!(
        "{} ({}) pulls {}, which no chart shows and no list here has; list them under `images` or in a catalogue under `operators` ({})",
        operator.name, uncovered.reference, operator.pulls, operator.list
    )
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

/// The catalogues of a request.
struct Catalogues {
    /// Each with its file.
    each: Vec<(RequestedFile, Catalogue)>,
    /// All in one.
    all: Catalogue,
}

impl Catalogues {
    fn read(request: &Request) -> Result<Self, CreateError> {
        let mut each = Vec::new();
        let mut all = Catalogue::default();
        for file in &request.operators {
            let failed = |reason: String| CreateError::File {
                path: file.path.clone(),
                reason,
            };
            let mut text = String::new();
            std::fs::File::open(&file.path)
                .and_then(|file| {
                    let most = operators::MAX_CATALOGUE as u64 + 1;
                    file.take(most).read_to_string(&mut text)
                })
                .map_err(|error| failed(error.to_string()))?;
            let catalogue = Catalogue::parse(&text).map_err(CreateError::Operators)?;
            all.operators.extend(catalogue.operators.iter().cloned());
            each.push((file.clone(), catalogue));
        }
        Ok(Self { each, all })
    }

    /// What the operators among `listed` run, by these catalogues, which is listed too then: an
    /// operator may run another one.
    fn images(
        &self,
        listed: &mut BTreeSet<Reference>,
    ) -> Result<Vec<(Reference, Origin)>, CreateError> {
        let mut images = BTreeSet::new();
        loop {
            let found: Vec<Found> = listed.iter().cloned().map(named_only).collect();
            let before = listed.len();
            for (reference, origin) in self.images_of(&found)? {
                listed.insert(reference.clone());
                images.insert((reference, origin));
            }
            if listed.len() == before {
                return Ok(images.into_iter().collect());
            }
        }
    }

    fn images_of(&self, found: &[Found]) -> Result<Vec<(Reference, Origin)>, CreateError> {
        let mut images = Vec::new();
        for (file, catalogue) in &self.each {
            for (operator, list) in catalogue.lists_for(found) {
                let references = match &list.images {
                    OperatorImages::Listed(references) => references.clone(),
                    OperatorImages::From(path) => {
                        let beside = file.path.parent().unwrap_or(Path::new("."));
                        let listed = read_contained_list(beside, path);
                        let listed = listed.map_err(|error| CreateError::File {
                            path: beside.join(path),
                            reason: error.to_string(),
                        })?;
                        listed.into_iter().map(|image| image.reference).collect()
                    }
                };
                images.extend(references.into_iter().map(|reference| {
                    let origin = Origin::Operator {
                        operator: operator.reference.to_string(),
                        path: file.name.clone(),
                    };
                    (reference, origin)
                }));
            }
        }
        Ok(images)
    }
}
