//! Whether the values of a chart can bring its images to another registry: asked before the medium
//! leaves, with a registry that does not exist.

use std::collections::BTreeSet;

use super::{ChartFault, Charts};
use crate::{
    bundle::Discover,
    create::{CreateError, Resolved},
    handoff::{
        Destination, MovedChart, MovedImage,
        overlay::{self, Request},
    },
    helm::render::Helm,
    installation::{Installation, InstallationError, Stray, not_relocated},
    load::{PathLayout, Relocation},
    oci::{Reference, Repository},
};

/// A name that no registry has (RFC 2606).
const STUB: &str = "registry.invalid";

/// Images of a release that no value of its chart brings elsewhere when they keep their paths: nodes
/// find them only through a mirror.
#[derive(Clone, Debug)]
pub struct NotRelocatable {
    /// The release.
    pub release: String,
    /// The images.
    pub strays: Vec<Stray>,
    /// Whether values do bring all of them elsewhere when the bundle is loaded with `--layout last2`,
    /// as for charts that make names of a registry and the last two parts.
    pub except_with_last2: bool,
}

impl Charts {
    /// Renders every chart once more, with the overlay for a registry that does not exist.
    ///
    /// # Errors
    /// When the values for another registry cannot be made.
    pub async fn check_relocation(&mut self, resolved: &Resolved) -> Result<(), CreateError> {
        let Some(helm) = &self.helm else {
            return Ok(());
        };
        for installation in &self.installations {
            if installation.release.discover == Discover::None {
                continue;
            }
            let strays = async |layout| {
                let strays = strays(helm, installation, resolved, layout).await;
                strays.map_err(|fault| CreateError::Charts {
                    failed: vec![(installation.release.name.clone(), fault)],
                    total: self.installations.len(),
                })
            };
            let release = installation.release.name.clone();
            match strays(PathLayout::Strip).await? {
                Ok(found) if found.is_empty() => {}
                Ok(found) => self.advice.not_relocatable.push(NotRelocatable {
                    release,
                    strays: found,
                    except_with_last2: strays(PathLayout::Last2).await?.is_ok_and(|s| s.is_empty()),
                }),
                // With a mirror the chart can be installed with its values as they are.
                Err(error) => self.advice.fixed_values.push((release, error.to_string())),
            }
        }
        Ok(())
    }
}

/// The images that a release names as before, although they were moved; or why it does not render
/// with the overlay.
async fn strays(
    helm: &Helm,
    installation: &Installation,
    resolved: &Resolved,
    layout: PathLayout,
) -> Result<Result<Vec<Stray>, InstallationError>, ChartFault> {
    let relocation = Relocation {
        to: STUB.parse().expect("the name of a registry"),
        layout,
        rules: Vec::new(),
        charts_path: "charts".to_owned(),
    };
    let images = resolved.images.iter();
    let images: Vec<MovedImage> = images
        .filter_map(|image| moved(image, &relocation))
        .collect();
    let sources: BTreeSet<Reference> = images.iter().map(|i| i.source.clone()).collect();
    let overlay = overlay::overlay(&Request {
        chart: &moved_chart(installation)?,
        images: &images,
        to: Destination {
            host: STUB,
            prefix: "",
            plain_http: false,
            ca_file: None,
        },
        layout: layout.into(),
        pull_secret: crate::handoff::DEFAULT_PULL_SECRET,
    })?;
    let found = installation.images_with(helm, &overlay.yaml).await;
    Ok(found.map(|found| not_relocated(&found, &sources)))
}

fn moved(image: &crate::create::ResolvedImage, relocation: &Relocation) -> Option<MovedImage> {
    let source = image.requested.reference.clone();
    Some(MovedImage {
        destination: relocation.destination(&source).ok()?,
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
