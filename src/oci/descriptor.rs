//! Content descriptors, as in the OCI image specification, "Descriptors".

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci_spec::image as spec;
use serde::Serialize;

use super::{Digest, Platform};

/// What a document says of other content: its type, digest, size and more.
///
/// Read from foreign documents through [`oci_spec`], written by this program into its own (fields in
/// canonical order).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Free key-value pairs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Type of the artifact, where the content is an artifact's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Digest of the content.
    pub digest: Digest,
    /// Media type of the content.
    pub media_type: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// Where else the content may be had: foreign layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The platform, where the content is an image for one.
    #[serde(skip)]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor of `content` with nothing optional.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::sha256_of(content),
            size: content.len() as u64,
            artifact_type: None,
            platform: None,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// The empty descriptor `{}` (image-spec 1.1, "Guidance for an Empty Descriptor").
    pub fn empty() -> Self {
        Self::of(super::media_type::EMPTY, EMPTY_CONTENT)
    }
}

/// The content of the empty descriptor.
pub const EMPTY_CONTENT: &[u8] = b"{}";

impl TryFrom<&spec::Descriptor> for Descriptor {
    type Error = String;

    fn try_from(from: &spec::Descriptor) -> Result<Self, String> {
        let digest: Digest = from
            .digest()
            .to_string()
            .parse()
            .map_err(|e: super::DigestError| e.to_string())?;
        let media_type = from.media_type().to_string();
        if media_type.is_empty() || media_type.len() > 255 {
            return Err(format!(
                "the descriptor of {} has no usable media type",
                digest.short()
            ));
        }
        if from.size() > i64::MAX as u64 {
            return Err(format!(
                "the descriptor of {} has an impossible size",
                digest.short()
            ));
        }
        if let Some(data) = from.data() {
            let bytes = STANDARD.decode(data).map_err(|error| {
                format!(
                    "the embedded data of {} is not base64: {error}",
                    digest.short()
                )
            })?;
            if digest.of_same_algorithm(&bytes) != digest || bytes.len() as u64 != from.size() {
                let short = digest.short();
                return Err(format!(
                    "the embedded data of {short} does not have its digest"
                ));
            }
        }
        Ok(Self {
            media_type,
            digest,
            size: from.size(),
            artifact_type: from.artifact_type().as_ref().map(ToString::to_string),
            platform: from.platform().as_ref().map(Platform::from),
            urls: from.urls().clone().unwrap_or_default(),
            annotations: from
                .annotations()
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
        })
    }
}
