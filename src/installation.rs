//! One release as it will be installed: a chart, its values, and the images that this makes nodes
//! pull. `create` looks for them, `load` and `check` look whether they are where they should be.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    bundle::{Discover, Release},
    helm::{
        chart::{Chart, ChartError, parse_values},
        discover::{self, DiscoverError, Discovery, Found, Place},
        render::{Helm, HelmError, Rendering},
        values,
    },
    oci::Reference,
};

/// A chart with everything that it is installed with.
#[derive(Clone, Debug)]
pub struct Installation {
    /// What the release is called and where it goes.
    pub release: Release,
    /// The packaged chart.
    pub archive: Bytes,
    /// What is in it.
    pub chart: Chart,
    /// The values files, in the order in which they apply.
    pub values: Vec<(String, Vec<u8>)>,
}

/// Why an installation cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// Helm does not render it.
    #[error("{0}")]
    Helm(#[from] HelmError),
    /// What Helm rendered cannot be understood.
    #[error("{0}")]
    Discover(#[from] DiscoverError),
    /// A values file is no YAML mapping.
    #[error("{0}")]
    Values(#[from] ChartError),
}

impl InstallationError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helm(error) => error.hint(),
            Self::Discover(error) => error.hint(),
            Self::Values(error) => error.hint(),
        }
    }
}

/// The name under which messages speak of the overlay.
const OVERLAY_FILE: &str = "the overlay of the hand-off";

impl Installation {
    /// The images that the rendered chart names, and what may be some.
    ///
    /// # Errors
    /// When it does not render.
    pub async fn images(&self, helm: &Helm) -> Result<Discovery, InstallationError> {
        self.render(helm, &self.values).await
    }

    /// The same with an overlay over all values.
    ///
    /// # Errors
    /// When it does not render.
    pub async fn images_with(
        &self,
        helm: &Helm,
        overlay: &str,
    ) -> Result<Vec<Found>, InstallationError> {
        let mut values = self.values.clone();
        values.push((OVERLAY_FILE.to_owned(), overlay.as_bytes().to_vec()));
        Ok(self.render(helm, &values).await?.found)
    }

    async fn render(
        &self,
        helm: &Helm,
        values: &[(String, Vec<u8>)],
    ) -> Result<Discovery, InstallationError> {
        let rendering = Rendering {
            archive: &self.archive,
            values,
            release: &self.release.name,
            namespace: &self.release.namespace,
            kube_version: self.release.kube_version.as_deref(),
            api_versions: &self.release.api_versions,
            tests: self.release.discover == Discover::RenderWithTests,
        };
        let rendered = helm.template(&rendering).await?;
        // Parsing what a large chart makes takes a while.
        Ok(tokio::task::block_in_place(|| {
            discover::discover(&rendered)
        })?)
    }

    /// All values: the chart's, those of its sub-charts, and the user's.
    ///
    /// # Errors
    /// When a values file is not a YAML mapping.
    pub fn merged_values(&self) -> Result<Value, InstallationError> {
        let user = self.values.iter();
        let user = user.map(|(name, content)| parse_values(name, content));
        let user = user.collect::<Result<Vec<_>, _>>()?;
        Ok(values::merged(&self.chart, &user))
    }
}

/// An image of an installation that is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The image, as the rendered chart names it.
    pub reference: Reference,
    /// Where it is named.
    pub places: Vec<Place>,
    /// Why it is a stray.
    pub reason: String,
}

/// Images that an overlay leaves with a name from before.
pub fn not_relocated(found: &[Found], moved: &BTreeSet<Reference>) -> Vec<Stray> {
    let strays = found
        .iter()
        .filter(|found| moved.contains(&found.reference));
    strays
        .map(|found| Stray {
            reference: found.reference.clone(),
            places: found.places.clone(),
            reason: "no value of the chart decides where it comes from".to_owned(),
        })
        .collect()
}
