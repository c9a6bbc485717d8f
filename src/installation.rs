//! One release as it will be installed: a chart, its values, and the images that this makes nodes
//! pull. `create` looks for them, `load` and `check` look whether they are where they should be.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::{
    bundle::{Discover, Release},
    helm::{
        chart::{Chart, ChartError, MAX_ARCHIVE_BYTES, parse_values},
        discover::{self, DiscoverError, Discovery, Found, Place},
        render::{Helm, HelmError, Rendering},
        values,
    },
    oci::{Digest, Reference, Repository},
    registry::{Client, RegistryError},
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

/// Which archive a chart of a bundle has, and what is in it.
#[derive(Clone, Copy, Debug)]
pub struct ArchivedChart<'a> {
    /// The name of the chart.
    pub name: &'a str,
    /// Its version; `_` is as good as `+`.
    pub version: &'a str,
    /// The digest of the archive.
    pub digest: Digest,
    /// The size of the archive in bytes.
    pub size: u64,
}

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No chart is so large.
    #[error("{0} bytes are more than a chart may have")]
    TooLarge(u64),
    /// The registry does not give it.
    #[error("{0}")]
    Registry(Box<RegistryError>),
    /// The registry gives something else.
    #[error("the registry has other content for it")]
    Other,
    /// It is no chart, or another one.
    #[error("{0}")]
    Chart(#[from] ChartError),
}

impl ArchivedChart<'_> {
    /// Fetches the archive.
    ///
    /// # Errors
    /// When the registry does not have it, or has something else for it.
    pub async fn fetch(
        &self,
        client: &Client,
        repository: &Repository,
    ) -> Result<Bytes, ArchiveError> {
        self.check_size()?;
        let failed = |error| ArchiveError::Registry(Box::new(error));
        let blob = client.blob(repository, &self.digest, 0..self.size, self.size);
        let mut blob = blob.await.map_err(failed)?;
        let mut content = BytesMut::new();
        while let Some(chunk) = blob.chunk().await.map_err(failed)? {
            content.extend_from_slice(&chunk);
        }
        match self.digest.of_same_algorithm(&content) == self.digest {
            true => Ok(content.freeze()),
            false => Err(ArchiveError::Other),
        }
    }

    /// Reads the chart in the archive.
    ///
    /// # Errors
    /// When it is no chart, or not the one of this name and version.
    pub fn read(&self, archive: &[u8]) -> Result<Chart, ArchiveError> {
        // Unpacking and parsing a large one takes a while.
        let chart = tokio::task::block_in_place(|| Chart::read(archive))?;
        chart.check_identity(self.name, Some(self.version))?;
        Ok(chart)
    }

    /// Refuses a size that no chart has, before anything is allocated.
    ///
    /// # Errors
    /// When it is above [`MAX_ARCHIVE_BYTES`].
    pub fn check_size(&self) -> Result<(), ArchiveError> {
        match self.size > MAX_ARCHIVE_BYTES {
            true => Err(ArchiveError::TooLarge(self.size)),
            false => Ok(()),
        }
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
