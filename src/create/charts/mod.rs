//! Charts: fetched, read, and asked for the images that they install.
//!
//! For each chart of a request: **fetch** it (`fetch`), look for secrets in its values, make it an
//! artifact, render it and **find** its images (`images`). What a chart cannot show is listed by
//! the user, or is the operators' catalogue's business.

mod directory;
mod error;
mod fetch;
mod images;
mod names;
mod relocation;

use std::{collections::HashMap, path::PathBuf};

use bytes::Bytes;

pub use error::ChartFault;
pub use images::{Advice, Suggested, Unsure};
pub use relocation::NotRelocatable;

use super::{CreateError, referrers::Subject};
use crate::{
    bundle::{Lock, LockedChart, LockedFile, Release},
    helm::{chart::Artifact, render::Helm, secrets},
    installation::Installation,
    oci::{Descriptor, Digest, Reference},
    progress::Progress,
    registry::Client,
    request::{Origin, Request, RequestedChart},
};
use fetch::{Fetched, Fetcher};

/// Largest values file, in bytes.
pub(in crate::create) const MAX_VALUES_BYTES: u64 = 4 << 20;

/// What holds for all charts of a request.
#[derive(Clone, Debug, Default)]
pub struct ChartOptions {
    /// The `helm` to render with; the one in `PATH` where none is named.
    pub helm: Option<PathBuf>,
    /// Whether images are taken along that charts only suggest.
    pub include_suggested: bool,
    /// Whether values may hold secrets anywhere.
    pub allow_all_secrets: bool,
    /// Fields of the values that may hold secrets.
    pub allow_secrets: Vec<String>,
    /// A file with the OpenPGP keys that must have signed every chart.
    pub keyring: Option<PathBuf>,
}

/// A chart, ready to be carried.
#[derive(Clone, Debug)]
pub struct ResolvedChart {
    /// Its name in the bundle.
    pub reference: Reference,
    /// Its manifest.
    pub descriptor: Descriptor,
    /// What the lock says of it; size of the content and origins are filled in later.
    pub locked: LockedChart,
    /// Who asked for it.
    pub origins: Vec<Origin>,
    /// Whether a registry has it as it is, so that something may refer to it there.
    pub in_registry: bool,
}

/// All charts of a request.
#[derive(Debug, Default)]
pub struct Charts {
    /// The charts, each once.
    pub charts: Vec<ResolvedChart>,
    /// The releases with their charts, in the order of the request.
    pub installations: Vec<Installation>,
    /// Manifests, archives and values, by digest.
    pub contents: HashMap<Digest, Bytes>,
    /// The images that they need.
    pub images: Vec<(Reference, Origin)>,
    /// What a person should know before the medium leaves.
    pub advice: Advice,
    /// The `helm` that rendered them.
    helm: Option<Helm>,
}

impl Charts {
    /// Checks that a lock has these charts and releases, and no others.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_pins(&self, lock: &Lock) -> Result<(), CreateError> {
        let stale = |why: String| Err(CreateError::Lock(why));
        for locked in &lock.charts {
            let reference = &locked.reference;
            let mut charts = self.charts.iter();
            let Some(chart) = charts.find(|chart| chart.locked.reference == *reference) else {
                return stale(format!("{reference} is in it and no longer asked for"));
            };
            let same = LockedChart {
                content_size: locked.content_size,
                requested_by: locked.requested_by.clone(),
                ..chart.locked.clone()
            };
            if same != *locked {
                return stale(format!(
                    "{reference} is no longer what it says: its artifact, its provenance or its dependencies"
                ));
            }
        }
        let releases = self.releases();
        for release in &releases {
            if !lock.releases.contains(release) {
                let name = &release.name;
                return stale(format!(
                    "the release {name} is not in it, or has other values"
                ));
            }
        }
        if lock.releases != releases {
            return stale("it has other releases, or in another order".to_owned());
        }
        Ok(())
    }

    /// The charts that registries have, to be asked what refers to them.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> {
        let charts = self.charts.iter().filter(|chart| chart.in_registry);
        charts.map(|chart| Subject {
            repository: chart.reference.repository().clone(),
            digest: chart.descriptor.digest,
            top: chart.reference.to_string(),
        })
    }

    /// The releases, in the order of the request.
    pub fn releases(&self) -> Vec<Release> {
        let releases = self.installations.iter();
        releases.map(|i| i.release.clone()).collect()
    }
}

/// Fetches all charts of a request and finds their images; with `pins`, those versions that the lock
/// names.
///
/// # Errors
/// With everything that is wrong with any of them.
pub async fn resolve(
    client: &Client,
    request: &Request,
    options: &ChartOptions,
    pins: Option<&Lock>,
    progress: &dyn Progress,
) -> Result<Charts, CreateError> {
    let mut charts = Charts::default();
    if request.charts.is_empty() && request.operators.is_empty() {
        return Ok(charts);
    }
    let mut failed = Vec::new();
    let fetcher = Fetcher::new(client, options, pins)?;
    for requested in &request.charts {
        let added = match fetcher.fetch(requested, progress).await {
            Ok(fetched) => charts.add(requested, fetched, options),
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            failed.push((requested.source.shown(), error));
        }
    }
    let total = request.charts.len();
    let stop = |failed: Vec<_>| match failed.is_empty() {
        true => Ok(()),
        false => Err(CreateError::Charts { failed, total }),
    };
    stop(failed)?;
    charts.find_images(request, options).await.and_then(stop)?;
    Ok(charts)
}

impl Charts {
    /// Takes a chart and its release in.
    fn add(
        &mut self,
        requested: &RequestedChart,
        fetched: Fetched,
        options: &ChartOptions,
    ) -> Result<(), ChartFault> {
        let values = read_values(requested)?;
        check_secrets(&values, &fetched, requested, options)?;
        let release = self.release(requested, &fetched, &values)?;
        for (_, content) in &values {
            let bytes = Bytes::from(content.clone());
            self.contents.insert(Digest::sha256_of(&bytes), bytes);
        }
        let chart = self.artifact(requested, &fetched)?;
        // Inside, a chart is known by name and version alone.
        let name = |chart: &LockedChart| (chart.name.clone(), chart.version.replace('+', "_"));
        let same = |known: &&mut ResolvedChart| name(&known.locked) == name(&chart.locked);
        match self.charts.iter_mut().find(same) {
            Some(known)
                if known.descriptor.digest == chart.descriptor.digest
                    && known.reference == chart.reference =>
            {
                known.origins.extend(chart.origins);
                known.origins.sort();
                known.origins.dedup();
            }
            Some(known) => {
                return Err(ChartFault::SameName {
                    chart: format!("{} {}", chart.locked.name, chart.locked.version),
                    other: known.locked.source.clone(),
                });
            }
            None => self.charts.push(chart),
        }
        let installation = Installation {
            release,
            archive: fetched.archive,
            chart: fetched.chart,
            values,
        };
        relocation::check_settings(&installation)?;
        self.installations.push(installation);
        Ok(())
    }

    fn release(
        &self,
        requested: &RequestedChart,
        fetched: &Fetched,
        values: &[(String, Vec<u8>)],
    ) -> Result<Release, ChartFault> {
        let name = match &requested.release {
            Some(name) => name.clone(),
            None => fetched.chart.metadata.name.clone(),
        };
        crate::request::check_release_name(&name).map_err(ChartFault::Release)?;
        let taken = |i: &Installation| {
            (&i.release.namespace, &i.release.name) == (&requested.namespace, &name)
        };
        if self.installations.iter().any(taken) {
            return Err(ChartFault::Release(format!(
                "there is a release `{name}` in the namespace `{}` already: give this one another name with `release`",
                requested.namespace
            )));
        }
        Ok(Release {
            api_versions: requested.api_versions.clone(),
            chart: fetched.reference.to_string(),
            discover: requested.discover,
            kube_version: requested.kube_version.clone(),
            name,
            namespace: requested.namespace.clone(),
            relocate: requested.relocate.clone(),
            values: values
                .iter()
                .map(|(name, content)| LockedFile {
                    digest: Digest::sha256_of(content),
                    name: name.clone(),
                    size: content.len() as u64,
                })
                .collect(),
        })
    }

    /// The chart as an artifact: as the registry has it, or as `helm push` would make it.
    fn artifact(
        &mut self,
        requested: &RequestedChart,
        fetched: &Fetched,
    ) -> Result<ResolvedChart, ChartFault> {
        let metadata = &fetched.chart.metadata;
        let name = metadata.archive_name();
        crate::request::check_file_name(&name)
            .map_err(|error| ChartFault::Name(error.to_string()))?;
        let (descriptor, parts) = match &fetched.artifact {
            Some((descriptor, parts)) => (descriptor.clone(), parts.clone()),
            None => {
                let provenance = fetched.provenance.as_deref();
                let made = Artifact::new(&fetched.chart, &fetched.archive, provenance)?;
                let parts = [Bytes::from(made.manifest), Bytes::from(made.config)];
                let parts = parts.into_iter().chain([fetched.archive.clone()]);
                let parts = parts.chain(fetched.provenance.clone());
                let parts = parts.map(|part| (Digest::sha256_of(&part), part));
                (made.descriptor, parts.collect())
            }
        };
        self.contents.extend(parts);
        Ok(ResolvedChart {
            reference: fetched.reference.clone(),
            locked: LockedChart {
                app_version: metadata.app_version.clone(),
                archive: LockedFile {
                    digest: fetched.archive_digest(),
                    name,
                    size: fetched.archive.len() as u64,
                },
                content_size: 0,
                dependencies: fetched.dependencies.clone(),
                digest: descriptor.digest,
                media_type: descriptor.media_type.clone(),
                name: metadata.name.clone(),
                provenance: fetched.signed_by.clone(),
                reference: fetched.reference.to_string(),
                requested_by: Vec::new(),
                size: descriptor.size,
                source: fetched.source.clone(),
                source_digest: fetched.source_digest.clone(),
                version: metadata.version.clone(),
            },
            descriptor,
            origins: vec![requested.origin.clone()],
            in_registry: fetched.artifact.is_some(),
        })
    }
}

fn read_values(requested: &RequestedChart) -> Result<Vec<(String, Vec<u8>)>, ChartFault> {
    use std::io::Read as _;
    let read = |path: &PathBuf| {
        let mut content = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(MAX_VALUES_BYTES + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let mut values = Vec::new();
    for file in &requested.values {
        let content = read(&file.path).map_err(|error: std::io::Error| ChartFault::Values {
            file: file.path.display().to_string(),
            message: error.to_string(),
        })?;
        if content.len() as u64 > MAX_VALUES_BYTES {
            return Err(ChartFault::Values {
                file: file.path.display().to_string(),
                message: format!("larger than {MAX_VALUES_BYTES} bytes"),
            });
        }
        values.push((file.name.clone(), content));
    }
    Ok(values)
}

/// Values leave with the medium, so a secret in them is named and stops the run.
fn check_secrets(
    values: &[(String, Vec<u8>)],
    fetched: &Fetched,
    requested: &RequestedChart,
    options: &ChartOptions,
) -> Result<(), ChartFault> {
    if options.allow_all_secrets {
        return Ok(());
    }
    let mut allowed = requested.allow_secrets.clone();
    allowed.extend(options.allow_secrets.iter().cloned());
    let mut found = Vec::new();
    let settings = requested.relocate.iter();
    let settings: String = settings
        .map(|setting| format!("{:?}: {:?}\n", setting.path, setting.value))
        .collect();
    // What a publisher ships is no secret; what is packaged here may be.
    let own = fetched.own_values.iter();
    let own = own.map(|content| ("the chart's values.yaml".to_owned(), content.clone()));
    let settings = ("relocate".to_owned(), settings.into_bytes());
    let all = values.iter().cloned().chain(own).chain([settings]);
    for (name, content) in all {
        let wrong = |message: String| ChartFault::Values {
            file: name.clone(),
            message,
        };
        let text = std::str::from_utf8(&content).map_err(|_| wrong("not UTF-8 text".into()))?;
        let suspected = secrets::scan(text).map_err(|error| wrong(error.to_string()))?;
        let suspected = suspected.into_iter();
        let unlisted = suspected.filter(|field| !secrets::is_allowed(&field.path, &allowed));
        found.extend(unlisted.map(|field| format!("{name}  {}: {}", field.path, field.why)));
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(ChartFault::Secrets(found)),
    }
}
