//! Getting a chart from where it is: a repository, a registry, or this machine.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use url::Url;

use super::{
    ChartFault, ChartOptions,
    names::{check_version, local_reference, reference_of, repository_of, version_fits},
};
use crate::{
    bundle::{FetchedDependency, Lock, LockedChart, SourceDigest},
    create::CreateError,
    helm::{
        chart::{Chart, ChartError, MAX_ARCHIVE_BYTES},
        oci::{self, ChartReference},
        provenance::{Gpgv, Keyring},
        repository::{self, FetchOptions},
        source::{FetchedChart, IndexDigest},
    },
    oci::{Descriptor, Digest, Reference},
    progress::Progress,
    registry::Client,
    request::{ChartSource, RequestedChart},
};

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
    pub(super) client: &'a Client,
    pins: Option<&'a Lock>,
    signatures: Option<(Gpgv, Keyring)>,
    pub(super) options: &'a ChartOptions,
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
            signatures,
            client,
            pins,
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
                self.of_repository(url, name, version, requested).await?
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
                self.of_registry(reference, found, requested).await?
            }
            ChartSource::Path { path, shown, .. } if path.is_dir() => {
                self.packaged(path, shown, requested, pin, progress).await?
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

    async fn of_repository(
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
            let fetched = self.of_registry(&leads_to, found, requested).await?;
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
            notes: found.notes,
        })
    }

    /// A chart with its artifact as it is, and what belongs to it.
    async fn of_registry(
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
            notes: found.notes,
        })
    }
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
    file.take(MAX_ARCHIVE_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content.into())
}

fn read(archive: &[u8]) -> Result<Chart, ChartError> {
    tokio::task::block_in_place(|| Chart::read(archive))
}

/// Reads what somebody else gave for a chart of this name and version.
pub(super) fn read_foreign(archive: &[u8], name: &str, version: &str) -> Result<Chart, ChartFault> {
    let chart = read(archive).map_err(ChartFault::Foreign)?;
    let checked = chart.check_identity(name, Some(version));
    checked.map_err(ChartFault::Foreign)?;
    Ok(chart)
}
