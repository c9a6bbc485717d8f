//! Packaging a chart's directory, with what it lacks.

use std::path::Path;

use bytes::Bytes;
use url::Url;

use super::{
    ChartFault,
    fetch::{Fetched, Fetcher, read_foreign},
    names::{check_version, local_reference, version_fits},
};
use crate::{
    bundle::{FetchedDependency, LockedChart},
    helm::{
        oci::{self, ChartReference},
        package::{self, Wanted},
        repository::{self, FetchOptions},
    },
    oci::Digest,
    progress::Progress,
    request::{ChartSource, RequestedChart},
};

impl Fetcher<'_> {
    /// Packages a directory, with what it lacks.
    pub(super) async fn packaged(
        &self,
        path: &Path,
        shown: &str,
        requested: &RequestedChart,
        pin: Option<&LockedChart>,
        progress: &dyn Progress,
    ) -> Result<Fetched, ChartFault> {
        let within = match &requested.source {
            ChartSource::Path { within, .. } => within.as_deref(),
            _ => None,
        };
        let directory = tokio::task::block_in_place(|| package::inspect_directory(path, within))?;
        for wanted in &directory.missing {
            check_local(wanted)?;
        }
        let mut archives = Vec::new();
        let mut dependencies = Vec::new();
        for wanted in directory.missing.iter().filter(|w| w.local.is_none()) {
            let (archive, dependency) = self.dependency(wanted, requested, pin).await?;
            // Two aliases of one chart are one archive.
            if dependencies.contains(&dependency) {
                continue;
            }
            progress.step(
                "fetched",
                &format!(
                    "{} {} from {}, a dependency of {shown}",
                    dependency.name, dependency.version, dependency.repository
                ),
            );
            let name = format!("{}-{}.tgz", dependency.name, dependency.version);
            archives.push((name, archive));
            dependencies.push(dependency);
        }
        dependencies.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let packaged =
            tokio::task::block_in_place(|| package::package_directory(path, within, &archives))?;
        let mut private = packaged.private;
        private.retain(|file| !self.options.allow_secrets.contains(file));
        if !private.is_empty() && !self.options.allow_all_secrets {
            return Err(ChartFault::PrivateFiles(private));
        }
        packaged.chart.metadata.check_repository_name()?;
        Ok(Fetched {
            reference: local_reference(&packaged.chart)?,
            chart: packaged.chart,
            archive: packaged.archive.into(),
            provenance: None,
            signed_by: None,
            artifact: None,
            source: shown.to_owned(),
            source_digest: None,
            dependencies,
            own_values: packaged.values,
            notes: Vec::new(),
        })
    }

    /// A dependency that is not in the directory.
    async fn dependency(
        &self,
        wanted: &Wanted,
        requested: &RequestedChart,
        pin: Option<&LockedChart>,
    ) -> Result<(Bytes, FetchedDependency), ChartFault> {
        let Wanted {
            dependency, locked, ..
        } = wanted;
        let constraint = dependency.version.as_deref();
        let mut pinned = pin.into_iter().flat_map(|pin| &pin.dependencies);
        let pinned = pinned.find(|pinned| {
            pinned.name == dependency.name && version_fits(constraint, &pinned.version)
        });
        let pinned_version = pinned.map(|pinned| pinned.version.as_str());
        let version = pinned_version.or(locked.as_deref()).or(constraint);
        let repository = dependency.repository.as_deref().unwrap_or_default();
        let from = repository.trim_end_matches('/');
        let found = if from.starts_with("oci://") {
            let reference: ChartReference = format!("{from}/{}", dependency.name).parse()?;
            oci::fetch(self.client, &reference, version).await?
        } else {
            let url: Url = from.parse().map_err(|_| {
                ChartFault::Dependency(format!(
                    "the dependency {} has no repository that can be asked",
                    dependency.name
                ))
            })?;
            let options = FetchOptions {
                pass_credentials: requested.pass_credentials,
                allow_digest_mismatch: requested.allow_digest_mismatch,
            };
            repository::fetch(self.client, &url, &dependency.name, version, options).await?
        };
        let chart = read_foreign(&found.archive, &dependency.name, &found.version)?;
        check_version(&chart, version)?;
        let fetched = FetchedDependency {
            digest: Digest::sha256_of(&found.archive),
            name: dependency.name.clone(),
            repository: repository.to_owned(),
            version: found.version,
        };
        Ok((found.archive, fetched))
    }
}

/// A dependency in a directory nearby has the version that the chart wants.
fn check_local(wanted: &Wanted) -> Result<(), ChartFault> {
    let (Some(local), Some(constraint)) = (&wanted.local, &wanted.dependency.version) else {
        return Ok(());
    };
    if version_fits(Some(constraint), &local.version) {
        return Ok(());
    }
    Err(ChartFault::Dependency(format!(
        "the dependency {} is wanted as `{constraint}`, and {} has {}",
        wanted.dependency.name,
        local.path.display(),
        local.version
    )))
}
