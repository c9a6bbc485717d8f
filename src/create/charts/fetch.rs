//! Getting a chart from where it is: a repository, a registry, or this machine.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use url::Url;

use super::{ChartFault, ChartOptions, signatures};
use crate::{
    bundle::{FetchedDependency, Lock, LockedChart, SourceDigest},
    create::CreateError,
    helm::{
        chart::{Chart, ChartError, MAX_ARCHIVE_BYTES},
        oci::{self, ChartReference},
        package::{self, Wanted},
        provenance::{Gpgv, Keyring},
        repository::{self, FetchOptions},
        source::{FetchedChart, IndexDigest},
        version::{Constraint, Version},
    },
    oci::{Descriptor, Digest, Reference, Repository},
    progress::Progress,
    registry::Client,
    request::{ChartSource, RequestedChart},
};

/// The host in the references of charts that come from no host.
const NO_HOST: &str = "localhost";

/// A chart that is here.
pub(super) struct Fetched {
    pub chart: Chart,
    /// The packaged chart.
    pub archive: Bytes,
    pub provenance: Option<Bytes>,
    /// Who signed it, if that was checked.
    pub signed_by: Option<String>,
    /// Its name in the bundle.
    pub reference: Reference,
    /// Its manifest's descriptor, and all of its content as its registry has it.
    pub artifact: Option<(Descriptor, Vec<(Digest, Bytes)>)>,
    pub source: String,
    pub source_digest: Option<SourceDigest>,
    pub dependencies: Vec<FetchedDependency>,
    /// Its `values.yaml`, where it was packaged here.
    pub own_values: Option<Vec<u8>>,
    /// What belongs to it in its registry.
    pub signatures: Vec<Reference>,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Fetched {
    /// The digest of the archive, by the algorithm that its manifest names it with.
    pub(super) fn archive_digest(&self) -> Digest {
        let parts = self.artifact.iter().flat_map(|(_, parts)| parts);
        let named = parts.filter(|(_, content)| *content == self.archive);
        let mut named = named.map(|(digest, _)| *digest);
        named
            .next()
            .unwrap_or_else(|| Digest::sha256_of(&self.archive))
    }
}

/// Gets charts.
pub(super) struct Fetcher<'a> {
    client: &'a Client,
    pins: Option<&'a Lock>,
    signatures: Option<(Gpgv, Keyring)>,
    options: &'a ChartOptions,
}

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        client: &'a Client,
        options: &'a ChartOptions,
        pins: Option<&'a Lock>,
    ) -> Result<Self, CreateError> {
        let signatures = match &options.keyring {
            None => None,
            Some(path) => {
                let failed = |error: std::io::Error| CreateError::File {
                    path: path.clone(),
                    reason: error.to_string(),
                };
                let content = std::fs::read(path).map_err(failed)?;
                let keyring = Keyring::read(&content).map_err(CreateError::Keyring)?;
                Some((Gpgv::find(None).map_err(CreateError::Keyring)?, keyring))
            }
        };
        Ok(Self {
            client,
            pins,
            signatures,
            options,
        })
    }

    /// Gets a chart, reads it, and checks that it is the one
    /// that was asked for.
    pub(super) async fn fetch(
        &self,
        requested: &RequestedChart,
        progress: &dyn Progress,
    ) -> Result<Fetched, ChartFault> {
        let pin = self.pin(requested)?;
        let version = pin.map_or(requested.version.as_deref(), |pin| Some(&pin.version));
        let mut fetched = match &requested.source {
            ChartSource::Repository { url, name } => {
                self.from_repository(url, name, version, requested).await?
            }
            ChartSource::Registry(reference) => {
                // What is locked is asked for by digest: a tag may have moved meanwhile.
                let locked = pin.map(|pin| {
                    let repository = reference.repository();
                    format!("oci://{repository}@{}", pin.digest).parse::<ChartReference>()
                });
                let locked = locked.transpose()?;
                let asked = locked.as_ref().unwrap_or(reference);
                // The version may be part of the name already.
                let version = version.filter(|_| !asked.is_exact());
                let found = oci::fetch(self.client, asked, version).await?;
                self.from_registry(reference, found, requested).await?
            }
            ChartSource::Path { path, shown, .. } if path.is_dir() => {
                self.from_directory(path, shown, requested, pin, progress)
                    .await?
            }
            ChartSource::Path { path, shown, .. } => from_archive(path, shown)?,
        };
        for note in &fetched.notes {
            progress.warn(note);
        }
        check_version(&fetched.chart, version)?;
        if let ChartSource::Registry(reference) = &requested.source {
            check_version(&fetched.chart, reference.version())?;
        }
        let missing = fetched.chart.missing();
        if !missing.is_empty() {
            let missing = missing.iter().map(|dependency| dependency.name.clone());
            return Err(ChartFault::Dependencies(missing.collect()));
        }
        if let Some((gpgv, keyring)) = &self.signatures {
            let file = fetched.chart.metadata.archive_name();
            let provenance = fetched.provenance.as_deref();
            let provenance = provenance.ok_or(ChartFault::NoProvenance)?;
            let (signed, signers) = gpgv.verify(provenance, keyring).await?;
            signed.check_archive(&file, &fetched.archive)?;
            let signers = signers.iter();
            let signers = signers.map(|s| format!("{} ({})", s.user_id, s.fingerprint));
            fetched.signed_by = Some(signers.collect::<Vec<_>>().join(", "));
        }
        if let Some(pin) = pin {
            let found = fetched.archive_digest();
            if found != pin.archive.digest {
                return Err(ChartFault::Moved {
                    version: pin.version.clone(),
                    locked: pin.archive.digest,
                    found,
                });
            }
        }
        Ok(fetched)
    }

    /// What the lock says of this chart. One chart may be there in two versions, for two releases.
    fn pin(&self, requested: &RequestedChart) -> Result<Option<&'a LockedChart>, ChartFault> {
        let Some(lock) = self.pins else {
            return Ok(None);
        };
        let shown = requested.source.shown();
        let fits = |chart: &&LockedChart| {
            chart.source == shown && version_fits(requested.version.as_deref(), &chart.version)
        };
        let is_for = |chart: &&LockedChart| {
            let name = requested.release.as_ref().unwrap_or(&chart.name);
            let mut releases = lock.releases.iter();
            releases.any(|release| {
                release.chart == chart.reference
                    && (&release.name, &release.namespace) == (name, &requested.namespace)
            })
        };
        let mut charts = lock.charts.iter().filter(fits);
        let pin = charts.clone().find(is_for).or_else(|| charts.next());
        pin.map(Some).ok_or(ChartFault::NotLocked)
    }

    async fn from_repository(
        &self,
        url: &Url,
        name: &str,
        version: Option<&str>,
        requested: &RequestedChart,
    ) -> Result<Fetched, ChartFault> {
        let options = FetchOptions {
            pass_credentials: requested.pass_credentials,
            allow_digest_mismatch: requested.allow_digest_mismatch,
        };
        let found = repository::fetch(self.client, url, name, version, options).await?;
        let source_digest = source_digest(&found.index_digest);
        let leads_to = found.artifact.as_ref().map(|artifact| {
            let repository = artifact.reference.repository();
            format!("oci://{repository}").parse::<ChartReference>()
        });
        if let Some(leads_to) = leads_to.transpose()? {
            let fetched = self.from_registry(&leads_to, found, requested).await?;
            return Ok(Fetched {
                source_digest,
                ..fetched
            });
        }
        let chart = read_foreign(&found.archive, name, &found.version)?;
        Ok(Fetched {
            reference: reference_of(&repository_of(url, name)?, &chart)?,
            chart,
            archive: found.archive,
            provenance: found.provenance,
            signed_by: None,
            artifact: None,
            source: requested.source.shown(),
            source_digest,
            dependencies: Vec::new(),
            own_values: None,
            signatures: Vec::new(),
            notes: found.notes,
        })
    }

    /// A chart with its artifact as it is, and what belongs to it.
    async fn from_registry(
        &self,
        reference: &ChartReference,
        found: FetchedChart,
        requested: &RequestedChart,
    ) -> Result<Fetched, ChartFault> {
        let chart = read_foreign(&found.archive, reference.name(), &found.version)?;
        let artifact = found.artifact.map(|artifact| {
            let manifest = artifact.manifest;
            let descriptor = Descriptor {
                digest: manifest.digest,
                ..Descriptor::of(&manifest.media_type, &manifest.bytes)
            };
            let blobs = artifact.blobs.into_iter();
            let blobs = blobs.map(|(blob, content)| (blob.digest, content));
            let own = std::iter::once((manifest.digest, manifest.bytes));
            (descriptor, own.chain(blobs).collect())
        });
        let mut signatures = Vec::new();
        if let Some((descriptor, _)) = &artifact {
            let (repository, digest) = (reference.repository(), descriptor.digest);
            signatures = signatures::of_chart(self.client, repository, digest).await?;
        }
        Ok(Fetched {
            reference: reference_of(reference.repository(), &chart)?,
            chart,
            archive: found.archive,
            provenance: found.provenance,
            signed_by: None,
            artifact,
            source: requested.source.shown(),
            source_digest: None,
            dependencies: Vec::new(),
            own_values: None,
            signatures,
            notes: found.notes,
        })
    }

    /// Packages a directory, with what it lacks.
    async fn from_directory(
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
            signatures: Vec::new(),
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

fn source_digest(found: &IndexDigest) -> Option<SourceDigest> {
    Some(match found {
        IndexDigest::NoIndex => return None,
        IndexDigest::Missing => SourceDigest::Missing,
        IndexDigest::Matches(_) => SourceDigest::Match,
        IndexDigest::Mismatch { expected, .. } => SourceDigest::Mismatch {
            said: expected.to_string(),
        },
        IndexDigest::Unreadable(said) => SourceDigest::Mismatch { said: said.clone() },
    })
}

/// An archive on this machine; its provenance is looked for beside it, as Helm does.
fn from_archive(path: &Path, shown: &str) -> Result<Fetched, ChartFault> {
    let archive = read_file(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".prov");
    let beside = PathBuf::from(beside);
    let provenance = match beside.exists() {
        true => Some(read_file(&beside)?),
        false => None,
    };
    let chart = read(&archive)?;
    Ok(Fetched {
        reference: local_reference(&chart)?,
        chart,
        archive,
        provenance,
        signed_by: None,
        artifact: None,
        source: shown.to_owned(),
        source_digest: None,
        dependencies: Vec::new(),
        own_values: None,
        signatures: Vec::new(),
        notes: Vec::new(),
    })
}

fn read_file(path: &Path) -> Result<Bytes, ChartFault> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| ChartFault::File {
        file: path.display().to_string(),
        error,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(MAX_ARCHIVE_BYTES as u64 + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content.into())
}

fn read(archive: &[u8]) -> Result<Chart, ChartError> {
    tokio::task::block_in_place(|| Chart::read(archive))
}

/// Reads what somebody else gave for a chart of this name and version.
fn read_foreign(archive: &[u8], name: &str, version: &str) -> Result<Chart, ChartFault> {
    let chart = read(archive).map_err(ChartFault::Foreign)?;
    let checked = chart.check_identity(name, Some(version));
    checked.map_err(ChartFault::Foreign)?;
    Ok(chart)
}

/// The place of a chart of a classic repository as a registry's: a name to know it by, where
/// nothing can be pulled.
fn repository_of(url: &Url, name: &str) -> Result<Repository, ChartFault> {
    let host = url.host_str().unwrap_or(NO_HOST);
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        // A bare word would be read as a path of Docker Hub.
        None if !host.contains('.') && host != NO_HOST => {
            format!("{host}:{}", url.port_or_known_default().unwrap_or(443))
        }
        None => host.to_owned(),
    };
    let kept = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '/') => c,
        _ => '-',
    };
    let path: String = url.path().chars().map(kept).collect();
    let parts = path.split('/').map(|part| part.trim_matches('-'));
    let mut parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.push(name);
    Repository::new(&host, &parts.join("/"))
        .map_err(|error| ChartFault::Name(format!("{name}: {error}")))
}

fn local_reference(chart: &Chart) -> Result<Reference, ChartFault> {
    let name = &chart.metadata.name;
    let repository = Repository::new(NO_HOST, name)
        .map_err(|error| ChartFault::Name(format!("{name}: {error}")))?;
    reference_of(&repository, chart)
}

fn reference_of(repository: &Repository, chart: &Chart) -> Result<Reference, ChartFault> {
    let text = format!("{repository}:{}", chart.metadata.tag());
    text.parse()
        .map_err(|error| ChartFault::Name(format!("{text}: {error}")))
}

fn check_version(chart: &Chart, wanted: Option<&str>) -> Result<(), ChartFault> {
    let found = &chart.metadata.version;
    match wanted {
        Some(wanted)
            if !version_fits(Some(wanted), found)
                && wanted.replace('+', "_") != chart.metadata.tag() =>
        {
            Err(ChartFault::Version {
                wanted: wanted.to_owned(),
                found: found.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Whether a version is the one that is wanted, or one of those.
fn version_fits(wanted: Option<&str>, version: &str) -> bool {
    let Some(wanted) = wanted else { return true };
    if wanted == version {
        return true;
    }
    match (wanted.parse::<Constraint>(), version.parse::<Version>()) {
        (Ok(wanted), Ok(version)) => wanted.matches(&version),
        _ => false,
    }
}
