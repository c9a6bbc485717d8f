//! A chart as an OCI artifact, as `helm push` makes it (Helm's `pkg/registry`).

use std::collections::BTreeMap;

use crate::oci::{Descriptor, MAX_DOCUMENT_BYTES, media_type};

use super::{
    Chart, ChartError, Metadata,
    go_json::{self, Object},
    metadata::text_map,
};

const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";

/// The OCI artifact of a chart. The layers are the archive and the provenance as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest, as `helm push` writes it but for `org.opencontainers.image.created`, which
    /// would give the same chart another digest each time.
    pub manifest: Vec<u8>,
    /// The configuration, byte for byte as `helm push` writes it.
    pub config: Vec<u8>,
    /// Descriptor of the configuration.
    pub config_descriptor: Descriptor,
    /// Descriptor of the archive.
    pub content: Descriptor,
    /// Descriptor of the provenance.
    pub provenance: Option<Descriptor>,
}

impl Artifact {
    /// The artifact of `chart`, which was read from `archive`.
    ///
    /// # Errors
    /// When the metadata is so large that registries would refuse the manifest or configuration.
    pub fn new(
        chart: &Chart,
        archive: &[u8],
        provenance: Option<&[u8]>,
    ) -> Result<Self, ChartError> {
        let config = chart.metadata.to_go_json().into_bytes();
        check_size("configuration", &config)?;
        let config_descriptor = Descriptor::of(media_type::HELM_CONFIG, &config);
        let content = Descriptor::of(media_type::HELM_CONTENT, archive);
        let provenance = provenance.map(|bytes| Descriptor::of(media_type::HELM_PROVENANCE, bytes));
        let mut layers = vec![&content];
        layers.extend(&provenance);
        layers.sort_by_key(|layer| layer.digest.to_string());
        let manifest = Object::default()
            .raw("schemaVersion", "2")
            .raw("config", &descriptor(&config_descriptor))
            .list_unless_empty("layers", &layers, |layer| descriptor(layer))
            .raw("annotations", &text_map(&annotations(&chart.metadata)))
            .finish()
            .into_bytes();
        check_size("manifest", &manifest)?;
        Ok(Self {
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, &manifest),
            manifest,
            config,
            config_descriptor,
            content,
            provenance,
        })
    }
}

fn check_size(what: &'static str, bytes: &[u8]) -> Result<(), ChartError> {
    let limit = MAX_DOCUMENT_BYTES;
    if bytes.len() > limit {
        return Err(ChartError::ArtifactTooLarge {
            what,
            size: bytes.len(),
            limit,
        });
    }
    Ok(())
}

fn descriptor(of: &Descriptor) -> String {
    Object::default()
        .text("mediaType", &of.media_type)
        .text("digest", &of.digest.to_string())
        .raw("size", &go_json::value(&of.size.into()))
        .finish()
}

/// Helm's `generateOCIAnnotations`: from the metadata, and then all annotations of the chart, which
/// may replace any but title and version.
fn annotations(metadata: &Metadata) -> BTreeMap<String, String> {
    let source = metadata.sources.first().map_or("", String::as_str);
    let authors = authors(metadata);
    let mut annotations: BTreeMap<String, String> = [
        (
            "org.opencontainers.image.description",
            metadata.description.as_deref().unwrap_or_default(),
        ),
        (TITLE, &metadata.name),
        (VERSION, &metadata.version),
        (
            "org.opencontainers.image.url",
            metadata.home.as_deref().unwrap_or_default(),
        ),
        ("org.opencontainers.image.source", source),
        ("org.opencontainers.image.authors", &authors),
    ]
    .into_iter()
    .filter(|(_, value)| !value.trim().is_empty())
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    for (key, value) in &metadata.annotations {
        if key != TITLE && key != VERSION {
            annotations.insert(key.clone(), value.clone());
        }
    }
    annotations
}

/// `NAME (EMAIL), NAME (EMAIL)`.
fn authors(metadata: &Metadata) -> String {
    let author = |maintainer: &super::Maintainer| match maintainer.email.as_str() {
        "" => maintainer.name.clone(),
        email => format!("{} ({email})", maintainer.name),
    };
    let authors: Vec<String> = metadata.maintainers.iter().map(author).collect();
    authors.join(", ")
}

#[cfg(test)]
mod tests;
