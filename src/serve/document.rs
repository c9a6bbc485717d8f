//! The parts of a manifest or index that a registry acts on; everything else is opaque to it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::store::Referrer;
use crate::oci::{Digest, media_type};

/// A manifest or index of any kind (image specification, "Image Manifest" and "Image Index").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) schema_version: Option<u64>,
    pub(super) media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    pub(super) subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

/// A descriptor (image specification, "Content Descriptors").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    urls: Option<Vec<String>>,
}

impl Document {
    /// Reads the JSON text.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The blobs that must be in the repository. Layers that are fetched from elsewhere need not.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = self.layers.iter().flatten();
        self.config
            .iter()
            .chain(layers.filter(|layer| !layer.is_elsewhere()))
    }

    /// The manifests that an index lists.
    pub(super) fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().flatten()
    }

    /// How a list of referrers describes this document (distribution specification, "Listing
    /// Referrers"): an image manifest without artifact type is known by its config.
    pub(super) fn as_referrer(&self, digest: Digest, media_type: &str, size: u64) -> Referrer {
        let own = self.artifact_type.as_deref().filter(|own| !own.is_empty());
        let of_config = self
            .config
            .as_ref()
            .map(|config| config.media_type.as_str());
        Referrer {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: own.or(of_config).map(str::to_owned),
            annotations: self.annotations.clone().unwrap_or_default(),
        }
    }
}

impl Descriptor {
    fn is_elsewhere(&self) -> bool {
        media_type::is_foreign_layer(&self.media_type)
            || self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
    }
}
