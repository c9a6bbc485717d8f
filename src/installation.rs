//! One release as it will be installed: a chart, its values, and the images that this makes nodes
//! pull. `create` looks for them, `load` and `check` look whether they are where they should be.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    bundle::{Discover, Release},
    handoff::overlay::Overlay,
    helm::{
        chart::Chart,
        discover::{self, DiscoverError, Found, Place},
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
    #[error("{file}: {message}")]
    Values {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
}

impl InstallationError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Helm(error) => error.hint(),
            Self::Discover(error) => error.hint(),
            Self::Values { .. } => None,
        }
    }
}

/// The name under which messages speak of the overlay.
const OVERLAY_FILE: &str = "the overlay of the hand-off";

impl Installation {
    /// The images that the rendered chart names.
    ///
    /// # Errors
    /// When it does not render.
    pub async fn images(&self, helm: &Helm) -> Result<Vec<Found>, InstallationError> {
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
        self.render(helm, &values).await
    }

    async fn render(
        &self,
        helm: &Helm,
        values: &[(String, Vec<u8>)],
    ) -> Result<Vec<Found>, InstallationError> {
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
            discover::find_images(&rendered)
        })?)
    }

    /// All values: the chart's, those of its sub-charts, and the user's.
    ///
    /// # Errors
    /// When a values file is not a YAML mapping.
    pub fn merged_values(&self) -> Result<Value, InstallationError> {
        let user = self.values.iter().map(|(name, content)| {
            parse_values(content).map_err(|message| InstallationError::Values {
                file: name.clone(),
                message,
            })
        });
        let user = user.collect::<Result<Vec<_>, _>>()?;
        Ok(values::merged(&self.chart, &user))
    }
}

/// A values file: a mapping, or nothing.
fn parse_values(content: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(content).map_err(|_| "not UTF-8 text".to_owned())?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
    match value {
        Value::Object(_) | Value::Null => Ok(value),
        _ => Err("values are a mapping of names to values".to_owned()),
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
    let strays = found.iter().filter(|found| moved.contains(&found.reference));
    strays
        .map(|found| Stray {
            reference: found.reference.clone(),
            places: found.places.clone(),
            reason: "no value of the chart decides where it comes from".to_owned(),
        })
        .collect()
}

/// What is written into the values of each release.
pub type Overlays = BTreeMap<String, Overlay>;
