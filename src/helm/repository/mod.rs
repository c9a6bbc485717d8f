//! Classic chart repositories: a web server with an `index.yaml`.
//!
//! What is fetched, and from where, is what Helm would fetch. Other than Helm, the digest in the
//! index is checked, and an index is never held as a tree.

pub(super) mod choice;
mod index;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use reqwest::Url;
use tokio::task::spawn_blocking;

use self::index::{Entry, Index};
use super::{
    oci::{self, ChartReference},
    source::{
        FetchedChart, IndexDigest, MAX_ARCHIVE_BYTES, MAX_PROVENANCE_BYTES, SourceError, clip,
        looks_like_archive,
    },
};
use crate::{
    oci::Digest,
    registry::{Client, Download, Encoding, RegistryError, ShowCredentials},
    request::nearest_few,
};

/// Largest index, in bytes.
pub const MAX_INDEX_BYTES: usize = 64 << 20;
/// How a clear-signed provenance file begins (RFC 9580, section 7).
const PROVENANCE_START: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";

/// What is permitted with a classic repository; by default, nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchOptions {
    /// Show the repository's credentials also to other servers that its index names, unless there are
    /// others for these.
    pub pass_credentials: bool,
    /// Take an archive that does not have the digest that the index gives.
    pub allow_digest_mismatch: bool,
}

/// A classic repository whose index has been fetched.
#[derive(Clone)]
pub struct ClassicRepository {
    client: Client,
    url: Url,
    place: String,
    index: Bytes,
}

impl std::fmt::Debug for ClassicRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClassicRepository")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Fetches one chart from a repository: the newest stable version, an exact one, or the newest that
/// a constraint accepts.
///
/// # Errors
/// See [`SourceError`].
pub async fn fetch(
    client: &Client,
    repository: &Url,
    name: &str,
    version: Option<&str>,
    options: FetchOptions,
) -> Result<FetchedChart, SourceError> {
    ClassicRepository::open(client, repository, name)
        .await?
        .fetch(name, version, options)
        .await
}

impl ClassicRepository {
    /// Fetches the index of the repository at `url`; `name` is the chart that it is wanted for, in
    /// messages.
    ///
    /// # Errors
    /// When there is none that can be fetched.
    pub async fn open(client: &Client, url: &Url, name: &str) -> Result<Self, SourceError> {
        let place = shown(url);
        let index = resolve(url, "index.yaml").map_err(|detail| SourceError::Address {
            text: clip(&place),
            what: "repository",
            detail,
        })?;
        let request = Download {
            url: index,
            named_by: None,
            what: format!("index of {place}"),
            limit: MAX_INDEX_BYTES,
            credentials: ShowCredentials::Own,
            encoding: Encoding::Compressed,
        };
        let index = client
            .download(&request)
            .await
            .map_err(|source| failed(name, source, false))?;
        Ok(Self {
            client: client.clone(),
            url: url.clone(),
            place,
            index,
        })
    }

    /// Fetches a chart: the newest stable version, an exact one, or the newest that a constraint
    /// accepts.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn fetch(
        &self,
        name: &str,
        version: Option<&str>,
        options: FetchOptions,
    ) -> Result<FetchedChart, SourceError> {
        let entry = self.choose(name, version).await?;
        let first = entry.urls.first().map(String::as_str);
        let location =
            first.ok_or_else(|| self.entry_error(name, &entry, "it names no address"))?;
        let mut chart = match location.starts_with("oci://") {
            true => self.pulled(name, &entry, location).await?,
            false => self.downloaded(name, &entry, location, options).await?,
        };
        chart.index_digest = check_digest(&chart, entry.digest.as_deref(), options)?;
        chart.set_deprecated(entry.deprecated);
        note_digest(&mut chart);
        Ok(chart)
    }

    /// The entry of the index that is meant.
    async fn choose(&self, name: &str, version: Option<&str>) -> Result<Entry, SourceError> {
        let (bytes, wanted) = (self.index.clone(), name.to_owned());
        let unreadable = |line, column, detail: String| SourceError::Index {
            place: self.place.clone(),
            line,
            column,
            detail,
        };
        let read = spawn_blocking(move || index::read(&bytes, &wanted)).await;
        let Index { entries, others } = match read {
            Ok(Ok(index)) => index,
            Ok(Err(fault)) => return Err(unreadable(fault.line, fault.column, fault.detail)),
            Err(_) => return Err(unreadable(0, 0, "reading it failed".to_owned())),
        };
        let Some(entries) = entries else {
            let names: Vec<&str> = others.iter().map(String::as_str).collect();
            return Err(SourceError::UnknownChart {
                place: self.place.clone(),
                name: clip(name),
                near: nearest_few(name, &names, 5).into_iter().map(clip).collect(),
            });
        };
        let texts: Vec<&str> = entries.iter().map(|entry| entry.version.as_str()).collect();
        let chosen = choice::choose(&texts, version)
            .map_err(|fault| fault.into_error(name, &self.place, version))?;
        Ok(entries[chosen].clone())
    }

    async fn pulled(
        &self,
        name: &str,
        entry: &Entry,
        location: &str,
    ) -> Result<FetchedChart, SourceError> {
        let reference: ChartReference = location.parse()?;
        let mut chart = match reference.is_exact() {
            true => oci::fetch(&self.client, &reference, None).await?,
            false => oci::fetch(&self.client, &reference, Some(&entry.version)).await?,
        };
        if chart.name != name {
            let detail = format!("it leads to chart `{}`", clip(&chart.name));
            return Err(self.entry_error(name, entry, &detail));
        }
        chart.version.clone_from(&entry.version);
        Ok(chart)
    }

    async fn downloaded(
        &self,
        name: &str,
        entry: &Entry,
        location: &str,
        options: FetchOptions,
    ) -> Result<FetchedChart, SourceError> {
        let url = resolve(&self.url, location)
            .map_err(|detail| self.entry_error(name, entry, &detail))?;
        let credentials = match url.origin() == self.url.origin() {
            true => ShowCredentials::Own,
            false if options.pass_credentials => ShowCredentials::OwnOrOf(self.url.clone()),
            false => ShowCredentials::Never,
        };
        let withheld = credentials == ShowCredentials::Never;
        let failed = |source| failed(name, source, withheld);
        let request = Download {
            named_by: Some(self.url.clone()),
            what: format!("chart {}", shown(&url)),
            limit: MAX_ARCHIVE_BYTES,
            credentials,
            encoding: Encoding::GzipFile,
            url,
        };
        let archive = self.client.download(&request).await.map_err(failed)?;
        let source = shown(&request.url);
        looks_like_archive(&archive).map_err(|detail| SourceError::NotAnArchive {
            name: clip(name),
            version: clip(&entry.version),
            archive: source.clone(),
            detail,
        })?;
        let mut notes = Vec::new();
        let provenance = self
            .provenance(&request, &mut notes)
            .await
            .map_err(failed)?;
        Ok(FetchedChart {
            name: name.to_owned(),
            version: entry.version.clone(),
            archive,
            provenance,
            source,
            index_digest: IndexDigest::Missing,
            artifact: None,
            deprecated: false,
            notes,
        })
    }

    /// The provenance file beside an archive, if there is one.
    async fn provenance(
        &self,
        archive: &Download,
        notes: &mut Vec<String>,
    ) -> Result<Option<Bytes>, RegistryError> {
        let mut url = archive.url.clone();
        url.set_path(&format!("{}.prov", archive.url.path()));
        let request = Download {
            what: format!("provenance {}", shown(&url)),
            limit: MAX_PROVENANCE_BYTES,
            encoding: Encoding::Plain,
            url,
            ..archive.clone()
        };
        let place = shown(&request.url);
        match self.client.download(&request).await {
            Ok(bytes) if bytes.trim_ascii_start().starts_with(PROVENANCE_START) => Ok(Some(bytes)),
            Ok(_) => {
                notes.push(format!(
                    "what is at {place} is no provenance file and is left out"
                ));
                Ok(None)
            }
            Err(error) => match error.status().map(|status| status.as_u16()) {
                Some(404 | 410) => Ok(None),
                // Object stores say so of what is not there. Whoever could suppress the file in this
                // way could as well say that there is none.
                Some(403) => {
                    notes.push(format!(
                        "{place} is not to be had (403), so the chart is taken without provenance"
                    ));
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }

    fn entry_error(&self, name: &str, entry: &Entry, detail: &str) -> SourceError {
        SourceError::Entry {
            place: self.place.clone(),
            name: clip(name),
            version: clip(&entry.version),
            detail: detail.to_owned(),
        }
    }
}

/// Resolves an address of an index as Helm does: below the address of the repository, whose query
/// it inherits, unless it is absolute.
fn resolve(repository: &Url, location: &str) -> Result<Url, String> {
    match Url::parse(location) {
        Ok(absolute) => Ok(absolute),
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            let mut base = repository.clone();
            let path = base.path().trim_end_matches('/').to_owned();
            base.set_path(&format!("{path}/"));
            let mut url = base.join(location).map_err(|e| e.to_string())?;
            url.set_query(repository.query());
            url.set_fragment(None);
            Ok(url)
        }
        Err(error) => Err(format!("`{}` is not an address: {error}", clip(location))),
    }
}

/// An address without what may be secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Where these cannot be set, they are not there.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    clip(url.as_str().trim_end_matches('/'))
}

fn failed(name: &str, source: RegistryError, withheld: bool) -> SourceError {
    SourceError::Registry {
        name: clip(name),
        source: Box::new(source),
        withheld,
        classic: true,
    }
}

/// Compares the archive with the digest in the index: SHA-256, with or without `sha256:` in front.
/// For charts in registries, it may also be that of the manifest.
fn check_digest(
    chart: &FetchedChart,
    digest: Option<&str>,
    options: FetchOptions,
) -> Result<IndexDigest, SourceError> {
    let Some(text) = digest else {
        return Ok(IndexDigest::Missing);
    };
    let actual = Digest::sha256_of(&chart.archive);
    let mismatch = || SourceError::IndexDigest {
        name: clip(&chart.name),
        version: clip(&chart.version),
        archive: chart.source.clone(),
        expected: clip(text),
        actual: Box::new(actual),
    };
    let hex = text.trim().to_ascii_lowercase();
    let hex = hex.strip_prefix("sha256:").unwrap_or(&hex);
    match format!("sha256:{hex}").parse::<Digest>() {
        Ok(expected) if expected == actual => Ok(IndexDigest::Matches(expected)),
        Ok(expected)
            if (chart.artifact.as_ref()).is_some_and(|a| a.manifest.digest == expected) =>
        {
            Ok(IndexDigest::Matches(expected))
        }
        Ok(expected) if options.allow_digest_mismatch => {
            Ok(IndexDigest::Mismatch { expected, actual })
        }
        Err(_) if options.allow_digest_mismatch => Ok(IndexDigest::Unreadable(clip(text))),
        _ => Err(mismatch()),
    }
}

fn note_digest(chart: &mut FetchedChart) {
    let note = match &chart.index_digest {
        IndexDigest::NoIndex | IndexDigest::Matches(_) => None,
        IndexDigest::Missing => Some("the index gives no digest for the archive".to_owned()),
        IndexDigest::Mismatch { expected, actual } => Some(format!(
            "the archive has digest {actual}, but the index says {expected}; this was permitted"
        )),
        IndexDigest::Unreadable(text) => Some(format!(
            "the index gives `{text}` as digest, which cannot be compared; this was permitted"
        )),
    };
    chart.notes.extend(note);
}
