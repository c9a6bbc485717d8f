//! Whether the values of a chart can bring its images to another registry: asked before the medium
//! leaves, with a registry that does not exist.

use std::collections::BTreeSet;

use super::{ChartFault, Charts};
use crate::{
    bundle::Discover,
    create::{CreateError, Resolved},
    handoff::{
        Destination, Layout, MovedChart, MovedImage,
        overlay::{self, Request},
    },
    installation::{Installation, Stray, not_relocated},
    oci::{Reference, Repository},
};

/// A name that no registry has (RFC 2606).
const STUB: &str = "registry.invalid";

/// Images of a release that no value of its chart brings elsewhere: nodes find them only through a
/// mirror.
#[derive(Clone, Debug)]
pub struct NotRelocatable {
    /// The release.
    pub release: String,
    /// The images.
    pub strays: Vec<Stray>,
}

impl Charts {
    /// Renders every chart once more, with the overlay for a registry that does not exist.
    ///
    /// # Errors
    /// When a chart does not render with its overlay.
    pub async fn check_relocation(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<NotRelocatable>, CreateError> {
        let Some(helm) = &self.helm else {
            return Ok(Vec::new());
        };
        let images: Vec<MovedImage> = resolved.images.iter().filter_map(moved).collect();
        let sources: BTreeSet<Reference> = images.iter().map(|i| i.source.clone()).collect();
        let mut not_relocatable = Vec::new();
        for installation in &self.installations {
            if installation.release.discover == Discover::None {
                continue;
            }
            let failed = |fault: ChartFault| CreateError::Charts {
                failed: vec![(installation.release.name.clone(), fault)],
                total: self.installations.len(),
            };
            let chart = moved_chart(installation).map_err(failed)?;
            let overlay = overlay::overlay(&Request {
                chart: &chart,
                images: &images,
                to: Destination {
                    host: STUB,
                    prefix: "",
                    plain_http: false,
                    ca_file: None,
                },
                layout: Layout::Strip,
                pull_secret: crate::handoff::DEFAULT_PULL_SECRET,
            })
            .map_err(|error| failed(error.into()))?;
            let found = installation.images_with(helm, &overlay.yaml).await;
            let found = found.map_err(|error| failed(ChartFault::Overlay(error)))?;
            let strays = not_relocated(&found, &sources);
            if !strays.is_empty() {
                let release = installation.release.name.clone();
                not_relocatable.push(NotRelocatable { release, strays });
            }
        }
        Ok(not_relocatable)
    }
}

fn moved(image: &crate::create::ResolvedImage) -> Option<MovedImage> {
    let source = image.requested.reference.clone();
    Some(MovedImage {
        destination: Repository::new(STUB, source.repository().path()).ok()?,
        tag: source.tag().map(str::to_owned),
        digest: image.descriptor.digest,
        platforms: image.platforms.iter().map(ToString::to_string).collect(),
        source,
    })
}

fn moved_chart(installation: &Installation) -> Result<MovedChart, ChartFault> {
    let metadata = &installation.chart.metadata;
    let release = &installation.release;
    let destination = Repository::new(STUB, &format!("charts/{}", metadata.name))
        .map_err(|error| ChartFault::Name(error.to_string()))?;
    Ok(MovedChart {
        name: metadata.name.clone(),
        version: metadata.version.clone(),
        destination,
        digest: crate::oci::Digest::sha256_of(&installation.archive),
        values: installation.merged_values()?,
        user_values: installation.values.clone(),
        release: release.name.clone(),
        namespace: release.namespace.clone(),
        kube_version: release.kube_version.clone(),
        set: release
            .relocate
            .iter()
            .map(|setting| (setting.path.clone(), setting.value.clone()))
            .collect(),
    })
}

/// Checks that the values of a chart can be set as its release wants it, also where nothing is
/// rendered: inside, nobody could correct it.
///
/// # Errors
/// When one of the places cannot be set.
pub(super) fn check_settings(installation: &Installation) -> Result<(), ChartFault> {
    if installation.release.relocate.is_empty() {
        return Ok(());
    }
    overlay::overlay(&Request {
        chart: &moved_chart(installation)?,
        images: &[],
        to: Destination {
            host: STUB,
            prefix: "",
            plain_http: false,
            ca_file: None,
        },
        layout: crate::handoff::Layout::Strip,
        pull_secret: crate::handoff::DEFAULT_PULL_SECRET,
    })?;
    Ok(())
}
