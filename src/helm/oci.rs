//! Charts in registries (Helm documentation, "Use OCI-based registries"), byte for byte.

#[cfg(test)]
pub(super) mod tests;

use std::{fmt, str::FromStr};

use bytes::{Bytes, BytesMut};

use super::{
    repository::choice,
    source::{
        FetchedChart, IndexDigest, MAX_ARCHIVE_BYTES, MAX_PROVENANCE_BYTES, SourceError, clip,
        looks_like_archive,
    },
    version::Version,
};
use crate::{
    oci::{
        Descriptor, Digest, Document, DocumentKind, MAX_DOCUMENT_BYTES, Reference, Repository,
        TagOrDigest, media_type,
    },
    registry::{Client, PulledManifest, RegistryError},
    request::nearest_few,
};

/// Tags that are looked through for a version.
const MAX_TAGS: usize = 100_000;
/// Layers that a chart may have.
const MAX_LAYERS: usize = 16;
/// Bytes of all layers of a chart.
const MAX_TOTAL_BYTES: u64 = 2 * MAX_ARCHIVE_BYTES as u64;
/// How often content that does not have its digest is fetched again.
const ATTEMPTS: u32 = 3;

/// `oci://HOST[:PORT]/PATH/NAME`, perhaps with `:VERSION` or `@DIGEST` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartReference {
    repository: Repository,
    version: Option<String>,
    digest: Option<Digest>,
}

/// A chart's artifact in full, to be carried as it is.
#[derive(Clone, Debug)]
pub struct ChartArtifact {
    /// Where it was: with the tag that it was asked for by, if any, and its digest.
    pub reference: Reference,
    /// Its manifest, unchanged, with digest and media type.
    pub manifest: PulledManifest,
    /// Config and layers, in the order of the manifest, each with the digest that it should have.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl ChartReference {
    /// Host and path.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The last part of the path, which is the chart's name by convention.
    pub fn name(&self) -> &str {
        let path = self.repository.path();
        path.rsplit('/').next().unwrap_or(path)
    }

    /// The digest, if the reference pins one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The version behind the colon, as it was written.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether it says which version is meant.
    pub fn is_exact(&self) -> bool {
        self.version.is_some() || self.digest.is_some()
    }
}

impl fmt::Display for ChartReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}", self.repository)?;
        if let Some(version) = &self.version {
            write!(f, ":{version}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ChartReference {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = |detail: &dyn fmt::Display| SourceError::Address {
            text: clip(text),
            what: "registry",
            detail: clip(&detail.to_string()),
        };
        let rest = text
            .strip_prefix("oci://")
            .ok_or_else(|| wrong(&"it does not begin with oci://"))?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|e| wrong(&e))?)),
            None => (rest, None),
        };
        // The first part is always the host, also where an image name could leave it out.
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong(&"there is no path"))?;
        let (path, version) = match path.split_once(':') {
            Some((path, version)) => (path, Some(version.to_owned())),
            None => (path, None),
        };
        let path = path.trim_end_matches('/');
        let repository = match format!("{host}/{path}").parse::<Reference>() {
            Ok(reference) if reference.repository().path() == path => {
                reference.repository().clone()
            }
            _ => Repository::new(host, path).map_err(|e| wrong(&e))?,
        };
        if let Some(version) = &version {
            Reference::new(repository.clone(), Some(&tag_of(version)), None)
                .map_err(|e| wrong(&e))?;
        }
        Ok(Self {
            repository,
            version,
            digest,
        })
    }
}

/// The tag of a version: tags have no `+`.
pub fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

/// The version of a tag.
pub fn version_of(tag: &str) -> String {
    tag.replace('_', "+")
}

/// Fetches a chart: by the version or digest in the reference, or by `version`, which may be an exact
/// one or a constraint, or else the newest stable one.
///
/// # Errors
/// See [`SourceError`].
pub async fn fetch(
    client: &Client,
    reference: &ChartReference,
    version: Option<&str>,
) -> Result<FetchedChart, SourceError> {
    let source = Source { client, reference };
    let version = version.filter(|version| !version.is_empty());
    match (reference.digest, reference.version(), version) {
        (_, Some(own), Some(other)) if own != other => Err(SourceError::Address {
            text: clip(&reference.to_string()),
            what: "registry",
            detail: format!("version `{}` is asked for beside it", clip(other)),
        }),
        (Some(digest), tag, wanted) => {
            let manifest = source.manifest(&TagOrDigest::Digest(digest)).await?;
            let chart = source.chart(manifest, tag.map(tag_of).as_deref()).await?;
            // A digest says all; a version beside it is a belief that can be checked.
            match wanted.or(tag) {
                Some(wanted) if choice::choose(&[&chart.version], Some(wanted)).is_err() => {
                    Err(source.unknown_version(wanted, &[chart.version.as_str()]))
                }
                _ => Ok(chart),
            }
        }
        (None, own, other) => {
            let tag = source.choose(own.or(other)).await?;
            let manifest = source.manifest(&TagOrDigest::Tag(tag.clone())).await?;
            source.chart(manifest, Some(&tag)).await
        }
    }
}

/// The part of a configuration that is needed to know which chart it is.
#[derive(serde::Deserialize)]
struct Identity {
    name: String,
    version: String,
    deprecated: Option<bool>,
}

struct Source<'a> {
    client: &'a Client,
    reference: &'a ChartReference,
}

impl Source<'_> {
    /// The tag that is meant.
    async fn choose(&self, wanted: Option<&str>) -> Result<String, SourceError> {
        // Like Helm, an exact version needs no list of tags, which some registries do not give.
        if let Some(wanted) = wanted.filter(|wanted| wanted.parse::<Version>().is_ok()) {
            let tag = tag_of(wanted);
            let fits = Reference::new(self.reference.repository.clone(), Some(&tag), None).is_ok();
            let asked = TagOrDigest::Tag(tag.clone());
            let head = self
                .client
                .manifest_head(&self.reference.repository, &asked);
            if fits && head.await.map_err(|e| self.failed(e))?.is_some() {
                return Ok(tag);
            }
        }
        let listed = self.client.tags(&self.reference.repository, MAX_TAGS).await;
        let tags = match listed {
            Ok(tags) => tags,
            Err(error) if error.is_not_found() => return Err(self.unknown_chart()),
            Err(error) => return Err(self.failed(error)),
        };
        // Strict versions come first, as Helm sees only those; dates and `latest` are none.
        let strict = |tag: &String| {
            version_of(tag)
                .parse::<Version>()
                .is_ok_and(|v| v.is_strict())
        };
        let with_v = |tag: &String| tag.strip_prefix('v').is_some_and(|t| strict(&t.to_owned()));
        let (plain, others): (Vec<String>, Vec<String>) = tags.into_iter().partition(strict);
        let prefixed: Vec<String> = others.into_iter().filter(with_v).collect();
        let mut last = None;
        for tags in [&plain, &prefixed] {
            let versions: Vec<String> = tags.iter().map(|tag| version_of(tag)).collect();
            let texts: Vec<&str> = versions.iter().map(String::as_str).collect();
            match choice::choose(&texts, wanted) {
                Ok(chosen) => return Ok(tags[chosen].clone()),
                Err(fault) if last.is_none() || !tags.is_empty() => last = Some(fault),
                Err(_) => {}
            }
        }
        let fault = last.unwrap_or(choice::NoChoice::None(Vec::new()));
        Err(fault.into_error(self.reference.name(), &self.place(), wanted))
    }

    async fn manifest(&self, what: &TagOrDigest) -> Result<PulledManifest, SourceError> {
        let repository = &self.reference.repository;
        match self.client.manifest(repository, what).await {
            Ok(manifest) => Ok(manifest),
            Err(error) if error.is_not_found() && matches!(what, TagOrDigest::Digest(_)) => {
                Err(self.unknown_version(&what.to_string(), &[]))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Fetches what the manifest names.
    async fn chart(
        &self,
        manifest: PulledManifest,
        tag: Option<&str>,
    ) -> Result<FetchedChart, SourceError> {
        let reference = Reference::new(
            self.reference.repository.clone(),
            tag,
            Some(manifest.digest),
        )
        .map_err(|error| self.not_a_chart(&error))?;
        let parts = self.parts(&manifest)?;
        let mut blobs = Vec::new();
        for descriptor in parts {
            let bytes = self.blob(&descriptor).await?;
            blobs.push((descriptor, bytes));
        }
        let of_type = |wanted: &[&str]| {
            let found = blobs[1..].iter();
            let mut found = found.filter(|(d, _)| wanted.contains(&d.media_type.as_str()));
            (found.next().map(|(_, bytes)| bytes.clone()), found.next())
        };
        let (Some(archive), None) =
            of_type(&[media_type::HELM_CONTENT, media_type::HELM_CONTENT_LEGACY])
        else {
            return Err(self.not_a_chart(&"it has not exactly one archive"));
        };
        let (provenance, None) = of_type(&[media_type::HELM_PROVENANCE]) else {
            return Err(self.not_a_chart(&"it has more than one provenance file"));
        };
        let Identity {
            name,
            version,
            deprecated,
        } = self.identity(&blobs[0].1)?;
        looks_like_archive(&archive).map_err(|detail| SourceError::NotAnArchive {
            name: clip(&name),
            version: clip(&version),
            archive: format!("oci://{reference}"),
            detail,
        })?;
        let mut chart = FetchedChart {
            name,
            version,
            archive,
            provenance,
            source: format!("oci://{reference}"),
            index_digest: IndexDigest::NoIndex,
            artifact: Some(ChartArtifact {
                reference,
                manifest,
                blobs,
            }),
            deprecated: false,
            notes: Vec::new(),
        };
        chart.set_deprecated(deprecated.unwrap_or(false));
        Ok(chart)
    }

    /// Config and layers of a chart, checked before any of them is fetched.
    fn parts(&self, manifest: &PulledManifest) -> Result<Vec<Descriptor>, SourceError> {
        let document = Document::parse(&manifest.bytes, &manifest.media_type)
            .map_err(|error| self.not_a_chart(&error))?;
        let DocumentKind::Manifest { config, layers } = document.kind else {
            return Err(
                self.not_a_chart(&"it is an index, as images for several platforms have one")
            );
        };
        if config.media_type != media_type::HELM_CONFIG {
            let media_type = clip(&config.media_type);
            return Err(self.not_a_chart(&format!("its configuration is of type `{media_type}`")));
        }
        if layers.len() > MAX_LAYERS {
            return Err(self.not_a_chart(&format!("it has {} layers", layers.len())));
        }
        let limit = |descriptor: &Descriptor, is_config: bool| match descriptor.media_type.as_str()
        {
            _ if is_config => MAX_DOCUMENT_BYTES,
            media_type::HELM_PROVENANCE => MAX_PROVENANCE_BYTES,
            _ => MAX_ARCHIVE_BYTES,
        };
        let parts: Vec<Descriptor> = [config].into_iter().chain(layers).collect();
        for (at, part) in parts.iter().enumerate() {
            let limit = limit(part, at == 0);
            if part.size > limit as u64 {
                let media_type = clip(&part.media_type);
                return Err(self.not_a_chart(&format!(
                    "its `{media_type}` has {} bytes, more than the {limit} that are read of one",
                    part.size
                )));
            }
        }
        let total: u64 = parts.iter().map(|part| part.size).sum();
        if total > MAX_TOTAL_BYTES {
            return Err(self.not_a_chart(&format!("it has {total} bytes in all")));
        }
        Ok(parts)
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Bytes, SourceError> {
        for _ in 0..ATTEMPTS {
            let bytes = self
                .blob_once(descriptor)
                .await
                .map_err(|e| self.failed(e))?;
            if descriptor.digest.of_same_algorithm(&bytes) == descriptor.digest {
                return Ok(bytes);
            }
        }
        Err(SourceError::Damaged {
            reference: self.reference.to_string(),
            digest: descriptor.digest,
        })
    }

    async fn blob_once(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        let size = descriptor.size;
        let repository = &self.reference.repository;
        let mut stream = self
            .client
            .blob(repository, &descriptor.digest, 0..size, size)
            .await?;
        // The size was checked against the limit of its kind.
        let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        while let Some(chunk) = stream.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// What a configuration says about its chart.
    fn identity(&self, config: &[u8]) -> Result<Identity, SourceError> {
        serde_json::from_slice(config)
            .map_err(|error| self.not_a_chart(&format!("its configuration: {error}")))
    }

    fn place(&self) -> String {
        let repository = &self.reference.repository;
        match repository.path().rsplit_once('/') {
            Some((path, _)) => format!("oci://{}/{path}", repository.host()),
            None => format!("oci://{}", repository.host()),
        }
    }

    fn failed(&self, source: RegistryError) -> SourceError {
        SourceError::Registry {
            name: self.reference.name().to_owned(),
            source: Box::new(source),
            withheld: false,
            classic: false,
        }
    }

    fn unknown_chart(&self) -> SourceError {
        SourceError::UnknownChart {
            place: self.place(),
            name: self.reference.name().to_owned(),
            near: Vec::new(),
        }
    }

    fn unknown_version(&self, wanted: &str, there: &[&str]) -> SourceError {
        let near = match nearest_few(wanted, there, 3) {
            near if near.is_empty() => there.to_vec(),
            near => near,
        };
        SourceError::UnknownVersion {
            place: self.place(),
            name: self.reference.name().to_owned(),
            wanted: clip(wanted),
            near: near.into_iter().map(clip).collect(),
        }
    }

    fn not_a_chart(&self, detail: &dyn fmt::Display) -> SourceError {
        SourceError::NotAChart {
            reference: self.reference.to_string(),
            detail: clip(&detail.to_string()),
        }
    }
}
